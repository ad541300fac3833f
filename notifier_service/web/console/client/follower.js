import { NotifierError } from "./errors.js";
import { parseExact } from "./exact.js";
import { idOf } from "./feed.js";
import { sleep } from "./transports.js";
/** How much longer than its heartbeat another tab may be silent before it is not relied on. */
export const LOOK_MS = 5_000;
/** Follows the tab that reads: takes what it tells, and asks the service itself for what is missing. */
export class Follower {
    #reading;
    #link;
    #ways;
    #catchingUp = null;
    #isBehind = false;
    constructor(reading, link, ways) {
        this.#reading = reading;
        this.#link = link;
        this.#ways = ways;
    }
    /** Learn the present first; then look from time to time whether the other tab is still there. */
    async follow(signal) {
        await this.catchUp(signal);
        while (!signal.aborted) {
            try {
                await sleep(LOOK_MS, signal);
            }
            catch {
                return;
            }
            if (this.#link.sinceHeardMs <= this.#silenceMs)
                continue;
            await this.catchUp(signal);
            // A tab in the background may sleep as well; one that people look at does not, and takes the reading over.
            if (!signal.aborted && document.visibilityState === "visible")
                this.#ways.steal();
        }
    }
    /** Take what the other tab tells. */
    told(message, signal) {
        switch (message.kind) {
            case "ended":
                this.#ways.end(new NotifierError(message.code, message.message));
                return;
            case "connection": {
                const { phase, attempt, retryAt, error } = message.connection;
                this.#link.heartbeatSeconds = message.heartbeatSeconds;
                this.#link.mayApprove = message.mayApprove;
                // An error crosses as a plain copy; what it says is enough to show.
                this.#link.heard();
                this.#link.report({
                    phase: phase === "idle" || phase === "ended" ? "connecting" : phase,
                    transport: "tab",
                    attempt,
                    retryAt,
                    error: error === null ? null : new NotifierError(String(error.code ?? "unreachable"), error.message),
                });
                return;
            }
            case "alive":
                this.#link.heard();
                return;
            case "said":
                this.#said(parseExact(message.text), signal);
        }
    }
    /** Ask the service for what this tab has missed; once more if it was asked for meanwhile. */
    async catchUp(signal) {
        if (signal.aborted)
            return;
        this.#isBehind = true;
        await (this.#catchingUp ??= this.#catchUp(signal));
    }
    async #catchUp(signal) {
        try {
            while (this.#isBehind && !signal.aborted) {
                this.#isBehind = false;
                await this.#reading.ask(signal, 0);
                this.#link.heard();
                if (this.#link.now.phase !== "open")
                    this.#link.report({ phase: "open", transport: "tab", error: null });
            }
        }
        catch (error) {
            if (signal.aborted || !(error instanceof NotifierError))
                return;
            if (error.isPassing || this.#reading.http.renewsToken)
                this.#link.report({ error });
            else
                this.#ways.end(error);
        }
        finally {
            this.#catchingUp = null;
        }
    }
    /** Take of what the service said what comes next in the log, and ask for what does not. */
    #said(event, signal) {
        const { feed } = this.#reading;
        this.#link.heard();
        if (idOf(event) === undefined) {
            if (event.type === "heartbeat" || event.type === "error")
                feed.take(event);
            if (event.type === "hello" || event.type === "snapshot")
                void this.catchUp(signal);
            return;
        }
        if (!feed.take(event, { inSequence: true }))
            void this.catchUp(signal);
    }
    /** How long no word may come before something is wrong. */
    get #silenceMs() {
        return this.#reading.timing.heartbeatTimeoutMs ?? this.#link.heartbeatSeconds * 2000 + 5000;
    }
}
