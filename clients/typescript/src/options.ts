import type { HttpOptions } from "./http.js";
import type { ReaderOptions } from "./reader.js";
import type { Timing, Transport } from "./transports.js";

export interface ClientOptions extends HttpOptions {
  /** Where a client that heard nothing yet begins: with the present, or with all that the log still holds. */
  from?: "now" | "earliest";
  /** One stream for all tabs of the browser that watch this session; true where the browser can. */
  shareTabs?: boolean;
  /** Say while it is connected whether the page is visible: who sees it is not called elsewhere. false. */
  tellPresence?: boolean;
  /** Failures in a row after which to give up; never, unless set. */
  maxReconnectAttempts?: number;
  /** The wait after the first failure; it doubles up to 3 s in the first minute, then up to `backoffCapMs`. 1,000. */
  backoffMs?: number;
  /** 30,000. */
  backoffCapMs?: number;
  /** What to use, best first; `["sse", "long-poll", "polling"]`, the polls alone where there is no `EventSource`. */
  transports?: readonly Transport[];
  /** A stream that says nothing for so long after it was opened is held back on its way. 5,000. */
  helloTimeoutMs?: number;
  /** Silence after which a stream is dead; twice the service's heartbeat and 5 s. */
  heartbeatTimeoutMs?: number;
  /** How often to ask while polling. 2,000. */
  pollIntervalMs?: number;
  /** How long to stay with a worse transport before the better one is tried; it doubles up to 15 minutes. 60,000. */
  stepUpMs?: number;
  /** Where the platform has none, as Node. */
  EventSource?: typeof globalThis.EventSource;
}

const POLLS: readonly Transport[] = ["long-poll", "polling"];

/** How to read; `hasStreams` says whether there is an `EventSource`. */
export function readerOptions(options: ClientOptions, hasStreams: boolean): ReaderOptions {
  return {
    transports: options.transports ?? (hasStreams ? ["sse", ...POLLS] : POLLS),
    backoffMs: options.backoffMs ?? 1_000,
    backoffCapMs: options.backoffCapMs ?? 30_000,
    stepUpMs: options.stepUpMs ?? 60_000,
    stepUpCapMs: 900_000,
    maxReconnectAttempts: options.maxReconnectAttempts ?? Number.POSITIVE_INFINITY,
  };
}

/** How long each transport waits. */
export function timingOf(options: ClientOptions): Timing {
  return {
    helloTimeoutMs: options.helloTimeoutMs ?? 5_000,
    heartbeatTimeoutMs: options.heartbeatTimeoutMs ?? null,
    pollIntervalMs: options.pollIntervalMs ?? 2_000,
  };
}
