// Beside a card: whose it is, what led here in that session, and what people decided of this tool before.

import { readHistory } from "./client/index.js";
import { element, fill } from "./element.js";
import { brief } from "./excerpt.js";
import { clockTime, fullTime } from "./format.js";
import { History } from "./history.js";
import { t } from "./language.js";
import { decidedText } from "./outcome.js";
import { plainText } from "./readable.js";
import { addressOf, addressOfHistory, addressOfRequest } from "./route.js";
import { Row } from "./row.js";

const MOST_STEPS = 8;
const MOST_DECIDED = 6;

export class Context {
  // `host`: {connection, rowOf(sessionId), eventsOf(sessionId)}.
  constructor(host) {
    this.#host = host;
    this.#session = element("div", { class: "of-session" });
    this.#steps = element("ol", { class: "steps" });
    this.#decided = element("ul", { class: "decided-before" });
    this.#more = element("p", {});
    this.element = element(
      "aside",
      { id: "context", "aria-label": t("context.title"), tabindex: "0" },
      this.#session,
      element("h2", {}, t("context.steps")),
      this.#steps,
      element("h2", {}, t("context.decided")),
      this.#decided,
      this.#more,
    );
  }

  #host;
  #session;
  #steps;
  #decided;
  #more;
  #shown = null;
  #sessionId = null;

  // Of the requests on the card; of none nothing is told.
  async show(requests) {
    const [first] = requests;
    const shown = first?.request_id ?? null;
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.element.hidden = first === undefined;
    this.#sessionId = null;
    if (first === undefined) return;
    this.#sessionId = first.session_id;
    this.#tellSession(first.session_id);
    fill(this.#steps, element("li", { class: "none" }, t("context.reading")));
    fill(this.#decided, element("li", { class: "none" }, t("context.reading")));
    fill(this.#more, element("a", { href: addressOfHistory({ tool: first.tool_name }) }, t("context.all")));
    const isStill = () => this.#shown === shown;
    await Promise.all([this.#readSteps(first.session_id, requests, isStill), this.#readDecided(first, isStill)]);
  }

  // What the list of sessions says may have changed.
  retell() {
    if (this.#sessionId !== null) this.#tellSession(this.#sessionId);
  }

  #tellSession(sessionId) {
    const row = this.#host.rowOf(sessionId);
    fill(
      this.#session,
      element("h2", {}, t("context.session")),
      element("a", { class: "title", href: addressOf(sessionId) }, plainText(row?.title || sessionId)),
      element(
        "p",
        { class: "facts" },
        row?.title && element("span", {}, sessionId),
        row?.agent && element("span", {}, plainText(row.agent)),
        row?.state && element("span", {}, t(`state.${row.state}`)),
      ),
    );
  }

  async #readSteps(id, requests, isStill) {
    const shown = new Set(requests.map(({ request_id: requestId }) => requestId));
    try {
      const history = new History();
      for (const event of await this.#host.eventsOf(id)) history.hear(event);
      if (!isStill()) return;
      const rows = [...history.rows.values()].filter((row) => !shown.has(row.requestId)).slice(-MOST_STEPS);
      fill(
        this.#steps,
        rows.length === 0 && element("li", { class: "none" }, t("context.noSteps")),
        rows.map((row) => {
          const made = new Row(row);
          made.update();
          return made.element;
        }),
      );
    } catch (error) {
      if (isStill()) fill(this.#steps, element("li", { class: "none" }, t("context.failed", error.message)));
    }
  }

  async #readDecided({ tool_name: tool }, isStill) {
    try {
      const { requests } = await readHistory(this.#host.connection, { tool, limit: MOST_DECIDED });
      if (!isStill()) return;
      fill(
        this.#decided,
        requests.length === 0 && element("li", { class: "none" }, t("context.neverDecided")),
        requests.map((record) => {
          const at = Date.parse(record.decided_at ?? record.timestamp);
          return element(
            "li",
            { data: { outcome: record.status } },
            element(
              "a",
              { href: addressOfRequest(record) },
              element("span", { class: "ended" }, decidedText(record)),
              element("time", { datetime: new Date(at).toISOString(), title: fullTime(at) }, clockTime(at)),
              element("span", { class: "brief" }, brief(record.parameters, 90)),
            ),
          );
        }),
      );
    } catch (error) {
      if (isStill()) fill(this.#decided, element("li", { class: "none" }, t("context.failed", error.message)));
    }
  }
}
