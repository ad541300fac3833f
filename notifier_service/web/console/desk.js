// What waits for a person: all of it in a queue, by time left, and one item of it on a card, which the keys are about.
// Nothing that arrives changes what is on the card, or where anything is: only what a person does turns to another item.

import { Batch } from "./batch.js";
import { Card } from "./card.js";
import { bringIntoSight } from "./client/sight.js";
import { button, element, fill, isTyping } from "./element.js";
import { Items } from "./fold.js";
import { known, t } from "./language.js";
import { Queue } from "./queue.js";
import { plainText } from "./readable.js";

// A card that was settled elsewhere stays so long to be read, and longer while a person moves, or points at it.
const LINGER_MS = 1500;
const POINTED_AT_MS = 5000;
const REST_MS = 1000;
const MAX_OUTCOMES = 1000;
const MAX_CARDS = 30;
const MAX_ANNOUNCED = 3;

export class Desk {
  // `host`: {clientOf(sessionId), decide(requests, approved, reason), nameOf(sessionId), announce(text),
  // onUnauthenticated(), onShown(requests), reveal(), mayOnlyLook(), isEverywhere}; `reveal` brings it before what covers
  // it. Who may only look on is offered no answer.
  constructor(host) {
    this.#host = host;
    this.queue = new Queue({ onChoose: (item) => this.#choose(item), nameOf: host.nameOf, isEverywhere: host.isEverywhere });
    this.#place = element("span", { class: "place", role: "status" });
    this.#told = element("span", { class: "told", role: "status" });
    const step = (action, text, by) =>
      button(action, text, () => this.move(by), { class: "quiet step", "aria-label": t(`desk.${action}`) });
    this.#back = step("previous", "‹", -1);
    this.#on = step("next", "›", 1);
    this.#none = element("div", { class: "calm" });
    this.#stage = element("div", { class: "list" });
    this.element = element(
      "section",
      { id: "cards", tabindex: "-1", "aria-label": t("cards.title"), on: { pointermove: () => this.#moved() } },
      element("h2", { class: "unseen" }, t("cards.title")),
      element("div", { class: "bar" }, this.#back, this.#place, this.#on, this.#told),
      this.#stage,
      this.#none,
    );
    this.#sizes = new ResizeObserver(() => this.#card?.lookAgain());
    this.#timer = setInterval(() => this.#tick(), 250);
    this.retell();
  }

  #host;
  #place;
  #told;
  #back;
  #on;
  #none;
  #stage;
  #sizes;
  #timer;
  #items = new Items();
  #outcomes = new Map();
  #cards = new Map(); // by the key of their item, those shown last at the end
  #shown = null;
  #card = null;
  #movedAt = 0;
  #onlyLooks = false;

  close() {
    clearInterval(this.#timer);
    this.#sizes.disconnect();
    for (const card of this.#cards.values()) card.close();
    this.queue.close();
  }

  // How a request ended is told by an event, before the state forgets it.
  hear(event) {
    if (event.type !== "permission_response_result" && event.type !== "permission_cleared") return;
    const { request_id: id } = event.data;
    this.#outcomes.set(id, { ...event.data, ...this.#outcomes.get(id) });
    if (this.#outcomes.size > MAX_OUTCOMES) this.#outcomes.delete(this.#outcomes.keys().next().value);
  }

  update(pending) {
    this.#lookAtRights();
    const come = this.#items.update(pending, this.#shown);
    if (this.#shown === null) this.#items.sort();
    for (const [key, card] of this.#cards) {
      card.settleGone(this.#items.requests, this.#outcomes);
      const item = this.#items.list.find((each) => each.key === key);
      if (item !== undefined) for (const record of this.#items.recordsOf(item)) card.renew(record);
      else if (card !== this.#card) this.#drop(key);
    }
    this.#announce(come);
    if (this.#shown === null && this.#items.list.length > 0) this.#show(this.#items.list[0], { isAsked: false });
    this.retell();
  }

  // They are told when a stream begins: what was offered until then is offered no more, or now.
  #lookAtRights() {
    const onlyLooks = this.#host.mayOnlyLook();
    if (onlyLooks === this.#onlyLooks) return;
    this.#onlyLooks = onlyLooks;
    fill(this.#told, onlyLooks && element("span", { class: "dim" }, t("desk.onlyLook")));
    for (const key of [...this.#cards.keys()]) this.#drop(key);
    if (this.#shown !== null) this.#show(this.#shown, { isAsked: false });
  }

  #announce(come) {
    if (come.length === 1) {
      this.#host.announce(t("cards.new", plainText(come[0].tool_name), known("risk", come[0].risk_level)));
    } else if (come.length > 1) {
      const names = [...new Set(come.map(({ tool_name: name }) => plainText(name)))].slice(0, MAX_ANNOUNCED);
      this.#host.announce(t("cards.manyNew", come.length, names.join(t("deeds.comma"))));
    }
  }

  // A key's action, on the card that is seen. One that is covered, or not shown at all, is shown first.
  press(action) {
    if (this.#card === null) return;
    if (this.#isSeen()) this.#card.press(action);
    else {
      this.#host.reveal();
      this.#card.startAfresh();
    }
  }

  #isSeen() {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    if (width === 0 || height === 0) return false;
    return this.element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
  }

  // Somebody has begun to write an answer.
  get isWriting() {
    return [...this.#cards.values()].some(({ hasForm }) => hasForm);
  }

  get waiting() {
    return [...this.#items.requests.values()];
  }

  // Show the item with this request; false when it does not wait.
  turnTo(requestId) {
    const item = this.#items.find(requestId);
    if (item === undefined) return false;
    this.#choose(item);
    return true;
  }

  move(step) {
    const { list } = this.#items;
    if (list.length === 0) return;
    const at = list.indexOf(this.#shown);
    const next = list[Math.min(list.length - 1, Math.max(0, at === -1 ? 0 : at + step))];
    // What is over gives way, wherever one turns to.
    if (next === this.#shown && this.#card?.state === "settled") this.#goOn();
    else if (next !== this.#shown) this.#choose(next);
  }

  // Decide the requests of a card one by one.
  split() {
    if (this.#shown === null || !(this.#card instanceof Batch)) return;
    const { key } = this.#shown;
    const first = this.#items.split(this.#shown);
    this.#shown = null;
    this.#drop(key);
    this.#choose(first);
  }

  #choose(item) {
    const left = this.#shown;
    if (left !== null && left !== item && this.#card.state === "settled") this.#leave(left);
    this.#show(item, { isAsked: true });
    this.retell();
  }

  #leave(item) {
    this.#items.remove(item);
    this.#drop(item.key);
  }

  #drop(key) {
    this.#cards.get(key)?.close();
    this.#cards.delete(key);
  }

  #show(item, { isAsked }) {
    const hadFocus = isAsked || this.#stage.contains(document.activeElement);
    this.#shown = item;
    let card = this.#cards.get(item.key);
    // More have come since it was looked at: it is another one.
    if (card !== undefined && !card.isOf(item.ids)) {
      this.#drop(item.key);
      card = undefined;
    }
    card ??= this.#made(item);
    this.#cards.delete(item.key);
    this.#cards.set(item.key, card);
    for (const [key, old] of this.#cards) {
      if (this.#cards.size <= MAX_CARDS) break;
      if (old !== card && !old.hasForm) this.#drop(key);
    }
    this.#card = card;
    this.element.classList.remove("empty");
    this.#stage.replaceChildren(card.element);
    this.#stage.scrollTop = 0;
    card.startAfresh();
    card.lookAgain();
    this.#sizes.disconnect();
    for (const each of [this.#stage, card.element]) this.#sizes.observe(each, { box: "border-box" });
    const isFree = document.activeElement === null || document.activeElement === document.body;
    if ((hadFocus || isFree) && !isTyping()) card.select({ isShown: false });
    this.#host.onShown(this.#items.recordsOf(item));
  }

  #made(item) {
    const records = this.#items.recordsOf(item);
    const host = {
      onUnauthenticated: this.#host.onUnauthenticated,
      announce: this.#host.announce,
      nameOf: this.#host.nameOf,
      isDeafToClicks: () => false,
      isDeafToKeys: () => false,
      bringIntoSight: (card, answers) => this.#bringIntoSight(card, answers),
      onSettled: (card, how) => this.#settled(card, how),
      split: () => this.split(),
      onlyLooks: this.#onlyLooks,
    };
    if (records.length > 1) return new Batch(records, { ...host, decide: this.#host.decide });
    return new Card(records[0], { ...host, client: this.#host.clientOf(records[0].session_id) });
  }

  // What the bar of actions lies over is not seen.
  #bringIntoSight(card, answers) {
    const { top, bottom } = this.#stage.getBoundingClientRect();
    const cover = card.querySelector("footer")?.offsetHeight ?? 0;
    return bringIntoSight(card, answers, { top: Math.max(0, top), bottom: Math.min(innerHeight, bottom) - cover }, this.#stage);
  }

  // What this page decided is told, and gives way at once; a second press of the same key was not meant for the next.
  #settled(card, { isMine = false, text = "" } = {}) {
    if (card !== this.#card) return;
    if (isMine) {
      this.#tell(text, card);
      if (this.#next() !== null) this.#goOn();
    }
    this.retell();
  }

  #tell(text, card) {
    fill(this.#told, element("span", { "aria-hidden": "true" }, "✓ "), text, " ", element("b", {}, card.name));
    this.#told.dataset.at = "";
  }

  #next() {
    const { list } = this.#items;
    const at = list.indexOf(this.#shown);
    return [...list.slice(at + 1), ...list.slice(0, Math.max(0, at))].find((item) => item !== this.#shown) ?? null;
  }

  // To what comes next by time left, or to rest.
  #goOn() {
    const old = this.#shown;
    const next = this.#next();
    this.#items.sort();
    if (next !== null) this.#show(next, { isAsked: this.#stage.contains(document.activeElement) });
    else {
      const hadFocus = this.#stage.contains(document.activeElement);
      this.#shown = null;
      this.#card = null;
      this.#stage.replaceChildren();
      if (hadFocus) this.element.focus({ preventScroll: true });
      this.#host.onShown([]);
    }
    if (old !== null) this.#leave(old);
    this.retell();
  }

  // Titles of sessions, and places in the queue.
  retell() {
    const { list } = this.#items;
    const at = list.indexOf(this.#shown);
    this.#place.textContent = list.length === 0 ? "" : t("desk.place", at + 1, list.length);
    this.#back.disabled = at <= 0;
    this.#on.disabled = at === -1 || (at === list.length - 1 && this.#card?.state !== "settled");
    fill(this.#none, this.#shown === null && this.#calm());
    this.element.classList.toggle("empty", this.#shown === null);
    this.queue.update(list, this.#items, this.#shown);
  }

  #calm() {
    return [
      element("p", { class: "big", "aria-hidden": "true" }, "✓"),
      element("h2", {}, t("cards.none")),
      element("p", { class: "none" }, t("cards.noneWhy")),
    ];
  }

  #moved() {
    this.#movedAt = performance.now();
  }

  #tick() {
    const card = this.#card;
    this.queue.tick();
    if (card === null) return;
    card.tick();
    if (card.settledAt === null || card.hasForm) return;
    const now = performance.now();
    const isPointedAt = card.element.matches(":hover");
    if (now - card.settledAt < (isPointedAt ? POINTED_AT_MS : LINGER_MS) || now - this.#movedAt < REST_MS) return;
    if (card.staysSettled) return;
    this.#goOn();
  }
}
