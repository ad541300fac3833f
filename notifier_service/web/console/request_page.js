// One request by its address: on a card where it waits, and what became of it where it does not.

import { readEvents, readRequest } from "./client/index.js";
import { Context } from "./context.js";
import { element, fill } from "./element.js";
import { exactText, exactValue } from "./excerpt.js";
import { fullTime } from "./format.js";
import { known, t } from "./language.js";
import { decidedText } from "./outcome.js";
import { plainText } from "./readable.js";
import { addressOf, addressOfHistory, INBOX } from "./route.js";

export class RequestPage {
  // `host`: {connection, client, nameOf(sessionId), rowOf(sessionId), onUnauthenticated()}.
  constructor({ sessionId, requestId }, host) {
    this.#host = host;
    this.#place = element("div", { class: "record" }, element("p", { class: "none" }, t("context.reading")));
    this.#context = new Context({
      connection: host.connection,
      rowOf: host.rowOf,
      eventsOf: (id) => readEvents(host.connection, id),
    });
    this.element = element("main", { id: "request" }, this.#place, this.#context.element);
    this.#context.show([]);
    this.#read(sessionId, requestId);
  }

  #host;
  #place;
  #context;
  #isClosed = false;

  close() {
    this.#isClosed = true;
  }

  async #read(sessionId, requestId) {
    let record;
    try {
      record = { ...(await readRequest(this.#host.connection, sessionId, requestId)), session_id: sessionId };
    } catch (error) {
      if (error.code === "unauthenticated") return this.#host.onUnauthenticated();
      const isGone = ["request_not_found", "session_not_found", "not_found"].includes(error.code);
      const text = isGone ? t("request.absent") : error.code === "forbidden" ? t("request.forbidden") : error.message;
      return fill(
        this.#place,
        element("h1", {}, t("request.title")),
        element("p", { class: "warning", role: "status", data: { notice: "absent" } }, text),
        element("p", {}, element("a", { href: addressOfHistory() }, t("history"))),
      );
    }
    if (this.#isClosed) return undefined;
    if (record.status === "pending") {
      location.replace(`${INBOX}/${encodeURIComponent(requestId)}`);
      return undefined;
    }
    this.#context.show([record]);
    return fill(this.#place, ...shownRecord(record, this.#host.nameOf));
  }
}

// All that is known of a request that is settled.
function shownRecord(record, nameOf) {
  const title = element("h1", {}, exactText(record.tool_name, { headLength: 300 }).element);
  const at = (time) => (time ? fullTime(Date.parse(time)) : "–");
  const fact = (name, value) => value && element("div", {}, element("dt", {}, t(name)), element("dd", {}, value));
  return [
    element(
      "header",
      {},
      element("span", { class: `risk ${record.risk_level}` }, known("risk", record.risk_level)),
      title,
      element("strong", { class: "ended", data: { outcome: record.status } }, decidedText(record)),
    ),
    element(
      "dl",
      { class: "of-record" },
      fact("history.session", element("a", { href: addressOf(record.session_id) }, nameOf(record.session_id))),
      fact("history.asked", at(record.timestamp)),
      fact("history.decided", at(record.decided_at)),
      fact("history.reason", record.reason && exactText(record.reason).element),
      fact("history.response", record.response && exactText(record.response).element),
      fact("card.serverName", record.server && plainText(record.server)),
    ),
    element("h2", {}, record.parameters_truncated ? t("request.beginning") : t("row.parameters")),
    exactValue(record.parameters).element,
    record.description && element("h2", {}, t("card.agent")),
    record.description && exactText(record.description).element,
    element("p", {}, element("a", { href: addressOfHistory({ tool: record.tool_name }) }, t("context.all"))),
  ];
}
