// The requests that wait in a session, oldest first, and which of them the keys are about.

import { Card } from "./card.js";
import { bringIntoSight } from "./client/sight.js";
import { button, element, fill, isTyping } from "./element.js";
import { known, t } from "./language.js";
import { plainText } from "./readable.js";

// A settled card keeps its place for so long, and nothing is taken for a moment after one has gone.
const LINGER_MS = 1500;
const DEAF_MS = 500;
const REST_MS = 1000;
const MAX_OUTCOMES = 500;

export class Cards {
  constructor({ client, onUnauthenticated, announce }) {
    this.#host = {
      client,
      onUnauthenticated,
      announce,
      isDeafToClicks: () => performance.now() < this.#movedUntil,
      isDeafToKeys: () => performance.now() < this.#passedUntil,
      bringIntoSight: (card, answers) => this.#bringIntoSight(card, answers),
      onSettled: (card) => this.#settled(card),
    };
    this.#announce = announce;
    this.#title = element("h2", { id: "cards-title" });
    this.#list = element("div", { class: "list" });
    this.element = element(
      "section",
      { id: "cards", tabindex: "-1", "aria-labelledby": "cards-title", on: { pointermove: () => this.#moved() } },
      this.#title,
      this.#list,
    );
    // On a phone the page scrolls as a whole, and what waits may be out of sight.
    this.#pill = button("waiting", "", () => this.element.scrollIntoView(), { class: "primary pill", hidden: true });
    this.element.append(this.#pill);
    this.#sight = new IntersectionObserver((seen) => {
      this.#isInSight = seen.at(-1).isIntersecting;
      this.#retitle();
    });
    this.#sight.observe(this.#list);
    this.#sizes = new ResizeObserver(() => {
      for (const card of this.#cards.values()) card.lookAgain();
    });
    this.#sizes.observe(this.#list, { box: "border-box" });
    this.element.addEventListener("focusin", (event) => {
      const card = this.#cards.get(event.target.closest?.("[data-request-id]")?.dataset.requestId);
      if (card !== undefined) this.#mark(card);
    });
    this.#timer = setInterval(() => this.#tick(), 250);
    this.#retitle();
  }

  #host;
  #announce;
  #title;
  #list;
  #timer;
  #pill;
  #sight;
  #sizes;
  #isInSight = true;
  #cards = new Map();
  #outcomes = new Map();
  #selected = null;
  #movedUntil = 0; // what a click hits has just changed
  #passedUntil = 0; // what the keys are about has just changed
  #movedAt = 0;

  close() {
    for (const card of this.#cards.values()) card.close();
    clearInterval(this.#timer);
    this.#sight.disconnect();
    this.#sizes.disconnect();
  }

  // How a request ended is told by an event, before the state forgets it.
  hear(event) {
    if (event.type !== "permission_response_result" && event.type !== "permission_cleared") return;
    const { request_id: id } = event.data;
    this.#outcomes.set(id, { ...event.data, ...this.#outcomes.get(id) });
    if (this.#outcomes.size > MAX_OUTCOMES) this.#outcomes.delete(this.#outcomes.keys().next().value);
  }

  update(pending) {
    const waiting = new Set(pending.map((record) => record.request_id));
    for (const card of this.#cards.values()) {
      // What this page has just sent is answered by the service itself.
      if (card.state === "open" && !waiting.has(card.id)) card.settle(this.#outcomes.get(card.id) ?? null);
    }
    const wasEmpty = this.#open().length === 0;
    for (const record of pending) {
      const shown = this.#cards.get(record.request_id);
      if (shown !== undefined) {
        shown.renew(record);
        continue;
      }
      const card = new Card(record, this.#host);
      this.#cards.set(card.id, card);
      this.#list.append(card.element);
      this.#announce(t("cards.new", plainText(record.tool_name), known("risk", record.risk_level)));
    }
    this.#retitle();
    if (wasEmpty) this.#selectFirst();
  }

  // The card that the keys are about.
  get selected() {
    return this.#selected?.state === "open" || this.#selected?.hasForm ? this.#selected : (this.#open()[0] ?? null);
  }

  move(step) {
    const open = this.#open();
    if (open.length === 0) return;
    const at = open.indexOf(this.#selected);
    const next = open[Math.min(open.length - 1, Math.max(0, at === -1 ? 0 : at + step))];
    this.#mark(next);
    next.select();
  }

  // Whatever stands above the cards and changes its height moves them.
  watch(above) {
    this.#sizes.observe(above, { box: "border-box" });
  }

  // On a phone the page scrolls as a whole, below its header.
  #bringIntoSight(card, answers) {
    const isPage = getComputedStyle(this.element).overflowY === "visible";
    const cover = isPage ? document.querySelector(".top") : this.#title;
    const top = Math.max(0, cover.getBoundingClientRect().bottom);
    const bottom = isPage ? innerHeight : Math.min(innerHeight, this.element.getBoundingClientRect().bottom);
    return bringIntoSight(card, answers, { top, bottom }, isPage ? document.scrollingElement : this.element);
  }

  #open() {
    return [...this.#cards.values()].filter((card) => card.state !== "settled");
  }

  #mark(card) {
    if (this.#selected === card) return;
    this.#selected?.element.removeAttribute("data-selected");
    this.#selected = card;
    card?.element.setAttribute("data-selected", "");
  }

  // The first one is what the keys are about; it gets the focus only if nothing else has it.
  #selectFirst() {
    const [first] = this.#open();
    if (first === undefined) return;
    this.#mark(first);
    if (!isTyping() && (document.activeElement === null || document.activeElement === document.body))
      first.select({ isShown: false });
  }

  #showReady() {
    for (const card of this.#cards.values()) card.showReady();
  }

  // The keys pass on to the next one; a second press of the same key was not meant for it.
  #settled(card) {
    if (this.#selected === card) {
      this.#passedUntil = performance.now() + DEAF_MS;
      this.#showReady();
      const all = [...this.#cards.values()];
      const later = all.slice(all.indexOf(card)).find((each) => each.state === "open");
      this.#mark(later ?? this.#open()[0] ?? null);
    }
    this.#retitle();
  }

  #retitle() {
    const number = this.#open().length;
    fill(
      this.#title,
      number === 0 ? t("cards.none") : t("cards.title"),
      number > 0 && element("span", { class: "badge" }, number),
    );
    this.#pill.hidden = number === 0 || this.#isInSight;
    this.#pill.textContent = t("sessions.waiting", number);
    this.element.classList.toggle("empty", this.#cards.size === 0);
  }

  #moved() {
    this.#movedAt = performance.now();
  }

  #tick() {
    for (const card of this.#cards.values()) card.tick();
    const now = performance.now();
    const isDue = (card) => card.settledAt !== null && now - card.settledAt > LINGER_MS && !card.hasForm;
    const due = [...this.#cards.values()].filter(isDue);
    if (due.length === 0) return;
    // Nothing moves under a pointer that is on its way, or rests on a button.
    if (now - this.#movedAt < REST_MS || this.#list.querySelector('[data-state="open"] button:hover') !== null) return;
    const hadFocus = due.some((card) => card.element.contains(document.activeElement));
    for (const card of due) {
      this.#cards.delete(card.id);
      this.#outcomes.delete(card.id);
      card.element.remove();
    }
    this.#movedUntil = now + DEAF_MS;
    this.#showReady();
    this.#retitle();
    // Who was in what has gone goes on with what the keys are about now.
    if (hadFocus) this.selected?.select();
  }
}
