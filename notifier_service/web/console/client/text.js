/**
 * Text that may be hostile, made safe to look at: what cannot be seen, or changes the order of what is seen, is
 * shown as an escape. The page must still put it where no markup is read (`textContent`).
 */
// Emoji that are joined or coloured are no danger, and everybody sends them.
const EMOJI = String.raw `\p{Extended_Pictographic}(?:\ufe0f|\p{EMod})?(?:\u200d\p{Extended_Pictographic}(?:\ufe0f|\p{EMod})?)*`;
// Controls but tab and line feed, format and ignorable characters, separators but the space, private use, half pairs.
const UNSEEN = String.raw `(?![\t\n ])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{DI}]`;
const SPECIAL = new RegExp(`(${EMOJI})|(${UNSEEN})`, "gu");
const SPECIAL_IN_JSON = new RegExp(String.raw `(${EMOJI}|\\["\\/nt])|(${UNSEEN}|\\(?:u[0-9a-fA-F]{4}|[bfr]))`, "gu");
const NAMES = new Map([
    [0x00, "null character"],
    [0x07, "bell"],
    [0x08, "backspace"],
    [0x0c, "form feed"],
    [0x0d, "carriage return"],
    [0x1b, "terminal escape"],
    [0x7f, "delete"],
    [0xa0, "no-break space"],
    [0xad, "soft hyphen"],
    [0x61c, "Arabic letter mark"],
    [0x180e, "Mongolian vowel separator"],
    [0x200b, "zero-width space"],
    [0x200c, "zero-width non-joiner"],
    [0x200d, "zero-width joiner"],
    [0x200e, "left-to-right mark"],
    [0x200f, "right-to-left mark"],
    [0x2028, "line separator"],
    [0x2029, "paragraph separator"],
    [0x202a, "left-to-right embedding"],
    [0x202b, "right-to-left embedding"],
    [0x202c, "pop directional formatting"],
    [0x202d, "left-to-right override"],
    [0x202e, "right-to-left override"],
    [0x2060, "word joiner"],
    [0x2066, "left-to-right isolate"],
    [0x2067, "right-to-left isolate"],
    [0x2068, "first strong isolate"],
    [0x2069, "pop directional isolate"],
    [0x3164, "Hangul filler"],
    [0xfeff, "byte order mark"],
]);
const JSON_ESCAPES = new Map([["\\b", 0x08], ["\\f", 0x0c], ["\\r", 0x0d]]);
/** Split `text` into what can be shown as it is, and escapes such as `\u202e`. */
export function pieces(text) {
    return split(text, SPECIAL);
}
/** The same for JSON text, where a control character is an escape already. */
export function jsonPieces(text) {
    return split(text, SPECIAL_IN_JSON);
}
/** What `pieces` made into escapes, by name, without repetition. */
export function flags(found) {
    const list = typeof found === "string" ? pieces(found) : found;
    return [...new Set(list.flatMap((piece) => (piece.name === undefined ? [] : [piece.name])))];
}
function split(text, special) {
    const found = [];
    let shown = 0;
    for (const match of text.matchAll(special)) {
        const unseen = match[2];
        if (unseen === undefined)
            continue;
        if (match.index > shown)
            found.push({ text: text.slice(shown, match.index), kind: "plain" });
        const code = codeOf(unseen);
        const escape = unseen.startsWith("\\") ? unseen : escaped(code);
        found.push({ text: escape, kind: "escape", name: NAMES.get(code) ?? kindOf(code) });
        shown = match.index + unseen.length;
    }
    if (shown < text.length)
        found.push({ text: text.slice(shown), kind: "plain" });
    return found;
}
function codeOf(unseen) {
    if (unseen.startsWith("\\u"))
        return Number.parseInt(unseen.slice(2), 16);
    return JSON_ESCAPES.get(unseen) ?? unseen.codePointAt(0) ?? 0;
}
function escaped(code) {
    const hex = code.toString(16);
    return code > 0xffff ? `\\u{${hex}}` : `\\u${hex.padStart(4, "0")}`;
}
function kindOf(code) {
    const point = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        return `control character ${point}`;
    if (code >= 0xe0000 && code <= 0xe007f)
        return "tag characters";
    if (code >= 0xd800 && code <= 0xdfff)
        return "half of a character";
    return /\p{Z}/u.test(String.fromCodePoint(code)) ? `unusual space ${point}` : `invisible character ${point}`;
}
