// Made by scripts/generate.mjs from the service's schema; `make client` makes it anew.

/**
 * What the service says of itself; a producer may add types of its own.
 */
export type WireEvent =
  | ToolStatusEvent
  | ToolProgressEvent
  | ToolResultEvent
  | PermissionRequestEvent
  | PermissionClearedEvent
  | PermissionResponseResultEvent
  | ResultClearedEvent
  | HelloEvent
  | SnapshotEvent
  | GapEvent
  | ByeEvent
  | HeartbeatEvent
  | ErrorEvent;
export type ErrorCode =
  | "already_claimed"
  | "already_decided"
  | "ambiguous_request"
  | "answer_running"
  | "conflict"
  | "decision_not_offered"
  | "edit_denied"
  | "forbidden"
  | "gap"
  | "gone"
  | "idempotency_conflict"
  | "invalid"
  | "limit_reached"
  | "method_not_allowed"
  | "no_broker"
  | "not_approved"
  | "not_durable"
  | "not_found"
  | "not_recorded"
  | "parameters_changed"
  | "parameters_unread"
  | "request_cancelled"
  | "request_expired"
  | "request_not_found"
  | "rule_not_found"
  | "rule_of_file"
  | "rules_not_kept"
  | "self_approval"
  | "service_unavailable"
  | "service_unproven"
  | "session_closed"
  | "session_not_found"
  | "shutting_down"
  | "too_large"
  | "tool_denied"
  | "unauthenticated"
  | "unsupported_media_type";
export type JsonValue = unknown;
export type InboxEvent =
  | InboxPermissionRequestEvent
  | InboxPermissionClearedEvent
  | InboxPermissionResponseResultEvent
  | InboxSessionOpenedEvent
  | InboxSessionClosedEvent
  | InboxHelloEvent
  | InboxSnapshotEvent
  | GapEvent
  | ByeEvent
  | HeartbeatEvent
  | ErrorEvent;

/**
 * Everything that travels, by name.
 */
export interface Wire {
  WireEvent: WireEvent;
  Bye: Bye;
  ByeEvent: ByeEvent;
  CallDetails: CallDetails;
  Decision: Decision;
  Deeds: Deeds;
  ErrorCode: ErrorCode;
  ErrorDetails: ErrorDetails;
  ErrorEvent: ErrorEvent;
  Gap: Gap;
  GapEvent: GapEvent;
  HeartbeatEvent: HeartbeatEvent;
  Hello: Hello;
  HelloEvent: HelloEvent;
  HistoryRecord: HistoryRecord;
  HistoryRecords: HistoryRecords;
  InboxCleared: InboxCleared;
  InboxEvent: InboxEvent;
  InboxHello: InboxHello;
  InboxHelloEvent: InboxHelloEvent;
  InboxPermissionClearedEvent: InboxPermissionClearedEvent;
  InboxPermissionRequestEvent: InboxPermissionRequestEvent;
  InboxPermissionResponseResultEvent: InboxPermissionResponseResultEvent;
  InboxRecord: InboxRecord;
  InboxSessionClosedEvent: InboxSessionClosedEvent;
  InboxSessionOpenedEvent: InboxSessionOpenedEvent;
  InboxSnapshot: InboxSnapshot;
  InboxSnapshotEvent: InboxSnapshotEvent;
  JsonValue: JsonValue;
  PermissionCleared: PermissionCleared;
  PermissionClearedEvent: PermissionClearedEvent;
  PermissionRecord: PermissionRecord;
  PermissionRequestEvent: PermissionRequestEvent;
  PermissionResponseResultEvent: PermissionResponseResultEvent;
  PolicyRow: PolicyRow;
  PolicyState: PolicyState;
  PresentState: PresentState;
  ReadCommand: ReadCommand;
  ResultCleared: ResultCleared;
  ResultClearedEvent: ResultClearedEvent;
  RunningCall: RunningCall;
  SaidReason: SaidReason;
  SessionHealth: SessionHealth;
  SessionLabel: SessionLabel;
  SessionRow: SessionRow;
  Snapshot: Snapshot;
  SnapshotEvent: SnapshotEvent;
  StateAndEvents: StateAndEvents;
  ToolProgress: ToolProgress;
  ToolProgressEvent: ToolProgressEvent;
  ToolResult: ToolResult;
  ToolResultEvent: ToolResultEvent;
  ToolStatus: ToolStatus;
  ToolStatusEvent: ToolStatusEvent;
}
export interface ToolStatusEvent {
  type: "tool_status";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: ToolStatus;
}
/**
 * ``tool_status``: a call begins, waits, or ends. A producer's ``details`` may be any object.
 */
