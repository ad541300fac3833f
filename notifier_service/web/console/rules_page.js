// The rules that hold beyond one session: what runs, or is rejected, without a question.

import { listRules, revokeRule } from "./client/index.js";
import { element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { t } from "./language.js";
import { causeOf } from "./refusal.js";
import { looksOn, ruleItem } from "./rules.js";

export class RulesPage {
  // `host`: {connection, onUnauthenticated()}.
  constructor(host) {
    this.#host = host;
    this.#lists = element("div", { class: "lists" }, element("p", { class: "none" }, t("context.reading")));
    this.#failure = element("p", { class: "failure", role: "alert", data: { role: "rules-failure" } });
    this.element = element(
      "main",
      { class: "wide", id: "all-rules" },
      element("h1", {}, t("rulesPage.title")),
      element("p", { class: "none" }, t("rulesPage.why")),
      this.#failure,
      this.#lists,
    );
    this.#read();
  }

  #host;
  #lists;
  #failure;

  async #read() {
    try {
      const rules = await listRules(this.#host.connection);
      const of = (source) => rules.filter((rule) => rule.source === source);
      fill(
        this.#lists,
        looksOn(rules),
        this.#list("learned", t("rulesPage.learned"), of("learned"), t("rulesPage.noLearned")),
        this.#list("file", t("rulesPage.file"), of("file"), t("rulesPage.noFile")),
        element("p", { class: "none" }, t("rulesPage.session")),
      );
    } catch (error) {
      fill(this.#lists);
      this.#fail(error);
    }
  }

  #list(source, title, rules, none) {
    return element(
      "section",
      { data: { source } },
      element("h2", {}, title, " ", element("span", { class: "number" }, rules.length)),
      source === "file" && rules.length > 0 && element("p", { class: "none" }, t("rulesPage.ofFile")),
      rules.length === 0
        ? element("p", { class: "none" }, none)
        : element("ul", { class: "rules" }, rules.map((rule) => ruleItem(rule, rule.source === "learned" && (() => this.#revoke(rule))))),
    );
  }

  async #revoke(rule) {
    fill(this.#failure);
    try {
      await revokeRule(this.#host.connection, rule);
    } catch (error) {
      this.#fail(error);
    }
    await this.#read(); // it may be gone already
  }

  #fail(error) {
    if (error.code === "unauthenticated") return this.#host.onUnauthenticated();
    const text = causeOf(error) ?? (error.code === "forbidden" ? t("failure.mayNotRevoke") : t("rules.failed", error.message));
    return fill(this.#failure, exactText(text).element);
  }
}
