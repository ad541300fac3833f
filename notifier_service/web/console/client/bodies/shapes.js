/** Which shape parameters have: their names and the kinds of their values tell it, never the tool's name. */
import { exactMember } from "../exact.js";
import { inAscii, readableJson } from "./json.js";
import { lineChanges, plain } from "./lines.js";
import { patchLines } from "./patch.js";
import { mixedIn, nameOf, unseenIn } from "./unseen.js";
/** Old text and new one; each pair is looked for in this order. */
const PAIRS = [
    ["old_string", "new_string"],
    ["old_str", "new_str"],
    ["oldString", "newString"],
    ["old_text", "new_text"],
    ["oldText", "newText"],
    ["old_content", "new_content"],
    ["oldContent", "newContent"],
    ["old", "new"],
    ["before", "after"],
    ["search", "replace"],
    ["find", "replace"],
    ["original", "modified"],
    ["original", "replacement"],
    ["original", "updated"],
];
/** The same as what the service reads a command from. */
const COMMANDS = ["command", "cmd", "script", "argv"];
const URLS = ["url", "uri", "endpoint", "href"];
const URL = /^(?:https?|wss?):\/\//i;
const METHOD = /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT)$/i;
const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const RECIPIENTS = ["to", "recipient", "recipients", "to_email", "channel", "channel_id", "chat_id", "phone_number"];
const ADDRESSES = [...RECIPIENTS, "cc", "bcc", "reply_to", "from", "subject", "title"];
const MESSAGES = ["body", "text", "message", "content", "html", "html_body", "text_body", "markdown"];
const PATHS = [
    "file_path",
    "path",
    "filepath",
    "filePath",
    "file",
    "filename",
    "file_name",
    "target_file",
    "notebook_path",
];
const CONTENTS = [
    "content",
    "contents",
    "file_text",
    "insert_text",
    "new_str",
    "text",
    "new_source",
    "source",
    "code",
    "data",
    "body",
];
/** What agents say beside what is to be done. */
const WORDS = ["description", "explanation", "reason", "reasoning", "justification", "purpose", "rationale", "thought"];
/** What a part of a command does that is marked; most of them write. */
const RISKY = ["deletes", "sends", "spends"];
/** What may stand behind a command. */
const BEHIND = /[ \t]*(?:$|[;|&\n<>]|[12]>)/y;
const MOST_COLUMNS = 12;
const MOST_CELL = 200;
/** A text that is longer, or has lines, has a place of its own. */
const MOST_VALUE = 120;
/** How the parameters of a request are drawn: in an easy shape where that shows every character, else as exact JSON. */
export function bodyOf({ parameters, parameters_truncated, command }) {
    const because = parameters_truncated ? { code: "cut", characters: [] } : hiding(parameters);
    const told = stepsOf(command);
    if (because === null) {
        for (const read of SHAPES) {
            const found = read(parameters, told);
            if (found !== null)
                return { shape: found[0], because, parts: found[1] };
        }
    }
    return { shape: "exact", because, parts: [exactly(parameters, because), ...told] };
}
/** The first that fits is taken. */
const SHAPES = [
    diff,
    http,
    message,
    file,
    command,
    table,
    fields,
];
function diff(values, told) {
    for (const name of Object.keys(values)) {
        const given = values[name];
        const lines = typeof given === "string" && !isContent(values, name) ? patchLines(given) : applied(given);
        if (lines !== null)
            return ["diff", around(values, [name], told, [{ kind: "diff", name, lines }])];
        const edits = editsOf(given, name);
        if (edits !== null)
            return ["diff", around(values, [name], told, edits)];
    }
    const pair = pairOf(values);
    if (pair === null)
        return null;
    const lines = lineChanges(String(values[pair[0]]), String(values[pair[1]]));
    return ["diff", around(values, pair, told, [{ kind: "diff", name: pair.join(" → "), lines }])];
}
/** A patch that is written into a file changes nothing yet. */
function isContent(values, name) {
    return CONTENTS.includes(name) && pathOf(values).length > 0;
}
/** A patch that a program is given: `["apply_patch", "*** Begin Patch…"]`. */
function applied(given) {
    if (!isArgv(given) || given.length !== 2)
        return null;
    const [program = "", text = ""] = given;
    const lines = patchLines(text);
    return lines && [{ kind: "note", segments: plain(program), old: null, new: null }, ...lines];
}
function editsOf(value, name) {
    if (!Array.isArray(value) || value.length === 0)
        return null;
    const parts = [];
    for (const [index, edit] of value.entries()) {
        const pair = isObject(edit) ? pairOf(edit) : null;
        if (pair === null)
            return null;
        const at = `${name}[${index}]`;
        parts.push({
            kind: "diff",
            name: `${at}.${pair[0]} → ${pair[1]}`,
            lines: lineChanges(String(edit[pair[0]]), String(edit[pair[1]])),
        });
        for (const other of Object.keys(edit))
            if (!pair.includes(other))
                parts.push(part(edit, other, `${at}.${other}`));
    }
    return parts;
}
function pairOf(values) {
    return PAIRS.find((pair) => pair.every((name) => typeof values[name] === "string")) ?? null;
}
function http(values, told) {
    const url = URLS.find((name) => typeof values[name] === "string" && URL.test(String(values[name])));
    if (url === undefined || hasBreak(values[url]))
        return null;
    const { method, headers } = values;
    const hasMethod = typeof method === "string" && METHOD.test(method);
    if (!hasMethod && !isObject(headers))
        return null;
    const first = hasMethod ? ["method", url] : [url];
    return [
        "http",
        [
            ...first.map((name) => value(name, name === url ? withHost(String(values[url])) : plain(String(values[name])))),
            ...(isObject(headers) ? headersOf(headers) : []),
            ...rest(values, [...first, ...(isObject(headers) ? ["headers"] : [])], "body"),
            ...told,
        ],
    ];
}
function headersOf(headers) {
    const names = Object.keys(headers);
    const areFlat = names.every((name) => HEADER.test(name) && isShort(headers[name]));
    if (!areFlat || names.length === 0)
        return [part({ headers }, "headers")];
    return [{ kind: "list", name: "headers", items: names.map((name) => `${name}: ${shown(headers, name)}`) }];
}
/** Where a request goes, marked: what stands before an @ is no part of it. */
function withHost(url) {
    const found = /^([a-z]+:\/\/(?:[^/?#\\@]*@)?)([^/?#\\@:]+)(:\d+)?(?=[/?#]|$)/i.exec(url);
    if (found === null)
        return plain(url);
    const [, before = "", host = ""] = found;
    return [
        { text: before },
        { text: host, mark: "host" },
        { text: url.slice(before.length + host.length) },
    ].filter(({ text }) => text !== "");
}
function message(values, told) {
    const body = MESSAGES.find((name) => typeof values[name] === "string");
    const hasRecipient = RECIPIENTS.some((name) => isRecipient(values[name]));
    if (body === undefined || !hasRecipient)
        return null;
    const head = ADDRESSES.filter((name) => name in values && name !== body);
    return [
        "message",
        [
            ...head.map((name) => part(values, name)),
            ...rest(values, [...head, body]),
            { kind: "text", name: body, role: "body", segments: plain(String(values[body])), isAgents: false },
            ...told,
        ],
    ];
}
function isRecipient(value) {
    if (typeof value === "string")
        return value !== "" && !hasBreak(value);
    return Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === "string" && !hasBreak(one));
}
function file(values, told) {
    const path = PATHS.find((name) => typeof values[name] === "string" && values[name] !== "" && !hasBreak(values[name]));
    const content = CONTENTS.find((name) => typeof values[name] === "string" && name !== path);
    if (path === undefined || content === undefined || COMMANDS.some((name) => isCommand(values[name])))
        return null;
    const lines = String(values[content]).split("\n");
    return ["file", around(values, [content], told, [{ kind: "file", name: content, lines }], [path])];
}
/** More than one word: tools say `create` and `view` in a parameter of that name, too. */
function isCommand(value) {
    return Array.isArray(value) || (typeof value === "string" && !/^\w*$/.test(value));
}
function command(values, told) {
    const name = COMMANDS.find((one) => (typeof values[one] === "string" ? values[one] !== "" : isArgv(values[one])));
    // `view` beside a path is what an editor does.
    if (name === undefined || (!isCommand(values[name]) && pathOf(values).length > 0))
        return null;
    const given = values[name];
    const text = Array.isArray(given) ? given.map(quoted).join(" ") : String(given);
    const steps = told.flatMap((one) => (one.kind === "steps" ? one.steps : []));
    return [
        "command",
        [
            { kind: "text", name, role: "command", segments: withRisks(text, steps), isAgents: false },
            ...told,
            ...rest(values, [name], "text", true),
        ],
    ];
}
function isArgv(value) {
    return Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === "string");
}
/** A word as one types it in a shell. */
function quoted(word) {
    return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}
/** The command with its risky parts marked, where they stand in it word for word. */
function withRisks(text, steps) {
    const segments = [];
    let from = 0;
    for (const { words, depth, isRisky } of steps) {
        if (depth > 0 || !isRisky || words.some((word) => !/^[\w@%+=:,./-]+$/.test(word)))
            continue;
        const risky = words.join(" ");
        let at = text.indexOf(risky, from);
        while (at !== -1 && !isWhole(text, at, at + risky.length))
            at = text.indexOf(risky, at + 1);
        if (at === -1)
            continue;
        if (at > from)
            segments.push({ text: text.slice(from, at) });
        segments.push({ text: risky, mark: "risky" });
        from = at + risky.length;
    }
    return from < text.length ? [...segments, { text: text.slice(from) }] : segments;
}
/** Whether a command begins and ends there. */
function isWhole(text, begin, end) {
    let before = begin;
    while (before > 0 && " \t".includes(text[before - 1] ?? ""))
        before -= 1;
    BEHIND.lastIndex = end;
    return (before === 0 || ";|&\n".includes(text[before - 1] ?? "")) && BEHIND.test(text);
}
function table(values, told) {
    for (const name of Object.keys(values)) {
        const found = rowsOf(values[name]) ?? rowsUnder(values, name);
        if (found === null)
            continue;
        const { columns, rows, used } = found;
        const part = { kind: "table", name: [...used, name].join(", "), columns, rows };
        return ["table", around(values, [name, ...used], told, [part])];
    }
    return null;
}
/** At least two objects of the same names, with short values. */
function rowsOf(list) {
    if (!Array.isArray(list) || list.length < 2 || !list.every(isObject))
        return null;
    const columns = Object.keys(list[0] ?? {});
    const areAlike = list.every((row) => Object.keys(row).length === columns.length && columns.every((name) => name in row && isCell(row[name])));
    if (!areAlike || columns.length === 0 || columns.length > MOST_COLUMNS)
        return null;
    return { columns, rows: list.map((row) => columns.map((name) => shown(row, name))), used: [] };
}
/** Lists of values, and beside them a list of their columns' names. */
function rowsUnder(values, name) {
    const { columns } = values;
    const list = values[name];
    if (!Array.isArray(columns) || !columns.every((one) => typeof one === "string") || columns.length > MOST_COLUMNS)
        return null;
    if (name === "columns" || !Array.isArray(list) || list.length === 0)
        return null;
    const areRows = list.every((row) => Array.isArray(row) && row.length === columns.length && row.every(isCell));
    if (!areRows || columns.length === 0)
        return null;
    return { columns, rows: list.map((row) => row.map((_, index) => shown(row, index))), used: ["columns"] };
}
/** Something that stands on its own is there, and not only what is nested. */
function fields(values, told) {
    const names = Object.keys(values);
    const parts = rest(values, []);
    return names.length === 0 || parts.some(({ kind }) => kind !== "json") ? ["fields", [...parts, ...told]] : null;
}
/** What stands beside the main thing before it, paths first; what the agent says of it behind. */
function around(values, main, told, parts, first = pathOf(values)) {
    const others = rest(values, [...main, ...first], "text", true);
    const isSaid = (one) => "isAgents" in one && one.isAgents;
    return [
        ...first.filter((name) => !main.includes(name)).map((name) => part(values, name)),
        ...others.filter((one) => !isSaid(one)),
        ...parts,
        ...told,
        ...others.filter(isSaid),
    ];
}
function pathOf(values) {
    return PATHS.filter((name) => typeof values[name] === "string").slice(0, 1);
}
/** All that is not among these names, in its order; the agent's own words last. */
function rest(values, without, role = "text", hasWords = false) {
    const names = Object.keys(values).filter((name) => !without.includes(name));
    const isSaid = (name) => hasWords && WORDS.includes(name) && typeof values[name] === "string";
    return [
        ...names.filter((name) => !isSaid(name)).map((name) => part(values, name, name, role)),
        ...names.filter(isSaid).map((name) => ({ ...part(values, name), isAgents: true })),
    ];
}
function part(values, name, called = name, role = "text") {
    const given = values[name];
    if (typeof given === "string") {
        if (hasBreak(given) || given.length > MOST_VALUE)
            return { kind: "text", name: called, role, segments: plain(given), isAgents: false };
        const text = shown(values, name);
        return value(called, text === given && URL.test(text) ? withHost(text) : plain(text));
    }
    if (Array.isArray(given) && given.length > 0 && given.every(isCell))
        return { kind: "list", name: called, items: given.map((_, index) => shown(given, index)) };
    if (isScalar(given))
        return value(called, plain(shown(values, name)));
    return json(called, given);
}
function value(name, segments) {
    return { kind: "value", name, segments, isAgents: false };
}
function json(name, given) {
    return { kind: "json", name, text: readableJson(given) };
}
/** All of them, with an escape for what poses as something else, too. */
function exactly(parameters, because) {
    const text = readableJson(parameters);
    const posing = new Set(because?.characters);
    if (posing.size === 0)
        return { kind: "json", name: "", text };
    return {
        kind: "json",
        name: "",
        text: text.replace(/[^\n\x20-\x7e]/gu, (one) => (posing.has(nameOf(one)) ? inAscii(one) : one)),
    };
}
/** A short value as text: every digit of a number, and a text in quotes where it could be taken for something else. */
function shown(holder, name) {
    const given = holder[name];
    if (typeof given !== "string")
        return exactMember(holder, name);
    return /^$|^\s|\s$|^["[{]|^(?:true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(given)
        ? JSON.stringify(given)
        : given;
}
function isScalar(given) {
    return given === null || typeof given !== "object" || isNumber(given);
}
/** An integer that no JavaScript number holds is an object that knows how it was written. */
function isNumber(given) {
    return JSON.isRawJSON?.(given) === true;
}
function isShort(given) {
    return isScalar(given) && !hasBreak(given);
}
function isCell(given) {
    return isShort(given) && !(typeof given === "string" && given.length > MOST_CELL);
}
function isObject(given) {
    return given !== null && typeof given === "object" && !Array.isArray(given) && !isNumber(given);
}
function hasBreak(given) {
    return typeof given === "string" && /[\n\t]/.test(given);
}
/** What a command runs, where that is more than its text says. */
function stepsOf(command) {
    if (!command)
        return [];
    const steps = command.parts.map((words, index) => {
        const does = command.does?.[index] ?? null;
        return { words, depth: command.depths?.[index] ?? 0, does, isRisky: does !== null && RISKY.includes(does) };
    });
    const leftOut = command.left_out ?? 0;
    const notUnderstood = command.not_understood ?? null;
    const isMore = steps.length > 1 || leftOut > 0 || notUnderstood !== null || steps.some(({ isRisky }) => isRisky);
    return isMore ? [{ kind: "steps", steps, leftOut, notUnderstood }] : [];
}
/** Why an easy shape would hide something; null where none would. */
function hiding(parameters) {
    const unseen = [];
    const mixed = [];
    const waiting = [parameters];
    const look = (text) => {
        for (const character of unseenIn(text))
            unseen.push(character);
        for (const character of mixedIn(text))
            mixed.push(character);
    };
    while (waiting.length > 0) {
        const item = waiting.pop();
        if (typeof item === "string")
            look(item);
        else if (Array.isArray(item))
            for (const one of item)
                waiting.push(one);
        else if (isObject(item)) {
            for (const name of Object.keys(item)) {
                look(name);
                // A name stands on one line.
                for (const mark of name.match(/[\n\t]/g) ?? [])
                    unseen.push(mark === "\n" ? "U+000A" : "U+0009");
                waiting.push(item[name]);
            }
        }
    }
    for (const name of COMMANDS) {
        const given = parameters[name];
        if (typeof given === "string")
            for (const word of given.split(/\s+/))
                mixed.push(...mixedIn(word));
    }
    if (unseen.length > 0)
        return { code: "unseen", characters: inOrder([...unseen, ...mixed]) };
    return mixed.length > 0 ? { code: "mixed", characters: inOrder(mixed) } : null;
}
function inOrder(characters) {
    return [...new Set(characters)].sort((one, other) => Number.parseInt(one.slice(2), 16) - Number.parseInt(other.slice(2), 16));
}
