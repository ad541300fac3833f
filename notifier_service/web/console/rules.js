// What people decided for the rest of the session: what runs, or is rejected, without a question. Each can be taken back.

import { button, element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { clockTime } from "./format.js";
import { t } from "./language.js";
import { plainText, wholeText } from "./readable.js";
import { causeOf } from "./refusal.js";

export class Rules {
  constructor(client) {
    this.#client = client;
    this.#title = element("summary", {});
    this.#list = element("ul", {});
    this.#failure = element("p", { class: "failure", role: "alert", data: { role: "rules-failure" } });
    this.element = element("details", { id: "rules", hidden: true }, this.#title, this.#list, this.#failure);
    this.element.addEventListener("toggle", () => this.element.open && this.refresh());
  }

  #client;
  #title;
  #list;
  #failure;

  // A decision may have made a rule; one that was made elsewhere is told by an event too.
  hear(event) {
    if (event.type === "hello") this.refresh();
    if (event.type !== "permission_response_result") return;
    const { scope, decided_by: by } = event.data;
    if (scope === "session" || scope === "always" || (by === "policy" && this.element.open)) this.refresh();
  }

  async refresh() {
    try {
      this.#show(await this.#client.rules());
    } catch (error) {
      if (!this.element.hidden) this.#fail(error);
    }
  }

  #show(rules) {
    fill(this.#failure);
    this.element.hidden = rules.length === 0;
    this.#title.textContent = t("rules.title", rules.length);
    fill(
      this.#list,
      rules.map((rule) =>
        element(
          "li",
          { data: { ruleId: rule.rule_id, effect: rule.effect } },
          element(
            "span",
            {},
            element("strong", {}, t(`rules.${rule.effect}`)),
            " ",
            wholeText(rule.name),
            element(
              "span",
              { class: "facts" },
              element("span", {}, t("rules.by", plainText(rule.created_by), clockTime(Date.parse(rule.created_at)))),
              element("span", {}, t("rules.used", rule.used)),
            ),
          ),
          button("revoke", t("rules.revoke"), () => this.#revoke(rule)),
        ),
      ),
    );
  }

  async #revoke(rule) {
    try {
      await this.#client.revoke(rule);
      await this.refresh();
    } catch (error) {
      await this.refresh(); // it may be gone already
      this.#fail(error);
    }
  }

  #fail(error) {
    fill(
      this.#failure,
      exactText(causeOf(error) ?? (error.code === "forbidden" ? t("failure.forbidden") : t("rules.failed", error.message)))
        .element,
    );
  }
}
