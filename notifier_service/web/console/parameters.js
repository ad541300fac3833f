// What would run: the parameters of a request exactly, and how much of them is not shown yet.

import { exactJson, keepsEveryNumber } from "./client/index.js";
import { button, element, fill } from "./element.js";
import { exactValue } from "./excerpt.js";
import { count } from "./format.js";
import { t } from "./language.js";
import { flagsOf, readableJson } from "./readable.js";

export class Parameters {
  // Where they stand, and where it is said that some are hidden.
  element = element("div", { class: "what" });
  hidden = element("p", { class: "warning", data: { role: "hidden" }, hidden: true });
  // What cannot be shown is not approved.
  isUnshowable = false;

  #parameters = null;
  #view = null;
  #isAscii = false;

  get isHidden() {
    return !this.hidden.hidden;
  }

  show(parameters) {
    this.#parameters = parameters;
    fill(this.element, this.#shown());
  }

  // In their place, as long as they are not here.
  say(...what) {
    fill(this.element, element("p", { class: "warning", role: "status" }, ...what));
  }

  // With an escape for every character that is not of ASCII; and back. False while there is nothing to turn.
  turnExact() {
    if (this.#view === null) return false;
    this.#isAscii = !this.#isAscii;
    const before = this.#view.element;
    this.#view = this.#exact();
    before.replaceWith(this.#view.element);
    this.#tellHidden();
    return true;
  }

  #exact() {
    return exactValue(this.#parameters, { isAscii: this.#isAscii, onChange: () => this.#tellHidden() });
  }

  #tellHidden() {
    const hidden = this.#view?.hidden ?? 0;
    this.hidden.hidden = hidden === 0;
    this.hidden.textContent = hidden === 0 ? "" : t("card.hidden", count(hidden));
  }

  #shown() {
    const parameters = this.#parameters;
    if (Object.keys(parameters).length === 0)
      return element("p", { class: "none", data: { role: "parameters" } }, t("card.noParameters"));
    let found = [];
    try {
      this.#view = this.#exact();
      found = flagsOf(parameters);
    } catch {
      // Deeper, or longer, than this browser can write.
      this.isUnshowable = true;
      return element("p", { class: "warning", data: { role: "parameters" } }, t("card.unshowable"));
    }
    this.#tellHidden();
    const isInexact = !keepsEveryNumber && /\d{16}/.test(readableJson(parameters));
    const copy = button(
      "copy",
      t("card.copy"),
      async () => {
        await navigator.clipboard.writeText(exactJson(parameters, 2));
        copy.textContent = t("card.copied");
      },
      { class: "quiet" },
    );
    return [
      isInexact && element("p", { class: "warning" }, t("card.inexact")),
      found.length > 0 &&
        element("p", { class: "warning", data: { role: "flags" } }, t("card.flags", found.join(", "))),
      element(
        "div",
        { class: "parameters" },
        element("h4", {}, t("card.parameters"), navigator.clipboard ? copy : null),
        element("div", { data: { role: "parameters" } }, this.#view.element),
      ),
    ];
  }
}
