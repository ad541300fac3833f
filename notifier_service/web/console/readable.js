// Text in which nothing is invisible: an escape stands for what cannot be seen or turns the direction of reading.

import { flags, pieces } from "./client/index.js";
import { element } from "./element.js";

// A name is set apart where its line is no longer than this.
const NAMED_LENGTH = 4096;
// No line begins further to the right than this.
const MOST_INDENT = 40;

// What a person would not see in the strings and names of a value, by name. Line breaks and tabs are seen.
export function flagsOf(value) {
  const found = new Set();
  const waiting = [value];
  while (waiting.length > 0) {
    const item = waiting.pop();
    if (typeof item === "string") look(item);
    else if (Array.isArray(item)) for (const one of item) waiting.push(one);
    else if (item !== null && typeof item === "object") {
      for (const [name, one] of Object.entries(item)) {
        look(name);
        waiting.push(one);
      }
    }
  }
  return [...found];

  function look(text) {
    if (isPlain(text)) return;
    for (const name of flags(text.replace(/[\n\t]/g, " "))) found.add(name);
  }
}

// Text for where there are no elements: in a title, a notification, what a screen reader says.
export function plainText(text) {
  if (isPlain(text)) return text;
  return pieces(text)
    .map((piece) => piece.text)
    .join("");
}

// An element with all of the text, in one line: for what a person agrees to by a click on it.
export function wholeText(text) {
  const line = element("span", { class: "exact" });
  showText(line, text.replace(/\s+/g, " "));
  return line;
}

const ESCAPE = /\\(?:u[0-9a-f]{4}|.)/gi;
const NAME = /^( *)("(?:[^"\\]|\\.)*")(?=: )/;

export function showJson(parent, text, isLineStart) {
  let startsLine = isLineStart;
  for (const each of text.split(/(?<=\n)/)) {
    // A row is a block of its own: with its line break too, a copy of it would have two.
    const line = startsLine ? each.replace(/\n$/, "") : each;
    const name = startsLine && line.length < NAMED_LENGTH ? NAME.exec(line) : null;
    const place = startsLine ? element("span", { class: "row" }) : parent;
    if (startsLine) {
      // What does not fit goes on below its own beginning.
      const indent = Math.min(MOST_INDENT, line.search(/[^ ]|$/)) + 2;
      place.style.paddingInlineStart = `${indent}ch`;
      place.style.textIndent = `-${indent}ch`;
      parent.append(place);
    }
    if (name !== null) {
      const shown = element("span", { class: "name" });
      showEscapes(shown, name[2]);
      place.append(name[1], shown);
    }
    showEscapes(place, name === null ? line : line.slice(name[0].length));
    startsLine = true;
  }
}

function showEscapes(parent, text) {
  let at = 0;
  for (const match of text.matchAll(ESCAPE)) {
    if (match[0] === "\\\\" || match[0] === '\\"') continue;
    if (match.index > at) parent.append(text.slice(at, match.index));
    at = match.index + match[0].length;
    parent.append(element("span", { class: classOf(match[0], text[at]) }, match[0]));
  }
  if (at < text.length) parent.append(text.slice(at));
}

// A line break goes on in a new line, as it would in the file; the break itself is the style's, and is not copied.
function classOf(escape, next) {
  if (escape === "\\n") return next === '"' ? "control" : "control newline";
  return escape === "\\t" ? "control" : "escape";
}

// Nothing but what everybody sees as it is: most texts, and the long ones above all.
function isPlain(text) {
  return !/[^\n\x20-\x7e]/.test(text);
}

export function showText(parent, text) {
  if (isPlain(text)) {
    parent.append(text);
    return;
  }
  for (const part of text.split(/([\n\t])/)) {
    if (part === "\n" || part === "\t") parent.append(part);
    else if (part !== "") {
      for (const piece of pieces(part)) {
        parent.append(
          piece.kind === "plain" ? piece.text : element("span", { class: "escape", title: piece.name }, piece.text),
        );
      }
    }
  }
}
