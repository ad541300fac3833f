/** JSON that keeps what JavaScript numbers cannot hold. */
const json = JSON;
const INTEGER = /^-?\d+$/;
/** No integer that needs care is shorter. */
const LONG_INTEGER = /\d{16}/;
/** Whether this browser shows and sends integers beyond 2^53 as they are. */
export const keepsEveryInteger = json.rawJSON !== undefined && json.parse("1", (_key, _value, context) => context?.source === "1") === true;
/**
 * `JSON.parse` that loses no digit: an integer that a JavaScript number cannot hold becomes a `JSON.rawJSON` object,
 * which `JSON.stringify` writes as it was. Throws `SyntaxError` as `JSON.parse` does.
 */
export function parseExact(text) {
    const rawJSON = json.rawJSON;
    if (!keepsEveryInteger || rawJSON === undefined || !LONG_INTEGER.test(text))
        return JSON.parse(text);
    return json.parse(text, (_key, value, context) => {
        const source = context?.source;
        const isExact = typeof value !== "number" || source === undefined || !INTEGER.test(source) || String(value) === source;
        return isExact ? value : rawJSON.call(JSON, source);
    });
}
/** `value` as JSON, to be read by people: what `parseExact` kept is written as it was. */
export function exactJson(value, indent = 2) {
    return JSON.stringify(value, null, indent) ?? "null";
}
