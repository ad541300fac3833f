// One permission request: what would run, exactly, and what a person answers.

import { exactJson, keepsEveryNumber } from "./client/index.js";
import { now } from "./clock.js";
import { draftOf, keepDraft } from "./drafts.js";
import { Editor } from "./editor.js";
import { button, element, fill } from "./element.js";
import { exactText, exactValue, flagsOf, plainText, readableJson, wholeText } from "./exact.js";
import { clockTime, count, countdown, fullTime } from "./format.js";
import { known, t } from "./language.js";
import { deciderOf, outcomeText } from "./outcome.js";
import { causeOf } from "./refusal.js";

// A card that has just appeared or moved takes nothing for so long: the click was meant for what stood there before.
const DEAF_MS = 500;
const CONFIRM_MS = 4000;
const URGENT_MS = 30_000;

export class Card {
  // `host` decides: {client, isDeafToClicks(), isDeafToKeys(), bringIntoSight(card, answers), onSettled(card),
  // onUnauthenticated(), announce(text)}.
  constructor(record, host) {
    this.record = record;
    this.state = "open";
    this.settledAt = null;
    this.#host = host;
    this.#shownAt = performance.now();
    this.#isHigh = record.risk_level === "high";
    this.element = this.#build();
    this.tick();
    if (record.parameters_truncated) this.#readWhole();
  }

