/** Parameters are drawn in the shape that they have, with every character, or exactly. */

import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { bodyOf, type Body, type DiffPart, type Part, type Segment } from "../src/bodies/index.js";
import { keepsEveryNumber, parseExact } from "../src/exact.js";
import type { ReadCommand } from "../src/wire.js";

interface Vector {
  about: string;
  parameters: Record<string, unknown>;
  parameters_truncated?: true;
  command?: ReadCommand;
  shape: string;
  because: unknown;
  seen: string[];
  not_seen?: string[];
  kinds?: string[];
  lines?: [string, string][];
  marked?: [string, string][];
}

const FILE = new URL("../../../tests/bodies/vectors.json", import.meta.url);
const VECTORS = JSON.parse(readFileSync(FILE, "utf8")) as Vector[];

describe("the vectors that the terminal is held to, too", () => {
  test.each(VECTORS)("$about", (vector) => {
    const body = bodyOf(vector);

    expect(body.shape).toBe(vector.shape);
    expect(body.because).toEqual(vector.because);
    for (const text of vector.seen) expect(drawn(body)).toContain(text);
    for (const text of vector.not_seen ?? []) expect(drawn(body)).not.toContain(text);
    if (vector.kinds !== undefined) expect(body.parts.map(({ kind }) => kind)).toEqual(vector.kinds);
    if (vector.lines !== undefined)
      expect(diffs(body).flatMap(({ lines }) => lines.map((line) => [line.kind, textOf(line)]))).toEqual(vector.lines);
    if (vector.marked !== undefined) expect(marks(body)).toEqual(vector.marked);
  });

  test.each(VECTORS.filter(({ shape }) => shape !== "exact"))("every name and character: $about", (vector) => {
    const text = drawn(bodyOf(vector));

    for (const leaf of leaves(vector.parameters))
      for (const line of leaf.split("\n")) expect(text).toContain(escaped(line, text));
  });
});

test("an edit of which the two texts are far too long to compare is shown as both of them", () => {
  const [before, after] = ["a", "b"].map((mark) =>
    Array.from({ length: 5000 }, (_, index) => `${mark}${index}`).join("\n"),
  );
  const body = bodyOf({ parameters: { old_string: before, new_string: after } });

  const [part] = diffs(body);
  expect(
    part?.lines
      .filter(({ kind }) => kind !== "new")
      .map(textOf)
      .join("\n"),
  ).toBe(before);
  expect(
    part?.lines
      .filter(({ kind }) => kind !== "gone")
      .map(textOf)
      .join("\n"),
  ).toBe(after);
});

test.runIf(keepsEveryNumber)("numbers are shown as they were spelled", () => {
  const parameters = parseExact(
    '{"id": 9007199254740993, "ratio": 1.0, "rows": [{"a": 1e5}, {"a": 10000000000000000000000}]}',
  );

  const text = drawn(bodyOf({ parameters: parameters as Record<string, unknown> }));

  for (const number of ["9007199254740993", "1.0", "1e5", "10000000000000000000000"]) expect(text).toContain(number);
});

test("two megabytes of text, and a list of two hundred thousand, are read at once", () => {
  const parameters = { text: "x\n".repeat(1_000_000), list: Array.from({ length: 200_000 }, (_, index) => index) };

  expect(bodyOf({ parameters }).shape).toBe("fields");
});

function drawn(body: Body): string {
  return body.parts.map(textOfPart).join("\n");
}

function textOfPart(part: Part): string {
  const name = "name" in part ? `${part.name}\n` : "";
  switch (part.kind) {
    case "value":
    case "text":
      return name + textOf(part);
    case "list":
      return name + part.items.join("\n");
    case "file":
      return name + part.lines.join("\n");
    case "diff":
      return name + part.lines.map(textOf).join("\n");
    case "table":
      return name + [part.columns, ...part.rows].map((row) => row.join("\t")).join("\n");
    case "steps":
      return part.steps.map(({ words }) => words.join(" ")).join("\n");
    case "json":
      return name + part.text;
  }
}

function textOf({ segments }: { segments: readonly Segment[] }): string {
  return segments.map(({ text }) => text).join("");
}

function diffs(body: Body): DiffPart[] {
  return body.parts.filter((part) => part.kind === "diff");
}

function marks(body: Body): [string, string][] {
  const places = body.parts.flatMap((part): readonly { segments: readonly Segment[] }[] => {
    if (part.kind === "diff") return part.lines;
    return "segments" in part ? [part] : [];
  });
  const segments = places.flatMap((place) => place.segments);
  return segments.flatMap(({ mark, text }) => (mark === undefined ? [] : [[mark, text]]));
}

/** All names, and all values as text. */
function leaves(value: unknown): string[] {
  if (value === null || typeof value !== "object") return [String(value)];
  const names = Array.isArray(value) ? [] : Object.keys(value);
  return [...names, ...Object.values(value).flatMap(leaves)];
}

/** A line of a patch stands without its sign, a word of an argv in quotes, a text in JSON with escapes. */
function escaped(line: string, text: string): string {
  const ways = [line, line.slice(1), line.replaceAll("'", `'"'"'`), JSON.stringify(line).slice(1, -1)];
  return ways.find((way) => text.includes(way)) ?? line;
}
