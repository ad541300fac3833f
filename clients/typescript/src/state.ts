import type { PermissionRecord, RunningCall, ToolProgress, ToolResult, ToolStatus, WireEvent } from "./wire.js";

/** The present state of a session, as the events so far tell it. Never changed: each change makes a new one. */
export interface SessionState {
  /** The newest status of any call. */
  readonly toolStatus: ToolStatus | null;
  readonly toolResult: ToolResult | null;
  /** What waits for a person, oldest first. */
  readonly pending: readonly PermissionRecord[];
  /** Calls that execute or wait, oldest first, with the newest progress they told. */
  readonly running: readonly RunningCall[];
  /** How many read this session, when it was last said. */
  readonly viewers: number | null;
}

export const NOTHING: SessionState = Object.freeze({
  toolStatus: null,
  toolResult: null,
  pending: [],
  running: [],
  viewers: null,
});

/** Of a session that never ends its calls, only so many are kept. */
const MOST_RUNNING = 1000;

const OVER: ReadonlySet<string> = new Set<ToolStatus["status"]>(["completed", "failed", "denied", "cancelled"]);

/** The state after an event; the same object when the event changes nothing. */
export function advance(state: SessionState, event: WireEvent): SessionState {
  switch (event.type) {
    case "tool_status":
      return Object.freeze({ ...state, toolStatus: event.data, running: followed(state.running, event.data) });
    case "tool_progress":
      return progressed(state, event.data);
    case "tool_result":
      return Object.freeze({ ...state, toolResult: event.data });
    case "result_cleared":
      return Object.freeze({ ...state, toolResult: null });
    case "permission_request":
      return asked(state, event.data);
    case "permission_cleared":
    case "permission_response_result":
      if (!state.pending.some(is(event.data))) return state;
      return Object.freeze({ ...state, pending: state.pending.filter((request) => !is(event.data)(request)) });
    case "hello":
      return Object.freeze({ ...state, viewers: event.data.viewers });
    case "snapshot":
      return Object.freeze({
        toolStatus: event.data.tool_status,
        toolResult: event.data.tool_result,
        pending: event.data.permission_requests,
        running: event.data.running,
        viewers: state.viewers,
      });
    default:
      return state;
  }
}

/** With a request that waits; one that is known already may have more time since the service was restarted. */
function asked(state: SessionState, request: PermissionRecord): SessionState {
  if (request.status !== "pending") return state;
  const known = state.pending.find(is(request));
  if (known === undefined) return Object.freeze({ ...state, pending: [...state.pending, request] });
  if (!(Date.parse(request.expires_at ?? "") > Date.parse(known.expires_at ?? ""))) return state;
  return Object.freeze({ ...state, pending: state.pending.map((other) => (other === known ? request : other)) });
}

function is({ request_id }: { request_id: string }): (request: PermissionRecord) => boolean {
  return (request) => request.request_id === request_id;
}

function keyOf(call: { tool_call_id?: string; tool_name: string }): string {
  return call.tool_call_id ?? `\0${call.tool_name}`;
}

function followed(running: readonly RunningCall[], status: ToolStatus): readonly RunningCall[] {
  const key = keyOf(status);
  const before = running.find((call) => keyOf(call) === key);
  if (before === undefined) {
    return OVER.has(status.status) ? running : [...running.slice(-MOST_RUNNING + 1), status];
  }
  if (OVER.has(status.status)) return running.filter((call) => call !== before);
  const call = before.progress === undefined ? status : { ...status, progress: before.progress };
  return running.map((other) => (other === before ? call : other));
}

function progressed(state: SessionState, progress: ToolProgress): SessionState {
  const before = state.running.find((call) => call.tool_call_id === progress.tool_call_id);
  if (before === undefined) return state;
  const running = state.running.map((call) => (call === before ? { ...call, progress } : call));
  return Object.freeze({ ...state, running });
}
