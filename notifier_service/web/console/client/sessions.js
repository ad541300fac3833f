import { Http } from "./http.js";
/** The open sessions that the token covers, those in which something waits first. Throws `NotifierError`. */
export function listSessions(options = {}) {
    return new Http(options).call("GET", "/api/sessions");
}
/** All that the service still holds of what happened in a session, oldest first. */
export async function readEvents(options, sessionId) {
    const path = `/api/long-poll/${encodeURIComponent(sessionId)}`;
    const query = { after: "earliest", timeout: "0" };
    return [...(await new Http(options).call("GET", path, { query })).events];
}
/** What was asked and how it ended, newest first, in all sessions that the token covers. */
export function readHistory(options, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
    return new Http(options).call("GET", "/api/history", {
        query: Object.fromEntries(given.map(([name, value]) => [name, String(value)])),
    });
}
/** A request by its id, whatever became of it. */
export function readRequest(options, sessionId, requestId) {
    const path = `/api/permissions/${encodeURIComponent(sessionId)}/${encodeURIComponent(requestId)}`;
    return new Http(options).call("GET", path);
}
/** The rules that hold beyond one session. */
export function listRules(options) {
    return new Http(options).call("GET", "/api/rules");
}
/** Take a learned rule back, in every session. */
export function revokeRule(options, rule) {
    return new Http(options).call("DELETE", `/api/rules/${encodeURIComponent(rule.rule_id)}`);
}
/** Say for a minute whether somebody sees this page: people who see none are called in other ways. */
export async function tellPresence(options, page, visible) {
    await new Http(options).call("POST", "/api/presence", { body: { visible, page } });
}
