// What happens in a session, as a list: what runs now on top, then what happened, the newest first.

import { now } from "./clock.js";
import { button, element, fill } from "./element.js";
import { brief, exactText, exactValue, plainText } from "./exact.js";
import { clockTime, count, duration, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { decisionText } from "./outcome.js";

const ACTIVE = new Set(["executing", "waiting_permission"]);
// A person who has just moved or touched something in the list is reading it.
const READING_MS = 5000;
const MARKS = {
  executing: "▸",
  waiting_permission: "?",
  completed: "✓",
  failed: "✕",
  denied: "⊘",
  cancelled: "–",
  approved: "✓",
  unknown: "…",
};

export class Timeline {
  constructor(history) {
    this.#history = history;
    this.#active = element("ol", { class: "active" });
    this.#past = element("ol", { class: "past" });
    this.#now = element("h3", { hidden: true }, t("timeline.running"));
    this.#none = element("p", { class: "none" }, t("timeline.none"));
    this.#older = element("p", { class: "none", data: { role: "older" }, hidden: true });
    this.#newer = button("newer", "", () => this.#toTop(), { class: "newer", hidden: true });
    this.#scroller = element(
      "div",
      {
        class: "scroller",
        tabindex: "0",
        role: "region",
        "aria-labelledby": "timeline-title",
        on: { pointermove: () => this.#reads(), scroll: () => this.#scrolled(), click: () => this.#reads() },
      },
      this.#now,
      this.#active,
      this.#past,
      this.#older,
      this.#none,
    );
    this.element = element(
      "section",
      { id: "timeline" },
      element("h2", { id: "timeline-title" }, t("timeline.title")),
      this.#newer,
      this.#scroller,
    );
    this.#timer = setInterval(() => this.#tick(), 500);
  }

  #history;
  #active;
  #past;
  #now;
  #none;
  #older;
  #newer;
  #scroller;
  #timer;
  #shown = new Map();
  #readsUntil = 0;
  #unseen = 0;

  close() {
    clearInterval(this.#timer);
  }

  update() {
    const changed = this.#history.takeChanged();
    if (changed.size === 0) return;
    const anchor = this.#isBeingRead() ? this.#anchor() : null;
    const before = anchor?.getBoundingClientRect().top;
    let added = 0;
    for (const key of [...changed].sort((one, other) => one - other)) {
      const row = this.#history.rows.get(key);
      let shown = this.#shown.get(key);
      if (row === undefined) {
        shown?.element.remove();
        this.#shown.delete(key);
        continue;
      }
      if (shown === undefined) {
        shown = new Row(row);
        this.#shown.set(key, shown);
      }
      shown.update();
      const isActive = row.kind === "call" && ACTIVE.has(row.status);
      if (isActive) {
        if (shown.element.parentNode !== this.#active) this.#active.append(shown.element);
      } else if (shown.element.parentNode !== this.#past) {
        added += 1;
        shown.isFresh = true;
      }
    }
    if (added > 0) this.#place();
    if (anchor?.isConnected) {
      this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
      this.#unseen += added;
    }
    this.#now.hidden = this.#active.childElementCount === 0;
    this.#none.hidden = this.#shown.size > 0;
    this.#older.hidden = this.#history.removed === 0;
    this.#older.textContent = t("timeline.older", count(this.#history.removed));
    this.#scrolled();
  }

  // What has ended goes on top, in the order in which it did.
  #place() {
    const fresh = [];
    for (const row of this.#history.rows.values()) {
      const shown = this.#shown.get(row.key);
      if (shown?.isFresh) {
        shown.isFresh = false;
        fresh.push(shown.element);
      }
    }
    this.#past.prepend(...fresh.reverse());
  }

  #isBeingRead() {
    return (
      this.#scroller.scrollTop > 4 ||
      performance.now() < this.#readsUntil ||
      this.#past.querySelector("details[open]") !== null
    );
  }

  // The first row in sight: it stays where it is when others come above it.
  #anchor() {
    const top = this.#scroller.getBoundingClientRect().top;
    for (const one of this.#past.children) if (one.getBoundingClientRect().bottom > top + 1) return one;
    return null;
  }

  #reads() {
    this.#readsUntil = performance.now() + READING_MS;
  }

  #scrolled() {
    if (this.#unseen > 0 && this.#scroller.scrollTop <= 4) this.#unseen = 0;
    this.#newer.hidden = this.#unseen === 0;
    this.#newer.textContent = t("timeline.newer", count(this.#unseen));
  }

  #toTop() {
    this.#scroller.scrollTop = 0;
    this.#unseen = 0;
    this.#scrolled();
  }

  #tick() {
    for (const each of this.#active.children) this.#shown.get(Number(each.dataset.key))?.tick();
  }
}

class Row {
  constructor(row) {
    this.row = row;
    this.isFresh = false;
    this.element = element("li", { data: { kind: row.kind, key: row.key } });
    if (row.kind === "call") this.#buildCall();
    else this.#buildOther();
  }

  #time;
  #mark;
  #line;
  #state;
  #bar;
  #details;
  #body;

