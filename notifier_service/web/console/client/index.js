/** The browser's side of notifier_service: watch a session of an agent, and answer what it asks. */
export { SessionClient, SessionClient as SSEClient } from "./client.js";
export { NotifierError } from "./errors.js";
export { exactJson, keepsEveryNumber, parseExact } from "./exact.js";
export { InboxClient } from "./inbox.js";
export { isWireEvent } from "./feed.js";
export { listRules, listSessions, readEvents, readHistory, readRequest, revokeRule, tellPresence, } from "./sessions.js";
export { flags, jsonPieces, pieces } from "./text.js";
export * from "./wire.js";
