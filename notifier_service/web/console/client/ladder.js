/**
 * Which transport to use: one step down when the present one does not work though the service answers, and back up
 * after a while; a while that doubles each time the better one fails again, so that nothing flaps.
 */
export class Ladder {
    #rungs;
    #firstMs;
    #capMs;
    #at = 0;
    #failures = 0;
    #waitMs;
    constructor(rungs, { stepUpMs, stepUpCapMs }) {
        if (rungs.length === 0)
            throw new TypeError("at least one transport is needed");
        this.#rungs = rungs;
        this.#firstMs = stepUpMs;
        this.#capMs = stepUpCapMs;
        this.#waitMs = stepUpMs;
    }
    get transport() {
        return this.#rungs[this.#at];
    }
    /** The next better transport, or null on the top rung. */
    get better() {
        return this.#at === 0 ? null : this.#rungs[this.#at - 1];
    }
    /** How long to stay before the better one is tried again. */
    get waitMs() {
        return this.#waitMs;
    }
    /**
     * The present transport failed though the service answers. Returns whether another one is to be tried: at once when
     * the stream was `mute` (that is what a proxy that holds it back does), else at the second failure in a row.
     */
    failed({ mute }) {
        this.#failures += 1;
        if ((!mute && this.#failures < 2) || this.#at === this.#rungs.length - 1)
            return false;
        this.#at += 1;
        this.#failures = 0;
        return true;
    }
    /** The present transport has worked for long enough to be trusted. */
    proved() {
        this.#failures = 0;
        if (this.#at === 0)
            this.#waitMs = this.#firstMs;
    }
    /** The better transport works: use it. Trust comes later, with `proved`. */
    stepUp() {
        this.#at = Math.max(0, this.#at - 1);
        this.#failures = 0;
        this.#lengthen();
    }
    /** The better transport still does not work. */
    stay() {
        this.#lengthen();
    }
    #lengthen() {
        this.#waitMs = Math.min(this.#capMs, this.#waitMs * 2);
    }
}
