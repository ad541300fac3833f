import { Http, type HttpOptions } from "./http.js";
import type { SessionEvent } from "./feed.js";
import type { Rule } from "./rules.js";
import type { InboxRecord, SessionRow, StateAndEvents } from "./wire.js";

/** The open sessions that the token covers, those in which something waits first. Throws `NotifierError`. */
export function listSessions(options: HttpOptions = {}): Promise<SessionRow[]> {
  return new Http(options).call<SessionRow[]>("GET", "/api/sessions");
}

/** All that the service still holds of what happened in a session, oldest first. */
export async function readEvents(options: HttpOptions, sessionId: string): Promise<SessionEvent[]> {
  const path = `/api/long-poll/${encodeURIComponent(sessionId)}`;
  const query = { after: "earliest", timeout: "0" };
  return [...(await new Http(options).call<StateAndEvents>("GET", path, { query })).events] as SessionEvent[];
}

/** Which of the settled requests; `before` is the `next` of an earlier answer. */
export interface HistoryQuery {
  readonly session_id?: string;
  readonly tool?: string;
  readonly decided_by?: string;
  readonly before?: string;
  readonly limit?: number;
}

/** What was asked and how it ended, newest first, in all sessions that the token covers. */
export function readHistory(
  options: HttpOptions,
  query: HistoryQuery = {},
): Promise<{ requests: InboxRecord[]; next: string | null }> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return new Http(options).call("GET", "/api/history", {
    query: Object.fromEntries(given.map(([name, value]) => [name, String(value)])),
  });
}

/** A request by its id, whatever became of it. */
export function readRequest(options: HttpOptions, sessionId: string, requestId: string): Promise<InboxRecord> {
  const path = `/api/permissions/${encodeURIComponent(sessionId)}/${encodeURIComponent(requestId)}`;
  return new Http(options).call("GET", path);
}

/** The rules that hold beyond one session. */
export function listRules(options: HttpOptions): Promise<Rule[]> {
  return new Http(options).call("GET", "/api/rules");
}

/** Take a learned rule back, in every session. */
export function revokeRule(options: HttpOptions, rule: Rule): Promise<Rule> {
  return new Http(options).call("DELETE", `/api/rules/${encodeURIComponent(rule.rule_id)}`);
}

/** Say for a minute whether somebody sees this page: people who see none are called in other ways. */
export async function tellPresence(options: HttpOptions, page: string, visible: boolean): Promise<void> {
  await new Http(options).call("POST", "/api/presence", { body: { visible, page } });
}
