// The parameters of a request, for a person to change: a command as a command, a text as a text, the rest as JSON, or
// all of them as JSON. And what the change is.

import { Drawing } from "./body.js";
import { editChanges, editedOf, editingJson, editingOf, firstToEdit, isJsonEditing } from "./client/bodies/index.js";
import { button, element, fill } from "./element.js";
import { t } from "./language.js";
import { flagsOf, plainText } from "./readable.js";

const MOST_ROWS = 20;
// A text that is longer is looked at when the person pauses.
const LONG = 20_000;

export class Editor {
  // `shape` is the one they are shown in: what is shown exactly is edited exactly. `onCheck` hears whether there is a
  // change that can be sent.
  constructor(parameters, { id, shape, onCheck }) {
    this.#id = id;
    this.#parameters = parameters;
    this.#onCheck = onCheck;
    this.#problem = element("p", {
      class: "problem",
      id: `problem-${id}`,
      data: { role: "problem" },
      "aria-live": "polite",
    });
    this.#difference = element("div", {
      class: "changes",
      role: "group",
      tabindex: "0",
      "aria-label": t("edit.changes"),
      data: { role: "changes" },
    });
    this.#place = element("div", { class: "edited" });
    this.elements = [this.#place, this.#problem, element("h4", {}, t("edit.changes")), this.#difference];
    this.#show(editingOf(parameters, shape));
  }

  #id;
  #parameters;
  #onCheck;
  #problem;
  #difference;
  #place;
  #fields = [];
  #areas = [];
  #timer = 0;

  // Where a person begins to write.
  get field() {
    return this.#areas[firstToEdit(this.#editing)];
  }

  get areas() {
    return this.#areas;
  }

  // What is written, as it is, to be kept.
  get draft() {
    return JSON.stringify([isJsonEditing(this.#editing), this.#editing.texts]);
  }

  set draft(text) {
    const [isJson, texts] = JSON.parse(text);
    if (isJson && !isJsonEditing(this.#editing)) this.#show(editingJson(this.#editing, this.#parameters));
    for (const [index, area] of this.#areas.entries()) area.value = texts[index] ?? area.value;
  }

  get #editing() {
    return { fields: this.#fields, texts: this.#areas.map((area) => area.value) };
  }

  // The parameters as they are now; null while they are none, or the same as before. Shows which it is.
  read() {
    clearTimeout(this.#timer);
    const { parameters, isSame = true, problem } = editedOf(this.#editing, this.#parameters);
    this.#problem.textContent = problem === undefined ? "" : problemText(problem);
    fill(this.#difference);
    if (problem === undefined) {
      if (isSame) fill(this.#difference, element("p", {}, t("edit.same")));
      else this.#showChanges(parameters);
      const found = flagsOf(parameters);
      if (found.length > 0)
        this.#difference.append(element("p", { class: "warning" }, t("card.flags", found.join(", "))));
    }
    this.#onCheck(!isSame);
    return isSame ? null : parameters;
  }

  #show({ fields, texts }) {
    this.#fields = fields;
    const isJson = isJsonEditing({ fields, texts });
    this.#areas = fields.map(({ name }, index) =>
      isJson
        ? this.#area(texts[index], `parameters-${this.#id}`, { field: "parameters" })
        : this.#area(texts[index], `field-${index}-${this.#id}`, { name }),
    );
    if (isJson) fill(this.#place, element("label", { for: this.#areas[0].id }, t("edit.label")), this.#areas[0]);
    else fill(this.#place, this.#areas.map((area, index) => labelled(fields[index], area)), this.#turningToJson());
  }

  #turningToJson() {
    const turn = () => {
      this.#show(editingJson(this.#editing, this.#parameters));
      this.field.focus();
      this.read();
    };
    return button("edit-json", t("edit.asJson"), turn, { class: "quiet" });
  }

  #area(text, id, data) {
    const area = element("textarea", {
      class: "code",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      id,
      rows: String(Math.min(MOST_ROWS, text.split("\n").length)),
      data,
      "aria-describedby": `problem-${this.#id}`,
    });
    area.value = text;
    area.addEventListener("input", () => {
      this.#onCheck(false);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.read(), area.value.length > LONG ? 400 : 60);
    });
    return area;
  }

  #showChanges(parameters) {
    const drawing = new Drawing({ onChange: () => {} });
    drawing.draw({ parts: editChanges(this.#editing, parameters) });
    fill(this.#difference, drawing.element);
  }
}

function labelled({ name, isText }, area) {
  const label = element("label", { for: area.id }, plainText(name), !isText && element("span", {}, " JSON"));
  return element("div", { class: "edit-field" }, label, area);
}

function problemText({ name, line, message }) {
  const text = message === null ? t("edit.object") : line === null ? t("edit.noLine", message) : t("edit.problem", line, message);
  return name === null ? text : `${plainText(name)}: ${text}`;
}
