// The sessions that are open: what they are called, who works there, and where something waits.

import { listSessions } from "./client/index.js";
import { element, fill } from "./element.js";
import { t } from "./language.js";
import { plainText } from "./readable.js";
import { addressOf, isSessionId } from "./route.js";
import { kept, keep } from "./store.js";
import { Windowed } from "./windowed.js";

const EVERY_MS = 3000;
const HIDDEN_EVERY_MS = 15_000;
// Who is silent for less is at work.
const BUSY_SECONDS = 10;
const OPENED = "notifier.opened";
const MAX_OPENED = 20;

export class Sessions {
  // `host`: {connection: {baseUrl, token}, onRows(rows), onUnauthenticated(), isWatched()}.
  constructor(host) {
    this.#host = host;
    this.#list = new Windowed({
      label: "sessions-title",
      make: (row) => element("li", {}, element("a", { href: addressOf(row.key) })),
      show: (made, row) => this.#showRow(made.firstChild, row),
    });
    this.#number = element("span", { class: "number" });
    this.#note = element("p", { class: "none" });
    this.#problem = element("p", { class: "problem", role: "alert" });
    const field = element("input", {
      id: "session-id",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      placeholder: t("sessions.id"),
      data: { field: "session-id" },
    });
    const form = element(
      "form",
      { id: "open-form", on: { submit: (event) => this.#submit(event, field) } },
      element("label", { for: "session-id", class: "unseen" }, t("sessions.id")),
      element(
        "div",
        { class: "row" },
        field,
        element("button", { type: "submit", data: { action: "open" } }, t("sessions.go")),
      ),
      this.#problem,
    );
    this.element = element(
      "nav",
      { id: "sessions", "aria-labelledby": "sessions-title" },
      element("h2", { id: "sessions-title" }, t("sessions"), this.#number),
      this.#note,
      this.#list.element,
      form,
    );
  }

  rows = [];
  // Whether the list has been read since the page came.
  isKnown = false;

  #host;
  #list;
  #number;
  #note;
  #problem;
  #current = null;
  #order = new Map(); // a row keeps its place until a person goes somewhere else
  #waiting = null;
  #timer = 0;
  #isReading = false;
  #isClosed = true;
  #mayList = true;

  open() {
    this.#isClosed = false;
    this.#mayList = true;
    this.#order.clear();
    this.#refresh();
  }

  close() {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  // Read it now: the page has come to the front, or something has changed.
  refresh() {
    if (!this.#isClosed && !this.#isReading && this.#mayList) this.#refresh();
  }

  rowOf(sessionId) {
    return this.rows.find((row) => row.session_id === sessionId);
  }

  choose(sessionId) {
    this.#current = sessionId;
    this.#order.clear();
    if (sessionId !== null) {
      const opened = [sessionId, ...this.#opened().filter((id) => id !== sessionId)];
      keep(OPENED, opened.slice(0, MAX_OPENED).join("\n"), { session: true });
    }
    this.#show();
  }

  // What the page itself knows to wait, which is newer than the list: numbers by session.
  tell(waiting) {
    this.#waiting = waiting;
    this.#show();
  }

  #opened() {
    return (kept(OPENED, { session: true }) ?? "").split("\n").filter(isSessionId);
  }

  async #refresh() {
    clearTimeout(this.#timer);
    this.#isReading = true;
    try {
      this.rows = await listSessions(this.#host.connection);
      this.isKnown = true;
      fill(this.#note, this.rows.length === 0 && t("sessions.none"));
    } catch (error) {
      if (this.#isClosed) return;
      if (error.code === "unauthenticated") {
        this.close();
        this.#host.onUnauthenticated();
        return;
      }
      if (error.code === "forbidden") {
        this.#mayList = false;
        this.rows = this.#opened().map((id) => ({ session_id: id }));
        fill(this.#note, t("sessions.forbidden"));
      } else {
        fill(this.#note, t("sessions.failed"));
      }
    } finally {
      this.#isReading = false;
    }
    if (this.#isClosed) return;
    this.#show();
    this.#host.onRows(this.rows);
    if (!this.#mayList) return; // and asking again changes nothing
    const pause = document.hidden ? HIDDEN_EVERY_MS : EVERY_MS;
    this.#timer = setTimeout(() => {
      if (document.hidden && !this.#host.isWatched()) this.#timer = setTimeout(() => this.#refresh(), HIDDEN_EVERY_MS);
      else this.#refresh();
    }, pause);
  }

  #numberOf(row) {
    return this.#waiting?.get(row.session_id) ?? (this.#waiting === null ? (row.pending_permissions ?? 0) : 0);
  }

  #show() {
    const rows = [...this.rows];
    const isListed = (id) => rows.some((row) => row.session_id === id);
    if (this.#current !== null && !isListed(this.#current)) rows.push({ session_id: this.#current });
    const known = rows.filter((row) => this.#order.has(row.session_id));
    const come = rows.filter((row) => !this.#order.has(row.session_id));
    known.sort((one, other) => this.#order.get(one.session_id) - this.#order.get(other.session_id));
    come.sort((one, other) => this.#numberOf(other) - this.#numberOf(one) || compared(one, other));
    const all = [...known, ...come];
    this.#order = new Map(all.map((row, index) => [row.session_id, index]));
    this.#number.textContent = all.length > 1 ? all.length : "";
    this.#list.update(
      all.map((row) => ({ key: row.session_id, row, waiting: this.#numberOf(row), isHere: row.session_id === this.#current })),
    );
  }

  #showRow(link, { row, waiting, isHere }) {
    link.dataset.sessionId = row.session_id;
    link.dataset.waiting = waiting;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    const state = waiting > 0 ? "waiting" : stateOf(row);
    link.dataset.sessionState = state;
    const facts = [row.title ? row.session_id : null, row.agent ? plainText(row.agent) : null].filter(Boolean);
    fill(
      link,
      element("span", { class: "dot", "aria-hidden": "true" }),
      element("span", { class: "id" }, plainText(row.title || row.session_id)),
      waiting > 0 && element("span", { class: "badge", "aria-label": t("sessions.waiting", waiting) }, waiting),
      element("span", { class: "facts" }, [state && t(`state.${state}`), ...facts].filter(Boolean).join(" · ")),
    );
  }

  #submit(event, field) {
    event.preventDefault();
    const sessionId = field.value.trim();
    this.#problem.textContent = isSessionId(sessionId) ? "" : t("sessions.bad");
    if (!isSessionId(sessionId)) return;
    field.value = "";
    location.hash = addressOf(sessionId);
  }
}

function stateOf(row) {
  if (row.state !== undefined) return row.state;
  if (row.idle_seconds === undefined) return "";
  return row.idle_seconds < BUSY_SECONDS ? "working" : "idle";
}

function compared(one, other) {
  return (one.title || one.session_id).localeCompare(other.title || other.session_id);
}
