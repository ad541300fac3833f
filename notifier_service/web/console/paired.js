// The devices that were paired: each has a token of its own, which is taken back here.

import { Http } from "./client/http.js";
import { button, element, fill } from "./element.js";
import { fullTime } from "./format.js";
import { t } from "./language.js";
import { PairDialog } from "./pair_dialog.js";
import { plainText } from "./readable.js";
import { causeOf } from "./refusal.js";

export class Paired {
  // `host`: {connection, onUnauthenticated()}.
  constructor(host) {
    this.#host = host;
    this.#http = new Http(host.connection);
    this.#list = element("div", {}, element("p", { class: "none" }, t("context.reading")));
    this.#failure = element("p", { class: "failure", role: "alert", data: { role: "paired-failure" } });
    this.element = element(
      "section",
      { id: "paired" },
      element("h2", {}, t("paired.title")),
      element("p", { class: "none" }, t("paired.why")),
      this.#failure,
      this.#list,
    );
    this.#read();
  }

  #host;
  #http;
  #list;
  #failure;

  async #read() {
    try {
      const { devices } = await this.#http.call("GET", "/api/devices");
      const isDevice = devices.some((device) => device.is_own);
      fill(
        this.#list,
        devices.length === 0
          ? element("p", { class: "none" }, t("paired.none"))
          : element("ul", { class: "rules" }, devices.map((device) => this.#item(device))),
        // What a device may not do it does not offer.
        !isDevice && button("pair", t("paired.pair"), () => this.#pair(), { class: "primary" }),
      );
    } catch (error) {
      fill(this.#list);
      this.#fail(error);
    }
  }

  #pair() {
    const { connection, onUnauthenticated } = this.#host;
    new PairDialog({ connection, onUnauthenticated, onPaired: () => this.#read() });
  }

  #item(device) {
    const fact = (text) => element("span", {}, text);
    const name = plainText(device.label);
    return element(
      "li",
      { data: { pairedId: device.id, ...(device.ended && { ended: device.ended }) } },
      element(
        "span",
        {},
        element("strong", {}, name),
        device.is_own && element("span", { class: "mark" }, t("paired.thisOne")),
        element(
          "span",
          { class: "facts" },
          device.ended && element("strong", {}, t(`paired.${device.ended}`)),
          fact(t(device.rights.includes("approve") ? "paired.decides" : "paired.looks", plainText(device.subject))),
          device.sessions.join() !== "*" && fact(t("rules.inSessions", plainText(device.sessions.join(", ")))),
          fact(device.last_used_at === null ? t("paired.unused") : t("paired.usedAt", fullTime(Date.parse(device.last_used_at)))),
          fact(t("paired.until", fullTime(Date.parse(device.expires_at)))),
        ),
      ),
      button("unpair", t("paired.remove"), (event) => this.#remove(event.currentTarget, device), {
        "aria-label": t("paired.removeOne", name),
      }),
    );
  }

  async #remove(pressed, { id, is_own: isOwn }) {
    fill(this.#failure);
    pressed.disabled = true;
    try {
      await this.#http.call("DELETE", `/api/devices/${encodeURIComponent(id)}`);
    } catch (error) {
      if (error.code !== "not_found") {
        pressed.disabled = false;
        this.#fail(error);
        return;
      }
    }
    if (isOwn) this.#host.onUnauthenticated();
    else await this.#read(); // it may be gone already
  }

  #fail(error) {
    if (error.code === "unauthenticated") return this.#host.onUnauthenticated();
    return fill(this.#failure, causeOf(error) ?? t("paired.failed", plainText(error.message)));
  }
}