export interface ToolStatus {
  status: "executing" | "waiting_permission" | "completed" | "failed" | "denied" | "cancelled";
  tool_name: string;
  timestamp: string;
  details:
    | {
        [k: string]: unknown;
      }
    | CallDetails;
  tool_call_id?: string;
}
/**
 * What the service says of a call beside its status, as far as it knows.
 *
 * ``reason`` is a whole sentence: who or what denied or cancelled it, and why. ``error`` is what the tool or its
 * server said; of a long one the beginning, and how much more there was. ``parameters`` are those that run; with
 * ``parameters_truncated`` they are ``{"beginning": text}`` of so many ``parameters_bytes``. ``answered_by`` is who
 * answered in the tool's place. With ``input_required`` the server wants more before it goes on. ``rule`` names the
 * rule of the policy that denied it, ``justification`` is what that rule says for it. ``outcome`` is ``unknown`` of a
 * call that was started, and of which nobody knows whether it ran to its end. ``agent_call_id`` is the id under which
 * the hooks of the agent behind a gateway tell of this call.
 */
export interface CallDetails {
  parameters?: {
    [k: string]: unknown;
  };
  parameters_truncated?: true;
  parameters_bytes?: number;
  risk_level?: "low" | "medium" | "high";
  reasons?: SaidReason[];
  description?: string;
  start_time?: string;
  request_id?: string;
  agent_call_id?: string;
  outcome?: ("rejected" | "policy" | "expired" | "cancelled" | "limit" | "invalid" | "unavailable") | "unknown";
  reason?: string;
  rule?: string;
  justification?: string;
  limit?: string;
  error?: string;
  duration_ms?: number;
  answered_by?: string;
  input_required?: true;
  [k: string]: unknown;
}
/**
 * Why a call was rated or judged so: ``text`` says it in English, ``code`` and the values beside it in any other.
 *
 * With ``said_code`` somebody else says what the service says by that code.
 */
export interface SaidReason {
  code: string;
  text: string;
  [k: string]: string | number;
}
export interface ToolProgressEvent {
  type: "tool_progress";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: ToolProgress;
}
/**
 * ``tool_progress``: how far a running call is (MCP progress).
 */
export interface ToolProgress {
  tool_name: string;
  tool_call_id: string;
  progress: number;
  total?: number;
  message?: string;
}
export interface ToolResultEvent {
  type: "tool_result";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: ToolResult;
}
/**
 * ``tool_result``: what a call gave. ``truncated`` says that ``result`` is only the beginning, as text.
 */
export interface ToolResult {
  tool_name: string;
  result: unknown;
  success: boolean;
  timestamp: string;
  error?: string;
  duration_ms?: number;
  tool_call_id?: string;
  truncated?: true;
  result_bytes?: number;
}
export interface PermissionRequestEvent {
  type: "permission_request";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: PermissionRecord;
}
/**
 * A permission request: all that was asked, and how it ended (contract section 4).
 *
 * ``parameters`` are those that run: the person's edit after an edit, with ``asked_parameters_sha256`` then
 * telling which ones were asked; ``action_sha256`` is over these, the tool, its server and the session. ``approved``,
 * ``decision`` and the rest are null while it is pending.
 * ``reasons`` say the same as ``risk_reasons``, one for one, and by codes too; ``deeds`` is what the call does,
 * ``command`` what runs where it gives a shell or a program a command.
 * ``rated_by`` tells whose word ``risk_level`` is: the service's, or that of whoever asks or of an MCP server.
 * With ``parameters_truncated`` they are ``{"beginning": text}``, because the whole does not fit into an event: it has
 * ``parameters_bytes`` bytes of canonical JSON, ``parameters_sha256`` is its hash, and GET of the request gives it.
 * ``suggested_rule`` says in words what a scope beyond ``once`` would allow, ``suggested_policy_rule`` is that rule as
 * the file of the learned rules has it.
 * ``server`` is the MCP server that has the tool, ``definition_sha256`` a hash of how that server defines it.
 * ``traceparent`` is the trace in which it was asked.
 * ``code`` is there where the service itself cancelled it. ``rule`` names the rule of the policy that settled it, or
 * that wants it asked; ``justification`` is what that rule says for it.
 */
