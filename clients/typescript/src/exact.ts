/** JSON that keeps what JavaScript numbers cannot hold, and numbers as they were spelled. */

interface ExactJson {
  /** Keeps a number as it was written; every browser since 2025. */
  rawJSON?(text: string): object;
  parse(text: string, reviver: Reviver): unknown;
}

type Reviver = (this: object, key: string, value: unknown, context?: { source?: string }) => unknown;

const json = JSON as unknown as ExactJson;

const INTEGER = /^-?\d+$/;
/** What no number is without that needs care: a long integer, an exponent, a zero at the end of a fraction, -0. */
const UNUSUAL = /\d{16}|\d[eE]|\.\d*0(?!\d)|-0/;

/** How the numbers of an object or array were spelled, where JavaScript would spell them another way. */
const spellings = new WeakMap<object, Map<string, string>>();

/** Whether this browser shows and sends every number as it is. */
export const keepsEveryNumber: boolean =
  json.rawJSON !== undefined && json.parse("1", (_key, _value, context) => context?.source === "1") === true;

/**
 * `JSON.parse` that loses no digit: an integer that a JavaScript number cannot hold becomes a `JSON.rawJSON` object;
 * other numbers are numbers, and `exactJson` writes them as they were spelled (`1.0`). Throws `SyntaxError` as
 * `JSON.parse` does.
 */
export function parseExact(text: string): unknown {
  if (!keepsEveryNumber || !UNUSUAL.test(text)) return JSON.parse(text);
  return json.parse(text, function (key, value, context) {
    const source = context?.source;
    if (typeof value !== "number" || source === undefined || String(value) === source) return value;
    if (INTEGER.test(source)) return raw(source);
    const spelled = spellings.get(this) ?? new Map<string, string>();
    spellings.set(this, spelled.set(key, source));
    return value;
  });
}

/** `value` as JSON, to be read by people or sent back: numbers that `parseExact` read are written as they were. */
export function exactJson(value: unknown, indent = 2): string {
  if (!keepsEveryNumber) return JSON.stringify(value, null, indent) ?? "null";
  const text = JSON.stringify(
    value,
    function (this: object, key: string, member: unknown) {
      const source = typeof member === "number" ? spellings.get(this)?.get(key) : undefined;
      return source !== undefined && Object.is(Number(source), member) ? raw(source) : member;
    },
    indent,
  );
  return text ?? "null";
}

/** What stands under a name, as JSON on one line. */
export function exactMember(holder: object, name: string | number): string {
  const value: unknown = (holder as Record<string | number, unknown>)[name];
  const source = typeof value === "number" ? spellings.get(holder)?.get(String(name)) : undefined;
  return source !== undefined && Object.is(Number(source), value) ? source : exactJson(value, 0);
}

function raw(source: string): unknown {
  return json.rawJSON?.(source);
}
