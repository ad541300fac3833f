// The rules that hold in the session: what runs, or is rejected, without a question. What people decided can be taken
// back. Below them is what was asked again and again: of that a person may make a rule.

import { button, element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { fullTime } from "./format.js";
import { t } from "./language.js";
import { plainText, wholeText } from "./readable.js";
import { causeOf } from "./refusal.js";
import { ruleInWords } from "./rule_words.js";
import { SecondPress } from "./second_press.js";

// A rule in words, and what takes it back or why it is not offered; `revoke` is false where nobody does.
export function ruleItem(rule, revoke) {
  const revoking =
    revoke && (rule.refused ? refusal(rule, "rules.notRevoked") : button("revoke", t("rules.revoke"), revoke));
  return element(
    "li",
    { data: { ruleId: rule.rule_id, effect: rule.effect } },
    element(
      "span",
      {},
      element("strong", {}, t(`rules.${rule.effect}`)),
      " ",
      wholeText(ruleInWords(rule.name)),
      rule.justification && element("span", { class: "why" }, wholeText(rule.justification)),
      element(
        "span",
        { class: "facts" },
        element("span", {}, t(`rules.source.${rule.source}`)),
        rule.source === "learned" && rule.session
          ? element("span", {}, t("rules.inSessions", plainText(rule.session.join(", "))))
          : null,
        rule.created_by === null
          ? null
          : element("span", {}, t("rules.by", plainText(rule.created_by), fullTime(Date.parse(rule.created_at)))),
        element("span", {}, t("rules.used", rule.used)),
        rule.last_used_at && element("span", {}, t("rules.lastUsed", fullTime(Date.parse(rule.last_used_at)))),
      ),
    ),
    revoking,
  );
}

// Why a person is offered nothing to do with it. Who may only look on is told that once, and not at each.
function refusal({ refused }, name) {
  return refused !== "right" && element("span", { class: "why refused" }, t(`${name}.${refused}`));
}

// That nothing is offered because the token may only look on.
export function looksOn(items) {
  return items.some(({ refused }) => refused === "right") && element("p", { class: "none" }, t("desk.onlyLook"));
}

export class Rules {
  constructor(client) {
    this.#client = client;
    this.#title = element("summary", {});
    this.#list = element("ul", {});
    this.#suggestions = element("ul", { class: "suggestions" });
    this.#failure = element("p", { class: "failure", role: "alert", data: { role: "rules-failure" } });
    const panel = element("div", { class: "panel" }, this.#none, this.#looks, this.#list, this.#suggestions, this.#failure);
    this.element = element("details", { id: "rules" }, this.#title, panel);
    this.#show([], []);
    this.element.addEventListener("toggle", () => this.element.open && this.refresh());
  }

  #client;
  #title;
  #list;
  #suggestions;
  #failure;
  #none = element("p", { class: "none" });
  #looks = element("div", {});
  #second = new SecondPress();

  // A decision may have made a rule; one that was made elsewhere is told by an event too.
  hear(event) {
    if (event.type === "hello") this.refresh();
    if (event.type !== "permission_response_result") return;
    const { scope, decided_by: by } = event.data;
    // What people look at stays where it is while they decide call by call.
    const isAnswered = by !== "policy" && !this.element.open;
    if (scope === "session" || scope === "always" || isAnswered || (by === "policy" && this.element.open)) this.refresh();
  }

  async refresh() {
    try {
      this.#show(...(await Promise.all([this.#client.rules(), this.#client.suggestions()])));
    } catch (error) {
      if (this.element.open) this.#fail(error);
    }
  }

  #show(rules, suggestions) {
    fill(this.#failure);
    this.#second.forget();
    fill(this.#none, rules.length + suggestions.length === 0 && t("rules.none"));
    fill(this.#looks, looksOn([...rules, ...suggestions]));
    const saving = suggestions.length > 0 ? ` · ${t("rules.saving", suggestions.length)}` : "";
    this.#title.textContent = t("rules.title", rules.length) + saving;
    fill(
      this.#list,
      rules.map((rule) =>
        ruleItem(rule, rule.source !== "file" && (() => this.#revoke(rule))),
      ),
    );
    fill(
      this.#suggestions,
      suggestions.map((suggestion) =>
        element(
          "li",
          { data: { suggestionId: suggestion.suggestion_id } },
          element(
            "span",
            {},
            element("strong", {}, t("rules.suggested")),
            " ",
            wholeText(ruleInWords(suggestion.words)),
            element("span", { class: "facts" }, element("span", {}, t("rules.saved", suggestion.would_have_saved))),
          ),
          suggestion.refused
            ? refusal(suggestion, "rules.notTakenOver")
            : element(
                "span",
                { class: "choices" },
                suggestion.scopes.includes("session") && this.#making(suggestion, "session", t("rules.forSession")),
                suggestion.scopes.includes("always") && this.#making(suggestion, "always", t("rules.forAlways")),
              ),
        ),
      ),
    );
  }

  // As on a card, what lets calls of high risk run takes a second press; a double click is one press.
  #making(suggestion, scope, text) {
    const isHigh = suggestion.rule.risk?.includes("high");
    const label = element("span", { data: isHigh ? { again: t("card.approveAgain") } : {} }, text);
    return button(`take-over-${scope}`, label, (event) => {
      const target = event.currentTarget;
      this.#second.tick();
      if (!isHigh || (this.#second.isOf(target) && event.detail < 2)) this.#takeOver(suggestion, scope);
      else if (!this.#second.isOf(target)) this.#second.expect(target);
    });
  }

  async #takeOver(suggestion, scope) {
    try {
      await this.#client.takeOver(suggestion, scope);
      await this.refresh();
    } catch (error) {
      await this.refresh(); // it may be none any more
      this.#fail(error);
    }
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
