import { Http } from "./http.js";
/** The open sessions that the token covers, those in which something waits first. Throws `NotifierError`. */
export function listSessions(options = {}) {
    return new Http(options).call("GET", "/api/sessions");
}
