// What is asked when a link brings another token than the one that is kept: never taken without a word.

import { button, element } from "./element.js";
import { t } from "./language.js";
import { plainText } from "./readable.js";
import { claimsOf } from "./token.js";

const LONGEST_NAME = 80;

// `onUse` is called when a person wants the token of the link.
export function askWhichToken(kept, given, onUse) {
  document.getElementById("token-question")?.close();
  const dialog = element(
    "dialog",
    { id: "token-question", "aria-labelledby": "token-question-title" },
    element("h2", { id: "token-question-title" }, t("token.other")),
    element("p", {}, t("token.otherWhy", nameOf(given), nameOf(kept))),
    element(
      "div",
      { class: "buttons" },
      button("keep-token", t("token.keep"), () => dialog.close(), { class: "primary", autofocus: true }),
      button("take-token", t("token.take"), () => {
        dialog.close();
        onUse();
      }),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Whose it says it is: a signed token tells its subject to whoever has it. Others tell nothing.
function nameOf(token) {
  const { sub } = claimsOf(token);
  return typeof sub === "string" && sub !== "" ? plainText(sub.slice(0, LONGEST_NAME)) : t("token.unnamed");
}
