// The form that asks for a token.

import { element } from "./element.js";
import { t } from "./language.js";

// `onToken` gets what a person typed, and whether it is kept on this device; `wasRefused` says that there was one, and it did not do.
export function tokenForm({ wasRefused, onToken }) {
  const field = element("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    required: true,
    data: { field: "token" },
  });
  const keeping = element("input", { id: "keep-token", type: "checkbox", data: { field: "keep-token" } });
  return element(
    "main",
    { class: "alone" },
    element(
      "form",
      {
        id: "token-form",
        on: {
          submit: (event) => {
            event.preventDefault();
            if (field.value.trim()) onToken(field.value.trim(), keeping.checked);
          },
        },
      },
      element("h1", {}, t("token.title")),
      wasRefused && element("p", { class: "problem", role: "alert" }, t("token.refused")),
      element("p", {}, t("token.why")),
      element("label", { for: "token" }, t("token.label")),
      element(
        "div",
        { class: "row" },
        field,
        element("button", { type: "submit", class: "primary", data: { action: "use-token" } }, t("token.use")),
      ),
      element("label", { class: "check", for: "keep-token" }, keeping, element("span", {}, t("token.remember"))),
    ),
  );
}
