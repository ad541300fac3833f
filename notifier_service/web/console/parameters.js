// What would run: the parameters of a request in the shape that they have, or exactly, and how much is not shown yet.

import { Drawing } from "./body.js";
import { bodyOf, inAscii, readableJson } from "./client/bodies/index.js";
import { exactJson, keepsEveryNumber } from "./client/index.js";
import { button, element, fill } from "./element.js";
import { count } from "./format.js";
import { t } from "./language.js";
import { flagsOf } from "./readable.js";

const ALIKE = /[\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Coptic}]/u;

export class Parameters {
  // `onDrawn` hears when they are drawn anew, `onChange` when more of them is shown.
  constructor({ onDrawn = () => {}, onChange = () => {} } = {}) {
    this.#onDrawn = onDrawn;
    this.#onChange = onChange;
  }

  // Where they stand, and where it is said that some are hidden.
  element = element("div", { class: "what" });
  hidden = element("p", { class: "warning", data: { role: "hidden" }, hidden: true });
  // What cannot be shown is not approved.
  isUnshowable = false;

  #onDrawn;
  #onChange;
  #parameters = null;
  #body = null;
  #drawing = null;
  #place = null;
  #turn = null;
  #isExact = false;

  get isHidden() {
    return !this.hidden.hidden;
  }

  // Where each part of them ends.
  get ends() {
    return this.#drawing?.ends ?? [];
  }

  // The shape in which they may be edited.
  get shape() {
    return this.#body?.shape ?? "exact";
  }

  show(record) {
    this.#parameters = record.parameters;
    fill(this.element, this.#shown(record));
    this.#onDrawn();
  }

  // In their place, as long as they are not here.
  say(...what) {
    fill(this.element, element("p", { class: "warning", role: "status" }, ...what));
  }

  // As JSON with an escape for every character that is not of ASCII; and back. False while there is nothing to turn.
  turnExact() {
    if (this.#drawing === null) return false;
    this.#isExact = !this.#isExact;
    this.#turn.setAttribute("aria-pressed", String(this.#isExact));
    this.#draw();
    for (const more of this.#place.querySelectorAll('[data-action="show-all"]')) more.click();
    this.#onDrawn();
    return true;
  }

  #draw() {
    this.#drawing = new Drawing({ onChange: () => this.#tellHidden() });
    this.#drawing.draw(this.#isExact ? this.#exact() : this.#body);
    this.#place.dataset.shape = this.#isExact ? "exact" : this.#body.shape;
    fill(this.#place, this.#drawing.element);
    this.#tellHidden();
  }

  #exact() {
    const json = { kind: "json", name: "", text: inAscii(readableJson(this.#parameters)) };
    return { parts: [json, ...this.#body.parts.filter(({ kind }) => kind === "steps")] };
  }

  #tellHidden() {
    const hidden = this.#drawing?.hidden ?? 0;
    this.hidden.hidden = hidden === 0;
    this.hidden.textContent = hidden === 0 ? "" : t("card.hidden", count(hidden));
    this.#onChange();
  }

  #shown(record) {
    const parameters = this.#parameters;
    if (Object.keys(parameters).length === 0)
      return element("p", { class: "none", data: { role: "parameters" } }, t("card.noParameters"));
    this.#place = element("div", { data: { role: "parameters" } });
    let found = [];
    let isInexact = false;
    try {
      this.#body = bodyOf(record);
      this.#draw();
      found = [
        ...flagsOf(parameters),
        ...(this.#body.because?.characters ?? []).filter((name) => /(?!\p{DI})\p{M}/u.test(letterOf(name))),
      ];
      isInexact = !keepsEveryNumber && /\d{16}/.test(readableJson(parameters));
    } catch {
      // Deeper, or longer, than this browser can write.
      this.#drawing = null;
      this.isUnshowable = true;
      return element("p", { class: "warning", data: { role: "parameters" } }, t("card.unshowable"));
    }
    this.#turn = button("exact", t("card.exact"), () => this.turnExact(), {
      class: "quiet",
      "aria-pressed": "false",
      "aria-keyshortcuts": "X",
    });
    this.#turn.append(element("kbd", { "aria-hidden": "true" }, "X"));
    const copy = button(
      "copy",
      t("card.copy"),
      async () => {
        await navigator.clipboard.writeText(exactJson(parameters, 2));
        copy.textContent = t("card.copied");
      },
      { class: "quiet" },
    );
    const { because } = this.#body;
    const posing = (because?.characters ?? [])
      .map((name) => [letterOf(name), name])
      .filter(([letter]) => ALIKE.test(letter))
      .map(([letter, name]) => `${letter} (${name})`);
    return [
      isInexact && element("p", { class: "warning" }, t("card.inexact")),
      found.length > 0 &&
        element("p", { class: "warning", data: { role: "flags" } }, t("card.flags", found.join(", "))),
      posing.length > 0 &&
        element("p", { class: "warning", data: { role: "posing" } }, t("card.mixed", posing.join(", "))),
      because?.code === "cut" && element("p", { class: "warning" }, t("card.cut")),
      element(
        "div",
        { class: "parameters" },
        element(
          "div",
          { class: "title" },
          element("h4", {}, t("card.parameters")),
          element("span", { class: "choices" }, this.#turn, navigator.clipboard ? copy : null),
        ),
        this.#place,
      ),
    ];
  }
}

// `U+0430` as the letter that it names.
function letterOf(name) {
  return String.fromCodePoint(parseInt(name.slice(2), 16));
}
