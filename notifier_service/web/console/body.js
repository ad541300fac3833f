// A request's parameters as elements, in the shape that they have. All of their text becomes text nodes.

import { button, element } from "./element.js";
import { exactText, jsonText } from "./excerpt.js";
import { count } from "./format.js";
import { known, t } from "./language.js";
import { plainText, showText } from "./readable.js";
import { quoted, unknownInWords } from "./reasons.js";

// What is shown of many lines before a person asks for all of them.
const HEAD_LINES = 40;
const TAIL_LINES = 20;
const HEAD_LENGTH = 6000;
const TAIL_LENGTH = 2500;
// The middle of a longer line is folded by itself.
const LONG_LINE = 2248;
// Lists that are no longer stand among the values.
const MOST_ITEMS = 8;
const MOST_ITEM = 80;
const MOST_STEPS = 12;
// What is added to the page in one frame when all is shown.
const FRAME_LENGTH = 16_384;

// Where the parts of a body are drawn, how much of it is folded yet, and where each part of it ends.
export class Drawing {
  constructor({ onChange }) {
    this.element = element("div", { class: "drawn" });
    this.ends = [];
    this.#onChange = onChange;
  }

  #onChange;
  #folds = [];

  // How many characters are not shown yet.
  get hidden() {
    return this.#folds.reduce((sum, fold) => sum + fold.hidden, 0);
  }

  draw(body) {
    let values = [];
    const settle = () => {
      if (values.length > 0) this.element.append(this.#values(values));
      values = [];
    };
    for (const part of body.parts) {
      if ((part.kind === "value" && !part.isAgents) || isShortList(part)) values.push(part);
      else {
        settle();
        const block = this.#block(part);
        if (block !== null) this.element.append(block);
      }
    }
    settle();
  }

  #values(values) {
    const list = element("dl", { class: "fields" });
    const draw = ({ name, segments, items }) =>
      element(
        "div",
        {},
        element("dt", {}, labelOf(name)),
        items === undefined
          ? element("dd", { class: "exact" }, marked(segments))
          : items.map((text) => element("dd", { class: "exact item" }, marked([{ text }]))),
      );
    const length = ({ name, segments, items }) => name.length + (items?.join("\n").length ?? lengthOf(segments));
    return this.#folding(values, "fields", draw, length, { box: list, place: list });
  }

  #block(part) {
    const { name } = part;
    switch (part.kind) {
      case "value":
      case "text":
        return part.isAgents ? this.#said(part) : this.#titled(name, this.#lines(linesOf(part.segments), part.role));
      case "list":
        return this.#titled(
          name,
          this.#lines(
            part.items.map((text) => [{ text }]),
            "list",
          ),
        );
      case "file":
        return this.#titled(
          name,
          this.#lines(
            part.lines.map((text) => [{ text }]),
            "file",
            numbered(part.lines.length),
          ),
        );
      case "diff":
        return this.#titled(name, this.#diff(part.lines));
      case "table":
        return this.#titled(name, this.#table(part));
      case "steps":
        return stepsOf(part);
      case "json":
        return this.#titled(name, this.#json(part.text));
    }
    throw new TypeError(part.kind);
  }

  #titled(name, block) {
    return element("div", { class: "part" }, name !== "" && element("h5", {}, labelOf(name)), block);
  }

  // What the agent says among the parameters, apart from what is done.
  #said({ name, segments }) {
    return element(
      "div",
      { class: "part said", data: { role: "said" } },
      element("h5", {}, labelOf(name), " ", element("span", {}, t("card.agentsWord"))),
      this.#lines(linesOf(segments), "said"),
    );
  }

  #json(text) {
    const fold = jsonText(text, { onChange: this.#onChange });
    this.#folds.push(fold);
    return this.#ending(element("div", { class: "block as-json", data: { role: "json" } }, fold.element), fold.element);
  }

  #lines(lines, role, gutter = () => null) {
    return this.#folding(
      lines.map((segments, index) => ({ segments, index })),
      role,
      ({ segments, index }) => element("span", { class: "row" }, gutter(index), this.#line(segments)),
      ({ segments }) => lengthOf(segments),
    );
  }

  #diff(lines) {
    const width = Math.max(2, ...lines.map((line) => String(Math.max(line.old ?? 0, line.new ?? 0)).length));
    const hasNumbers = lines.some((line) => line.old !== null || line.new !== null);
    const tags = { same: "span", note: "span", gone: "del", new: "ins" };
    const signs = { gone: "−", new: "+" };
    const draw = ({ kind, segments, old, new: fresh }) =>
      element(
        tags[kind],
        { class: `row ${kind}` },
        hasNumbers && [number(old, width), number(fresh, width)],
        signs[kind] === undefined
          ? element("i", { class: "sign" })
          : element("i", { class: "sign", role: "img", "aria-label": t(`diff.${kind}`), data: { sign: signs[kind] } }),
        this.#line(segments),
      );
    return this.#folding(lines, "diff", draw, ({ segments }) => lengthOf(segments));
  }

  #line(segments) {
    if (lengthOf(segments) <= LONG_LINE) return element("span", { class: "code" }, marked(segments));
    // Of so long a line the ends are shown; its marks are not needed to find them.
    const fold = exactText(segments.map(({ text }) => text).join(""), { headLength: 1024, onChange: this.#onChange });
    this.#folds.push(fold);
    fold.element.classList.add("code");
    return fold.element;
  }

  #table({ columns, rows }) {
    const cell = (text) => element("td", {}, marked([{ text }]));
    const body = element("tbody");
    const draw = (row) => element("tr", {}, row.map(cell));
    const table = element(
      "table",
      {},
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          columns.map((name) => element("th", { scope: "col" }, labelOf(name))),
        ),
      ),
      body,
    );
    return this.#folding(rows, "table", draw, (row) => row.join("").length, { box: table, place: body });
  }

  // Rows, of which the middle is folded where they are many.
  #folding(rows, role, draw, length, { box, place } = {}) {
    const block = element("div", { class: `block as-${role}`, data: { role } });
    const inner = place ?? block;
    if (box !== undefined) block.append(box);
    const { head, tail } = edges(rows, length);
    const middle = rows.slice(head, tail);
    for (const row of rows.slice(0, head)) inner.append(draw(row));
    if (middle.length > 0) {
      const fold = { hidden: middle.reduce((sum, row) => sum + length(row) + 1, 0) };
      this.#folds.push(fold);
      const more = button(
        "show-all",
        t("exact.hidden", count(fold.hidden)),
        () => this.#open(fold, more, middle, draw, length, block),
        { class: "more" },
      );
      inner.append(
        place?.tagName === "TBODY"
          ? element("tr", {}, element("td", { colspan: "99" }, more))
          : place
            ? element("div", {}, more)
            : more,
      );
    }
    for (const row of rows.slice(tail)) inner.append(draw(row));
    return this.#ending(block, block);
  }

  // `scroller` is what scrolls by itself when all of the block is shown.
  #ending(block, scroller) {
    const end = element("span", { class: "end", "aria-hidden": "true" });
    this.ends.push(end);
    scroller.append(end);
    return block;
  }

  #open(fold, more, rows, draw, length, block) {
    block.classList.add("whole");
    block.tabIndex = 0;
    const place = more.closest("tr, dl > div") ?? more;
    const mark = document.createComment("");
    place.replaceWith(mark);
    let at = 0;
    const frame = () => {
      let size = 0;
      const made = document.createDocumentFragment();
      for (; at < rows.length && size < FRAME_LENGTH; at += 1) {
        made.append(draw(rows[at]));
        size += length(rows[at]) + 1;
      }
      mark.before(made);
      fold.hidden = at === rows.length ? 0 : Math.max(1, fold.hidden - size);
      if (at < rows.length && block.isConnected) requestAnimationFrame(frame);
      this.#onChange();
    };
    frame();
  }
}

