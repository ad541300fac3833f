// What waits in all sessions: the page's landing.

import { readEvents } from "./client/index.js";
import { ConnectionLine } from "./connection.js";
import { Context } from "./context.js";
import { Desk } from "./desk.js";
import { button, element, fill } from "./element.js";
import { t } from "./language.js";
import { addressOfHistory } from "./route.js";

export class Inbox {
  // `host`: {client, connection, announce(text), nameOf(sessionId), rowOf(sessionId), onUnauthenticated(), isLost};
  // `wanted` is the request that the address names.
  constructor(host, wanted) {
    this.#host = host;
    this.#wanted = wanted;
    this.#connection = new ConnectionLine(host.client);
    this.#context = new Context({
      connection: host.connection,
      rowOf: host.rowOf,
      eventsOf: (sessionId) => readEvents(host.connection, sessionId),
    });
    this.desk = new Desk({
      clientOf: (sessionId) => host.client.of(sessionId),
      decide: (requests, approved, reason) => host.client.decideAll(requests, approved, reason),
      nameOf: host.nameOf,
      announce: host.announce,
      onUnauthenticated: host.onUnauthenticated,
      onShown: (requests) => this.#context.show(requests),
      reveal: () => {
        host.reveal();
        this.#showContext(false);
      },
      mayOnlyLook: host.mayOnlyLook,
      isEverywhere: true,
    });
    this.#beside = button("context", t("context.title"), () => this.#showContext(!this.#isOpen), {
      class: "quiet",
      "aria-controls": "context",
      "aria-expanded": "false",
    });
    this.element = element(
      "main",
      { id: "inbox" },
      element("h1", { class: "unseen" }, t("inbox")),
      element("div", { class: "head" }, this.#connection.element, this.#beside, this.#notice),
      this.desk.element,
      this.#context.element,
    );
    this.#context.show([]);
    if (host.isLost) this.#say(t("address.absent"));
    this.update();
  }

  #host;
  #connection;
  #context;
  #beside;
  #notice = element("p", { class: "warning", role: "status", data: { notice: "absent" }, hidden: true });
  #wanted;
  #isOpen = false;
  #isClosed = false;

  close() {
    this.#isClosed = true;
    this.desk.close();
    this.#connection.close();
  }

  hear(event) {
    this.desk.hear(event);
    this.#connection.hear(event);
  }

  update() {
    if (this.#isClosed) return;
    this.#connection.update();
    this.desk.update(this.#host.client.state.pending);
    if (this.#wanted !== undefined && this.desk.turnTo(this.#wanted)) this.#wanted = undefined;
  }

  // The request that an address names.
  turnTo(requestId) {
    this.#notice.hidden = true;
    this.#wanted = requestId;
    this.update();
    if (this.#wanted !== undefined) this.#tellGone();
  }

  // What waits is known now: what does not wait is none of it.
  present() {
    this.update();
    if (this.#wanted !== undefined) this.#tellGone();
  }

  tellRow() {
    this.desk.retell();
    this.#context.retell();
  }

  #tellGone() {
    this.#wanted = undefined;
    this.#say(t("inbox.gone"), element("a", { href: addressOfHistory() }, t("history")));
  }

  #say(text, ...more) {
    this.#notice.hidden = false;
    const close = () => (this.#notice.hidden = true); // it lies over what waits
    fill(this.#notice, button("close-notice", "×", close, { class: "quiet", "aria-label": t("help.done") }), text, " ", ...more);
  }

  hideContext() {
    this.#showContext(false);
  }

  // Where there is no room for it beside the card.
  #showContext(isOpen) {
    this.#isOpen = isOpen;
    this.element.classList.toggle("with-context", isOpen);
    this.#beside.setAttribute("aria-expanded", String(isOpen));
  }
}
