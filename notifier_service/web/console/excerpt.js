// A value or a text exactly, of which the middle is shown when a person asks for it, and how much that is.

import { inAscii, readableJson } from "./client/bodies/index.js";
import { exactJson } from "./client/index.js";
import { button, element } from "./element.js";
import { count } from "./format.js";
import { t } from "./language.js";
import { showJson, showText } from "./readable.js";

// What is shown before a person asks for all of it: the ends of a long line, and the ends of many lines.
const LINE_END = 1024;
const HEAD_LINES = 40;
const TAIL_LINES = 20;
const HEAD_LENGTH = 6000;
const TAIL_LENGTH = 2500;
// What is added to the page in one frame when all is shown.
const FRAME_LENGTH = 16_384;
// JSON of which one line is made from its beginning alone.
const LARGE = 20_000;

// An element with the value, and how much of it is not shown yet. `onChange` hears when that changes.
// `isAscii` makes an escape of every character that only looks like one of ASCII, and of all others that are none.
export function exactValue(value, { onChange = () => {}, isAscii = false } = {}) {
  const text = readableJson(value);
  return jsonText(isAscii ? inAscii(text) : text, { onChange });
}

// The same for JSON that is text already.
export function jsonText(text, { onChange = () => {} } = {}) {
  return excerpt(text, { show: showJson, onChange });
}

// The same for text that is no JSON: what an agent or a person wrote.
export function exactText(text, { headLength = 1200, onChange = () => {} } = {}) {
  return excerpt(text, {
    show: showText,
    onChange,
    limits: { lineEnd: headLength, headLines: 24, tailLines: 8, headLength, tailLength: 1024 },
  });
}

// One line of a value for a list, where the whole of it is a click away. `size` is how long its JSON is, if that is known.
export function brief(value, length = 160, size = 0) {
  let text;
  try {
    text =
      typeof value === "string" ? value.slice(0, 4 * length) : exactJson(size > LARGE ? beginningOf(value) : value, 0);
  } catch {
    return "…";
  }
  const line = element("span", { class: "exact" });
  const beginning = text.length > length ? `${text.slice(0, surrogateSafe(text, length))}…` : text;
  showText(line, beginning.replace(/\s+/g, " "));
  return line;
}

// Enough of a large value for one line of it.
function beginningOf(value, depth = 0) {
  if (typeof value === "string") return value.slice(0, 400);
  if (value === null || typeof value !== "object" || JSON.isRawJSON?.(value)) return value;
  if (depth > 20) return "…";
  if (Array.isArray(value)) return value.slice(0, 50).map((item) => beginningOf(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, 50)
      .map(([name, item]) => [name, beginningOf(item, depth + 1)]),
  );
}

function excerpt(text, { show, onChange, limits = {} }) {
  const parts = partsOf(text, {
    lineEnd: LINE_END,
    headLines: HEAD_LINES,
    tailLines: TAIL_LINES,
    headLength: HEAD_LENGTH,
    tailLength: TAIL_LENGTH,
    ...limits,
  });
  const box = element("div", { class: "exact" });
  const view = { element: box, hidden: 0 };
  for (const { from, to, hidden } of parts) {
    if (!hidden) {
      const place = element("span");
      show(place, text.slice(from, to), from === 0 || text[from - 1] === "\n");
      box.append(place);
      continue;
    }
    view.hidden += to - from;
    const more = button(
      "show-all",
      t("exact.hidden", count(to - from)),
      () => {
        box.classList.add("whole");
        box.tabIndex = 0;
        const place = element("span");
        more.replaceWith(place);
        let at = from;
        const frame = () => {
          const end = Math.min(to, at + FRAME_LENGTH);
          const stop = end === to ? to : cut(text, end);
          // A block that is out of sight costs nothing; a longer one would be laid out anew with each that follows.
          const block = element("span", { class: "block" });
          show(block, text.slice(at, stop), text[at - 1] === "\n");
          place.append(block);
          view.hidden -= stop - at;
          at = stop;
          if (at < to && box.isConnected) requestAnimationFrame(frame);
          onChange();
        };
        frame();
      },
      { class: "more" },
    );
    box.append(more);
  }
  return view;
}

// The text in parts that follow each other, of which some are hidden: the middles of long lines, the middle of many.
function partsOf(text, { lineEnd, headLines, tailLines, headLength, tailLength }) {
  const parts = [];
  let at = 0;
  while (at < text.length) {
    const newline = text.indexOf("\n", at);
    const end = newline === -1 ? text.length : newline + 1;
    if (end - at > 2 * lineEnd + 200) {
      const from = cut(text, at + lineEnd);
      const to = cut(text, end - lineEnd);
      parts.push({ from: at, to: from }, { from, to, hidden: true }, { from: to, to: end });
    } else {
      parts.push({ from: at, to: end });
    }
    at = end;
  }
  const head = endOf(parts, headLines, headLength);
  const tail = parts.length - endOf(parts.toReversed(), tailLines, tailLength);
  if (tail - head < 2) return parts;
  return [
    ...parts.slice(0, head),
    { from: parts[head].from, to: parts[tail - 1].to, hidden: true },
    ...parts.slice(tail),
  ];
}

// How many parts, from the first on, make so many lines or characters; a line is never torn from its own end.
function endOf(parts, lines, length) {
  let number = 0;
  let seen = 0;
  for (const part of parts) {
    if (lines <= 0 || seen >= length) break;
    number += 1;
    if (part.hidden) continue;
    seen += part.to - part.from;
    lines -= 1;
  }
  return number;
}

// The nearest place before `at` that tears no escape and no character in two.
function cut(text, at) {
  const start = Math.max(0, at - 12);
  const escape = text.slice(start, at).search(/\\+(u[0-9a-f]{0,3})?$/i);
  return surrogateSafe(text, escape > 0 ? start + escape : at);
}

function surrogateSafe(text, at) {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at;
}
