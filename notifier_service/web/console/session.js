// One session on the page: its connection, what waits in it, what happens.

import { SessionClient } from "./client/index.js";
import { Cards } from "./cards.js";
import { heard } from "./clock.js";
import { ConnectionLine } from "./connection.js";
import { element } from "./element.js";
import { History } from "./history.js";
import { onDecidedHere } from "./mine.js";
import { Rules } from "./rules.js";
import { Timeline } from "./timeline.js";

// A hidden page has no frames.
const HIDDEN_MS = 200;

export class Session {
  // `host`: {connection: {baseUrl, token}, announce(text), onPending(sessionId, records), onUnauthenticated()}.
  constructor(sessionId, host) {
    this.sessionId = sessionId;
    this.#host = host;
    this.#client = new SessionClient(sessionId, { ...host.connection, from: "earliest" });
    this.#history = new History();
    this.#timeline = new Timeline(this.#history);
    this.#connection = new ConnectionLine(this.#client);
    this.cards = new Cards({
      client: this.#client,
      announce: host.announce,
      onUnauthenticated: host.onUnauthenticated,
    });
    const head = element("div", { class: "head" }, element("h1", {}, sessionId), this.#connection.element);
    this.#rules = new Rules(this.#client);
    this.cards.watch(head);
    this.cards.watch(this.#rules.element);
    this.element = element(
      "main",
      { id: "session" },
      head,
      this.#rules.element,
      this.cards.element,
      this.#timeline.element,
    );
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
  #isDue = false;
  #isClosed = false;
  #hasEnded = false;
  #pending = null;

  close() {
    this.#isClosed = true;
    this.#hearNoMore();
    this.#client.disconnect();
    this.cards.close();
    this.#connection.close();
    this.#timeline.close();
  }

  #hear(event) {
    heard(event);
    this.#history.hear(event);
    this.cards.hear(event);
    this.#connection.hear(event);
    this.#rules.hear(event);
    this.#changed();
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
    this.cards.update(state.pending);
    this.#timeline.update();
    if (state.pending !== this.#pending) {
      this.#pending = state.pending;
      this.#host.onPending(this.sessionId, state.pending);
    }
  }
}
