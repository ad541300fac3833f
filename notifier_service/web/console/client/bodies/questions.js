/** What a request asks a person: questions with options or fields to fill in, and what their answer is. */
import { parseExact } from "../exact.js";
const CODES = ["agent_question", "server_question"];
const NONE = { chosen: [], words: "" };
/** Whether a request asks a person something, and not whether a call may run. */
export function isQuestion({ reasons }) {
    return reasons?.some(({ code }) => CODES.includes(code)) === true;
}
/** The questions of a request; null where it asks whether a call may run, or they cannot be read. */
export function questionsOf({ parameters, parameters_truncated, reasons }) {
    if (parameters_truncated || !isQuestion({ reasons: reasons ?? [] }))
        return null;
    return ownQuestions(parameters) ?? form(parameters) ?? oneQuestion(parameters);
}
/** What a person's choices and words say, given question by question. */
export function answerTo({ way, fields }, parameters, given) {
    const values = fields.map((field, index) => valueOf(field, given[index] ?? NONE, way));
    const open = fields.flatMap(({ isNeeded }, index) => {
        const value = values[index];
        return value === null || (value === undefined && isNeeded) ? [index] : [];
    });
    if (open.length > 0)
        return { open };
    if (way === "response")
        return { response: String(values[0]) };
    const told = Object.fromEntries(fields.map(({ name }, index) => [name, values[index]]).filter(([, value]) => value !== undefined));
    return { parameters: { ...parameters, [way]: told } };
}
/** Undefined for no answer, null for one that it does not take. */
function valueOf(field, { chosen, words }, way) {
    const picked = chosen.flatMap((index) => field.options[index] ?? []);
    const written = words.trim();
    if (way !== "content") {
        const said = [...picked.map(({ label }) => label), ...(written === "" ? [] : [words.trim()])];
        return said.length === 0 ? undefined : said.join(", ");
    }
    if (field.isMultiple) {
        const isLeft = picked.length === 0 && !field.isNeeded;
        return isLeft ? undefined : picked.map(({ value }) => value);
    }
    if (field.options.length > 0)
        return picked[0]?.value;
    if (written === "")
        return undefined;
    return field.words === "text" ? words : typed(written, field.words);
}
function typed(text, words) {
    const shape = { integer: /^-?\d+$/, number: /^-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?$/ };
    if ((words === "integer" || words === "number") && !shape[words].test(text))
        return null;
    try {
        return parseExact(text);
    }
    catch {
        return null;
    }
}
/** `questions`, each with options, that an agent asks by a tool of its own. */
function ownQuestions({ questions }) {
    if (!Array.isArray(questions) || questions.length === 0 || !questions.every(isObject))
        return null;
    const texts = questions.map(({ question }) => question);
    if (!texts.every((text) => isText(text)) || new Set(texts).size < texts.length)
        return null;
    const fields = questions.map((question) => ({
        ...open(String(question["question"]), String(question["question"])),
        header: textOf(question["header"]),
        options: optionsOf(question["options"]),
        isMultiple: question["multiSelect"] === true,
    }));
    return { way: "answers", message: null, fields };
}
function optionsOf(given) {
    if (!Array.isArray(given))
        return [];
    return given.filter(isObject).flatMap((one) => {
        const label = textOf(one["label"]);
        return label === null ? [] : [option(label, label, textOf(one["description"]), textOf(one["preview"]))];
    });
}
/** One question, with choices or without. */
function oneQuestion({ question, choices }) {
    if (!isText(question))
        return null;
    const options = Array.isArray(choices) ? choices.filter(isText).map((choice) => option(choice, choice)) : [];
    return { way: "response", message: null, fields: [{ ...open("question", question), options }] };
}
/** The fields of a schema that an MCP server asks to have filled in. */
function form(parameters) {
    const schema = parameters["requested_schema"];
    if (!isObject(schema))
        return null;
    const properties = isObject(schema["properties"]) ? schema["properties"] : {};
    const needed = Array.isArray(schema["required"]) ? schema["required"] : [];
    const fields = Object.keys(properties).map((name) => fieldOf(name, properties[name], needed.includes(name)));
    return { way: "content", message: textOf(parameters["message"]), fields };
}
function fieldOf(name, given, isNeeded) {
    const schema = isObject(given) ? given : {};
    const title = textOf(schema["title"]);
    const field = {
        ...open(name, title ?? name),
        header: title === null ? null : name,
        description: textOf(schema["description"]),
        isNeeded,
    };
    const isMultiple = schema["type"] === "array" && isObject(schema["items"]);
    const options = choicesOf(isMultiple ? schema["items"] : schema);
    const byDefault = schema["default"];
    if (options.length > 0) {
        const chosen = (isMultiple && Array.isArray(byDefault) ? byDefault : [byDefault])
            .map((one) => options.findIndex(({ value }) => value === one))
            .filter((index) => index >= 0);
        return { ...field, options, isMultiple, words: null, given: { chosen, words: "" } };
    }
    const type = schema["type"];
    const words = type === "string" ? "text" : type === "number" || type === "integer" ? type : "json";
    const isShown = typeof byDefault === "string" ? words === "text" : typeof byDefault === "number" && words !== "text";
    return { ...field, words, given: { chosen: [], words: isShown ? String(byDefault) : "" } };
}
/** The values among which one is chosen, and what they are called. */
function choicesOf(schema) {
    if (schema["type"] === "boolean")
        return [option(true, "true"), option(false, "false")];
    const named = [schema["oneOf"], schema["anyOf"]].find((list) => Array.isArray(list) && list.length > 0 && list.every((one) => isObject(one) && "const" in one));
    if (named !== undefined) {
        return named.map((one) => option(one["const"], textOf(one["title"]) ?? shown(one["const"]), textOf(one["description"])));
    }
    const { enum: values, enumNames: names } = schema;
    if (!Array.isArray(values))
        return [];
    return values.map((value, index) => option(value, (Array.isArray(names) && textOf(names[index])) || shown(value)));
}
function option(value, label, description = null, preview = null) {
    return { value, label, description, preview };
}
/** A question that takes any words. */
function open(name, text) {
    const none = { header: null, description: null, options: [], isMultiple: false };
    return { name, text, ...none, words: "text", isNeeded: true, given: NONE };
}
function shown(value) {
    return typeof value === "string" && value !== "" ? value : JSON.stringify(value);
}
function textOf(given) {
    return isText(given) ? given : null;
}
function isText(given) {
    return typeof given === "string" && given !== "";
}
function isObject(given) {
    return given !== null && typeof given === "object" && !Array.isArray(given);
}
