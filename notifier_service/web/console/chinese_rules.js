// For which calls a rule holds. The service says it in English, in a sentence of known parts; names in it are quoted as
// JSON, so that none is taken for a part.
import { chinese } from "./chinese.js";

const NAME = String.raw`"(?:[^"\\]|\\.)*"`;
const SENTENCE = new RegExp(
  `^(?:(?:allow|ask|deny) )?every call of (?<tool>${NAME})` +
    `(?:(?<same> with just these parameters)` +
    `| with one command that begins with (?<beginning>${NAME}) and has (?<options>no options|${NAME}(?: and ${NAME})*))?` +
    `(?: of server (?<server>${NAME}))?(?<defined> as it is defined now)?` +
    `, asked by (?:this program|(?<agent>${NAME})(?: as (?<asker>${NAME}))?)` +
    `(?:, at risk (?<risk>low|medium|high)(?: or less)?)?$`,
);

// What is no such sentence, a rule of a file or one that was cut, stays as it is.
export function ruleInChinese(words) {
  const parts = SENTENCE.exec(words)?.groups;
  if (!parts) return words;
  const options = (parts.options?.match(new RegExp(NAME, "g")) ?? []).join("、");
  return [
    `对 ${parts.tool} 的所有调用`,
    parts.same && "参数与此完全相同",
    parts.beginning && `只有一条命令，以 ${parts.beginning} 开头，${options ? `选项为 ${options}` : "没有选项"}`,
    parts.server && `服务器为 ${parts.server}`,
    parts.defined && "定义与现在相同",
    parts.agent ? `由 ${parts.agent}${parts.asker ? `（身份 ${parts.asker}）` : " "}提问` : "由此程序提问",
    parts.risk && `风险${parts.risk === "low" ? "为" : "不高于"}${chinese[`level.${parts.risk}`]}`,
  ]
    .filter(Boolean)
    .join("，");
}
