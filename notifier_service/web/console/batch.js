// Requests that are alike on one card: each is listed with all that would run, and one act decides exactly those.

import { now } from "./clock.js";
import { button, element, fill } from "./element.js";
import { exactText } from "./excerpt.js";
import { descriptionOf, factsOf, foreignName, judgement } from "./facts.js";
import { countdown } from "./format.js";
import { hold } from "./hold.js";
import { known, t } from "./language.js";
import { decideHere } from "./mine.js";
import { outcomeText } from "./outcome.js";
import { Parameters } from "./parameters.js";
import { plainText } from "./readable.js";
import { Reading } from "./reading.js";
import { refusalOf } from "./refusal.js";
import { SecondPress } from "./second_press.js";

const DEAF_MS = 500;
const URGENT_MS = 30_000;
// Of what is seen so much goes by: the rest is for the eye to find its place.
const TURNED = 0.85;

export class Batch {
  // `host`: {decide(requests, approved, reason), nameOf(sessionId), onSettled(card, {isMine, text}), announce(text),
  // onUnauthenticated(), split(), onlyLooks}.
  constructor(records, host) {
    this.records = records;
    this.#host = host;
    [this.#first] = records;
    this.#isHigh = this.#first.risk_level === "high";
    this.#entries = new Map(records.map((record) => [record.request_id, this.#entry(record)]));
    this.element = this.#build();
    this.#read();
    this.tick();
  }

  state = "open";
  settledAt = null;
  hasForm = false;

  #host;
  #first;
  #isHigh;
  #entries;
  #reading = new Reading(() => this.#showArmed());
  #isTouched = matchMedia("(pointer: coarse)").matches;
  #parts;
  #acts = {};
  #second = new SecondPress();
  #shownAt = performance.now();

  get name() {
    return t("batch.title", this.records.length, plainText(this.#first.tool_name));
  }

  // What became of each is to be read, where it is not what was wanted.
  get staysSettled() {
    return [...this.#entries.values()].some(({ isRefused }) => isRefused);
  }

  isOf(ids) {
    return ids.every((id) => this.#entries.has(id)) && this.#open().every((record) => ids.includes(record.request_id));
  }

  close() {
    this.#reading.stop();
  }

  // The same request, told again: after a restart it has more time.
  renew(record) {
    const entry = this.#entries.get(record.request_id);
    if (entry !== undefined && !entry.isOver) entry.record = record;
  }

  startAfresh() {
    this.#shownAt = performance.now();
    this.#second.forget();
    this.showReady();
  }

  lookAgain() {}

  showReady() {
    this.element.toggleAttribute("data-ready", !this.#isDeaf());
  }

  select() {
    this.element.focus({ preventScroll: true });
  }

  press(action) {
    if (this.state !== "open" || this.#isDeaf()) return;
    if (action === "edit" || action === "respond") this.#host.split();
    else if (action === "exact") for (const { parameters } of this.#entries.values()) parameters.turnExact();
    else this.#acts[action]?.();
  }

  tick() {
    this.showReady();
    this.#second.tick();
    for (const { record, time } of this.#entries.values()) {
      if (record.expires_at === null) continue;
      const left = Date.parse(record.expires_at) - now();
      time.textContent = left > 0 ? countdown(left) : t("card.over");
      time.classList.toggle("urgent", left <= URGENT_MS);
    }
  }

  // Those that wait no more, by what this page did not do, are told in their place and not decided.
  settleGone(waiting, outcomes) {
    if (this.state !== "open") return;
    for (const [id, entry] of this.#entries)
      if (!entry.isOver && !waiting.has(id)) this.#end(entry, outcomeText(outcomes.get(id) ?? null, false));
    if (this.#open().length === 0) this.#settle(false);
    else this.#tellNumber();
  }

  #open() {
    return [...this.#entries.values()].filter(({ isOver }) => !isOver).map(({ record }) => record);
  }

  #isDeaf() {
    return this.state !== "open" || performance.now() - this.#shownAt < DEAF_MS;
  }

  #entry(record) {
    const parameters = new Parameters({ onDrawn: () => this.#read(), onChange: () => this.#showArmed() });
    parameters.show(record);
    const time = element("span", { class: "time" });
    const outcome = element("p", { class: "outcome", role: "status" });
    const end = element("span", { class: "end" });
    const place = element(
      "li",
      { data: { requestId: record.request_id, state: "open" } },
      element(
        "div",
        { class: "of" },
        element("span", { class: "where" }, this.#host.nameOf(record.session_id)),
        time,
      ),
      judgement(record),
      parameters.element,
      record.description ? descriptionOf(record) : null,
      parameters.hidden,
      outcome,
      end,
    );
    return { record, parameters, time, outcome, end, place, isOver: false, isRefused: false };
  }

  #build() {
    const first = this.#first;
    const title = element(
      "h3",
      { id: `title-${first.request_id}` },
      exactText(first.tool_name, { headLength: 300 }).element,
    );
    this.#parts = {
      number: element("span", { class: "times" }),
      failure: element("p", { class: "failure", role: "alert", data: { role: "failure" } }),
      outcome: element("p", { class: "outcome", role: "status", data: { role: "outcome" } }),
      buttons: element("div", { class: "buttons" }),
      reading: element("p", { class: "reading", data: { role: "reading" } }),
      end: element("span", { class: "end", "aria-hidden": "true" }),
    };
    this.#acts = {
      approve: this.#deliberate((options) => this.#approve(options)),
      reject: this.#deliberate(() => this.#send(false)),
    };
    const choice = (action, key, name, properties) => {
      const label = element("span", { data: this.#isHigh && action === "approve" ? { again: t("card.approveAgain") } : {} });
      const made = button(action, label, (event) => this.#acts[action]({ isDouble: event.detail > 1, isTap: event.pointerType === "touch" }), {
        ...properties,
        "aria-keyshortcuts": key,
      });
      made.append(element("kbd", { "aria-hidden": "true" }, key));
      if (this.#isHigh && action === "approve") this.#holding(made);
      this.#parts[action] = label;
      return made;
    };
    const approve = choice("approve", "A", "batch.approve", { class: this.#isHigh ? "risky" : "primary" });
    const reject = choice("reject", "R", "batch.reject", { class: this.#isHigh ? "primary" : "" });
    const apart = button("split", t("batch.split"), () => this.#host.split(), { class: "quiet" });
    if (this.#host.onlyLooks) {
      this.#acts = {};
      this.#parts.reading.hidden = true;
    }
    const answers = this.#host.onlyLooks ? [element("p", {}, t("desk.onlyLook"))] : this.#isHigh ? [reject, approve] : [approve, reject];
    fill(this.#parts.buttons, answers, apart);
    this.#tellNumber();
    return element(
      "article",
      {
        class: "card batch",
        tabindex: "-1",
        "aria-labelledby": title.id,
        data: { risk: first.risk_level, state: "open", requests: this.records.length },
      },
      element(
        "header",
        {},
        element("span", { class: `risk ${first.risk_level}` }, known("risk", first.risk_level)),
        title,
        this.#parts.number,
        first.server && element("span", { class: "server" }, `${t("card.server")} `, exactText(first.server).element),
      ),
      factsOf(first),
      foreignName(first.tool_name),
      element("ol", { class: "requests" }, [...this.#entries.values()].map(({ place }) => place)),
      element(
        "footer",
        { class: "bar-of-actions" },
        this.#parts.failure,
        this.#parts.outcome,
        element("div", { class: "answers" }, this.#parts.buttons, this.#parts.reading),
      ),
      // Whoever has seen what stands below the bar has seen what it covered.
      this.#parts.end,
    );
  }

  #holding(target) {
    hold(target, {
      begin: () => {
        this.#isTouched = true;
        this.#showArmed();
        return !this.#isDeaf() && this.#isRead;
      },
      act: () => {
        if (!this.#isDeaf() && this.#isRead) this.#send(true);
      },
    });
  }

  #tellNumber() {
    const number = this.#open().length;
    fill(this.#parts.number, t("queue.times", number));
    fill(this.#parts.approve, t("batch.approve", number));
    fill(this.#parts.reject, t("batch.reject", number));
  }

  #deliberate(act) {
    return (options = {}) => {
      if (!this.#isDeaf()) act(options);
    };
  }

  get #isRead() {
    return this.#reading.isOver && this.element.querySelector('[data-action="show-all"]') === null;
  }

  // What ends on the card has to be seen anew.
  #read() {
    if (this.element === undefined) return;
    const entries = [...this.#entries.values()];
    this.#reading.begin([...entries.flatMap(({ parameters, end }) => [...parameters.ends, end]), this.#parts.end]);
    this.#showArmed();
  }

  #showArmed() {
    if (this.element === undefined) return;
    const isRead = this.#isRead;
    this.element.toggleAttribute("data-armed", isRead);
    const armed = this.#isHigh ? t(this.#isTouched ? "card.hold" : "card.twice") : "";
    this.#parts.reading.textContent = isRead ? armed : t("card.unread");
  }

  // What has not been on the screen is not approved: it is shown first.
  #showsMore() {
    if (this.#isRead) return false;
    const folded = [...this.element.querySelectorAll('[data-action="show-all"]')];
    for (const more of folded) more.click();
    if (folded.length === 0 && !this.#reading.goOn()) this.#turnPage();
    this.startAfresh();
    this.#host.announce(t("batch.lookFirst"));
    return true;
  }

  #turnPage() {
    const scroller = this.element.parentElement;
    const seen = scroller.clientHeight - this.element.querySelector("footer").offsetHeight;
    scroller.scrollBy({ top: seen * TURNED, behavior: "instant" });
  }

  #approve({ isDouble = false, isTap = false }) {
    if (this.#showsMore()) return;
    const target = this.element.querySelector('[data-action="approve"]');
    if (!this.#isHigh || (this.#second.isOf(target) && !isDouble && !isTap)) this.#send(true);
    else if (isTap) this.#host.announce(t("card.hold"));
    else if (!this.#second.isOf(target)) this.#second.expect(target);
  }

  async #send(approved) {
    const requests = this.#open();
    this.#setState("sending");
    fill(this.#parts.failure);
    let answers;
    try {
      answers = await this.#host.decide(requests, approved);
    } catch (error) {
      this.#setState("open");
      fill(this.#parts.failure, exactText(refusalOf(error)).element);
      if (error.code === "unauthenticated") this.#host.onUnauthenticated();
      return;
    }
    const known = new Map(answers.map((answer) => [answer.request_id, answer]));
    for (const { request_id: id } of requests) this.#tell(this.#entries.get(id), known.get(id));
    this.#settle(true);
  }

  #tell(entry, answer) {
    if (answer?.status === 200) decideHere(entry.record.request_id);
    if (answer?.status === 200) return this.#end(entry, outcomeText(answer.record, true));
    entry.isRefused = true;
    const error = answer?.error ?? { code: "gone", message: "" };
    const details = { ...error, record: error.record ?? answer?.record };
    const text = ["request_expired", "request_cancelled", "request_not_found"].includes(error.code)
      ? outcomeText({ status: error.code.replace("request_", "") }, false)
      : refusalOf({ code: error.code, message: error.message, status: answer?.status ?? 404, details });
    return this.#end(entry, text);
  }

  #end(entry, text) {
    entry.isOver = true;
    entry.place.dataset.state = entry.isRefused ? "refused" : "settled";
    entry.time.hidden = true;
    fill(entry.outcome, exactText(text).element);
  }

  #settle(isMine) {
    this.#setState("settled");
    this.settledAt = performance.now();
    const done = [...this.#entries.values()].filter(({ isRefused }) => !isRefused).length;
    const text = t(this.staysSettled ? "batch.someDone" : "batch.allDone", done, this.records.length);
    fill(this.#parts.outcome, text);
    this.#host.announce(text);
    this.#host.onSettled(this, { isMine: isMine && !this.staysSettled, text });
  }

  #setState(state) {
    this.state = state;
    this.element.dataset.state = state;
    for (const each of this.element.querySelectorAll(".buttons button")) each.disabled = state !== "open";
  }
}
