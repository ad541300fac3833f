// For which calls a rule holds, in the person's language.

import { ruleInChinese } from "./chinese_rules.js";
import { language } from "./language.js";

const OF_A_RISK = /, at risk (?:low|(?:medium|high) or less)$/;

export function ruleInWords(words) {
  return language() === "zh" ? ruleInChinese(words) : words;
}

// What is rejected is rejected at every risk.
export function atEveryRisk(words) {
  return words.replace(OF_A_RISK, "");
}
