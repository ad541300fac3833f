// What was asked and how it ended, in all sessions: found again, linked to, and taken along.

import { exactJson, readHistory } from "./client/index.js";
import { button, element, fill } from "./element.js";
import { brief } from "./excerpt.js";
import { clockTime, count, dayOf, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { decidedText } from "./outcome.js";
import { plainText } from "./readable.js";
import { addressOfHistory, addressOfRequest } from "./route.js";

const PAGE = 200;
const SHOWN = 100;
const SOON_MS = 250;
const OUTCOMES = ["approve", "edit", "reject", "respond", "expired", "cancelled"];
const PERIODS = ["today", "yesterday", "week"];
// What a spreadsheet would take for a formula.
const FORMULA = /^[=+\-@\t\r]/;
const COLUMNS = ["timestamp", "decided_at", "session_id", "tool_name", "server", "risk_level", "status", "decision"];
const MORE_COLUMNS = ["scope", "decided_by", "reason", "response", "request_id", "parameters_sha256", "parameters"];

export class HistoryPage {
  // `host`: {connection, nameOf(sessionId), onUnauthenticated()}; `filter`: {tool, session, by, outcome, when, q}.
  constructor(filter, host) {
    this.#host = host;
    this.#fields = new Map();
    this.#number = element("p", { class: "none", role: "status" });
    this.#list = element("div", { class: "days" });
    this.#more = button("more", t("history.more"), () => this.#showMore(), { class: "more", hidden: true });
    this.#failure = element("p", { class: "failure", role: "alert" });
    this.element = element(
      "main",
      { class: "wide", id: "history" },
      element(
        "div",
        { class: "line" },
        element("h1", {}, t("history.title")),
        element(
          "div",
          { class: "export" },
          button("export-json", t("history.json"), () => this.#take("json"), { class: "quiet" }),
          button("export-csv", t("history.csv"), () => this.#take("csv"), { class: "quiet" }),
        ),
      ),
      this.#form(filter),
      this.#number,
      this.#failure,
      this.#list,
      this.#more,
    );
    this.#read();
  }

  #host;
  #fields;
  #number;
  #list;
  #more;
  #failure;
  #found = [];
  #next = null;
  #shown = 0;
  #reading = 0;
  #soon = 0;

  close() {
    this.#reading += 1;
    clearTimeout(this.#soon);
  }

  #form(filter) {
    const put = (name, control) => {
      this.#fields.set(name, control);
      if (filter[name]) control.value = filter[name];
      return element("label", {}, element("span", {}, t(`history.${name}`)), control);
    };
    const text = (name) => put(name, element("input", { type: "search", name, autocomplete: "off", data: { field: name } }));
    const choice = (name, values, words) =>
      put(
        name,
        element(
          "select",
          { name, data: { field: name } },
          element("option", { value: "" }, t(`history.any.${name}`)),
          values.map((value) => element("option", { value }, words(value))),
        ),
      );
    return element(
      "form",
      {
        class: "filter",
        role: "search",
        on: {
          submit: (event) => event.preventDefault(),
          input: () => this.#readSoon(),
        },
      },
      text("q"),
      choice("when", PERIODS, (value) => t(`history.when.${value}`)),
      choice("outcome", OUTCOMES, (value) => t(`history.outcome.${value}`)),
      text("by"),
      text("tool"),
      text("session"),
    );
  }

  get #filter() {
    return Object.fromEntries([...this.#fields].map(([name, control]) => [name, control.value.trim()]));
  }

  // The address is that of what is shown: it can be kept, and given to somebody.
  #readSoon() {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => {
      history.replaceState(history.state, "", addressOfHistory(this.#filter));
      this.#read();
    }, SOON_MS);
  }

  async #read() {
    this.#reading += 1;
    this.#found = [];
    this.#next = null;
    this.#shown = 0;
    fill(this.#list);
    fill(this.#number, t("context.reading"));
    await this.#readOn(SHOWN);
  }

  // Until so many more are found, or there are no older ones.
  async #readOn(wanted) {
    const reading = this.#reading;
    const filter = this.#filter;
    const fits = fitting(filter);
    fill(this.#failure);
    try {
      for await (const page of pagesOf(this.#host.connection, filter, this.#next)) {
        if (reading !== this.#reading) return;
        this.#found.push(...page.requests.filter(fits));
        this.#next = page.next;
        if (this.#found.length >= this.#shown + wanted || page.isOver) break;
      }
    } catch (error) {
      if (reading !== this.#reading) return;
      if (error.code === "unauthenticated") this.#host.onUnauthenticated();
      fill(this.#number);
      fill(this.#failure, error.code === "forbidden" ? t("history.forbidden") : t("context.failed", error.message));
      return;
    }
    this.#show();
  }

  #show() {
    const fresh = this.#found.slice(this.#shown, this.#shown + SHOWN);
    this.#shown += fresh.length;
    for (const record of fresh) this.#listOf(dayOf(whenOf(record))).append(this.#item(record));
    const isMore = this.#next !== null || this.#shown < this.#found.length;
    this.#more.hidden = !isMore;
    fill(
      this.#number,
      this.#shown === 0 ? t("history.none") : t(isMore ? "history.newest" : "history.number", count(this.#shown)),
    );
  }

  #showMore() {
    if (this.#shown < this.#found.length) this.#show();
    else this.#readOn(SHOWN);
  }

  #listOf(day) {
    const last = this.#list.lastElementChild;
    if (last?.dataset.day === day) return last.lastElementChild;
    const list = element("ol", {});
    this.#list.append(element("section", { data: { day } }, element("h2", {}, day), list));
    return list;
  }

  #item(record) {
    const at = whenOf(record);
    return element(
      "li",
      { data: { requestId: record.request_id, outcome: record.status } },
      element(
        "a",
        { href: addressOfRequest(record) },
        element("time", { datetime: new Date(at).toISOString(), title: fullTime(at) }, clockTime(at)),
        element("strong", { class: "tool" }, plainText(record.tool_name.slice(0, 200))),
        element("span", { class: "ended" }, decidedText(record)),
        element("span", { class: `risk ${record.risk_level}` }, known("risk", record.risk_level)),
        element("span", { class: "where" }, this.#host.nameOf(record.session_id)),
        element("span", { class: "brief" }, brief(record.parameters, 160)),
        record.reason && element("span", { class: "reason" }, "“", brief(record.reason, 200), "”"),
      ),
    );
  }

  // All that the filter finds, not only what is shown.
  async #take(kind) {
    const fits = fitting(this.#filter);
    const all = [];
    try {
      for await (const page of pagesOf(this.#host.connection, this.#filter, null)) all.push(...page.requests.filter(fits));
    } catch (error) {
      fill(this.#failure, t("context.failed", error.message));
      return;
    }
    const text = kind === "json" ? exactJson(all, 2) : inCsv(all);
    const type = kind === "json" ? "application/json" : "text/csv";
    const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    element("a", { href: url, download: `decisions.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}

function whenOf(record) {
  return Date.parse(record.decided_at ?? record.timestamp);
}

// What the service chooses by, and what it does not.
async function* pagesOf(connection, filter, from) {
  const query = { tool: filter.tool, session_id: filter.session, decided_by: filter.by, limit: PAGE };
  let before = from ?? undefined;
  const [since] = periodOf(filter.when);
  while (true) {
    const page = await readHistory(connection, { ...query, before });
    const oldest = page.requests.at(-1);
    const isOver = page.next === null || (oldest !== undefined && whenOf(oldest) < since);
    yield { requests: page.requests, next: isOver ? null : page.next, isOver };
    if (isOver) return;
    before = page.next;
  }
}

function fitting({ outcome, when, q }) {
  const [since, until] = periodOf(when);
  const words = (q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  return (record) => {
    const at = whenOf(record);
    if (at < since || at >= until) return false;
    if (outcome && (record.decision ?? record.status) !== outcome) return false;
    if (words.length === 0) return true;
    const text = [record.tool_name, record.session_id, record.reason, record.decided_by, exactJson(record.parameters, 0)]
      .join(" ")
      .toLowerCase();
    return words.every((word) => text.includes(word));
  };
}

// In days of who looks.
function periodOf(when) {
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  const back = (days) => new Date(day.getFullYear(), day.getMonth(), day.getDate() - days).getTime();
  if (when === "today") return [back(0), Infinity];
  if (when === "yesterday") return [back(1), back(0)];
  return when === "week" ? [back(6), Infinity] : [-Infinity, Infinity];
}

function inCsv(records) {
  const columns = [...COLUMNS, ...MORE_COLUMNS];
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : typeof value === "string" ? value : exactJson(value, 0);
    const safe = FORMULA.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...records.map((record) => columns.map((name) => record[name]))]
    .map((row) => row.map(cell).join(","))
    .join("\r\n");
}
