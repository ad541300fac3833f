// One permission request: what would run, every character of it, and what a person answers.
//
// `new Card(record, host).element` is placed wherever requests stand. Whoever places it calls `tick()` a few times a
// second, `press(action)` for a key, `select()` when the keys go over to it, `settle(outcome)` when it is over elsewhere,
// `lookAgain()` when its place may have changed, and `close()` when it is taken away.

import { now } from "./clock.js";
import { button, element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { descriptionOf, factsOf, foreignName, headOf, judgement, titleOf } from "./facts.js";
import { count, countdown } from "./format.js";
import { editing, Form, rejecting, responding } from "./forms.js";
import { hold } from "./hold.js";
import { t } from "./language.js";
import { decideHere } from "./mine.js";
import { outcomeText } from "./outcome.js";
import { Parameters } from "./parameters.js";
import { questionsIn } from "./questions.js";
import { plainText, wholeText } from "./readable.js";
import { Reading } from "./reading.js";
import { causeOf, refusalOf } from "./refusal.js";
import { atEveryRisk, ruleInWords } from "./rule_words.js";
import { SecondPress } from "./second_press.js";

// A card that has just appeared or moved takes nothing for so long: the click was meant for what stood there before.
const DEAF_MS = 500;
const URGENT_MS = 30_000;

export class Card {
  // `host` decides: {client, isDeafToClicks(), isDeafToKeys(), bringIntoSight(card, answers), onSettled(card),
  // onUnauthenticated(), announce(text), onlyLooks}.
  constructor(record, host) {
    this.record = record;
    this.state = "open";
    this.settledAt = null;
    this.#host = host;
    this.#shownAt = performance.now();
    this.#isHigh = record.risk_level === "high";
    this.element = this.#build();
    this.#read();
    this.tick();
    if (record.parameters_truncated) this.#readWhole();
  }

  #host;
  #shownAt;
  #isHigh;
  #second = new SecondPress();
  #isUrgent = false;
  #parts = {};
  #acts = new Map(); // what each key's button does
  #parameters = new Parameters({ onDrawn: () => this.#read(), onChange: () => this.#showArmed() });
  #reading = new Reading(() => this.#showArmed());
  #form = null;
  #questions = null;
  #place = null;
  #isTouched = matchMedia("(pointer: coarse)").matches;

  get id() {
    return this.record.request_id;
  }

  // The person has begun to write an answer here.
  get hasForm() {
    return this.#form !== null || this.#questions?.isTouched === true;
  }

  // Whether all of it has been on the screen, and nothing of it is folded.
  get isRead() {
    return this.#reading.isOver && this.element.querySelector('[data-action="show-all"]') === null;
  }

  close() {
    this.#reading.stop();
  }

  // The same request, told again: after a restart it has more time. What was read whole is not told in an event.
  renew(record) {
    const { parameters, parameters_truncated: isCut } = this.record;
    this.record = isCut ? record : { ...record, parameters, parameters_truncated: isCut };
  }

  // Give it the focus; `isShown` brings it into sight too.
  select({ isShown = true } = {}) {
    if (this.state === "open" && this.#isHigh && !this.hasForm) this.#parts.reject?.focus({ preventScroll: true });
    else this.element.focus({ preventScroll: true });
    if (isShown) this.#bringIntoSight();
  }

  // A key's action: what its button does, on what the person sees.
  press(action) {
    if (this.state !== "open" || this.#form !== null) return;
    if (action === "exact") {
      if (this.#questions !== null) this.#parts.asked.open = true;
      this.#parameters.turnExact();
    }
    else if (this.#isFresh() || this.#host.isDeafToKeys()) return;
    else {
      const act = this.#acts.get(action) ?? (["approve", "respond"].includes(action) && this.#acts.get("answer"));
      if (act && !this.#bringIntoSight()) act();
    }
  }

  // Where it stands in the list has changed, or where its buttons are: what is on its way was meant for something else.
  lookAgain() {
    const place = `${this.element.offsetTop} ${this.#parts.end.offsetTop}`;
    if (this.#place !== null && this.#place !== place) this.startAfresh();
    this.#place = place;
    if (!this.#isHigh) this.#reading.cover(this.#parts.bar.offsetHeight);
  }

  // Say in the page whether clicks and keys are taken now.
  showReady() {
    this.element.toggleAttribute("data-ready", !this.#isDeaf() && !this.#host.isDeafToKeys());
  }

  tick() {
    this.showReady();
    this.#second.tick();
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
    this.#second.forget();
    this.#reading.stop();
    for (const each of this.element.querySelectorAll("button, textarea, input")) each.disabled = true;
    fill(this.#parts.failure);
    this.#questions?.end();
    const isKept = !isMine && this.#form !== null && this.#form.keep();
    if (!isKept) {
      this.#form = null;
      fill(this.#parts.form);
      fill(this.#parts.answers, this.#parts.buttons);
    }
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
    this.#host.onSettled(this, { isMine, text });
  }

  get name() {
    return plainText(this.record.tool_name);
  }

  isOf(ids) {
    return ids.length === 1 && ids[0] === this.id;
  }

  // It waits no more: by what this page has sent, which the service answers itself, or by somebody else.
  settleGone(waiting, outcomes) {
    if (this.state === "open" && !waiting.has(this.id)) this.settle(outcomes.get(this.id) ?? null);
  }

  #isFresh() {
    return performance.now() - this.#shownAt < DEAF_MS;
  }

  #isDeaf() {
    return this.state !== "open" || this.#isFresh() || this.#host.isDeafToClicks();
  }

  startAfresh() {
    this.#shownAt = performance.now();
    this.showReady();
  }

  // True when it had to be moved: what was pressed was not meant for what is in sight now.
  #bringIntoSight() {
    if (!this.#host.bringIntoSight(this.element, this.#parts.end)) return false;
    this.#second.forget();
    this.startAfresh();
    return true;
  }

  #showAll() {
    const hidden = [...this.element.querySelectorAll('[data-action="show-all"]')];
    for (const more of hidden) more.click();
    if (hidden.length > 0) this.startAfresh();
  }

  // What ends in it has to be seen anew: at a high risk all of the card, else what would run.
  #read() {
    const { end } = this.#parts;
    if (end !== undefined) this.#reading.begin(this.#isHigh ? [...this.#parameters.ends, end] : this.#parameters.ends);
    this.#showArmed();
  }

  #showArmed() {
    if (this.element === undefined) return;
    const isRead = this.isRead;
    const armed = this.#isHigh ? t(this.#isTouched ? "card.hold" : "card.twice") : "";
    this.element.toggleAttribute("data-armed", isRead);
    this.#parts.reading.textContent = isRead ? armed : t("card.unread");
  }

  #guarded(act) {
    return (event) => {
      // Enter on a button that has the focus is a click without a pointer, wherever the button is.
      if (this.#isDeaf() || (event.detail === 0 && this.#bringIntoSight())) return;
      act({ isDouble: event.detail > 1, isTap: event.pointerType === "touch" });
    };
  }

  // True where something of it was not on the screen yet, and is brought there now: that is all that was done.
  #showsMore() {
    if (this.element.querySelector('[data-action="show-all"]') !== null) {
      this.#showAll();
      this.#host.announce(t("card.nowAll"));
      return true;
    }
    if (this.isRead) return false;
    this.#parts.asked.open = true; // what stands folded in it would never be seen
    if (!this.#reading.goOn()) this.#bringIntoSight();
    this.startAfresh();
    this.#host.announce(t("card.unread"));
    return true;
  }

  // What lets a call run is done when its end was seen; at a high risk with a second press.
  #deliberate(action, act) {
    return ({ isDouble = false, isTap = false } = {}) => {
      const target = this.element.querySelector(`[data-action="${action}"]`);
      if (this.#showsMore()) return;
      if (!this.#isHigh || (this.#second.isOf(target) && !isDouble && !isTap)) act();
      else if (isTap) this.#host.announce(t("card.hold"));
      else if (!this.#second.isOf(target)) {
        this.#second.expect(target);
        this.#host.announce(t("card.approveAgain"));
      }
    };
  }

  #holding(target, act) {
    hold(target, {
      begin: () => {
        this.#isTouched = true;
        this.#showArmed();
        return !this.#isDeaf() && !this.#parameters.isHidden && this.isRead;
      },
      act: () => {
        if (!this.#isDeaf() && this.isRead) act();
      },
    });
    return target;
  }

  #build() {
    const record = this.record;
    const title = titleOf(record);
    this.#parts = {
      countdown: element("span", { class: "time", role: "timer", data: { role: "countdown" } }),
      buttons: element("div", { class: "buttons" }),
      lasting: element("div", { class: "buttons lasting" }),
      reading: element("p", { class: "reading", id: `reading-${record.request_id}`, data: { role: "reading" } }),
      form: element("div", { class: "form" }),
      questions: element("div", {}),
      outcome: element("div", { class: "outcome", data: { role: "outcome" } }),
      failure: element("div", { class: "failure", role: "alert", data: { role: "failure" } }),
      end: element("span", { class: "end", "aria-hidden": "true" }),
    };
    this.#parts.answers = element("div", { class: "answers" }, this.#parts.buttons, this.#parts.reading);
    this.#parts.bar = element(
      "footer",
      { class: "bar-of-actions" },
      this.#parameters.hidden,
      this.#parts.failure,
      this.#parts.outcome,
      this.#parts.answers,
    );
    // A question is answered above what it was made of, which is folded.
    this.#parts.asked = element("details", { class: "as-asked" }, element("summary", {}, t("question.asAsked")));
    this.#parts.what = element("div", {}, this.#parameters.element);
    if (!record.parameters_truncated) this.#showWhat(record);
    this.#showButtons();
    return element(
      "article",
      {
        class: "card",
        tabindex: "-1",
        "aria-labelledby": title.id,
        data: { requestId: record.request_id, risk: record.risk_level, state: "open" },
      },
      headOf(record, title, this.#parts.countdown),
      foreignName(record.tool_name),
      judgement(record),
      this.#parts.questions,
      this.#parts.what,
      record.description ? descriptionOf(record) : null,
      factsOf(record),
      this.#parts.lasting,
      this.#parts.form,
      // It never leaves the window while any of the card is in it. Whoever has seen what stands below it has seen all above.
      this.#parts.bar,
      this.#parts.end,
    );
  }

  #showWhat(record) {
    this.#parameters.show(record);
    if (this.#host.onlyLooks) return;
    this.#questions = questionsIn(record, { onSend: () => this.#answer() });
    if (this.#questions === null) return;
    fill(this.#parts.questions, this.#questions.element);
    this.#parts.asked.append(this.#parameters.element);
    this.#parts.what.replaceChildren(this.#parts.asked);
  }

  #answer() {
    const decide = this.#questions.decide();
    if (decide === null) this.#host.announce(t("question.open"));
    else this.#send(() => decide(this.#host.client));
  }

  // What an event cannot hold is read from the service; until all of it is here, nothing lets it run.
  async #readWhole() {
    const size = count(this.record.parameters_bytes ?? 0);
    this.#parameters.say(t("card.wholeLoading", size));
    try {
      const whole = await this.#host.client.whole(this.record);
      if (this.state === "settled" || whole.parameters_truncated || whole.status !== "pending") return; // its event says so
      this.record = whole;
      const hadFocus = this.#parts.buttons.contains(document.activeElement);
      this.#showWhat(whole);
      this.#showButtons();
      if (this.state === "sending") this.#setSending(true);
      if (hadFocus) this.select({ isShown: false });
      this.startAfresh();
      this.#host.announce(t("card.wholeHere", plainText(whole.tool_name)));
    } catch (error) {
      if (this.state === "settled") return;
      this.#parameters.say(causeOf(error) ?? exactText(t("card.wholeFailed", size, error.message)).element, " ");
      this.#parameters.element.append(button("read-whole", t("card.wholeAgain"), () => this.#readWhole()));
      if (error.code === "unauthenticated") this.#host.onUnauthenticated();
    }
  }

  #showButtons() {
    const { allowed_decisions: allowed, scopes } = this.record;
    this.#acts.clear();
    if (this.#host.onlyLooks || allowed.length === 0) {
      this.#parts.reading.hidden = true;
      fill(this.#parts.buttons, element("p", {}, t(this.#host.onlyLooks ? "desk.onlyLook" : "card.noDecision")));
      return;
    }
    const isWhole = !this.#parameters.isUnshowable && !this.record.parameters_truncated;
    const mayApprove = allowed.includes("approve") && isWhole;
    this.#parts.reading.hidden = !mayApprove && !this.#isHigh;
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
    const approving = (action, key, text, scope) => {
      const act = () => this.#approve(scope);
      const made = choice(
        action,
        key,
        element("span", { data: this.#isHigh ? { again: t("card.approveAgain") } : {} }, text),
        this.#deliberate(action, act),
        {
          class: this.#isHigh ? "risky" : scope === "once" && "primary",
          "aria-describedby": this.#parts.reading.id,
        },
      );
      return this.#isHigh ? this.#holding(made, act) : made;
    };
    const lasting = (scope, key, name) =>
      mayApprove && scopes.includes(scope) && approving(`approve-${scope}`, key, this.#ruleText(name), scope);
    const asks = this.#questions;
    // An approval says nothing where there is something to choose.
    const isAnswered = asks !== null && (asks.hasChoices || !mayApprove);
    const approve = mayApprove && !isAnswered && approving("approve", "A", t("card.approve"), "once");
    const answer =
      asks !== null &&
      choice("answer", isAnswered ? "A" : "P", t("question.send"), () => this.#answer(), { class: "primary" });
    const changing = [
      answer,
      allowed.includes("edit") &&
        isWhole &&
        asks === null &&
        choice("edit", "E", t("card.edit"), () => this.#open(editing(this.record, this.#parameters.shape))),
      allowed.includes("respond") &&
        !asks?.takesReply &&
        choice("respond", "P", t("card.respond"), () => this.#open(responding(this.record))),
    ];
    const rejecting = asks?.way === "content" ? t("question.decline") : t("card.reject");
    const reject =
      allowed.includes("reject") &&
      choice("reject", "R", rejecting, () => this.#reject("once"), { class: this.#isHigh ? "primary" : "" });
    this.#parts.reject = reject || undefined;
    const rejectingFor = (scope, name) =>
      reject &&
      scopes.includes(scope) &&
      this.record.suggested_rule &&
      choice(`reject-${scope}`, null, this.#ruleText(name), () => this.#reject(scope, name));
    fill(this.#parts.buttons, this.#isHigh ? [reject, changing, approve] : [approve, changing, reject]);
    fill(
      this.#parts.lasting,
      lasting("session", "S", "card.approveSession"),
      lasting("always", "W", "card.approveAlways"),
      rejectingFor("session", "card.rejectSession"),
      rejectingFor("always", "card.rejectAlways"),
    );
  }

  // What a scope lets run, all of it: what is not read is not agreed to.
  #ruleText(name) {
    const { tool_name: tool, suggested_rule: rule } = this.record;
    if (rule === undefined) return wholeText(t(name, t("card.everyCall", tool)));
    return wholeText(t(name, ruleInWords(name.startsWith("card.reject") ? atEveryRisk(rule) : rule)));
  }

  #approve(scope) {
    const options = scope === "once" ? {} : { scope };
    return this.#send(() => this.#host.client.approve(this.record, options));
  }

  #reject(scope, name) {
    // A server hears that it is declined, and not why.
    if (this.#questions?.way === "content") {
      this.#send(() => this.#host.client.reject(this.record));
      return;
    }
    const warning = scope === "once" ? null : this.#ruleText(name);
    this.#open(rejecting(this.record, { scope, warning }));
  }

  // Show a form in the place of the buttons.
  #open(answer) {
    // The second click of a double click was not meant for what has appeared under it.
    this.startAfresh();
    this.#form = new Form(answer, {
      id: this.id,
      // What lets a call of high risk run is never what stands out.
      isRisky: this.#isHigh && answer.action === "send-edit",
      guarded: (act) => this.#guarded(act),
      isSettled: () => this.state === "settled",
      onSend: (decide) => {
        // Whoever changes a word lets the rest run, too.
        if (answer.action === "send-edit" && this.#showsMore()) fill(this.#parts.outcome, t("card.editUnread"));
        else this.#send(() => decide(this.#host.client));
      },
      onClose: () => this.#close(),
    });
    fill(this.#parts.form, this.#form.content);
    fill(this.#parts.answers, this.#form.buttons);
    this.#form.field.focus({ preventScroll: true });
    this.#parts.form.scrollIntoView({ block: "nearest" });
    this.#form.check();
  }

  #close() {
    this.#form = null;
    fill(this.#parts.form);
    fill(this.#parts.failure);
    fill(this.#parts.answers, this.#parts.buttons, this.#parts.reading);
    this.select({ isShown: this.state === "open" });
  }

  async #send(decide) {
    this.#setSending(true);
    fill(this.#parts.failure);
    fill(this.#parts.outcome, t("outcome.sending"));
    try {
      const record = await decide();
      decideHere(this.id);
      this.settle(record, { isMine: true });
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
    for (const each of this.element.querySelectorAll(".buttons button, textarea, input")) each.disabled = isSending;
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
    if (error.code === "already_decided") {
      this.settle(record ?? null);
      fill(
        this.#parts.outcome,
        element("strong", {}, refusalOf(error)),
        record?.reason ? exactText(t("outcome.reason", record.reason)).element : null,
      );
      return;
    }
    fill(this.#parts.failure, exactText(refusalOf(error)).element);
    if (error.code === "unauthenticated") this.#host.onUnauthenticated();
  }
}
