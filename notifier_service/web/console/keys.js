// What the keys do, and the page that tells.

import { button, element, isTyping } from "./element.js";
import { t } from "./language.js";

const KEYS = [
  ["J", "next"],
  ["K", "previous"],
  ["A", "approve"],
  ["S", "session"],
  ["W", "always"],
  ["R", "reject"],
  ["E", "edit"],
  ["P", "respond"],
  ["X", "exact"],
  ["?", "help"],
  ["Esc", "close"],
];

// What decides: who may only look on has no use for it.
const DECIDING = new Set(["approve", "session", "always", "reject", "edit", "respond"]);

const ACTIONS = {
  a: "approve",
  s: "approve-session",
  w: "approve-always",
  r: "reject",
  e: "edit",
  p: "respond",
  x: "exact",
};

export function helpDialog() {
  const dialog = element(
    "dialog",
    { id: "help", "aria-labelledby": "help-title" },
    // Else the browser gives the focus to the button below, and a small window shows the end.
    element("h2", { id: "help-title", tabindex: "-1", autofocus: true }, t("help.title")),
    element(
      "dl",
      {},
      KEYS.map(([key, name]) =>
        element(
          "div",
          { class: DECIDING.has(name) && "decides" },
          element("dt", {}, element("kbd", {}, key)),
          element("dd", {}, t(`help.${name}`)),
        ),
      ),
    ),
    element("p", { class: "decides" }, t("help.note")),
    element("p", { class: "looks" }, t("desk.onlyLook")),
    button("close-help", t("help.done"), () => dialog.close()),
  );
  return dialog;
}

// `cards` gives the desk that is shown, or null.
export function listenToKeys(cards, dialog) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat || isTyping()) return;
    if (event.key === "?") {
      if (dialog.open) dialog.close();
      else dialog.showModal();
      event.preventDefault();
      return;
    }
    const shown = cards();
    if (shown === null || document.querySelector("dialog[open]") !== null) return;
    const key = event.key.toLowerCase();
    if (key === "j" || key === "k") shown.move(key === "j" ? 1 : -1);
    else if (Object.hasOwn(ACTIONS, key)) shown.press(ACTIONS[key]);
    else return;
    event.preventDefault();
  });
}
