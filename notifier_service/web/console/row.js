// One row of the list of what happened: a call as it goes on, another event, or a word about the list itself.

import { now } from "./clock.js";
import { button, element, fill } from "./element.js";
import { brief, exactText, exactValue } from "./excerpt.js";
import { clockTime, count, duration, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { decisionText } from "./outcome.js";
import { plainText } from "./readable.js";

const MARKS = {
  executing: "▸",
  waiting_permission: "?",
  completed: "✓",
  failed: "✕",
  denied: "⊘",
  cancelled: "–",
  approved: "✓",
  unknown: "…",
  end_unknown: "…",
};

// What the decision says, too.
const TOLD = new Set(["approved", "denied", "cancelled"]);

export class Row {
  // `linkTo(row)` gives the address of a row, or null.
  constructor(row, linkTo = () => null) {
    this.row = row;
    this.#linkTo = linkTo;
    this.element = element("li", { data: { kind: row.kind, key: row.key } });
    if (row.kind === "call") this.#buildCall();
    else this.#buildOther();
  }

  #linkTo;
  #foldState = "";
  #more = null;
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

  // The newest of a run of `number` calls that are alike; null for one that stands for itself.
  fold(run) {
    const state = run === null ? "" : `${run.number} ${run.isOpen} ${run.of}`;
    if (state === this.#foldState) return;
    this.#foldState = state;
    this.#more?.remove();
    this.#more = null;
    if (state === "") return;
    const text = t(run.isOpen ? "row.alikeOpen" : "row.alike", run.number - 1);
    this.#more = button("fold", text, run.toggle, { class: "quiet alike", "aria-expanded": String(run.isOpen) });
    this.element.append(this.#more);
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
      // Who decided says what was decided.
      !(row.decision && TOLD.has(row.status)) && element("span", { class: "status" }, known("status", row.status)),
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

  #link() {
    const address = this.#linkTo(this.row);
    return address && element("a", { href: address }, t("row.link"));
  }

  // Open, in sight, and marked for a moment.
  reveal() {
    if (this.#details !== undefined) this.#details.open = true;
    this.element.scrollIntoView({ block: "center", behavior: "instant" });
    this.element.dataset.revealed = "";
    (this.#details?.firstChild ?? this.element).focus({ preventScroll: true });
  }

  #fillBody() {
    const { row } = this;
    if (row.kind === "event") {
      const content = row.isEmptied ? t("row.emptied") : row.data === undefined ? null : valueOf(row.data);
      fill(this.#body, content, element("p", { class: "facts" }, this.#link()));
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
        this.#link(),
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
