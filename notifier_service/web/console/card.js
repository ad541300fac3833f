// One permission request: what would run, exactly, and what a person answers.

import { exactJson, keepsEveryNumber } from "./client/index.js";
import { now } from "./clock.js";
import { Editor } from "./editor.js";
import { button, element, fill } from "./element.js";
import { exactText, exactValue, flagsOf, plainText, readableJson } from "./exact.js";
import { clockTime, count, countdown, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { deciderOf, outcomeText } from "./outcome.js";
import { causeOf } from "./refusal.js";

// A card that has just appeared takes nothing for so long: the click was meant for what stood there before.
const DEAF_MS = 400;
const CONFIRM_MS = 4000;
const URGENT_MS = 30_000;

export class Card {
  // `host` decides: {client, isDeafToClicks(), isDeafToKeys(), onSettled(card), onUnauthenticated(), announce(text)}.
  constructor(record, host) {
    this.record = record;
    this.state = "open";
    this.settledAt = null;
    this.#host = host;
    this.#shownAt = performance.now();
    this.#isHigh = record.risk_level === "high";
    this.element = this.#build();
    if (record.parameters_truncated) this.#readWhole();
    this.tick();
  }

  #host;
  #shownAt;
  #isHigh;
  #isUnshowable = false;
  #confirmUntil = 0;
  #isUrgent = false;
  #parts = {};
  #acts = new Map(); // what each key's button does
  #view = null;

  get id() {
    return this.record.request_id;
  }

  // The person has begun to write an answer here.
  get hasForm() {
    return this.#parts.form.firstChild !== null;
  }

  // Give it the focus; `isShown` brings it into sight too.
  select({ isShown = true } = {}) {
    if (this.state === "open" && this.#isHigh && !this.hasForm) this.#parts.reject?.focus({ preventScroll: true });
    else this.element.focus({ preventScroll: true });
    if (isShown) this.element.scrollIntoView({ block: "nearest" });
  }

  // A key's action: what its button does, but a high risk is confirmed with a second press.
  press(action, { isSure = false } = {}) {
    if (this.hasForm || this.#isFresh() || this.#host.isDeafToKeys()) return;
    const act = this.#acts.get(action);
    if (this.state !== "open" || act === undefined) return;
    if (action === "approve" && this.#isHigh && !isSure && performance.now() > this.#confirmUntil) {
      this.#confirmUntil = performance.now() + CONFIRM_MS;
      const target = this.element.querySelector('[data-action="approve"]');
      target.classList.add("confirming");
      target.firstChild.textContent = t("card.approveAgain");
      this.#host.announce(t("card.approveAgain"));
      return;
    }
    act();
  }

  // Say in the page whether clicks and keys are taken now.
  showReady() {
    this.element.toggleAttribute("data-ready", !this.#isDeaf() && !this.#host.isDeafToKeys());
  }

  tick() {
    this.showReady();
    if (this.#confirmUntil > 0 && performance.now() > this.#confirmUntil) {
      this.#confirmUntil = 0;
      const approve = this.element.querySelector('[data-action="approve"]');
      approve?.classList.remove("confirming");
      if (approve) approve.firstChild.textContent = t("card.approve");
    }
    if (this.state === "settled" || this.record.expires_at === null) return;
    const left = Date.parse(this.record.expires_at) - now();
    this.#parts.countdown.textContent = left > 0 ? countdown(left) : t("card.over");
    const isUrgent = left <= URGENT_MS;
    if (isUrgent !== this.#isUrgent) {
      this.#isUrgent = isUrgent;
      this.element.classList.toggle("urgent", isUrgent);
      if (isUrgent && left > 0) this.#host.announce(t("cards.soon", plainText(this.record.tool_name)));
    }
  }

  // It is decided, here or elsewhere, or nobody waits for it any more. `outcome` is its record as far as it is known.
  settle(outcome, { isMine = false } = {}) {
    if (this.state === "settled") return;
    this.state = "settled";
    this.settledAt = performance.now();
    const hadFocus = this.element.contains(document.activeElement);
    this.element.dataset.state = "settled";
    this.element.dataset.outcome = outcome?.status ?? "gone";
    this.element.classList.remove("urgent");
    for (const each of this.element.querySelectorAll("button, textarea")) each.disabled = true;
    fill(this.#parts.form);
    fill(this.#parts.failure);
    const text = outcomeText(outcome, isMine);
    fill(
      this.#parts.outcome,
      element("strong", {}, text),
      outcome?.reason && !isMine && outcome.decision
        ? element("span", {}, exactText(t("outcome.reason", outcome.reason)).element)
        : null,
    );
    if (!isMine) this.#host.announce(`${plainText(this.record.tool_name)}: ${text}`);
    if (hadFocus) this.element.focus({ preventScroll: true });
    this.#host.onSettled(this);
  }

  #isFresh() {
    return performance.now() - this.#shownAt < DEAF_MS;
  }

  #isDeaf() {
    return this.state !== "open" || this.#isFresh() || this.#host.isDeafToClicks();
  }

  #guarded(act) {
    return () => {
      if (!this.#isDeaf()) act();
    };
  }

  #build() {
    const record = this.record;
    const title = element(
      "h3",
      { id: `title-${record.request_id}` },
      exactText(record.tool_name, { headLength: 300 }).element,
    );
    this.#parts = {
      countdown: element("span", { class: "time", role: "timer", data: { role: "countdown" } }),
      buttons: element("div", { class: "buttons" }),
      form: element("div", { class: "form" }),
      hidden: element("p", { class: "warning", data: { role: "hidden" }, hidden: true }),
      outcome: element("div", { class: "outcome", data: { role: "outcome" } }),
      failure: element("div", { class: "failure", role: "alert", data: { role: "failure" } }),
    };
    const parameters = record.parameters_truncated ? element("div", { class: "whole" }) : this.#parameters();
    this.#parts.parameters = parameters;
    fill(this.#parts.buttons, this.#buttons());
    const foreign = [...new Set(record.tool_name.match(/[^\x20-\x7e]/gu) ?? [])];
    const reasons = record.risk_reasons ?? [];
    return element(
      "article",
      {
        class: "card",
        tabindex: "-1",
        "aria-labelledby": title.id,
        data: { requestId: record.request_id, risk: record.risk_level, state: "open" },
      },
      element(
        "header",
        {},
        element("span", { class: `risk ${record.risk_level}` }, known("risk", record.risk_level)),
        title,
        element(
          "span",
          { class: "expiry" },
          record.expires_at === null ? t("card.never") : [`${t("card.expires")} `, this.#parts.countdown],
        ),
      ),
      element(
        "p",
        { class: "facts" },
        reasons.length > 0 &&
          element("span", {}, `${t("card.why")}: `, exactText(reasons.join("; "), { headLength: 500 }).element),
        element(
          "span",
          { title: fullTime(Date.parse(record.timestamp)) },
          t("card.asked", clockTime(Date.parse(record.timestamp))),
        ),
        element("span", {}, t("card.viewers", record.viewers)),
      ),
      foreign.length > 0 &&
        element(
          "p",
          { class: "warning", data: { role: "foreign-name" } },
          t("card.foreignName", foreign.slice(0, 12).map(codePoint).join(", ")),
        ),
      parameters,
      record.description
        ? element(
            "div",
            { class: "description", data: { role: "description" } },
            element("h4", {}, t("card.agent")),
            exactText(record.description).element,
          )
        : null,
      this.#parts.hidden,
      this.#parts.buttons,
      this.#parts.form,
      this.#parts.failure,
      this.#parts.outcome,
    );
  }

  #parameters() {
    const { parameters } = this.record;
    if (Object.keys(parameters).length === 0)
      return element("p", { class: "none", data: { role: "parameters" } }, t("card.noParameters"));
    let found = [];
    try {
      this.#view = exactValue(parameters, { onChange: () => this.#tellHidden() });
      found = flagsOf(parameters);
    } catch {
      // Deeper, or longer, than this browser can write. What cannot be shown is not approved.
      this.#isUnshowable = true;
      return element("p", { class: "warning", data: { role: "parameters" } }, t("card.unshowable"));
    }
    this.#tellHidden();
    const isInexact = !keepsEveryNumber && /\d{16}/.test(readableJson(parameters));
    const copy = button(
      "copy",
      t("card.copy"),
      async () => {
        await navigator.clipboard.writeText(exactJson(parameters, 2));
        copy.textContent = t("card.copied");
      },
      { class: "quiet" },
    );
    return [
      isInexact && element("p", { class: "warning" }, t("card.inexact")),
      found.length > 0 &&
        element("p", { class: "warning", data: { role: "flags" } }, t("card.flags", found.join(", "))),
      element(
        "div",
        { class: "parameters" },
        element("h4", {}, t("card.parameters"), navigator.clipboard ? copy : null),
        element("div", { data: { role: "parameters" } }, this.#view.element),
      ),
    ];
  }

  // An event holds only the beginning of large parameters: what is shown, and can be approved, is the whole.
  async #readWhole() {
    const size = count(this.record.parameters_bytes);
    const say = (...content) =>
      fill(this.#parts.parameters, element("p", { class: "warning", data: { role: "parameters" } }, ...content));
    say(t("card.reading", size));
    try {
      const whole = await this.#host.client.whole(this.record);
      if (this.state === "settled" || whole.status !== "pending") return; // its own event says so
      this.record = whole;
    } catch (error) {
      say(t("card.unread", size), " ", button("read-whole", t("card.readAgain"), () => this.#readWhole()));
      if (error.code === "unauthenticated") this.#host.onUnauthenticated();
      return;
    }
    this.#shownAt = performance.now(); // buttons have come under the pointer
    fill(this.#parts.parameters, this.#parameters());
    fill(this.#parts.buttons, this.#buttons());
    if (this.state === "sending") this.#setSending(true);
    this.showReady();
  }

  #tellHidden() {
    const hidden = this.#view?.hidden ?? 0;
    this.#parts.hidden.hidden = hidden === 0;
    this.#parts.hidden.textContent = hidden === 0 ? "" : t("card.hidden", count(hidden));
  }

  #buttons() {
    const { allowed_decisions: allowed, scopes, tool_name: tool, suggested_rule: rule } = this.record;
    const isShown = !this.#isUnshowable && !this.record.parameters_truncated;
    const mayApprove = allowed.includes("approve") && isShown;
    const withKey = (key, text) => [element("span", {}, text), element("kbd", { "aria-hidden": "true" }, key)];
    const choice = (action, key, text, act, properties = {}) => {
      const made = element(
        "button",
        { type: "button", ...properties, data: { action }, on: { click: this.#guarded(act) } },
        key ? withKey(key, text) : text,
      );
      this.#acts.set(action, act);
      if (action === "reject") this.#parts.reject = made;
      return made;
    };
    const isOffered = (scope) => mayApprove && scopes.includes(scope);
    const approving = [
      mayApprove &&
        choice("approve", "A", t("card.approve"), () => this.#approve("once"), {
          class: this.#isHigh ? "risky" : "primary",
          "aria-keyshortcuts": "A",
        }),
      isOffered("session") &&
        choice(
          "approve-session",
          null,
          wide(t("card.approveSession", rule ?? t("card.everyCall", tool))),
          () => this.#approve("session"),
          { class: this.#isHigh ? "risky wide" : "wide" },
        ),
      isOffered("always") &&
        choice(
          "approve-always",
          null,
          wide(t("card.approveAlways", rule ?? t("card.everyCall", tool))),
          () => this.#approve("always"),
          { class: this.#isHigh ? "risky wide" : "wide" },
        ),
    ];
    const changing = [
      allowed.includes("edit") &&
        isShown &&
        choice("edit", "E", t("card.edit"), () => this.#edit(), { "aria-keyshortcuts": "E" }),
      allowed.includes("respond") &&
        choice("respond", "P", t("card.respond"), () => this.#respond(), { "aria-keyshortcuts": "P" }),
    ];
    const rejecting =
      allowed.includes("reject") &&
      choice("reject", "R", t("card.reject"), () => this.#reject(), {
        class: this.#isHigh ? "primary" : "",
        "aria-keyshortcuts": "R",
      });
    if (allowed.length === 0) return t("card.noDecision");
    return this.#isHigh ? [rejecting, changing, approving] : [approving[0], changing, rejecting, approving.slice(1)];
  }

  #approve(scope) {
    const options = scope === "once" ? {} : { scope };
    return this.#send(() => this.#host.client.approve(this.record, options));
  }

  #reject() {
    const reason = element("textarea", {
      rows: "2",
      maxlength: "10000",
      data: { field: "reason" },
      id: `reason-${this.id}`,
    });
    const preset = (name) =>
      element(
        "button",
        {
          type: "button",
          class: "quiet",
          data: { preset: name },
          on: {
            click: () => {
              reason.value = t(`reject.${name}`);
              reason.focus();
            },
          },
        },
        t(`reject.${name}`).replace(/[:：]\s*$/, "…"),
      );
    const send = () => this.#send(() => this.#host.client.reject(this.record, reason.value.trim() || undefined));
    this.#open(
      [
        element("label", { for: reason.id }, t("reject.label")),
        reason,
        element(
          "div",
          { class: "presets", role: "group", "aria-label": t("reject.presets") },
          ["notNow", "target", "risky", "differently"].map(preset),
        ),
      ],
      { field: reason, action: "send-reject", text: t("reject.send"), send },
    );
  }

  #respond() {
    const answer = element("textarea", { rows: "3", data: { field: "response" }, id: `response-${this.id}` });
    const send = () => this.#send(() => this.#host.client.respond(this.record, answer.value));
    this.#open([element("label", { for: answer.id }, t("respond.label")), answer], {
      field: answer,
      action: "send-respond",
      text: t("respond.send"),
      send,
    });
  }

  #edit() {
    const editor = new Editor(this.record.parameters, {
      id: this.id,
      onCheck: (isSendable) => (submit.disabled = !isSendable),
    });
    const send = () => {
      const parameters = editor.read();
      if (parameters !== null) this.#send(() => this.#host.client.edit(this.record, parameters));
    };
    const submit = this.#open(editor.elements, {
      field: editor.field,
      action: "send-edit",
      text: t("edit.send"),
      send,
    });
    editor.read();
  }

  // Show a form in the place of the buttons, and return its button that sends.
  #open(content, { field, action, text, send }) {
    // The second click of a double click was not meant for what has appeared under it.
    this.#shownAt = performance.now();
    this.showReady();
    const guarded = this.#guarded(send);
    const submit = button(action, text, guarded, { class: "primary" });
    const close = () => {
      fill(this.#parts.form);
      fill(this.#parts.failure);
      this.#parts.buttons.hidden = false;
      this.select();
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !submit.disabled) {
        event.preventDefault();
        send(); // it is in the field, whatever moves
      }
    });
    fill(
      this.#parts.form,
      content,
      element(
        "div",
        { class: "buttons" },
        submit,
        button("close-form", t("form.close"), close),
        element("span", { class: "hint" }, t("form.keys")),
      ),
    );
    this.#parts.buttons.hidden = true;
    field.focus();
    this.element.scrollIntoView({ block: "nearest" });
    return submit;
  }

  async #send(decide) {
    this.#setSending(true);
    fill(this.#parts.failure);
    fill(this.#parts.outcome, t("outcome.sending"));
    try {
      this.settle(await decide(), { isMine: true });
    } catch (error) {
      if (this.state === "settled") return;
      fill(this.#parts.outcome);
      this.#setSending(false);
      this.#fail(error);
    }
  }

  #setSending(isSending) {
    this.state = isSending ? "sending" : "open";
    this.element.dataset.state = this.state;
    for (const each of this.element.querySelectorAll(".buttons button, textarea")) each.disabled = isSending;
  }

  #fail(error) {
    const record = error.details?.record;
    if (["request_expired", "request_cancelled", "request_not_found"].includes(error.code)) {
      this.settle(
        record ?? {
          status:
            error.code === "request_expired" ? "expired" : error.code === "request_cancelled" ? "cancelled" : "gone",
        },
      );
      return;
    }
    const text =
      error.code === "already_decided"
        ? t("failure.already_decided", deciderOf(record), record?.decision ? t(`outcome.${record.decision}`) : "?")
        : error.code === "forbidden"
          ? (causeOf(error) ?? t("failure.forbidden"))
          : error.code === "unauthenticated"
            ? t("failure.unauthenticated")
            : error.code === "parameters_changed"
              ? t("failure.parameters_changed")
              : (error.status ?? null) === null
                ? t("failure.network")
                : t("failure.other", error.message);
    if (error.code === "already_decided") {
      this.settle(record ?? null);
      fill(
        this.#parts.outcome,
        element("strong", {}, text),
        record?.reason ? exactText(t("outcome.reason", record.reason)).element : null,
      );
      return;
    }
    fill(this.#parts.failure, exactText(text).element);
    if (error.code === "unauthenticated") this.#host.onUnauthenticated();
  }
}

function codePoint(character) {
  const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const isSeen = plainText(character) === character && /[\p{L}\p{N}\p{P}\p{S}]/u.test(character);
  return isSeen ? `${character} (U+${number})` : `U+${number}`;
}

function wide(text) {
  return exactText(text, { headLength: 400 }).element;
}
