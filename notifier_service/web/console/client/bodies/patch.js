/** Texts that are patches: every line of them says what it is. */
import { plain, withWords } from "./lines.js";
const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/;
/** What stands before the first hunk of a file. */
const HEADER = /^(?:diff |index |--- |\+\+\+ |(?:new|deleted) file mode |(?:old|new) mode |(?:rename|copy) (?:from|to) |(?:dis)?similarity index |Index: |={10,}$|$)/;
const STEP = /^\*\*\* (?:(?:Add|Update|Delete) File: |Move to: |End of File$)/;
/** The lines of a unified patch, or of one between `*** Begin Patch` and its end; null for any other text. */
export function patchLines(text) {
    const lines = text.split("\n");
    if (lines.at(-1) === "")
        lines.pop();
    const found = lines[0] === "*** Begin Patch" ? steps(lines) : unified(lines);
    return found && withWords(found);
}
/** Each hunk holds as many lines as it says: nothing behind it can pass for a part of it. */
function unified(lines) {
    const found = [];
    let [oldLeft, newLeft, oldNumber, newNumber] = [0, 0, 0, 0];
    let hasHunk = false;
    for (const line of lines) {
        const hunk = HUNK.exec(line);
        const sign = line[0] ?? " ";
        if (oldLeft > 0 || newLeft > 0) {
            if (!" +-\\".includes(sign))
                return null;
            if (sign === "\\")
                found.push(note(line));
            else {
                const [isOld, isNew] = [sign !== "+", sign !== "-"];
                found.push(change(line, isOld ? oldNumber++ : null, isNew ? newNumber++ : null));
                oldLeft -= Number(isOld);
                newLeft -= Number(isNew);
                if (oldLeft < 0 || newLeft < 0)
                    return null;
            }
        }
        else if (hunk !== null) {
            hasHunk = true;
            [oldNumber, newNumber] = [Number(hunk[1]), Number(hunk[3])];
            [oldLeft, newLeft] = [Number(hunk[2] ?? 1), Number(hunk[4] ?? 1)];
            found.push(note(line));
        }
        else if (HEADER.test(line) || (hasHunk && sign === "\\"))
            found.push(note(line));
        else
            return null;
    }
    return hasHunk && oldLeft === 0 && newLeft === 0 ? found : null;
}
function steps(lines) {
    if (lines.length < 3 || lines.at(-1) !== "*** End Patch")
        return null;
    const found = [];
    for (const [index, line] of lines.entries()) {
        const isEdge = index === 0 || index === lines.length - 1;
        if (isEdge || STEP.test(line) || line.startsWith("@@"))
            found.push(note(line));
        else if (line === "" || " +-".includes(line[0] ?? " "))
            found.push(change(line, null, null));
        else
            return null;
    }
    return found;
}
function note(line) {
    return { kind: "note", segments: plain(line), old: null, new: null };
}
function change(line, oldNumber, newNumber) {
    const kind = line.startsWith("+") ? "new" : line.startsWith("-") ? "gone" : "same";
    return { kind, segments: plain(line.slice(1)), old: oldNumber, new: newNumber };
}
