/** How long to wait after failures in a row: twice as long each time, up to a cap, with jitter so that a service that
 * comes back is not met by everybody at once. */
export class Backoff {
  attempt = 0;

  constructor(
    readonly firstMs: number,
    readonly capMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** Count a failure and return the wait before the next attempt, in milliseconds. */
  next(atLeastMs = 0): number {
    const ceiling = Math.min(this.capMs, this.firstMs * 2 ** this.attempt);
    this.attempt += 1;
    return Math.round(Math.max(atLeastMs, ceiling * (0.5 + this.random() / 2)));
  }

  reset(): void {
    this.attempt = 0;
  }
}
