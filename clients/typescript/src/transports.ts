import { NotifierError } from "./errors.js";
import { exactJson, parseExact } from "./exact.js";
import type { SessionEvent } from "./feed.js";
import type { Http } from "./http.js";
import { Moment } from "./moment.js";
import type { Bye, ByeEvent, HelloEvent } from "./wire.js";

/** A way to read, best first: each needs less of what stands between the page and the service. */
export type Transport = "sse" | "long-poll" | "polling";

/** How reading ended: by the service's word, by silence, by an error, or because nobody wants it any more. */
export type Ending =
  | { readonly kind: "bye"; readonly bye: Bye }
  | { readonly kind: "mute" }
  | { readonly kind: "lost"; readonly error: NotifierError | null }
  | { readonly kind: "stopped" };

/** What a transport reads with, and whom it tells. */
export interface Reading {
  readonly http: Http;
  /** Where the stream is, and where tickets for it are. */
  readonly paths: { readonly stream: string; readonly ticket: string };
  readonly feed: Heard;
  /**
   * Ask once for what was missed, held for so long where that is possible, take it, and return the events it brought.
   * Throws `NotifierError`, or the reason of an abort.
   */
  readonly ask: (signal: AbortSignal, holdSeconds: number) => Promise<readonly SessionEvent[]>;
  readonly timing: Timing;
  /** What streams are read with; without it there are none. */
  readonly EventSource: typeof EventSource | undefined;
  /** The cursor before anything was heard: `earliest`, or null for the present. */
  readonly begin: "earliest" | null;
  /** The service was heard; `said` gives what it said, for the other tabs if there are any. */
  heard(said: (() => string) | null): void;
  /** Reading works from now on. */
  opened(transport: Transport): void;
}

/** Takes what the service says, and knows behind which id reading goes on. */
export interface Heard {
  readonly cursor: string | null;
  take(event: SessionEvent, where?: { streamId?: string; inSequence?: boolean }): boolean;
}

export interface Timing {
  /** A stream that says nothing for so long is held back on its way. */
  readonly helloTimeoutMs: number;
  /** Silence after which a stream is dead; twice the service's own heartbeat and a little when not set. */
  readonly heartbeatTimeoutMs: number | null;
  readonly pollIntervalMs: number;
}

/** What the service holds a long poll for; its clients wait a little longer. */
const HOLD_SECONDS = 25;

/** Read a stream until it ends. Aborting `signal` closes it. */
export async function readStream(reading: Reading, signal: AbortSignal): Promise<Ending> {
  const { EventSource, feed, http, paths, timing } = reading;
  if (EventSource === undefined) throw new TypeError("this platform has no EventSource: pass one in the options");
  const query: Record<string, string> = { replay: "0" };
  const cursor = feed.cursor ?? reading.begin;
  if (cursor !== null) query["last_event_id"] = cursor;
  try {
    const token = await http.token();
    if (token !== "") query["ticket"] = await ticket(http, paths.ticket, token, signal);
  } catch (error) {
    return ended(error, signal);
  }
  if (signal.aborted) return { kind: "stopped" };
  return new Promise((resolve) => {
    const source = new EventSource(http.url(paths.stream, query));
    let silenceMs = timing.helloTimeoutMs;
    let heardAt = new Moment();
    // By the clock, not by a timer for each message: after the machine slept, the first look tells.
    const look = setInterval(() => {
      if (heardAt.agoMs <= silenceMs) return;
      // A machine that slept, or whose clock was set, says nothing against the stream.
      end(heardAt.steadyAgoMs > silenceMs ? { kind: "mute" } : { kind: "lost", error: null });
    }, Math.min(1000, timing.helloTimeoutMs / 2));

    function end(ending: Ending): void {
      clearInterval(look);
      signal.removeEventListener("abort", stop);
      source.close();
      resolve(ending);
    }
    function stop(): void {
      end({ kind: "stopped" });
    }
    signal.addEventListener("abort", stop);

    source.onmessage = (message: MessageEvent<string>) => {
      const event = parsed(message.data);
      if (event === null) return;
      heardAt = new Moment();
      if (event.type === "hello") {
        silenceMs = timing.heartbeatTimeoutMs ?? (event as HelloEvent).data.heartbeat_seconds * 2000 + 5000;
      }
      feed.take(event, { streamId: message.lastEventId });
      reading.heard(() => message.data);
      if (event.type === "hello") reading.opened("sse");
      if (event.type === "bye") end({ kind: "bye", bye: (event as ByeEvent).data });
    };
    // Native reconnection would repeat a ticket that is used up, and never give up a proxy that holds streams back.
    source.onerror = () => end({ kind: "lost", error: null });
  });
}

/** Read by requests that the service holds until there is something (`long-poll`), or that it answers at once. */
export async function poll(
  transport: "long-poll" | "polling",
  reading: Reading,
  signal: AbortSignal,
): Promise<Ending> {
  const holdSeconds = transport === "long-poll" ? HOLD_SECONDS : 0;
  let isOpen = false;
  try {
    while (true) {
      const askedAt = new Moment();
      // The first answer comes at once: it shows that this way works.
      const events = await reading.ask(signal, isOpen ? holdSeconds : 0);
      for (const event of events) reading.heard(() => exactJson(event, 0));
      reading.heard(null);
      // One that should have been held and came back empty at once is not asked again at once.
      const isTooFast = isOpen && events.length === 0 && askedAt.steadyAgoMs < 1000;
      if (!isOpen) {
        isOpen = true;
        reading.opened(transport);
      }
      if (holdSeconds === 0 || isTooFast) await sleep(reading.timing.pollIntervalMs, signal);
    }
  } catch (error) {
    return ended(error, signal);
  }
}

/** Wait, or throw the reason of an abort. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(done, ms);
    function done(): void {
      signal.removeEventListener("abort", stop);
      resolve();
    }
    function stop(): void {
      clearTimeout(timer);
      reject(signal.reason);
    }
    signal.addEventListener("abort", stop, { once: true });
  });
}

async function ticket(http: Http, path: string, token: string, signal: AbortSignal): Promise<string> {
  return (await http.call<{ ticket: string }>("POST", path, { signal, token })).ticket;
}

function parsed(text: string): SessionEvent | null {
  try {
    const event = parseExact(text) as SessionEvent | null;
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null; // not the service's: something between us wrote into the stream
  }
}

function ended(error: unknown, signal: AbortSignal): Ending {
  if (signal.aborted) return { kind: "stopped" };
  if (error instanceof NotifierError) return { kind: "lost", error };
  throw error;
}
