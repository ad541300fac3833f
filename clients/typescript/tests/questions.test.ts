/** Questions are read of a request, and answered, as in the terminal. */

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { answerTo, questionsOf, type Given, type QuestionField } from "../src/bodies/index.js";
import type { SaidReason } from "../src/wire.js";

interface Vector {
  about: string;
  parameters: Record<string, unknown>;
  parameters_truncated?: true;
  reasons: SaidReason[];
  way: string | null;
  message?: string | null;
  fields?: unknown[];
  answers?: { given: Given[]; answer: Record<string, unknown> | number[] }[];
}

const FILE = new URL("../../../tests/bodies/questions.json", import.meta.url);
const VECTORS = JSON.parse(readFileSync(FILE, "utf8")) as Vector[];

test.each(VECTORS)("$about", (vector) => {
  const questions = questionsOf(vector);
  if (questions === null) {
    expect(vector.way).toBeNull();
    return;
  }

  expect(questions.way).toBe(vector.way);
  expect(questions.message).toBe(vector.message);
  expect(questions.fields.map(told)).toEqual(vector.fields);
  for (const { given, answer } of vector.answers ?? []) {
    const said = answerTo(questions, vector.parameters, given);
    if ("open" in said) expect(said.open).toEqual(answer);
    else expect({ approved: !("response" in said), ...said }).toEqual(answer);
  }
});

test("an answer is given under any name", () => {
  const named = questionsOf({ ...VECTORS[2]! })!;
  const sent = answerTo(named, {}, [{ chosen: [0], words: "" }]);

  expect(JSON.stringify(sent)).toBe('{"parameters":{"answers":{"__proto__":"toString"}}}');
});

function told({ isMultiple, isNeeded, ...rest }: QuestionField): unknown {
  return { ...rest, is_multiple: isMultiple, is_needed: isNeeded };
}
