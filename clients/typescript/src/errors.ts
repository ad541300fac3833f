import type { ErrorCode } from "./wire.js";

/** A refusal of the service, or its absence. `code` is one of the service's words, or one of the client's own. */
export class NotifierError extends Error {
  override readonly name = "NotifierError";

  constructor(
    /** The service's own word (see its reference), `unreachable` for no answer, `unexpected` for one that is none. */
    readonly code: ErrorCode | "unreachable" | "unexpected" | "gave_up" | (string & {}),
    message: string,
    /** The HTTP status; null when there was no answer. */
    readonly status: number | null = null,
    /** What else the service tells: the record that won, the pending requests, where a body is wrong. */
    readonly details: Readonly<Record<string, unknown>> = {},
    /** How long the service asks to wait, if it does. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }

  /** Whether the same request may succeed later: there was no answer, or not the service's, or one that says so. */
  get isPassing(): boolean {
    const { code, status } = this;
    return code === "unexpected" || status === null || status === 408 || status === 429 || status >= 500;
  }
}
