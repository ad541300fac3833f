// The questions of a request, for a person to answer: options to choose from, words of one's own, fields of a form.

import { answerTo, questionsOf } from "./client/bodies/index.js";
import { draftOf, keepDraft } from "./drafts.js";
import { button, element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { count } from "./format.js";
import { t } from "./language.js";
import { flagsOf, plainText } from "./readable.js";

const ACTION = "answer";
// Options that are shown before a person asks for all of them.
const MOST_OPTIONS = 40;

// What is asked in `record`, as something to fill in; null where that is not how it is answered. `onSend` hears that a
// person wants to send what stands there.
export function questionsIn(record, { onSend }) {
  const questions = questionsOf(record);
  if (questions === null) return null;
  const way = questions.way === "response" ? "respond" : "edit";
  return record.allowed_decisions.includes(way) ? new QuestionForm(record, questions, onSend) : null;
}

class QuestionForm {
  constructor(record, questions, onSend) {
    this.#record = record;
    this.#questions = questions;
    const id = record.request_id;
    this.#fields = questions.fields.map((field, index) => new Field(field, `${id}-${index}`, () => this.#keep()));
    this.#draft(draftOf(id, ACTION));
    const found = flagsOf(record.parameters);
    this.element = element(
      "div",
      { class: "questions", data: { role: "questions" } },
      found.length > 0 && element("p", { class: "warning" }, t("card.flags", found.join(", "))),
      questions.message !== null && element("div", { class: "message" }, text(questions.message, 2000)),
      this.#fields.map((field) => field.element),
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.isComposing || event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      onSend();
    });
  }

  // Somebody has begun to answer.
  isTouched = false;

  #record;
  #questions;
  #fields;

  get way() {
    return this.#questions.way;
  }

  // What there is to choose from, or to fill in.
  get hasChoices() {
    return this.#questions.fields.some(({ options }) => options.length > 0);
  }

  // A reply of its own would say what an answer to the one question says.
  get takesReply() {
    return this.#fields.length === 1 && this.way !== "content";
  }

  // What to do with a client; null while something is not answered, which is said then.
  decide() {
    const answer = answerTo(
      this.#questions,
      this.#record.parameters,
      this.#fields.map((field) => field.given),
    );
    const open = answer.open ?? [];
    for (const [index, field] of this.#fields.entries()) field.tell(open.includes(index));
    if (open.length > 0) {
      this.#fields[open[0]].focus();
      return null;
    }
    if ("response" in answer) return (client) => client.respond(this.#record, answer.response);
    return (client) => client.edit(this.#record, answer.parameters);
  }

  // It is over: what was written stays to be read.
  end() {
    for (const field of this.#fields) field.end();
  }

  #keep() {
    this.isTouched = true;
    keepDraft(this.#record.request_id, ACTION, JSON.stringify(this.#fields.map((field) => field.given)));
  }

  #draft(kept) {
    if (kept === undefined) return;
    this.isTouched = true;
    for (const [index, given] of JSON.parse(kept).entries()) this.#fields[index]?.fill(given);
  }
}

// One question.
class Field {
  constructor(field, id, onChange) {
    this.#field = field;
    this.#id = id;
    this.#onChange = onChange;
    this.#problem = element("p", { class: "problem", id: `open-${id}`, role: "alert", data: { role: "open" } });
    const hasOptions = field.options.length > 0;
    const legend = [
      field.header !== null && element("span", { class: "chip" }, text(field.header, 60)),
      element("span", { class: "asked" }, text(field.text, 1000)),
      !field.isNeeded && element("span", { class: "optional" }, t("question.optional")),
    ];
    const described = field.description !== null && `description-${id}`;
    const description = described && element("div", { class: "dim", id: described }, text(field.description, 1000));
    const about = { "aria-describedby": [described, `open-${id}`].filter(Boolean).join(" "), data: { question: field.name } };
    if (field.words !== null) this.#words = this.#area(hasOptions);
    this.element = hasOptions
      ? element(
          "fieldset",
          { class: "question", ...about },
          element("legend", {}, legend, field.isMultiple && element("span", { class: "optional" }, t("question.several"))),
          description,
          this.#options(),
          this.#problem,
        )
      : element(
          "div",
          { class: "question", ...about },
          element("label", { for: this.#words.id, class: "legend" }, legend),
          description,
          this.#words,
          this.#problem,
        );
    this.fill(field.given);
  }

  #field;
  #id;
  #onChange;
  #problem;
  #words = null;
  #ownChoice = null; // chosen for words of one's own
  #choices = [];

  get given() {
    const isOwn = this.#ownChoice === null || this.#ownChoice.checked;
    return {
      chosen: this.#choices.flatMap((choice, index) => (choice?.checked ? [index] : [])),
      words: this.#words !== null && isOwn ? this.#words.value : "",
    };
  }

  fill({ chosen, words }) {
    for (const index of chosen) {
      if (this.#choices[index] === undefined) this.#showAll();
      if (this.#choices[index] !== undefined) this.#choices[index].checked = true;
    }
    if (this.#words === null || words === "") return;
    this.#words.value = words;
    if (this.#ownChoice !== null) this.#ownChoice.checked = true;
  }

  // Say whether it is still to be answered.
  tell(isOpen) {
    fill(this.#problem, isOpen && t(this.#isWritten ? `question.not.${this.#field.words}` : "question.open"));
    for (const input of this.#inputs) input.toggleAttribute("aria-invalid", isOpen);
    this.element.toggleAttribute("data-open", isOpen);
  }

  focus() {
    (this.#choices[0] ?? this.#words)?.focus();
    this.element.scrollIntoView({ block: "nearest" });
  }

  end() {
    if (this.#words === null || this.#words.value === "") return;
    this.#words.disabled = false;
    this.#words.readOnly = true;
  }

  #more = null;

  get #inputs() {
    return [...this.#choices, this.#ownChoice, this.#words].filter((input) => input);
  }

  get #isWritten() {
    return this.#field.words !== null && this.#field.words !== "text" && this.given.words.trim() !== "";
  }

  #changed() {
    this.tell(false);
    this.#onChange();
  }

  #options() {
    const { options } = this.#field;
    const place = element("div", { class: "options" });
    const draw = (from, to) =>
      options.slice(from, to).map((option, index) => {
        this.#choices[from + index] = this.#choice(from + index);
        return element(
          "label",
          { class: "option" },
          this.#choices[from + index],
          element(
            "span",
            {},
            element("span", { class: "name" }, text(this.#labelOf(option), 500)),
            option.description !== null && element("span", { class: "dim" }, text(option.description, 1000)),
            option.preview !== null && element("span", { class: "preview" }, text(option.preview, 1000)),
          ),
        );
      });
    const first = options.length > MOST_OPTIONS + 5 ? MOST_OPTIONS : options.length;
    fill(place, draw(0, first));
    if (first < options.length) {
      this.#more = button(
        "more-options",
        t("question.more", count(options.length - first)),
        () => this.#showAll(),
        { class: "more" },
      );
      this.#showRest = () => this.#more.replaceWith(...draw(first, options.length));
      place.append(this.#more);
    }
    if (this.#words !== null) place.append(this.#own());
    if (!this.#field.isNeeded && !this.#field.isMultiple) {
      place.append(element("label", { class: "option" }, this.#choice("none"), element("span", {}, t("question.none"))));
    }
    return place;
  }

  #showRest = () => {};

  #showAll() {
    this.#showRest();
    this.#showRest = () => {};
  }

  // What a schema calls true and false has words here.
  #labelOf({ value, label }) {
    return typeof value === "boolean" ? t(`question.${value}`) : label;
  }

  #choice(value) {
    return element("input", {
      type: this.#field.isMultiple ? "checkbox" : "radio",
      name: `question-${this.#id}`,
      value,
      on: { change: () => this.#changed() },
    });
  }

  #own() {
    this.#ownChoice = this.#choice("own");
    this.#ownChoice.setAttribute("aria-label", t("question.own"));
    this.#ownChoice.addEventListener("change", () => this.#ownChoice.checked && this.#words.focus());
    return element("div", { class: "option own" }, this.#ownChoice, this.#words);
  }

  #area(hasOptions) {
    const area = element("textarea", {
      id: `words-${this.#id}`,
      rows: hasOptions || this.#field.words !== "text" ? "1" : "2",
      autocomplete: "off",
      class: this.#field.words === "json" && "code",
      inputmode: { number: "decimal", integer: "numeric" }[this.#field.words],
      placeholder: hasOptions && t("question.own"),
      "aria-label": hasOptions && `${t("question.own")}: ${plainText(this.#field.text).slice(0, 200)}`,
      data: { field: "words" },
    });
    area.addEventListener("input", () => {
      if (this.#ownChoice !== null) this.#ownChoice.checked = area.value !== "";
      this.#changed();
    });
    return area;
  }
}

function text(given, headLength) {
  return exactText(given, { headLength }).element;
}
