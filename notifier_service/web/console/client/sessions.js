import { Http } from "./http.js";
/** The open sessions that the token covers; for administrators. Throws `NotifierError`. */
export function listSessions(options = {}) {
    return new Http(options).call("GET", "/api/sessions");
}