// A list that needs no place of its own.
function isShortList({ kind, items }) {
  return kind === "list" && items.length <= MOST_ITEMS && items.every((text) => text.length <= MOST_ITEM);
}

// What a command runs, a part on each line, the risky ones marked. Of many the risky ones: the command itself is above.
function stepsOf({ steps: all, leftOut, notUnderstood }) {
  const isLong = all.length > MOST_STEPS && all.every(({ depth }) => depth === 0);
  const steps = isLong ? all.filter(({ isRisky }) => isRisky) : all;
  if (steps.length === 0 && leftOut === 0 && notUnderstood === null) return null;
  return element(
    "div",
    { class: "part steps", data: { role: "command" } },
    steps.length > 0 &&
      element("h5", { class: "ours" }, isLong ? t("card.runsMany", count(all.length + leftOut)) : t("card.runs")),
    element(
      "ul",
      {},
      steps.map(({ words: [program, ...others], depth, does, isRisky }) =>
        element(
          "li",
          { data: { depth, ...(isRisky && { risky: does }) } },
          depth > 0 && "→ ",
          element("b", {}, plainText(quoted(program))),
          plainText(others.map((word) => ` ${quoted(word)}`).join("")),
          isRisky && element("em", { data: { does: known("deed", does) } }),
        ),
      ),
    ),
    leftOut > 0 && element("p", { class: "warning" }, t("command.more", leftOut)),
    notUnderstood && element("p", { class: "warning" }, plainText(unknownInWords(notUnderstood))),
  );
}

// A name on one line: one that could be taken for something else is in quotes.
function labelOf(name) {
  return /^[\p{L}\p{N}_$@./[\]→, -]+$/u.test(name) ? name : plainText(JSON.stringify(name));
}

function marked(segments) {
  return segments.map(({ text, mark }) => {
    const place = element(mark === undefined ? "span" : "mark", { class: mark });
    showText(place, text);
    return place;
  });
}

function linesOf(segments) {
  const lines = [[]];
  for (const { text, mark } of segments) {
    for (const [index, piece] of text.split("\n").entries()) {
      if (index > 0) lines.push([]);
      lines.at(-1).push({ text: piece, mark });
    }
  }
  return lines;
}

function lengthOf(segments) {
  return segments.reduce((sum, { text }) => sum + text.length, 0);
}

function numbered(lines) {
  const width = String(lines).length;
  return (index) => number(index + 1, width);
}

// It is no text of the tool's: it is not copied, and not read out.
function number(value, width) {
  return element("i", {
    class: "number",
    "data-number": value ?? "",
    "aria-hidden": "true",
    data: { width: Math.min(7, width) },
  });
}

function edges(rows, length) {
  const end = (list, lines, most) => {
    let size = 0;
    let taken = 0;
    while (taken < list.length && taken < lines && size < most) {
      size += length(list[taken]);
      taken += 1;
    }
    return taken;
  };
  const head = end(rows, HEAD_LINES, HEAD_LENGTH);
  const tail = rows.length - end(rows.slice(head).toReversed().slice(0, TAIL_LINES), TAIL_LINES, TAIL_LENGTH);
  return tail - head < 3 ? { head: rows.length, tail: rows.length } : { head, tail };
}
