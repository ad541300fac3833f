/** What of a text a person would not see, or would take for something else. */

import { pieces } from "../text.js";

const PLAIN = /^[\n\t\x20-\x7e]*$/;
/** Letters that look like Latin ones, beside these in one word. */
const ALIKE = String.raw`\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Armenian}\p{Script=Cherokee}\p{Script=Coptic}`;
const MIXED = new RegExp(
  String.raw`[\p{L}\p{N}]*(?:\p{Script=Latin}[\p{N}]*[${ALIKE}]|[${ALIKE}][\p{N}]*\p{Script=Latin})[\p{L}\p{N}]*`,
  "gu",
);
const OF_THEM = new RegExp(`[${ALIKE}]`, "gu");

/** Characters that nobody sees, or that turn the direction of reading. Line feeds and tabs are seen. */
export function unseenIn(text: string): string[] {
  if (PLAIN.test(text)) return [];
  return pieces(text).flatMap(({ kind, text: escape }) => (kind === "escape" ? [named(codeOf(escape))] : []));
}

/** Letters that pose as Latin ones in what is a single word: a path, an address, a name. */
export function mixedIn(text: string): string[] {
  if (PLAIN.test(text) || /\s/.test(text)) return [];
  return [...text.matchAll(MIXED)].flatMap(([word]) => word.match(OF_THEM) ?? []).map(nameOf);
}

/** `U+202E` */
export function nameOf(character: string): string {
  return named(character.codePointAt(0) ?? 0);
}

function named(code: number): string {
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

function codeOf(escape: string): number {
  return Number.parseInt(escape.replace(/[^0-9a-f]/gi, ""), 16);
}
