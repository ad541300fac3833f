/** Values as JSON that people read: every digit of a number, and an escape for what nobody sees. */
import { exactJson } from "../exact.js";
import { pieces } from "../text.js";
/** A deeper value is indented less, or its text would stand in the last column. */
const DEEP = 12;
/** It reads back to the same value. */
export function readableJson(value) {
    const text = exactJson(value, depthOf(value) > DEEP ? 1 : 2);
    if (/^[\n\x20-\x7e]*$/.test(text))
        return text;
    return pieces(text)
        .map((piece) => (piece.kind === "plain" ? piece.text : inJson(piece.text)))
        .join("");
}
/** The same text, with an escape for every character that is not of ASCII. */
export function inAscii(json) {
    return json.replace(/[^\n\x20-\x7e]/g, unitEscape);
}
function depthOf(value) {
    let depth = 0;
    let level = [value];
    while (level.length > 0 && depth <= DEEP) {
        level = level.flatMap((item) => (item !== null && typeof item === "object" ? Object.values(item) : []));
        depth += 1;
    }
    return depth;
}
function inJson(escape) {
    const code = /^\\u\{?([0-9a-f]+)\}?$/i.exec(escape)?.[1];
    if (code === undefined)
        return escape;
    return String.fromCodePoint(Number.parseInt(code, 16)).split("").map(unitEscape).join("");
}
function unitEscape(unit) {
    return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
