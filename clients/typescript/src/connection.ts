import type { NotifierError } from "./errors.js";
import { Moment } from "./moment.js";
import type { Transport } from "./transports.js";
import type { Hello, InboxHello } from "./wire.js";

/**
 * `waiting` is between two attempts, and `offline` the same while the browser says that it has no network; `ended` is
 * for good, until `connect` is called again.
 */
export type Phase = "idle" | "connecting" | "open" | "waiting" | "offline" | "ended";

/** How the client reads right now. Never changed: each change makes a new one. */
export interface Connection {
  readonly phase: Phase;
  /** `tab`: another tab of this browser reads, and tells. */
  readonly transport: Transport | "tab" | null;
  /** Failures in a row. */
  readonly attempt: number;
  /** When the next attempt comes while `waiting`, in epoch milliseconds. */
  readonly retryAt: number | null;
  /** When the service was last heard, in epoch milliseconds. */
  readonly lastHeardAt: number | null;
  /** Why it is not open, if that is known. */
  readonly error: NotifierError | null;
}

export const IDLE: Connection = Object.freeze({
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
  #now: Connection = IDLE;
  #heardAt: Moment | null = null;
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get now(): Connection {
    return this.#now;
  }

  report(change: Partial<Connection>): void {
    this.#now = Object.freeze({ ...this.#now, ...change });
    this.#changed();
  }

  /** What the service says of itself and of this reader when a stream begins. */
  greeted(hello: Hello | InboxHello): void {
    this.heartbeatSeconds = hello.heartbeat_seconds;
    this.toldRights(hello);
  }

  /** What any answer says of the token. */
  toldRights({ may_approve }: { readonly may_approve?: false }): void {
    const before = this.mayApprove;
    this.mayApprove = may_approve !== false;
    if (this.mayApprove !== before) this.#changed();
  }

  heard(): void {
    // Not worth a change that everybody hears of: it is looked at, not shown.
    this.#heardAt = new Moment();
    this.#now = Object.freeze({ ...this.#now, lastHeardAt: Date.now() });
  }

  get sinceHeardMs(): number {
    return this.#now.lastHeardAt === null || this.#heardAt === null ? Number.POSITIVE_INFINITY : this.#heardAt.agoMs;
  }
}
