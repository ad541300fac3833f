// The parameters of a request, for a person to change: a command as a command, a text as a text, the rest as JSON, or
// all of them as JSON. And what the change is.

import { Drawing } from "./body.js";
import { lineChanges, readableJson } from "./client/bodies/index.js";
import { exactMember, parseExact } from "./client/exact.js";
import { button, element, fill } from "./element.js";
import { t } from "./language.js";
import { flagsOf, plainText } from "./readable.js";

const MAX_PROBLEM = 200;
const MOST_ROWS = 20;
// A text that is longer is looked at when the person pauses.
const LONG = 20_000;
// Lines that stay, about each that changes.
const CONTEXT = 1;

export class Editor {
  // `shape` is the one they are shown in: what is shown exactly is edited exactly. `onCheck` hears whether there is a
  // change that can be sent.
  constructor(parameters, { id, shape, onCheck }) {
    this.#id = id;
    this.#parameters = parameters;
    this.#before = readableJson(parameters);
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
    if (shape === "exact" || Object.keys(parameters).length === 0) this.#showJson(this.#before);
    else this.#showFields();
  }

  #id;
  #parameters;
  #before;
  #onCheck;
  #problem;
  #difference;
  #place;
  #fields = [];
  #timer = 0;

  // Where a person begins to write.
  get field() {
    return this.#fields[this.#first].area;
  }

  get areas() {
    return this.#fields.map(({ area }) => area);
  }

  // What is written, as it is, to be kept.
  get draft() {
    return JSON.stringify([this.#isJson, this.#fields.map(({ area }) => area.value)]);
  }

  set draft(text) {
    const [isJson, texts] = JSON.parse(text);
    if (isJson && !this.#isJson) this.#showJson(texts[0]);
    for (const [index, { area }] of this.#fields.entries()) area.value = texts[index] ?? area.value;
  }

  // The parameters as they are now; null while they are none, or the same as before. Shows which it is.
  read() {
    clearTimeout(this.#timer);
    const { value, problem } = this.#isJson ? readParameters(this.#fields[0].area.value) : this.#composed();
    this.#problem.textContent = problem ?? "";
    fill(this.#difference);
    let edited = null;
    if (problem === undefined) {
      const after = readableJson(value);
      edited = after === this.#before ? null : value;
      if (edited === null) fill(this.#difference, element("p", {}, t("edit.same")));
      else this.#showChanges(after);
      const found = flagsOf(value);
      if (found.length > 0)
        this.#difference.append(element("p", { class: "warning" }, t("card.flags", found.join(", "))));
    }
    this.#onCheck(edited !== null);
    return edited;
  }

  get #isJson() {
    return this.#fields[0]?.name === null;
  }

  // The longest text is what somebody wants to change.
  get #first() {
    const lengths = this.#fields.map(({ isText, area }) =>
      isText ? area.value.split("\n").length * 1000 + area.value.length : 0,
    );
    return Math.max(0, lengths.indexOf(Math.max(...lengths)));
  }

  #showFields() {
    this.#fields = Object.keys(this.#parameters).map((name, index) => {
      const value = this.#parameters[name];
      const isText = typeof value === "string";
      const text = isText
        ? value
        : value !== null && typeof value === "object" && !JSON.isRawJSON?.(value)
          ? readableJson(value)
          : exactMember(this.#parameters, name);
      return { name, isText, before: text, area: this.#area(text, `field-${index}-${this.#id}`, { name }) };
    });
    fill(
      this.#place,
      this.#fields.map(({ name, isText, area }) =>
        element(
          "div",
          { class: "edit-field" },
          element("label", { for: area.id }, plainText(name), !isText && element("span", {}, " JSON")),
          area,
        ),
      ),
      button(
        "edit-json",
        t("edit.asJson"),
        () => {
          const { value } = this.#composed();
          this.#showJson(value === undefined ? this.#before : readableJson(value));
          this.field.focus();
          this.read();
        },
        { class: "quiet" },
      ),
    );
  }

  #showJson(text) {
    const area = this.#area(text, `parameters-${this.#id}`, { field: "parameters" });
    this.#fields = [{ name: null, isText: false, before: this.#before, area }];
    fill(this.#place, element("label", { for: area.id }, t("edit.label")), area);
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

  // From the fields, as text, so that no number is read and written anew.
  #composed() {
    const members = [];
    for (const { name, isText, area } of this.#fields) {
      if (!isText) {
        try {
          parseExact(area.value);
        } catch (error) {
          return { problem: `${plainText(name)}: ${problemOf(error, area.value)}` };
        }
      }
      members.push(`${JSON.stringify(name)}: ${isText ? JSON.stringify(area.value) : area.value}`);
    }
    return readParameters(`{${members.join(",\n")}}`);
  }

  #showChanges(after) {
    const changed = this.#isJson
      ? [{ name: "", before: this.#before, after }]
      : this.#fields
          .map(({ name, before, area }) => ({ name, before, after: area.value }))
          .filter((one) => one.before !== one.after);
    const drawing = new Drawing({ onChange: () => {} });
    drawing.draw({
      parts: changed.map(({ name, before: old, after: fresh }) => ({
        kind: "diff",
        name,
        lines: nearChanges(lineChanges(old, fresh)),
      })),
    });
    fill(this.#difference, drawing.element);
  }
}

function nearChanges(lines) {
  const isNear = (at) => lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(({ kind }) => kind !== "same");
  return lines.filter((_, at) => isNear(at));
}

function readParameters(text) {
  let value;
  try {
    value = parseExact(text);
  } catch (error) {
    return { problem: problemOf(error, text) };
  }
  const isObject =
    value !== null && typeof value === "object" && !Array.isArray(value) && text.trimStart().startsWith("{");
  return isObject ? { value } : { problem: t("edit.object") };
}

// What a browser says of JSON that is none, with the line it is in; each browser says the place in its own way.
function problemOf(error, text) {
  const message = error.message.slice(0, MAX_PROBLEM);
  const line = /line (\d+)/.exec(error.message)?.[1];
  const position = /position (\d+)/.exec(error.message)?.[1];
  if (line !== undefined) return t("edit.problem", line, message);
  if (position !== undefined) return t("edit.problem", text.slice(0, Number(position)).split("\n").length, message);
  if (/end of (JSON|data)/i.test(error.message)) return t("edit.problem", text.split("\n").length, message);
  return t("edit.noLine", message);
}
