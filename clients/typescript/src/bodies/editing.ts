/** Parameters as fields for a person to change: a text as a text, the rest as JSON, or all of them as JSON. */

import { exactMember, parseExact } from "../exact.js";
import type { DiffLine, DiffPart, Shape } from "./body.js";
import { readableJson } from "./json.js";
import { lineChanges } from "./lines.js";

export interface EditField {
  /** Which of the parameters it is; null for all of them. */
  readonly name: string | null;
  /** It is the text itself, and not JSON. */
  readonly isText: boolean;
  /** What stands in it at first. */
  readonly before: string;
}

/** The fields, and what is written in them. */
export interface Editing {
  readonly fields: readonly EditField[];
  readonly texts: readonly string[];
}

/** What is written, read; `isSame` where nothing is changed. */
export type Edited =
  | { readonly parameters: Record<string, unknown>; readonly isSame: boolean }
  | { readonly problem: EditProblem };

/** Why it cannot be read; `message` is the browser's, null where it is JSON, and no object. */
export interface EditProblem {
  readonly name: string | null;
  readonly line: number | null;
  readonly message: string | null;
}

type Parameters = Readonly<Record<string, unknown>>;

/** Lines that stay, about each that changes. */
const CONTEXT = 1;
const MAX_MESSAGE = 200;

/** A field for each of the parameters; one for all where there are none, or where they are shown exactly. */
export function editingOf(parameters: Parameters, shape: Shape): Editing {
  const names = Object.keys(parameters);
  if (shape === "exact" || names.length === 0) return allAsJson(parameters, readableJson(parameters));
  const fields = names.map((name) => fieldOf(parameters, name));
  return { fields, texts: fields.map(({ before }) => before) };
}

/** All of them in one field, with what is written by now as far as it can be read. */
export function editingJson(editing: Editing, parameters: Parameters): Editing {
  const edited = editedOf(editing, parameters);
  return allAsJson(parameters, readableJson("problem" in edited ? parameters : edited.parameters));
}

export function isJsonEditing({ fields }: Editing): boolean {
  return fields[0]?.name === null;
}

/** Where a person begins to write: the longest text is what somebody wants to change. */
export function firstToEdit({ fields, texts }: Editing): number {
  const lengths = texts.map((text, at) => (fields[at]?.isText ? text.split("\n").length * 1000 + text.length : 0));
  return Math.max(0, lengths.indexOf(Math.max(...lengths)));
}

/** The parameters as they are written. From the fields as text, so that no number is read and written anew. */
export function editedOf({ fields, texts }: Editing, parameters: Parameters): Edited {
  const members: string[] = [];
  for (const [at, { name, isText }] of fields.entries()) {
    const text = texts[at] ?? "";
    if (!isText) {
      const problem = problemIn(text, name);
      if (problem !== null) return { problem };
    }
    if (name !== null) members.push(`${JSON.stringify(name)}: ${isText ? JSON.stringify(text) : text}`);
  }
  const whole = isJsonEditing({ fields, texts }) ? texts[0] ?? "" : `{${members.join(",\n")}}`;
  const problem = problemIn(whole, null);
  if (problem !== null) return { problem };
  if (!whole.trimStart().startsWith("{")) return { problem: { name: null, line: null, message: null } };
  const edited = parseExact(whole) as Record<string, unknown>;
  return { parameters: edited, isSame: readableJson(edited) === readableJson(parameters) };
}

/** What is changed, field by field, with a line about each change; in JSON how it is spaced changes nothing. */
export function editChanges({ fields, texts }: Editing, edited: Parameters): DiffPart[] {
  return fields.flatMap(({ name, before }, at) => {
    const after = name === null ? readableJson(edited) : texts[at] ?? before;
    return after === before ? [] : [{ kind: "diff" as const, name: name ?? "", lines: near(lineChanges(before, after)) }];
  });
}

function allAsJson(parameters: Parameters, text: string): Editing {
  return { fields: [{ name: null, isText: false, before: readableJson(parameters) }], texts: [text] };
}

function fieldOf(parameters: Parameters, name: string): EditField {
  const value = parameters[name];
  if (typeof value === "string") return { name, isText: true, before: value };
  const isNested = value !== null && typeof value === "object" && !isRaw(value);
  return { name, isText: false, before: isNested ? readableJson(value) : exactMember(parameters, name) };
}

/** A number that JavaScript has no number for. */
function isRaw(value: object): boolean {
  return (JSON as unknown as { isRawJSON?(value: object): boolean }).isRawJSON?.(value) === true;
}

/** What a browser says of JSON that is none, with the line it is in; each browser says the place in its own way. */
function problemIn(text: string, name: string | null): EditProblem | null {
  try {
    parseExact(text);
    return null;
  } catch (error) {
    const { message } = error as Error;
    const line = /line (\d+)/.exec(message)?.[1];
    const position = /position (\d+)/.exec(message)?.[1];
    const end = /end of (JSON|data)/i.test(message) ? text.length : null;
    const at = position === undefined ? end : Number(position);
    const counted = at === null ? null : text.slice(0, at).split("\n").length;
    return { name, line: line === undefined ? counted : Number(line), message: message.slice(0, MAX_MESSAGE) };
  }
}

function near(lines: readonly DiffLine[]): DiffLine[] {
  const isNear = (at: number): boolean =>
    lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(({ kind }) => kind !== "same");
  return lines.filter((_, at) => isNear(at));
}
