// Every text of the page, in the language that the person or the browser chose.

import { chinese } from "./chinese.js";
import { english } from "./english.js";
import { keep, kept } from "./store.js";

const KEY = "notifier.language";
const TEXTS = { en: english, zh: chinese };

let current = null;

export function language() {
  if (current === null) {
    const chosen = kept(KEY);
    current =
      chosen !== null && Object.hasOwn(TEXTS, chosen)
        ? chosen
        : navigator.language.toLowerCase().startsWith("zh")
          ? "zh"
          : "en";
    document.documentElement.lang = current === "zh" ? "zh-CN" : "en";
  }
  return current;
}

export function otherLanguage() {
  keep(KEY, language() === "en" ? "zh" : "en");
}

// A text; {0}, {1} … in it are the values.
export function t(name, ...values) {
  return TEXTS[language()][name].replace(/\{(\d)\}/g, (_, index) => String(values[index]));
}

// A word of the wire that a text may know: "completed" as t("status.completed"), or as it came.
export function known(kind, word) {
  return Object.hasOwn(TEXTS[language()], `${kind}.${word}`) ? t(`${kind}.${word}`) : String(word);
}
