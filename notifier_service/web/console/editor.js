// The parameters of a request as JSON that a person may change, and what the change is.

import { parseExact } from "./client/index.js";
import { changes } from "./changes.js";
import { element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { t } from "./language.js";
import { flagsOf, readableJson } from "./readable.js";

const MAX_PROBLEM = 200;
const MOST_ROWS = 20;
// A text that is longer is looked at when the person pauses.
const LONG = 20_000;

export class Editor {
  // `onCheck` hears whether there is a change that can be sent.
  constructor(parameters, { id, onCheck }) {
    this.#before = readableJson(parameters);
    this.#onCheck = onCheck;
    this.field = element("textarea", {
      class: "code",
      spellcheck: "false",
      autocapitalize: "off",
      autocomplete: "off",
      id: `parameters-${id}`,
      rows: String(Math.min(MOST_ROWS, this.#before.split("\n").length + 1)),
      data: { field: "parameters" },
      "aria-describedby": `problem-${id}`,
    });
    this.field.value = this.#before;
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
    this.elements = [
      element("label", { for: this.field.id }, t("edit.label")),
      this.field,
      this.#problem,
      element("h4", {}, t("edit.changes")),
      this.#difference,
    ];
    this.field.addEventListener("input", () => {
      onCheck(false);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.read(), this.field.value.length > LONG ? 400 : 60);
    });
  }

  #before;
  #onCheck;
  #problem;
  #difference;
  #timer = 0;

  // The parameters as they are now; null while they are none, or the same as before. Shows which it is.
  read() {
    clearTimeout(this.#timer);
    const { value, problem } = readParameters(this.field.value);
    this.#problem.textContent = problem ?? "";
    fill(this.#difference);
    let edited = null;
    if (problem === undefined) {
      const after = readableJson(value);
      edited = after === this.#before ? null : value;
      this.#showChanges(edited === null ? [] : changes(this.#before, after));
      const found = flagsOf(value);
      if (found.length > 0)
        this.#difference.append(element("p", { class: "warning" }, t("card.flags", found.join(", "))));
    }
    this.#onCheck(edited !== null);
    return edited;
  }

  #showChanges(lines) {
    const marks = { same: "  ", gone: "− ", new: "+ " };
    const tags = { same: "span", gone: "del", new: "ins" };
    if (lines === null) fill(this.#difference, element("p", {}, t("edit.long")));
    else if (lines.length === 0) fill(this.#difference, element("p", {}, t("edit.same")));
    else {
      fill(
        this.#difference,
        lines.map(({ kind, text }) =>
          element(tags[kind], { class: `change ${kind}` }, marks[kind], exactText(text, { headLength: 2000 }).element),
        ),
      );
    }
  }
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
