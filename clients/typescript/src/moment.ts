/** A moment, by both clocks: somebody may set the wall clock, and the steady one may stand still while the machine sleeps. */
export class Moment {
  readonly #wall = Date.now();
  readonly #steady = performance.now();

  /** How long ago it was, in milliseconds: never less than it is, and more where the wall clock was set forward. */
  get agoMs(): number {
    return Math.max(Date.now() - this.#wall, this.steadyAgoMs);
  }

  /** How long ago it was, without the time that the machine slept. */
  get steadyAgoMs(): number {
    return performance.now() - this.#steady;
  }
}
