// A link that gives a phone a token of its own, as a picture: it works once, and is taken back when the dialog closes.

import { Http } from "./client/http.js";
import { button, element, fill } from "./element.js";
import { t } from "./language.js";
import { plainText } from "./readable.js";
import { causeOf } from "./refusal.js";

const ASK_MS = 1500;
const MOST_LABEL = 64;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|.*\.localhost)$/;

export class PairDialog {
  // `host`: {connection, onPaired(), onUnauthenticated()}.
  constructor(host) {
    this.#host = host;
    this.#http = new Http(host.connection);
    this.#label = element("input", { id: "phone-label", maxlength: MOST_LABEL, autocomplete: "off", data: { field: "phone-label" } });
    this.#onlyLook = element("input", { id: "phone-looks", type: "checkbox", data: { field: "phone-looks" } });
    this.#body = element("div", { class: "pairing" });
    this.#failure = element("p", { class: "problem", role: "alert", data: { role: "pairing-failure" } });
    this.#close = button("close-pairing", t("pairing.cancel"), () => this.element.close());
    this.element = element(
      "dialog",
      { id: "pairing", "aria-labelledby": "pairing-title", on: { close: () => this.#end() } },
      element("h2", { id: "pairing-title" }, t("pairing.title")),
      this.#body,
      this.#failure,
      this.#close,
    );
    this.#askWhat();
    document.body.append(this.element);
    this.element.showModal();
  }

  #host;
  #http;
  #label;
  #onlyLook;
  #body;
  #failure;
  #close;
  #pairing = null; // the id of the link that waits
  #timer = 0;

  #askWhat() {
    const form = element(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            this.#make(make);
          },
        },
      },
      element("p", {}, t("pairing.why")),
      element("label", { for: "phone-label" }, t("pairing.label")),
      this.#label,
      element("label", { class: "check", for: "phone-looks" }, this.#onlyLook, element("span", {}, t("pairing.onlyLook"))),
    );
    const make = element("button", { type: "submit", class: "primary", data: { action: "make-pairing" } }, t("pairing.make"));
    form.append(make);
    fill(this.#body, form);
  }

  async #make(pressed) {
    fill(this.#failure);
    pressed.disabled = true;
    const label = this.#label.value.trim();
    try {
      const link = await this.#http.call("POST", "/api/pairings", {
        body: {
          page: location.origin + location.pathname,
          ...(label !== "" && { label }),
          ...(this.#onlyLook.checked && { rights: ["view"] }),
        },
      });
      if (!this.element.open) this.#withdraw(link.pairing_id);
      else this.#show(link);
    } catch (error) {
      pressed.disabled = false;
      this.#fail(error);
    }
  }

  #show({ url, svg, needs_token: needsToken, pairing_id: id, expires_in: seconds }) {
    const { protocol, hostname } = new URL(url);
    const warning = LOOPBACK.test(hostname) ? "loopback" : protocol === "http:" ? "http" : null;
    fill(
      this.#body,
      element("img", { src: `data:image/svg+xml,${encodeURIComponent(svg)}`, alt: t("pairing.picture"), data: { role: "pairing-picture" } }),
      element("p", { data: { role: "pairing-state" } }, needsToken ? t("pairing.open", Math.round(seconds / 60)) : t("pairing.noToken")),
      element("p", { class: "link", data: { role: "pairing-link" } }, url),
      warning !== null && element("p", { class: "warning", data: { role: "pairing-warning" } }, t(`pairing.${warning}`)),
    );
    if (!needsToken) return;
    this.#pairing = id;
    this.#askSoon();
  }

  #askSoon() {
    this.#timer = setTimeout(async () => {
      try {
        const { status } = await this.#http.call("GET", `/api/pairings/${encodeURIComponent(this.#pairing)}`);
        if (status !== "waiting") return this.#tell(status);
      } catch (error) {
        if (error.code !== "unreachable") return this.#fail(error);
      }
      return this.element.open && this.#askSoon();
    }, ASK_MS);
  }

  #tell(status) {
    this.#pairing = null;
    const isUsed = status === "used";
    fill(this.#body, element("p", { role: "status", data: { role: "pairing-state" } }, t(isUsed ? "pairing.used" : "pairing.over")));
    if (!isUsed) fill(this.#body, ...this.#body.childNodes, button("again", t("pairing.again"), () => this.#askWhat()));
    this.#close.textContent = t("pairing.done");
    if (isUsed) this.#host.onPaired();
  }

  #end() {
    clearTimeout(this.#timer);
    if (this.#pairing !== null) this.#withdraw(this.#pairing);
    this.element.remove();
  }

  // Nobody sees the picture any more: whoever has photographed it gets nothing.
  async #withdraw(id) {
    try {
      await this.#http.call("DELETE", `/api/pairings/${encodeURIComponent(id)}`);
    } catch {
      // It is too old in some minutes.
    }
  }

  #fail(error) {
    if (error.code === "unauthenticated") {
      this.element.close();
      this.#host.onUnauthenticated();
      return;
    }
    const text = error.code === "forbidden" ? "pairing.forbidden" : "pairing.failed";
    fill(this.#failure, causeOf(error) ?? t(text, plainText(error.message)));
  }
}
