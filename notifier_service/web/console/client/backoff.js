/** Most that is away is back within a minute: until then it is tried every 2 to 3 s. */
const EARLY_MS = 60_000;
const EARLY_CAP_MS = 3_000;
/** How long to wait after failures in a row: twice as long each time, up to 3 s in the first minute and up to a cap then,
 * with jitter so that a service that comes back is not met by everybody at once. */
export class Backoff {
    firstMs;
    capMs;
    random;
    now;
    attempt = 0;
    constructor(firstMs, capMs, random = Math.random, now = () => performance.now()) {
        this.firstMs = firstMs;
        this.capMs = capMs;
        this.random = random;
        this.now = now;
    }
    #waitMs = 0;
    #failedAt = 0;
    /** Count a failure and return the wait before the next attempt, in milliseconds. */
    next(atLeastMs = 0) {
        if (this.attempt === 0) {
            this.#waitMs = this.firstMs / 2;
            this.#failedAt = this.now();
        }
        const isEarly = this.now() - this.#failedAt < EARLY_MS;
        const capMs = isEarly ? Math.min(this.capMs, Math.max(EARLY_CAP_MS, this.firstMs)) : this.capMs;
        this.#waitMs = Math.min(capMs, this.#waitMs * 2);
        this.attempt += 1;
        return Math.round(Math.max(atLeastMs, this.#waitMs * (2 / 3 + this.random() / 3)));
    }
    reset() {
        this.attempt = 0;
    }
}
