/** A moment, by both clocks: somebody may set the wall clock, and the steady one may stand still while the machine sleeps. */
export class Moment {
    #wall = Date.now();
    #steady = performance.now();
    /** How long ago it was, in milliseconds: never less than it is, and more where the wall clock was set forward. */
    get agoMs() {
        return Math.max(Date.now() - this.#wall, this.steadyAgoMs);
    }
    /** How long ago it was, without the time that the machine slept. */
    get steadyAgoMs() {
        return performance.now() - this.#steady;
    }
}
