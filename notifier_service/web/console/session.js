// One session on the page: its connection, what waits in it, what happens.

import { readHistory, SessionClient } from "./client/index.js";
import { button, element, fill } from "./element.js";
import { heard } from "./clock.js";
import { ConnectionLine } from "./connection.js";
import { Desk } from "./desk.js";
import { History } from "./history.js";
import { t } from "./language.js";
import { onDecidedHere } from "./mine.js";
import { plainText } from "./readable.js";
import { addressOfHistory, INBOX } from "./route.js";
import { Rules } from "./rules.js";
import { Timeline } from "./timeline.js";

// A hidden page has no frames.
const HIDDEN_MS = 200;
// Before anything has ever happened in a session, its newest event has this number.
const NOTHING = /-0$/;

export class Session {
  // `host`: {connection: {baseUrl, token}, announce(text), decide(…), nameOf(sessionId), rowOf(sessionId),
  // onPending(sessionId, records), onUnauthenticated()}; `row` is what of the timeline is to be shown.
  constructor(sessionId, host, row) {
    this.sessionId = sessionId;
    this.#host = host;
    this.#client = new SessionClient(sessionId, { ...host.connection, from: "earliest" });
    this.#history = new History();
    this.#timeline = new Timeline(this.#history, { sessionId, row });
    this.#connection = new ConnectionLine(this.#client);
    this.desk = new Desk({
      clientOf: () => this.#client,
      decide: host.decide,
      nameOf: host.nameOf,
      announce: host.announce,
      onUnauthenticated: host.onUnauthenticated,
      onShown: () => {},
      reveal: () => {
        host.reveal();
        this.#showPart("cards");
      },
      mayOnlyLook: () => !this.#client.mayApprove || host.mayOnlyLook(),
      isEverywhere: false,
    });
    this.#title = element("h1", {});
    this.#facts = element("p", { class: "facts" });
    this.#absent = element("p", { class: "warning", role: "status", data: { notice: "absent" }, hidden: true });
    this.#rules = new Rules(this.#client);
    this.#parts = element(
      "div",
      { class: "parts", role: "group", "aria-label": t("session.parts") },
      this.#part("cards", t("session.waiting")),
      this.#part("timeline", t("timeline.title")),
    );
    this.element = element(
      "main",
      { id: "session", data: { part: "timeline" } },
      element(
        "div",
        { class: "head" },
        element("div", { class: "names" }, this.#title, this.#facts),
        this.#connection.element,
        this.#rules.element,
        this.#absent,
        this.#parts,
      ),
      this.desk.element,
      this.#timeline.element,
    );
    this.tellRow();
    this.#client.on("*", (event) => this.#hear(event));
    this.#client.subscribe(() => this.#changed());
    this.#client.connect();
    this.#hearNoMore = onDecidedHere((requestId) => {
      this.#history.retell(requestId);
      this.#changed();
    });
  }

  #host;
  #client;
  #history;
  #timeline;
  #connection;
  #rules;
  #hearNoMore;
  #title;
  #facts;
  #absent;
  #parts;
  #isDue = false;
  #isClosed = false;
  #hasEnded = false;
  #pending = null;
  #hasChosenPart = false;
  #newest = null; // of the log when this page came
  #hasCaughtUp = false;
  #isBeginning = true; // what is seen of it on a phone is not chosen yet

  close() {
    this.#isClosed = true;
    this.#hearNoMore();
    this.#client.disconnect();
    this.desk.close();
    this.#connection.close();
    this.#timeline.close();
  }

  showRow(row) {
    this.#timeline.reveal(row);
  }

  // What the list of sessions says of it.
  tellRow() {
    const row = this.#host.rowOf(this.sessionId);
    this.#title.textContent = plainText(row?.title || this.sessionId);
    fill(
      this.#facts,
      row?.title && element("span", {}, this.sessionId),
      row?.agent && element("span", {}, plainText(row.agent)),
    );
  }

  #part(name, text) {
    const choose = () => {
      this.#hasChosenPart = true;
      this.#showPart(name);
    };
    return button(`show-${name}`, text, choose, { "aria-pressed": "false", data: { part: name } });
  }

  // On a phone one of the two is seen, and only a person changes which.
  #showPart(name) {
    this.element.dataset.part = name;
    for (const each of this.#parts.children) each.setAttribute("aria-pressed", String(each.dataset.part === name));
  }

  #hear(event) {
    heard(event);
    if (event.type === "hello") this.#newest ??= event.data.last_event_id;
    if (event.type === "snapshot" || event.id === this.#newest || NOTHING.test(this.#newest ?? "")) this.#hasCaughtUp = true;
    if (event.type === "hello") this.#tellAbsent(NOTHING.test(event.data.last_event_id));
    else if (event.id !== undefined && !this.#absent.hidden) this.#tellAbsent(false);
    this.#history.hear(event);
    this.desk.hear(event);
    this.#connection.hear(event);
    this.#rules.hear(event);
    this.#changed();
  }

  // Nothing has ever happened here: there is no such session now, which a person who followed a link should know.
  async #tellAbsent(isAbsent) {
    this.#absent.hidden = !isAbsent;
    if (!isAbsent) return;
    fill(this.#absent, t("session.absent", this.sessionId), " ", element("a", { href: INBOX }, t("session.toInbox")));
    try {
      const { requests } = await readHistory(this.#host.connection, { session_id: this.sessionId, limit: 1 });
      if (requests.length === 0) return;
      const link = element("a", { href: addressOfHistory({ session: this.sessionId }) }, t("session.toHistory"));
      fill(this.#absent, t("session.over", this.sessionId), " ", link);
    } catch {
      // It is not needed for what was said.
    }
  }

  // Many events are one change of the page.
  #changed() {
    if (this.#isDue || this.#isClosed) return;
    this.#isDue = true;
    const update = () => {
      this.#isDue = false;
      if (!this.#isClosed) this.#update();
    };
    if (document.hidden) setTimeout(update, HIDDEN_MS);
    else requestAnimationFrame(update);
  }

  #update() {
    const { connection, state } = this.#client;
    const hasEnded = connection.phase === "ended";
    if (hasEnded && !this.#hasEnded) {
      const code = connection.error?.code ?? "";
      if (code === "unauthenticated" || code === "token_expired") this.#host.onUnauthenticated();
      this.#history.end(code);
    }
    this.#hasEnded = hasEnded;
    this.#connection.update();
    if (state.pending !== this.#pending) {
      this.#pending = state.pending;
      this.desk.update(state.pending.map((record) => ({ ...record, session_id: this.sessionId })));
      this.#host.onPending(this.sessionId, state.pending);
      const number = state.pending.length;
      fill(this.#parts.firstChild, t("session.waiting"), number > 0 && element("span", { class: "badge" }, number));
      if (number > 0 && this.#isBeginning && !this.#hasChosenPart) this.#showPart("cards");
    }
    this.#timeline.update();
    this.#isBeginning &&= !this.#hasCaughtUp;
  }
}