  #host;
  #shownAt;
  #isHigh;
  #isUnshowable = false;
  #isExact = false;
  #confirmed = null; // the action whose next press counts
  #confirmUntil = 0;
  #isUrgent = false;
  #parts = {};
  #acts = new Map(); // what each key's button does
  #view = null;
  #place = null;

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
    if (isShown) this.#bringIntoSight();
  }

  // A key's action: what its button does, on what the person sees.
  press(action, { isSure = false } = {}) {
    if (this.state !== "open" || this.hasForm) return;
    if (action === "exact") this.#turnExact();
    else if (this.#isFresh() || this.#host.isDeafToKeys()) return;
    else if (this.#acts.has(action) && !this.#bringIntoSight()) this.#acts.get(action)({ isSure });
  }

  // Where it stands in the list has changed, or where its buttons are: what is on its way was meant for something else.
  lookAgain() {
    const place = `${this.element.offsetTop} ${this.#parts.buttons.offsetTop}`;
    if (this.#place !== null && this.#place !== place) this.#startAfresh();
    this.#place = place;
  }

  // Say in the page whether clicks and keys are taken now.
  showReady() {
    this.element.toggleAttribute("data-ready", !this.#isDeaf() && !this.#host.isDeafToKeys());
  }

  tick() {
    this.showReady();
    if (this.#confirmed !== null && performance.now() > this.#confirmUntil) this.#disarm();
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
    this.#disarm();
    for (const each of this.element.querySelectorAll("button, textarea")) each.disabled = true;
    fill(this.#parts.failure);
    const isKept = !isMine && this.#keepWritten();
    if (!isKept) fill(this.#parts.form);
    const text = outcomeText(outcome, isMine);
    fill(
      this.#parts.outcome,
      element("strong", {}, text),
      outcome?.reason && !isMine && outcome.decision
        ? element("span", {}, exactText(t("outcome.reason", outcome.reason)).element)
        : null,
    );
    if (!isMine) this.#host.announce(`${plainText(this.record.tool_name)}: ${text}`);
    if (hadFocus && !isKept) this.element.focus({ preventScroll: true });
    this.#host.onSettled(this);
  }

  // What somebody has written is theirs, also when there is nobody to send it to any more.
  #keepWritten() {
    const { field, written } = this.#parts;
    if (!this.hasForm || field.value === written) return false;
    field.disabled = false;
    field.readOnly = true;
    this.#buttonOf("close-form").disabled = false;
    this.#parts.form.append(element("p", { class: "warning", role: "status" }, t("form.kept")));
    return true;
  }

  #isFresh() {
    return performance.now() - this.#shownAt < DEAF_MS;
  }

  #isDeaf() {
    return this.state !== "open" || this.#isFresh() || this.#host.isDeafToClicks();
  }

  #startAfresh() {
    this.#shownAt = performance.now();
    this.showReady();
  }

  // True when it had to be moved: what was pressed was not meant for what is in sight now.
  #bringIntoSight() {
    if (!this.#host.bringIntoSight(this.element, this.#parts.buttons)) return false;
    this.#disarm();
    this.#startAfresh();
    return true;
  }

  // All of the parameters, with an escape for every character that is not of ASCII; and back.
  #turnExact() {
    if (this.#view === null) return;
    this.#isExact = !this.#isExact;
    const before = this.#view.element;
    this.#view = this.#valueOf(this.record.parameters);
    before.replaceWith(this.#view.element);
    this.#tellHidden();
    this.#showAll();
  }

  #valueOf(parameters) {
    return exactValue(parameters, { isAscii: this.#isExact, onChange: () => this.#tellHidden() });
  }

  #showAll() {
    const hidden = [...this.element.querySelectorAll('[data-action="show-all"]')];
    for (const more of hidden) more.click();
    if (hidden.length > 0) this.#startAfresh();
  }

  #guarded(act) {
    return (event) => {
      // Enter on a button that has the focus is a click without a pointer, wherever the button is.
      if (this.#isDeaf() || (event.detail === 0 && this.#bringIntoSight())) return;
      act({ isDouble: event.detail > 1 });
    };
  }

  // What lets a call run is done when all of the call is shown, and at a high risk with a second press.
  #deliberate(action, act) {
    return ({ isSure = false, isDouble = false } = {}) => {
      if (this.#parts.hidden.hidden === false) {
        this.#showAll();
        this.#host.announce(t("card.nowAll"));
      } else if (!this.#isHigh || isSure || (this.#confirmed === action && !isDouble)) act();
      else if (this.#confirmed !== action) this.#arm(action);
    };
  }

  #arm(action) {
    this.#disarm();
    this.#confirmed = action;
    this.#confirmUntil = performance.now() + CONFIRM_MS;
    const target = this.#buttonOf(action);
    // It keeps its size, so that nothing moves under the second press.
    const { width, height } = target.getBoundingClientRect();
    target.style.minInlineSize = `${width}px`;
    target.style.minBlockSize = `${height}px`;
    target.classList.add("confirming");
    const label = target.firstChild;
    this.#parts.unarmed = [...label.childNodes];
    fill(label, t("card.approveAgain"));
    this.#host.announce(t("card.approveAgain"));
  }

  #disarm() {
    if (this.#confirmed === null) return;
    const target = this.#buttonOf(this.#confirmed);
    this.#confirmed = null;
    target.style.minInlineSize = "";
    target.style.minBlockSize = "";
    target.classList.remove("confirming");
    fill(target.firstChild, this.#parts.unarmed);
  }

  #buttonOf(action) {
    return this.element.querySelector(`[data-action="${action}"]`);
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
      parameters: element("div", { class: "what" }),
      outcome: element("div", { class: "outcome", data: { role: "outcome" } }),
      failure: element("div", { class: "failure", role: "alert", data: { role: "failure" } }),
    };
    if (!record.parameters_truncated) fill(this.#parts.parameters, this.#parameters());
    fill(this.#parts.buttons, this.#buttons());
    const foreign = [...new Set(record.tool_name.match(/[^\x20-\x7e]/gu) ?? [])];
    const reasons = record.risk_reasons ?? [];
    const isProducers = record.rated_by === "producer";
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
        element(
          "span",
          { class: `risk ${record.risk_level}` },
          known("risk", record.risk_level),
          isProducers && ` ${t("risk.byProducer")}`,
        ),
        title,
        record.server &&
          element(
            "span",
            { class: "server", data: { role: "server" } },
            `${t("card.server")} `,
            exactText(record.server, { headLength: 300 }).element,
          ),
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
          element("span", {}, `${t(isProducers ? "card.whyProducer" : "card.why")}: `, exactText(reasons.join("; "), { headLength: 500 }).element),
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
      this.#parts.parameters,
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

  // What an event cannot hold is read from the service; until all of it is here, nothing lets it run.
  async #readWhole() {
    const { parameters } = this.#parts;
    const size = count(this.record.parameters_bytes ?? 0);
    const say = (...what) => fill(parameters, element("p", { class: "warning", role: "status" }, ...what));
    say(t("card.wholeLoading", size));
    try {
      const whole = await this.#host.client.whole(this.record);
      if (this.state === "settled" || whole.parameters_truncated || whole.status !== "pending") return; // its event says so
      this.record = whole;
      const hadFocus = this.#parts.buttons.contains(document.activeElement);
      fill(parameters, this.#parameters());
      fill(this.#parts.buttons, this.#buttons());
      if (this.state === "sending") this.#setSending(true);
      if (hadFocus) this.select({ isShown: false });
      this.#startAfresh();
      this.#host.announce(t("card.wholeHere", plainText(whole.tool_name)));
    } catch (error) {
      if (this.state === "settled") return;
      say(causeOf(error) ?? exactText(t("card.wholeFailed", size, error.message)).element, " ");
      parameters.append(button("read-whole", t("card.wholeAgain"), () => this.#readWhole()));
      if (error.code === "unauthenticated") this.#host.onUnauthenticated();
    }
  }

  #parameters() {
    const { parameters } = this.record;
    if (Object.keys(parameters).length === 0)
      return element("p", { class: "none", data: { role: "parameters" } }, t("card.noParameters"));
    let found = [];
    try {
      this.#view = this.#valueOf(parameters);
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

  #tellHidden() {
    const hidden = this.#view?.hidden ?? 0;
    this.#parts.hidden.hidden = hidden === 0;
    this.#parts.hidden.textContent = hidden === 0 ? "" : t("card.hidden", count(hidden));
  }

  #buttons() {
    const { allowed_decisions: allowed, scopes } = this.record;
    if (allowed.length === 0) return t("card.noDecision");
    const isWhole = !this.#isUnshowable && !this.record.parameters_truncated;
    const mayApprove = allowed.includes("approve") && isWhole;
    this.#acts.clear();
    const choice = (action, key, text, act, properties = {}) => {
      this.#acts.set(action, act);
      return element(
        "button",
        {
          type: "button",
          "aria-keyshortcuts": key,
          ...properties,
          data: { action },
          on: { click: this.#guarded(act) },
        },
        text instanceof Node ? text : element("span", {}, text),
        key && element("kbd", { "aria-hidden": "true" }, key),
      );
    };
    const approving = (action, key, text, scope) =>
      choice(
        action,
        key,
        element("span", { data: this.#isHigh ? { again: t("card.approveAgain") } : {} }, text),
        this.#deliberate(action, () => this.#approve(scope)),
        { class: [this.#isHigh ? "risky" : scope === "once" && "primary", scope !== "once" && "wide"].filter(Boolean).join(" ") },
      );
    const lasting = (scope, key, name) =>
      mayApprove && scopes.includes(scope) && approving(`approve-${scope}`, key, this.#ruleText(name), scope);
    const approve = mayApprove && approving("approve", "A", t("card.approve"), "once");
    const changing = [
      allowed.includes("edit") &&
        isWhole &&
        choice("edit", "E", t("card.edit"), () => this.#edit()),
      allowed.includes("respond") && choice("respond", "P", t("card.respond"), () => this.#respond()),
    ];
    const reject =
      allowed.includes("reject") &&
      choice("reject", "R", t("card.reject"), () => this.#reject(), { class: this.#isHigh ? "primary" : "" });
    this.#parts.reject = reject || undefined;
    const more = [
      lasting("session", "S", "card.approveSession"),
      lasting("always", "W", "card.approveAlways"),
      reject &&
        scopes.includes("session") &&
        this.record.suggested_rule &&
        choice("reject-session", null, this.#ruleText("card.rejectSession"), () => this.#reject("session"), {
          class: "wide",
        }),
    ];
    return this.#isHigh ? [reject, changing, approve, more] : [approve, changing, reject, more];
  }

  // What a scope lets run, all of it: what is not read is not agreed to.
  #ruleText(name) {
    const { tool_name: tool, suggested_rule: rule } = this.record;
    return wholeText(t(name, rule ?? t("card.everyCall", tool)));
  }

  #approve(scope) {
    const options = scope === "once" ? {} : { scope };
    return this.#send(() => this.#host.client.approve(this.record, options));
  }

  #reject(scope = "once") {
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
              reason.dispatchEvent(new Event("input"));
              reason.focus();
            },
          },
        },
        t(`reject.${name}`).replace(/[:：]\s*$/, "…"),
      );
    const options = scope === "once" ? {} : { scope };
    const send = () =>
      this.#send(() => this.#host.client.reject(this.record, reason.value.trim() || undefined, options));
    this.#open(
      [
        scope !== "once" && element("p", { class: "warning" }, this.#ruleText("card.rejectSession")),
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
      onCheck: (isSendable) => (submit.disabled = !isSendable || this.state === "settled"),
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
    this.#startAfresh();
    const guarded = this.#guarded(send);
    // What lets a call of high risk run is never what stands out.
    const submit = button(action, text, guarded, { class: action === "send-edit" && this.#isHigh ? "risky" : "primary" });
    const close = () => {
      fill(this.#parts.form);
      fill(this.#parts.failure);
      this.#parts.buttons.hidden = false;
      this.select({ isShown: this.state === "open" });
    };
    Object.assign(this.#parts, { field, written: field.value });
    field.value = draftOf(this.id, action) ?? field.value;
    field.addEventListener("input", () => keepDraft(this.id, action, field.value));
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
    this.#parts.form.scrollIntoView({ block: "nearest" });
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