export interface PermissionRecord {
  request_id: string;
  tool_name: string;
  server?: string;
  definition_sha256?: string;
  parameters: {
    [k: string]: unknown;
  };
  risk_level: "low" | "medium" | "high";
  rated_by: "service" | "producer";
  timestamp: string;
  status: "pending" | "approved" | "rejected" | "expired" | "cancelled";
  parameters_sha256: string;
  action_sha256: string;
  parameters_truncated?: true;
  parameters_bytes?: number;
  asked_parameters_sha256?: string;
  expires_at: string | null;
  timeout_seconds: number;
  risk_reasons: string[];
  reasons: SaidReason[];
  deeds?: Deeds;
  command?: ReadCommand;
  allowed_decisions: ("approve" | "edit" | "reject" | "respond")[];
  scopes: ("once" | "session" | "always")[];
  suggested_rule?: string;
  suggested_policy_rule?: {
    [k: string]: unknown;
  };
  rule?: string;
  justification?: string;
  description?: string;
  viewers: number;
  tool_call_id?: string;
  traceparent?: string;
  replayed?: true;
  decision: ("approve" | "edit" | "reject" | "respond") | null;
  approved: boolean | null;
  reason: string | null;
  response: string | null;
  scope: ("once" | "session" | "always") | null;
  decided_by: string | null;
  decided_at: string | null;
  code?: "shutdown" | "session_closed" | "restarted";
}
/**
 * What a call does and where, as far as its name, its hints and its parameters tell; nothing of it is a promise.
 *
 * ``paths`` and ``hosts`` are the first that it names. ``reversible`` says whether it can be taken back, null for
 * nobody knows.
 */
export interface Deeds {
  does: ("reads" | "writes" | "deletes" | "runs" | "sends" | "spends")[];
  where: ("workspace" | "home" | "system" | "elsewhere" | "network")[];
  paths?: string[];
  hosts?: string[];
  reversible: boolean | null;
}
/**
 * What a command runs, as far as it can be read; who wants to know all of it reads the parameters.
 *
 * ``parts`` are the words of each command that runs, in order, quotes taken away; what a wrapper runs stands behind
 * the wrapper. ``depths`` says how many wrappers run each part, absent where none does. Of a long word there is the
 * beginning and ``…``, which also stands for words that are left out; ``left_out`` is how many parts are. ``does``
 * says what each part does, as far as its program tells, absent where all of them only read or run something. With
 * ``not_understood`` more may run, and anything.
 */
export interface ReadCommand {
  parts: string[][];
  depths?: number[];
  does?: ("reads" | "writes" | "deletes" | "runs" | "sends" | "spends")[];
  left_out?: number;
  not_understood: SaidReason | null;
}
export interface PermissionClearedEvent {
  type: "permission_cleared";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: PermissionCleared;
}
/**
 * ``permission_cleared``: the request left the pending set, whatever the reason.
 */
export interface PermissionCleared {
  request_id: string;
  tool_name: string;
  status: "pending" | "approved" | "rejected" | "expired" | "cancelled";
  timestamp: string;
  reason?: string;
}
export interface PermissionResponseResultEvent {
  type: "permission_response_result";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: PermissionRecord;
}
export interface ResultClearedEvent {
  type: "result_cleared";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: ResultCleared;
}
/**
 * ``result_cleared``: nobody needs the last result any more.
 */
export interface ResultCleared {
  tool_name?: string;
  timestamp: string;
}
export interface HelloEvent {
  type: "hello";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: Hello;
}
/**
 * ``hello``: the first event of every stream. Who may only look on is told so.
 */
export interface Hello {
  session_id: string;
  epoch: string;
  last_event_id: string;
  resumed: "full" | "partial" | "none";
  heartbeat_seconds: number;
  viewers: number;
  may_approve?: false;
}
export interface SnapshotEvent {
  type: "snapshot";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: Snapshot;
}
/**
 * ``snapshot``: the present state; reading goes on behind ``last_event_id``.
 *
 * ``end_unknown`` are calls that were started, and of which nobody knows whether they ran to their end.
 */
export interface Snapshot {
  last_event_id: string;
  tool_status: ToolStatus | null;
  permission_request: PermissionRecord | null;
  permission_requests: PermissionRecord[];
  tool_result: ToolResult | null;
  running: RunningCall[];
  end_unknown?: RunningCall[];
}
/**
 * A call that executes or waits, in a ``snapshot``, with the newest progress it told.
 */
export interface RunningCall {
  status: "executing" | "waiting_permission" | "completed" | "failed" | "denied" | "cancelled";
  tool_name: string;
  timestamp: string;
  details:
    | {
        [k: string]: unknown;
      }
    | CallDetails;
  tool_call_id?: string;
  progress?: ToolProgress;
}
export interface GapEvent {
  type: "gap";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: Gap;
}
/**
 * ``gap``: events that a reader missed for good; a ``snapshot`` follows.
 */
