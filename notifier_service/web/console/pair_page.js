// What a phone sees that opens a link of pairing: what that gives, and one button that takes it.

import { Http } from "./client/http.js";
import { nameOfDevice } from "./device.js";
import { button, element, fill } from "./element.js";
import { fullTime } from "./format.js";
import { t } from "./language.js";
import { plainText } from "./readable.js";
import { causeOf } from "./refusal.js";

const MOST_LABEL = 64;
// Why a link gives nothing any more, as the service says it.
const ENDS = ["used", "expired", "withdrawn", "revoked"];

export class PairPage {
  // `host`: {connection, hasToken, onPaired(token), onLeave()}.
  constructor(secret, host) {
    this.#secret = secret;
    this.#host = host;
    this.#http = new Http(host.connection);
    this.#body = element("div", { class: "pairing" }, element("p", {}, t("context.reading")));
    this.#failure = element("p", { class: "problem", role: "alert", data: { role: "pair-failure" } });
    this.element = element(
      "main",
      { class: "alone", id: "pair" },
      element("section", { class: "box" }, element("h1", {}, t("pair.title")), this.#body, this.#failure),
    );
    this.#look();
  }

  #secret;
  #host;
  #http;
  #body;
  #failure;

  async #look() {
    try {
      const { gives } = await this.#http.call("GET", "/api/pair", { token: this.#secret });
      this.#offer(gives);
    } catch (error) {
      this.#fail(error);
    }
  }

  #offer(gives) {
    const label = element("input", { id: "pair-label", maxlength: MOST_LABEL, autocomplete: "off", data: { field: "pair-label" } });
    label.value = plainText(gives.label ?? nameOfDevice());
    const take = button("take-pairing", t("pair.take"), () => this.#take(take, label.value.trim()), { class: "primary" });
    fill(
      this.#body,
      element("p", {}, t("pair.why")),
      element(
        "ul",
        { class: "gives", data: { role: "pair-gives" } },
        element("li", {}, t(gives.rights.includes("approve") ? "pair.decides" : "pair.looks")),
        element("li", {}, t("pair.name", plainText(gives.subject))),
        element("li", {}, gives.sessions.join() === "*" ? t("pair.everywhere") : t("pair.sessions", plainText(gives.sessions.join(", ")))),
        element("li", {}, t("pair.until", fullTime(Date.parse(gives.expires_at)))),
      ),
      gives.label === null && [element("label", { for: "pair-label" }, t("pair.label")), label],
      this.#host.hasToken && element("p", { class: "warning", data: { role: "pair-replaces" } }, t("pair.replaces")),
      element("div", { class: "buttons" }, button("leave-pairing", t("pair.leave"), () => this.#host.onLeave()), take),
    );
  }

  async #take(pressed, label) {
    fill(this.#failure);
    pressed.disabled = true;
    try {
      const body = label === "" ? {} : { label };
      const { token } = await this.#http.call("POST", "/api/pair", { token: this.#secret, body });
      this.#host.onPaired(token);
    } catch (error) {
      pressed.disabled = false;
      this.#fail(error);
    }
  }

  #fail(error) {
    const reason = error.details?.reason;
    const isOver = ENDS.includes(reason) || ["not_found", "unauthenticated"].includes(error.code);
    if (isOver) fill(this.#body, button("leave-pairing", t("pair.toPage"), () => this.#host.onLeave()));
    const text = isOver ? t(`pair.${reason ?? "absent"}`) : (causeOf(error) ?? t("pair.failed", plainText(error.message)));
    fill(this.#failure, text);
  }
}
