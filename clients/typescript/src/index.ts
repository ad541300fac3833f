/** The browser's side of notifier_service: watch a session of an agent, and answer what it asks. */

export { SessionClient, SessionClient as SSEClient, type Scope } from "./client.js";
export type { Connection, Phase } from "./connection.js";
export { NotifierError } from "./errors.js";
export { exactJson, keepsEveryNumber, parseExact } from "./exact.js";
export { InboxClient, type Decided, type InboxOptions, type InboxState } from "./inbox.js";
export { isWireEvent, type OwnEvent, type SessionEvent } from "./feed.js";
export type { Token } from "./http.js";
export type { ClientOptions } from "./options.js";
export type { Refused, Rule, Suggestion } from "./rules.js";
export {
  listRules,
  listSessions,
  readEvents,
  readHistory,
  readRequest,
  revokeRule,
  tellPresence,
  type HistoryQuery,
} from "./sessions.js";
export type { SessionState } from "./state.js";
export { flags, jsonPieces, pieces, type Piece } from "./text.js";
export type { Transport } from "./transports.js";
export * from "./wire.js";