  update() {
    if (this.row.kind === "call") this.#updateCall();
    else if (this.#details?.open) this.#fillBody();
  }

  tick() {
    const { row } = this;
    if (row.status === "executing" && row.runsSince !== undefined)
      this.#state.textContent = duration(now() - row.runsSince);
  }

  #buildCall() {
    const { row } = this;
    Object.assign(this.element.dataset, { toolName: row.tool });
    this.#time = element("time", {});
    this.#mark = element("span", { class: "mark", "aria-hidden": "true" });
    this.#line = element("span", { class: "line" });
    this.#state = element("span", { class: "took" });
    this.#body = element("div", { class: "body" });
    this.#bar = element("div", { class: "bar", hidden: true });
    this.#details = this.#disclosure(element("summary", {}, this.#time, this.#mark, this.#line, this.#state));
    this.element.append(this.#details, this.#bar);
  }

  #disclosure(summary) {
    const details = element("details", {}, summary, this.#body);
    details.addEventListener("toggle", () => {
      if (details.open) this.#fillBody();
      else fill(this.#body);
    });
    return details;
  }

  #updateCall() {
    const { row } = this;
    if (row.callId !== undefined) this.element.dataset.toolCallId = row.callId;
    this.element.dataset.status = row.status;
    showTime(this.#time, row.endedAt ?? row.at);
    this.#mark.textContent = MARKS[row.status] ?? "•";
    fill(
      this.#line,
      element("strong", { class: "tool" }, brief(row.tool, 80)),
      element("span", { class: "status" }, known("status", row.status)),
      row.decision && element("span", { class: "decided" }, decisionText(row.decision)),
      element("span", { class: "brief" }, this.#brief()),
    );
    const took =
      row.durationMs ??
      (row.endedAt !== undefined && row.runsSince !== undefined ? row.endedAt - row.runsSince : undefined);
    if (row.status === "executing" && row.runsSince !== undefined) this.tick();
    else this.#state.textContent = took === undefined || row.status === "waiting_permission" ? "" : duration(took);
    this.#showProgress();
    if (this.#details.open) this.#fillBody();
  }

  #brief() {
    const { row } = this;
    if (row.error) return brief(row.error);
    if (row.decision?.status !== "approved" && givenReason(row.decision)) return brief(row.decision.reason);
    const parameters = row.parameters;
    const isEmpty = parameters === undefined || parameters === null || Object.keys(parameters).length === 0;
    return [
      isEmpty ? null : brief(parameters, 120, row.parametersSize),
      row.hasResult && row.result !== undefined ? [" → ", brief(row.result, 120, row.resultSize)] : null,
    ];
  }

  #showProgress() {
    const { progress, status, tool } = this.row;
    this.#bar.hidden = status !== "executing";
    if (this.#bar.hidden) return;
    const total = progress?.total;
    const isKnown = typeof total === "number" && total > 0;
    const bar = element("progress", {
      "aria-label": t("row.progress", plainText(tool)),
      ...(isKnown ? { max: total, value: Math.min(total, Math.max(0, progress.progress)) } : {}),
    });
    const numbers =
      progress === undefined
        ? ""
        : isKnown
          ? `${count(progress.progress)} / ${count(total)}`
          : count(progress.progress);
    fill(this.#bar, bar, element("span", {}, numbers, progress?.message ? [" ", brief(progress.message, 200)] : null));
  }

  #buildOther() {
    const { row } = this;
    const time = element("time", {});
    showTime(time, row.at);
    if (row.kind === "event") {
      this.element.dataset.eventType = row.type;
      this.#body = element("div", { class: "body" });
      const line = element(
        "span",
        { class: "line" },
        element("strong", {}, row.type),
        " ",
        row.data === undefined ? null : element("span", { class: "brief" }, brief(row.data, 160, row.size)),
      );
      this.#details = this.#disclosure(
        element("summary", {}, time, element("span", { class: "mark", "aria-hidden": "true" }, "•"), line),
      );
      this.element.append(this.#details);
      return;
    }
    const text =
      row.kind === "message"
        ? exactText(row.text).element
        : row.kind === "restart"
          ? t("row.restart")
          : row.kind === "end"
            ? t("row.end", known("connection.ended", row.code))
            : row.gone === null
              ? t("row.gapUnknown")
              : t("row.gap", count(row.gone));
    this.element.append(
      element(
        "div",
        { class: "plain" },
        time,
        element("span", { class: "mark", "aria-hidden": "true" }, row.kind === "message" ? "“" : "!"),
        element("span", { class: "text" }, text),
      ),
    );
  }

  #fillBody() {
    const { row } = this;
    if (row.kind === "event") {
      fill(this.#body, row.isEmptied ? t("row.emptied") : row.data === undefined ? null : valueOf(row.data));
      return;
    }
    fill(
      this.#body,
      row.isEmptied && element("p", { class: "none" }, t("row.emptied")),
      row.decision &&
        element(
          "p",
          {},
          decisionText(row.decision),
          givenReason(row.decision) && [": ", exactText(row.decision.reason).element],
        ),
      row.parameters !== undefined && [
        element(
          "h4",
          {},
          row.parametersBytes === undefined ? t("row.parameters") : t("row.parametersCut", count(row.parametersBytes)),
        ),
        valueOf(row.parameters),
      ],
      row.error && [element("h4", {}, t("row.error")), exactText(String(row.error)).element],
      row.hasResult &&
        row.result !== undefined &&
        row.result !== null && [
          element("h4", {}, row.truncated ? t("row.resultCut", count(row.resultBytes)) : t("row.result")),
          valueOf(row.result),
        ],
      element(
        "p",
        { class: "facts" },
        row.risk && element("span", {}, known("risk", row.risk)),
        row.callId && element("span", {}, t("row.call"), " ", brief(row.callId)),
        element("span", {}, t("row.began", fullTime(row.at))),
      ),
    );
  }
}

// A text with line breaks is shown as the text it is.
function valueOf(value) {
  try {
    return typeof value === "string" ? exactText(value, { headLength: 3000 }).element : exactValue(value).element;
  } catch {
    return "…";
  }
}

// That nobody answered in time is all there is to say of it.
function givenReason(decision) {
  return decision !== undefined && decision.status !== "expired" && Boolean(decision.reason);
}

function showTime(place, at) {
  place.textContent = clockTime(at);
  place.setAttribute("datetime", new Date(at).toISOString());
  place.title = fullTime(at);
}
