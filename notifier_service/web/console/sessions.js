// The sessions that are open, those with something that waits first.

import { listSessions } from "./client/index.js";
import { element, fill } from "./element.js";
import { duration } from "./format.js";
import { t } from "./language.js";
import { kept, keep } from "./store.js";

const EVERY_MS = 3000;
const HIDDEN_EVERY_MS = 15_000;
// Who is silent for less is at work.
const BUSY_SECONDS = 10;
const OPENED = "notifier.opened";
const MAX_OPENED = 20;

const SESSION_ID = /^(?!\.{1,2}$)[A-Za-z0-9._:~-]{1,128}$/;

export function isSessionId(text) {
  return SESSION_ID.test(text);
}

export function addressOf(sessionId) {
  return `#/s/${encodeURIComponent(sessionId)}`;
}

export class Sessions {
  // `host`: {connection: {baseUrl, token}, onRows(rows), onUnauthenticated(), isWatched()}.
  constructor(host) {
    this.#host = host;
    this.#list = element("ul", {});
    this.#note = element("p", { class: "none" });
    this.#problem = element("p", { class: "problem", role: "alert" });
    const field = element("input", {
      id: "session-id",
      type: "text",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      data: { field: "session-id" },
    });
    const form = element(
      "form",
      { id: "open-form", on: { submit: (event) => this.#submit(event, field) } },
      element("label", { for: "session-id" }, t("sessions.id")),
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
      element("h2", { id: "sessions-title" }, t("sessions")),
      this.#list,
      this.#note,
      form,
    );
  }

  rows = [];

  #host;
  #list;
  #note;
  #problem;
  #current = null;
  #timer = 0;
  #isReading = false;
  #isClosed = true;
  #mayList = true;

  open() {
    this.#isClosed = false;
    this.#mayList = true;
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

  choose(sessionId) {
    this.#current = sessionId;
    if (sessionId !== null) {
      const opened = [sessionId, ...this.#opened().filter((id) => id !== sessionId)];
      keep(OPENED, opened.slice(0, MAX_OPENED).join("\n"), { session: true });
    }
    this.#show();
  }

  // What the page itself knows of the session it shows, which is newer than the list.
  tell(sessionId, waiting) {
    const row = this.rows.find((each) => each.session_id === sessionId);
    if (row !== undefined && row.pending_permissions !== waiting) {
      row.pending_permissions = waiting;
      this.#show();
    }
  }

  #opened() {
    return (kept(OPENED, { session: true }) ?? "").split("\n").filter(isSessionId);
  }

  async #refresh() {
    clearTimeout(this.#timer);
    this.#isReading = true;
    try {
      this.rows = await listSessions(this.#host.connection);
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

  #show() {
    const rows = [...this.rows];
    if (this.#current !== null && !rows.some((row) => row.session_id === this.#current))
      rows.push({ session_id: this.#current });
    rows.sort(
      (one, other) =>
        (other.pending_permissions ?? 0) - (one.pending_permissions ?? 0) ||
        one.session_id.localeCompare(other.session_id),
    );
    const old = new Map([...this.#list.children].map((item) => [item.firstChild.dataset.sessionId, item]));
    const items = rows.map((row) => this.#item(row, old.get(row.session_id) ?? element("li", {}, element("a", {}))));
    // Only what moves is moved: a list that is made anew takes away the focus.
    items.forEach((item, index) => {
      if (this.#list.children[index] !== item) this.#list.insertBefore(item, this.#list.children[index] ?? null);
    });
    while (this.#list.childElementCount > items.length) this.#list.lastElementChild.remove();
  }

  #item(row, item) {
    const link = item.firstChild;
    const waiting = row.pending_permissions ?? 0;
    link.href = addressOf(row.session_id);
    link.dataset.sessionId = row.session_id;
    link.dataset.waiting = waiting;
    if (row.session_id === this.#current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    fill(
      link,
      element("span", { class: "id" }, row.session_id),
      waiting > 0 && element("span", { class: "badge", "aria-label": t("sessions.waiting", waiting) }, waiting),
      row.connections !== undefined &&
        element(
          "span",
          { class: "facts" },
          t("sessions.readers", row.connections),
          " · ",
          row.idle_seconds < BUSY_SECONDS
            ? t("sessions.busy")
            : t("sessions.idle", duration(Math.floor(row.idle_seconds) * 1000)),
        ),
    );
    return item;
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
