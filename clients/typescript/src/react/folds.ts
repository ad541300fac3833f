/** Of many lines, and of a long one, the middle is folded until somebody asks for all of it. */

import type { ListPart, Part, Segment, ValuePart } from "../bodies/index.js";

/** What of a body stands together. */
export type Block = ValuesBlock | Exclude<Part, ValuePart>;

/** Short values below each other, and those that the agent says of its call apart. */
export interface ValuesBlock {
  readonly kind: "values";
  readonly values: readonly (ValuePart | ListPart)[];
  readonly isAgents: boolean;
}

/** Which rows are shown: those before `head`, and those from `tail` on. */
export interface Fold {
  readonly head: number;
  readonly tail: number;
  /** How many characters are not. */
  readonly hidden: number;
}

const HEAD = { lines: 40, characters: 6_000 };
const TAIL = { lines: 20, characters: 2_500 };
/** Of a longer line its two ends are shown. */
const LONG_LINE = 2_200;
const LINE_END = 1_000;
/** Lists that are no longer stand among the values. */
const MOST_ITEMS = 8;
const MOST_ITEM = 80;

export function blocksOf(parts: readonly Part[]): Block[] {
  const blocks: Block[] = [];
  for (const part of parts) {
    if (part.kind !== "value" && !isShortList(part)) {
      blocks.push(part);
      continue;
    }
    const isAgents = part.kind === "value" && part.isAgents;
    const last = blocks.at(-1);
    if (last?.kind === "values" && last.isAgents === isAgents)
      blocks[blocks.length - 1] = { ...last, values: [...last.values, part] };
    else blocks.push({ kind: "values", values: [part], isAgents });
  }
  return blocks;
}

export function foldOf(block: Block): Fold {
  const lengths = lengthsOf(block);
  const head = taken(lengths, HEAD);
  const tail = lengths.length - taken(lengths.slice(head).reverse(), TAIL);
  if (tail - head < 3) return { head: lengths.length, tail: lengths.length, hidden: cutFrom(lengths) };
  const middle = lengths.slice(head, tail).reduce((sum, length) => sum + length + 1, 0);
  return { head, tail, hidden: middle + cutFrom([...lengths.slice(0, head), ...lengths.slice(tail)]) };
}

/** The two ends of a line of which the middle is folded; null for one that is shown as it is. */
export function endsOf(segments: readonly Segment[]): readonly [string, string] | null {
  if (lengthOf(segments) <= LONG_LINE) return null;
  const text = segments.map((segment) => segment.text).join("");
  return [text.slice(0, whole(text, LINE_END)), text.slice(whole(text, text.length - LINE_END))];
}

export function linesOf(segments: readonly Segment[]): Segment[][] {
  const lines: Segment[][] = [[]];
  for (const { text, ...marks } of segments) {
    for (const [index, piece] of text.split("\n").entries()) {
      if (index > 0) lines.push([]);
      lines.at(-1)?.push({ text: piece, ...marks });
    }
  }
  return lines;
}

function isShortList(part: Part): part is ListPart {
  return part.kind === "list" && part.items.length <= MOST_ITEMS && part.items.every((item) => item.length <= MOST_ITEM);
}

function lengthsOf(block: Block): number[] {
  switch (block.kind) {
    case "values":
      return block.values.map((value) =>
        value.kind === "list" ? value.items.join().length : lengthOf(value.segments),
      );
    case "text":
      return linesOf(block.segments).map(lengthOf);
    case "list":
      return block.items.map((item) => item.length);
    case "file":
      return block.lines.map((line) => line.length);
    case "diff":
      return block.lines.map(({ segments }) => lengthOf(segments));
    case "table":
      // No cell is a long line.
      return block.rows.map((row) => Math.min(LONG_LINE, row.join().length));
    case "json":
      return block.text.split("\n").map((line) => line.length);
    case "steps":
      return [];
  }
}

function taken(lengths: readonly number[], most: typeof HEAD): number {
  let rows = 0;
  let characters = 0;
  while (rows < lengths.length && rows < most.lines && characters < most.characters) {
    characters += Math.min(LONG_LINE, lengths[rows] ?? 0);
    rows += 1;
  }
  return rows;
}

function cutFrom(shown: readonly number[]): number {
  return shown.reduce((sum, length) => sum + (length > LONG_LINE ? length - 2 * LINE_END : 0), 0);
}

function lengthOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, { text }) => sum + text.length, 0);
}

/** The nearest place at or before `at` that cuts no character in two. */
function whole(text: string, at: number): number {
  return /[\udc00-\udfff]/.test(text.charAt(at)) ? at - 1 : at;
}
