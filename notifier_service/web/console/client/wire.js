// Made by scripts/generate.mjs from the service's schema; `make client` makes it anew.
/** Every type of event that the service itself makes. */
export const EVENT_TYPES = new Set([
    "tool_status",
    "tool_progress",
    "tool_result",
    "permission_request",
    "permission_cleared",
    "permission_response_result",
    "result_cleared",
    "hello",
    "snapshot",
    "gap",
    "bye",
    "heartbeat",
    "error"
]);
