/** What changes between two texts, line by line and word by word. */

import type { DiffLine, Segment } from "./body.js";

/** Of the table of two texts: what takes more is shown as gone and new as a whole. */
const MOST_CELLS = 1_000_000;
const MOST_WORD_CELLS = 40_000;
/** Lines of which less is the same have nothing to do with each other. */
const ALIKE = 0.5;

const WORDS = /[\p{L}\p{N}_]+|[ \t]+|./gu;

export function lineChanges(before: string, after: string): DiffLine[] {
  const old = before.split("\n");
  const fresh = after.split("\n");
  const lines: DiffLine[] = [];
  let gone: string[] = [];
  let made: string[] = [];
  let oldNumber = 1;
  let newNumber = 1;
  const settle = (): void => {
    for (const line of gone) lines.push({ kind: "gone", segments: plain(line), old: oldNumber++, new: null });
    for (const line of made) lines.push({ kind: "new", segments: plain(line), old: null, new: newNumber++ });
    gone = [];
    made = [];
  };
  for (const [left, right] of compared(old, fresh, MOST_CELLS)) {
    if (left !== null && right !== null) {
      settle();
      lines.push({ kind: "same", segments: plain(left), old: oldNumber++, new: newNumber++ });
    } else if (left !== null) gone.push(left);
    else if (right !== null) made.push(right);
  }
  settle();
  return withWords(lines);
}

/** The same lines; where one stands for another, what differs in them is marked. */
export function withWords(lines: readonly DiffLine[]): DiffLine[] {
  const marked = [...lines];
  for (let begin = 0; begin < lines.length;) {
    const middle = endOf(lines, begin, "gone");
    const end = endOf(lines, middle, "new");
    for (let at = begin; at < middle && middle + at - begin < end; at += 1) {
      const other = middle + at - begin;
      const [gone, made] = [marked[at], marked[other]];
      const both = gone && made && wordChanges(textOf(gone), textOf(made));
      if (!both) continue;
      marked[at] = { ...gone, segments: both[0] };
      marked[other] = { ...made, segments: both[1] };
    }
    begin = Math.max(end, begin + 1);
  }
  return marked;
}

export function textOf({ segments }: { readonly segments: readonly Segment[] }): string {
  return segments.map(({ text }) => text).join("");
}

function endOf(lines: readonly DiffLine[], begin: number, kind: DiffLine["kind"]): number {
  let end = begin;
  while (lines[end]?.kind === kind) end += 1;
  return end;
}

export function plain(text: string): Segment[] {
  return [{ text }];
}

/** The two lines with marks on what differs; null where they are not alike. */
function wordChanges(before: string, after: string): [Segment[], Segment[]] | null {
  const old = before.match(WORDS) ?? [];
  const fresh = after.match(WORDS) ?? [];
  if (old.length * fresh.length > MOST_WORD_CELLS) return null;
  const pairs = compared(old, fresh, MOST_WORD_CELLS);
  const same = pairs.reduce(
    (sum, [left, right]) => sum + (left !== null && right !== null ? left.trim().length : 0),
    0,
  );
  if (same < ALIKE * Math.min(before.trim().length, after.trim().length)) return null;
  return [segments(pairs, 0, "gone"), segments(pairs, 1, "new")];
}

function segments(pairs: readonly Pair[], side: 0 | 1, mark: "gone" | "new"): Segment[] {
  const found: { text: string; mark?: "gone" | "new" }[] = [];
  for (const pair of pairs) {
    const text = pair[side];
    if (text === null) continue;
    const isMarked = pair[0] === null || pair[1] === null;
    const last = found.at(-1);
    if (last !== undefined && (last.mark !== undefined) === isMarked) last.text += text;
    else found.push(isMarked ? { text, mark } : { text });
  }
  return found;
}

type Pair = readonly [string | null, string | null];

/** What stays as pairs, what goes and what comes with a null, by the longest common subsequence. */
function compared(old: readonly string[], fresh: readonly string[], mostCells: number): Pair[] {
  let head = 0;
  while (head < old.length && head < fresh.length && old[head] === fresh[head]) head += 1;
  let tail = 0;
  while (tail < old.length - head && tail < fresh.length - head && old.at(-1 - tail) === fresh.at(-1 - tail)) tail += 1;
  const same = (text: string): Pair => [text, text];
  return [
    ...old.slice(0, head).map(same),
    ...between(old.slice(head, old.length - tail), fresh.slice(head, fresh.length - tail), mostCells),
    ...old.slice(old.length - tail).map(same),
  ];
}

function between(old: readonly string[], fresh: readonly string[], mostCells: number): Pair[] {
  if (old.length * fresh.length > mostCells)
    return [...old.map((text): Pair => [text, null]), ...fresh.map((text): Pair => [null, text])];
  const width = fresh.length + 1;
  // How long the common subsequence of what follows is.
  const lengths = new Uint32Array((old.length + 1) * width);
  const at = (row: number, column: number): number => lengths[row * width + column] ?? 0;
  for (let row = old.length - 1; row >= 0; row -= 1) {
    for (let column = fresh.length - 1; column >= 0; column -= 1) {
      lengths[row * width + column] =
        old[row] === fresh[column] ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const pairs: Pair[] = [];
  let row = 0;
  let column = 0;
  while (row < old.length || column < fresh.length) {
    const left = old[row];
    const right = fresh[column];
    if (left !== undefined && left === right) {
      pairs.push([left, left]);
      row += 1;
      column += 1;
    } else if (left !== undefined && (right === undefined || at(row + 1, column) >= at(row, column + 1))) {
      pairs.push([left, null]);
      row += 1;
    } else if (right !== undefined) {
      pairs.push([null, right]);
      column += 1;
    }
  }
  return pairs;
}
