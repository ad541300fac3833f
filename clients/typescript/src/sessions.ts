import { Http, type HttpOptions } from "./http.js";
import type { SessionRow } from "./wire.js";

/** The open sessions that the token covers, those in which something waits first. Throws `NotifierError`. */
export function listSessions(options: HttpOptions = {}): Promise<SessionRow[]> {
  return new Http(options).call<SessionRow[]>("GET", "/api/sessions");
}
