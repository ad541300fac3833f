// In plain words: whether what is shown is live, and if not, why and until when.

import { button, element, fill } from "./element.js";
import { known, t } from "./language.js";
import { causeOf } from "./refusal.js";

const RESTARTED_MS = 20_000;

export class ConnectionLine {
  constructor(client) {
    this.#client = client;
    this.#state = element("span", { class: "state" });
    this.#viewers = element("span", { class: "viewers" });
    this.#notice = element("p", { class: "warning", role: "status", hidden: true });
    this.#now = button(
      "reconnect",
      t("connection.now"),
      () => {
        if (this.#client.connection.phase === "ended") this.#client.connect();
        else this.#client.reconnect();
      },
      { class: "quiet", hidden: true },
    );
    this.#line = element(
      "div",
      { id: "connection", class: "connection", role: "status" },
      element("span", { class: "dot", "aria-hidden": "true" }),
      this.#state,
      this.#now,
      this.#viewers,
    );
    this.element = element("div", {}, this.#line, this.#notice);
    this.#timer = setInterval(() => this.update(), 1000);
    this.update();
  }

  #client;
  #state;
  #viewers;
  #notice;
  #now;
  #line;
  #timer;
  #noticeTimer = 0;
  #shown = "";

  close() {
    clearInterval(this.#timer);
    clearTimeout(this.#noticeTimer);
  }

  hear(event) {
    if (event.type !== "gap" || event.data?.reason !== "epoch") return;
    this.#notice.dataset.notice = "restarted";
    this.#notice.hidden = false;
    fill(this.#notice, t("connection.restarted"));
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = setTimeout(() => {
      this.#notice.hidden = true;
    }, RESTARTED_MS);
  }

  update() {
    const { phase, transport, retryAt, error } = this.#client.connection;
    this.#line.dataset.connection = phase;
    this.#line.dataset.transport = transport ?? "";
    const viewers = this.#client.state.viewers ?? null;
    this.#viewers.textContent = phase === "open" && viewers !== null ? t("connection.viewers", viewers) : "";
    const isEnded = phase === "ended";
    this.#now.hidden = phase !== "waiting" && !isEnded;
    this.#now.textContent = isEnded ? t("connection.again") : t("connection.now");
    const text = this.#text(phase, transport, retryAt, error);
    if (text === this.#shown) return;
    this.#shown = text;
    this.#state.textContent = text;
  }

  #text(phase, transport, retryAt, error) {
    if (phase === "open") return t(`connection.open.${transport ?? "sse"}`);
    if (phase === "waiting") {
      const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
      return seconds > 0 ? t("connection.waiting", seconds) : t("connection.trying");
    }
    if (phase === "ended") {
      const cause = causeOf(error);
      if (cause !== null) return cause;
      const code = error?.code ?? "";
      const text = known("connection.ended", code);
      return text === code ? [t("connection.ended"), error?.message].filter(Boolean).join(": ") : text;
    }
    return t(`connection.${phase}`);
  }
}
