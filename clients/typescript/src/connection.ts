import type { NotifierError } from "./errors.js";
import type { Transport } from "./transports.js";

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