export interface Gap {
  requested: string;
  oldest: string;
  newest: string;
  reason: "evicted" | "epoch" | "unknown" | "slow";
}
export interface ByeEvent {
  type: "bye";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: Bye;
}
/**
 * ``bye``: the server ends the stream, and says whether to come back.
 */
export interface Bye {
  code: "shutdown" | "token_expired" | "session_closed" | "slow" | "limit";
  reconnect: boolean;
  retry_ms: number;
}
export interface HeartbeatEvent {
  type: "heartbeat";
  timestamp: number;
}
export interface ErrorEvent {
  type: "error";
  success: false;
  error: ErrorDetails;
  message: string;
  code: ErrorCode;
}
export interface ErrorDetails {
  code: ErrorCode;
  message: string;
  [k: string]: unknown;
}
/**
 * What a person answers: the body of a permission response.
 *
 * ``parameters`` edits the call and goes only with ``approved: true``; ``response`` answers in the tool's
 * place and goes only with ``approved: false``, so that whoever does not know the field fails safe.
 */
export interface Decision {
  approved: boolean;
  reason?: string | null;
  request_id?: string | null;
  parameters?: {
    [k: string]: JsonValue;
  } | null;
  response?: string | null;
  scope?: ("once" | "session" | "always") | null;
  parameters_sha256?: string | null;
  action_sha256?: string | null;
}
/**
 * A permission request that was settled, and the session in which it was asked.
 */
export interface HistoryRecord {
  request_id: string;
  tool_name: string;
  server?: string;
  definition_sha256?: string;
  parameters: {
    [k: string]: unknown;
  };
  risk_level: "low" | "medium" | "high";
  rated_by: "service" | "producer";
  timestamp: string;
  status: "pending" | "approved" | "rejected" | "expired" | "cancelled";
  parameters_sha256: string;
  action_sha256: string;
  parameters_truncated?: true;
  parameters_bytes?: number;
  asked_parameters_sha256?: string;
  expires_at: string | null;
  timeout_seconds: number;
  risk_reasons: string[];
  reasons: SaidReason[];
  deeds?: Deeds;
  command?: ReadCommand;
  allowed_decisions: ("approve" | "edit" | "reject" | "respond")[];
  scopes: ("once" | "session" | "always")[];
  suggested_rule?: string;
  suggested_policy_rule?: {
    [k: string]: unknown;
  };
  rule?: string;
  justification?: string;
  description?: string;
  viewers: number;
  tool_call_id?: string;
  traceparent?: string;
  replayed?: true;
  decision: ("approve" | "edit" | "reject" | "respond") | null;
  approved: boolean | null;
  reason: string | null;
  response: string | null;
  scope: ("once" | "session" | "always") | null;
  decided_by: string | null;
  decided_at: string | null;
  code?: "shutdown" | "session_closed" | "restarted";
  session_id: string;
}
/**
 * Some of them, newest first; ``next`` is what ``before`` takes to go on to older ones.
 */
export interface HistoryRecords {
  requests: HistoryRecord[];
  next: string | null;
}
/**
 * ``permission_cleared``, and the session in which it was asked.
 */
export interface InboxCleared {
  request_id: string;
  tool_name: string;
  status: "pending" | "approved" | "rejected" | "expired" | "cancelled";
  timestamp: string;
  reason?: string;
  session_id: string;
}
export interface InboxPermissionRequestEvent {
  type: "permission_request";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: InboxRecord;
}
/**
 * A permission request, and the session in which it is asked.
 */
export interface InboxRecord {
  request_id: string;
  tool_name: string;
  server?: string;
  definition_sha256?: string;
  parameters: {
    [k: string]: unknown;
  };
  risk_level: "low" | "medium" | "high";
  rated_by: "service" | "producer";
  timestamp: string;
  status: "pending" | "approved" | "rejected" | "expired" | "cancelled";
  parameters_sha256: string;
  action_sha256: string;
  parameters_truncated?: true;
  parameters_bytes?: number;
  asked_parameters_sha256?: string;
  expires_at: string | null;
  timeout_seconds: number;
  risk_reasons: string[];
  reasons: SaidReason[];
  deeds?: Deeds;
  command?: ReadCommand;
  allowed_decisions: ("approve" | "edit" | "reject" | "respond")[];
  scopes: ("once" | "session" | "always")[];
  suggested_rule?: string;
  suggested_policy_rule?: {
    [k: string]: unknown;
  };
  rule?: string;
  justification?: string;
  description?: string;
  viewers: number;
  tool_call_id?: string;
  traceparent?: string;
  replayed?: true;
  decision: ("approve" | "edit" | "reject" | "respond") | null;
  approved: boolean | null;
  reason: string | null;
  response: string | null;
  scope: ("once" | "session" | "always") | null;
  decided_by: string | null;
  decided_at: string | null;
  code?: "shutdown" | "session_closed" | "restarted";
  session_id: string;
}
export interface InboxPermissionClearedEvent {
  type: "permission_cleared";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: InboxCleared;
}
export interface InboxPermissionResponseResultEvent {
  type: "permission_response_result";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: InboxRecord;
}
export interface InboxSessionOpenedEvent {
  type: "session_opened";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: SessionLabel;
}
/**
 * ``session_opened`` and ``session_closed``: what a session is called, in the words of who runs it.
 *
 * ``session_opened`` comes again when that changes.
 */
