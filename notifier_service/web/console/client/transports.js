import { NotifierError } from "./errors.js";
import { exactJson, parseExact } from "./exact.js";
import { Moment } from "./moment.js";
/** What the service holds a long poll for; its clients wait a little longer. */
const HOLD_SECONDS = 25;
/** Read a stream until it ends. Aborting `signal` closes it. */
export async function readStream(reading, signal) {
    const { EventSource, feed, http, paths, timing } = reading;
    if (EventSource === undefined)
        throw new TypeError("this platform has no EventSource: pass one in the options");
    const query = { replay: "0" };
    const cursor = feed.cursor ?? reading.begin;
    if (cursor !== null)
        query["last_event_id"] = cursor;
    try {
        const token = await http.token();
        if (token !== "")
            query["ticket"] = await ticket(http, paths.ticket, token, signal);
    }
    catch (error) {
        return ended(error, signal);
    }
    if (signal.aborted)
        return { kind: "stopped" };
    return new Promise((resolve) => {
        const source = new EventSource(http.url(paths.stream, query));
        let silenceMs = timing.helloTimeoutMs;
        let heardAt = new Moment();
        // By the clock, not by a timer for each message: after the machine slept, the first look tells.
        const look = setInterval(() => {
            if (heardAt.agoMs <= silenceMs)
                return;
            // A machine that slept, or whose clock was set, says nothing against the stream.
            end(heardAt.steadyAgoMs > silenceMs ? { kind: "mute" } : { kind: "lost", error: null });
        }, Math.min(1000, timing.helloTimeoutMs / 2));
        function end(ending) {
            clearInterval(look);
            signal.removeEventListener("abort", stop);
            source.close();
            resolve(ending);
        }
        function stop() {
            end({ kind: "stopped" });
        }
        signal.addEventListener("abort", stop);
        source.onmessage = (message) => {
            const event = parsed(message.data);
            if (event === null)
                return;
            heardAt = new Moment();
            if (event.type === "hello") {
                silenceMs = timing.heartbeatTimeoutMs ?? event.data.heartbeat_seconds * 2000 + 5000;
            }
            feed.take(event, { streamId: message.lastEventId });
            reading.heard(() => message.data);
            if (event.type === "hello")
                reading.opened("sse");
            if (event.type === "bye")
                end({ kind: "bye", bye: event.data });
        };
        // Native reconnection would repeat a ticket that is used up, and never give up a proxy that holds streams back.
        source.onerror = () => end({ kind: "lost", error: null });
    });
}
/** Read by requests that the service holds until there is something (`long-poll`), or that it answers at once. */
export async function poll(transport, reading, signal) {
    const holdSeconds = transport === "long-poll" ? HOLD_SECONDS : 0;
    let isOpen = false;
    try {
        while (true) {
            const askedAt = new Moment();
            // The first answer comes at once: it shows that this way works.
            const events = await reading.ask(signal, isOpen ? holdSeconds : 0);
            for (const event of events)
                reading.heard(() => exactJson(event, 0));
            reading.heard(null);
            // One that should have been held and came back empty at once is not asked again at once.
            const isTooFast = isOpen && events.length === 0 && askedAt.steadyAgoMs < 1000;
            if (!isOpen) {
                isOpen = true;
                reading.opened(transport);
            }
            if (holdSeconds === 0 || isTooFast)
                await sleep(reading.timing.pollIntervalMs, signal);
        }
    }
    catch (error) {
        return ended(error, signal);
    }
}
/** Wait, or throw the reason of an abort. */
export function sleep(ms, signal) {
    return new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const timer = setTimeout(done, ms);
        function done() {
            signal.removeEventListener("abort", stop);
            resolve();
        }
        function stop() {
            clearTimeout(timer);
            reject(signal.reason);
        }
        signal.addEventListener("abort", stop, { once: true });
    });
}
async function ticket(http, path, token, signal) {
    return (await http.call("POST", path, { signal, token })).ticket;
}
function parsed(text) {
    try {
        const event = parseExact(text);
        return typeof event?.type === "string" ? event : null;
    }
    catch {
        return null; // not the service's: something between us wrote into the stream
    }
}
function ended(error, signal) {
    if (signal.aborted)
        return { kind: "stopped" };
    if (error instanceof NotifierError)
        return { kind: "lost", error };
    throw error;
}
