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

/** More of them on one letter than any language has cover what stands around it. */
const PILE = /\p{M}{5,}/gu;

/** Characters that nobody sees, that cover others, or turn the direction of reading. Line feeds and tabs are seen. */
export function unseenIn(text: string): string[] {
  if (PLAIN.test(text)) return [];
  const found = pieces(text).flatMap(({ kind, text: escape }) => (kind === "escape" ? [named(codeOf(escape))] : []));
  for (const [pile] of text.matchAll(PILE)) for (const mark of pile) found.push(nameOf(mark));
  return found;
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
