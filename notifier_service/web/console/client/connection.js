import { Moment } from "./moment.js";
export const IDLE = Object.freeze({
    phase: "idle",
    transport: null,
    attempt: 0,
    retryAt: null,
    lastHeardAt: null,
    error: null,
});
const UNKNOWN_HEARTBEAT_SECONDS = 15;
/** How the client reads right now, and when it last heard the service. */
export class Link {
    /** How often the service says that it is there. */
    heartbeatSeconds = UNKNOWN_HEARTBEAT_SECONDS;
    /** Whether the token may answer, as far as the service has said. */
    mayApprove = true;
    #now = IDLE;
    #heardAt = null;
    #changed;
    constructor(changed) {
        this.#changed = changed;
    }
    get now() {
        return this.#now;
    }
    report(change) {
        this.#now = Object.freeze({ ...this.#now, ...change });
        this.#changed();
    }
    /** What the service says of itself and of this reader when a stream begins. */
    greeted(hello) {
        this.heartbeatSeconds = hello.heartbeat_seconds;
        this.toldRights(hello);
    }
    /** What any answer says of the token. */
    toldRights({ may_approve }) {
        const before = this.mayApprove;
        this.mayApprove = may_approve !== false;
        if (this.mayApprove !== before)
            this.#changed();
    }
    heard() {
        // Not worth a change that everybody hears of: it is looked at, not shown.
        this.#heardAt = new Moment();
        this.#now = Object.freeze({ ...this.#now, lastHeardAt: Date.now() });
    }
    get sinceHeardMs() {
        return this.#now.lastHeardAt === null || this.#heardAt === null ? Number.POSITIVE_INFINITY : this.#heardAt.agoMs;
    }
}
