export const IDLE = Object.freeze({
    phase: "idle",
    transport: null,
    attempt: 0,
    retryAt: null,
    lastHeardAt: null,
    error: null,
});
