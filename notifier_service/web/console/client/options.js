const POLLS = ["long-poll", "polling"];
/** How to read; `hasStreams` says whether there is an `EventSource`. */
export function readerOptions(options, hasStreams) {
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
export function timingOf(options) {
    return {
        helloTimeoutMs: options.helloTimeoutMs ?? 5_000,
        heartbeatTimeoutMs: options.heartbeatTimeoutMs ?? null,
        pollIntervalMs: options.pollIntervalMs ?? 2_000,
    };
}
