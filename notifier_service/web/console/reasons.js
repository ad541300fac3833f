// Why something is asked and what the call does, in the person's language: the wire has codes with values.

import { chineseReasons } from "./chinese_reasons.js";
import { known, language, t } from "./language.js";

const LEVELS = new Set(["risk", "asked_from", "before", "allowed"]);

// The reasons of a record as texts, without what `deedsOf` and a command's parts say.
export function reasonsOf(record) {
  const reasons = record.reasons ?? (record.risk_reasons ?? []).map((text) => ({ text }));
  const said = [record.deeds && "deeds", record.command?.not_understood?.code];
  return reasons.filter(({ code }) => code === undefined || !said.includes(code)).map(inWords);
}

// Why a command may run more than its parts.
export function unknownInWords(why) {
  return inWords({ ...why, text: t("command.unknown", why.text) });
}

// A word as one types it; one that ends early is no word to type.
export function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  const onOneLine = word.replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  return word.endsWith("…") ? onOneLine : `'${onOneLine.replaceAll("'", `'"'"'`)}'`;
}

// What a call does, where, and whether it can be taken back; null where nothing is known of that.
export function deedsOf({ deeds }) {
  if (!deeds?.does?.length) return null;
  const words = [...deeds.does.map((deed) => known("deed", deed)), ...deeds.where.map((place) => known("place", place))];
  const named = [...(deeds.paths ?? []), ...(deeds.hosts ?? [])];
  return {
    text: [words, named]
      .filter((list) => list.length > 0)
      .map((list) => list.join(t("deeds.comma")))
      .join(t("deeds.colon")),
    isFinal: deeds.reversible === false,
    isReversible: deeds.reversible === true && String(deeds.does) !== "reads",
  };
}

// One reason. One that this page does not know is said as the service says it.
function inWords(reason) {
  const sentence = language() === "zh" && Object.hasOwn(chineseReasons, reason.code) && chineseReasons[reason.code];
  if (!sentence) return String(reason.text);
  const inner = reason.said_code && inWords({ ...reason, code: reason.said_code, said_code: undefined, text: reason.said });
  const values = inner ? { ...reason, said: inner } : reason;
  const said = sentence.replace(/\{(\w+)\}/g, (_, name) => valueOf(name, values[name] ?? "?"));
  return reason.why === undefined ? said : `${said}：${reason.why}`;
}

function valueOf(name, value) {
  if (LEVELS.has(name)) return known("level", value);
  if (name !== "deed") return String(value);
  return String(value)
    .split(" and ")
    .map((deed) => known("deed", deed))
    .join(t("deeds.comma"));
}
