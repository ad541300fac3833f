/** A refusal of the service, or its absence. `code` is one of the service's words, or one of the client's own. */
export class NotifierError extends Error {
    code;
    status;
    details;
    retryAfterMs;
    name = "NotifierError";
    constructor(
    /** The service's own word (see its reference), `unreachable` for no answer, `unexpected` for one that is none. */
    code, message, 
    /** The HTTP status; null when there was no answer. */
    status = null, 
    /** What else the service tells: the record that won, the pending requests, where a body is wrong. */
    details = {}, 
    /** How long the service asks to wait, if it does. */
    retryAfterMs = null) {
        super(message);
        this.code = code;
        this.status = status;
        this.details = details;
        this.retryAfterMs = retryAfterMs;
    }
    /** Whether the same request may succeed later: there was no answer, or not the service's, or one that says so. */
    get isPassing() {
        const { code, status } = this;
        return code === "unexpected" || status === null || status === 408 || status === 429 || status >= 500;
    }
}