export interface SessionLabel {
  session_id: string;
  title?: string;
  agent?: string;
}
export interface InboxSessionClosedEvent {
  type: "session_closed";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: SessionLabel;
}
export interface InboxHelloEvent {
  type: "hello";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: InboxHello;
}
/**
 * ``hello`` of the inbox.
 */
export interface InboxHello {
  epoch: string;
  last_event_id: string;
  resumed: "full" | "partial" | "none";
  heartbeat_seconds: number;
  viewers: number;
  may_approve?: false;
}
export interface InboxSnapshotEvent {
  type: "snapshot";
  /**
   * A cursor, <epoch>-<seq>; only what the log keeps has one.
   */
  id?: string;
  /**
   * The trace that a producer has named (W3C).
   */
  traceparent?: string;
  data: InboxSnapshot;
}
/**
 * What waits in all sessions that the caller may see, the oldest first, and these sessions.
 *
 * Of very many requests together, those behind the first eight megabytes have the beginning of their parameters only
 * (``parameters_truncated``).
 */
export interface InboxSnapshot {
  last_event_id: string;
  permission_requests: InboxRecord[];
  sessions: SessionRow[];
  may_approve?: false;
}
/**
 * A session, in the list of those that are open.
 *
 * ``state`` is ``waiting`` where a person is asked, ``working`` where a call runs or an answer is under way. One that
 * nobody has come back to since a restart has no ``created_at``.
 */
export interface SessionRow {
  session_id: string;
  title: string | null;
  agent: string | null;
  connections: number;
  pending_permissions: number;
  last_event_id: string;
  created_at: string | null;
  idle_seconds: number;
  state: "working" | "waiting" | "idle";
}
/**
 * One rule of the policy file.
 */
export interface PolicyRow {
  name: string;
  effect: "allow" | "ask" | "deny";
}
/**
 * The policy in force. ``error`` is why the newest text of its file does not load: ``FILE:LINE: reason``.
 *
 * ``learned_file`` keeps what people decide for always, ``learned_error`` is why it cannot be read.
 */
export interface PolicyState {
  file: string | null;
  default: "by-risk" | "ask" | "deny";
  loaded_at: string | null;
  rules: PolicyRow[];
  error: string | null;
  learned_file?: string;
  learned_error?: string;
}
/**
 * The whole present state, as a poll gives it.
 */
export interface PresentState {
  tool_status: ToolStatus | null;
  permission_request: PermissionRecord | null;
  permission_requests: PermissionRecord[];
  tool_result: ToolResult | null;
  running: RunningCall[];
  last_event_id: string;
  may_approve?: false;
  viewers: number;
}
/**
 * How a session and its readers are.
 */
export interface SessionHealth {
  status: string;
  session_id: string;
  connections: number;
  connections_by_transport: {
    [k: string]: number;
  };
  queue_size: number;
  queue_capacity: number;
  pending_permissions: number;
  last_event_id: string;
  created_at: string;
  idle_seconds: number;
  disconnects: {
    [k: string]: number;
  };
  policy: "none" | "loaded" | "stale";
  audit: "none" | "written" | "failing";
  journal: "none" | "written" | "failing";
}
/**
 * A long poll: the events behind the cursor, or the gap, and the state after them.
 */
export interface StateAndEvents {
  tool_status: ToolStatus | null;
  permission_request: PermissionRecord | null;
  permission_requests: PermissionRecord[];
  tool_result: ToolResult | null;
  running: RunningCall[];
  last_event_id: string;
  may_approve?: false;
  events: unknown[];
  gap: Gap | null;
}

/** Every type of event that the service itself makes. */
export const EVENT_TYPES: ReadonlySet<string> = new Set<WireEvent["type"]>([
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
