// What happens in a session, as a list: what runs now on top, then what happened, the newest first.

import { button, element } from "./element.js";
import { count } from "./format.js";
import { t } from "./language.js";
import { Row } from "./row.js";

const ACTIVE = new Set(["executing", "waiting_permission"]);
// A person who has just moved or touched something in the list is reading it.
const READING_MS = 5000;

export class Timeline {
  constructor(history) {
    this.#history = history;
    this.#active = element("ol", { class: "active" });
    this.#past = element("ol", { class: "past" });
    this.#now = element("h3", { hidden: true }, t("timeline.running"));
    this.#none = element("p", { class: "none" }, t("timeline.none"));
    this.#older = element("p", { class: "none", data: { role: "older" }, hidden: true });
    this.#newer = button("newer", "", () => this.#toTop(), { class: "newer", hidden: true });
    this.#scroller = element(
      "div",
      {
        class: "scroller",
        tabindex: "0",
        role: "region",
        "aria-labelledby": "timeline-title",
        on: { pointermove: () => this.#reads(), scroll: () => this.#scrolled(), click: () => this.#reads() },
      },
      this.#now,
      this.#active,
      this.#past,
      this.#older,
      this.#none,
    );
    this.element = element(
      "section",
      { id: "timeline" },
      element("h2", { id: "timeline-title" }, t("timeline.title")),
      this.#newer,
      this.#scroller,
    );
    this.#timer = setInterval(() => this.#tick(), 500);
  }

  #history;
  #active;
  #past;
  #now;
  #none;
  #older;
  #newer;
  #scroller;
  #timer;
  #shown = new Map();
  #readsUntil = 0;
  #unseen = 0;

  close() {
    clearInterval(this.#timer);
  }

  update() {
    const changed = this.#history.takeChanged();
    if (changed.size === 0) return;
    const anchor = this.#isBeingRead() ? this.#anchor() : null;
    const before = anchor?.getBoundingClientRect().top;
    let added = 0;
    for (const key of [...changed].sort((one, other) => one - other)) {
      const row = this.#history.rows.get(key);
      let shown = this.#shown.get(key);
      if (row === undefined) {
        shown?.element.remove();
        this.#shown.delete(key);
        continue;
      }
      if (shown === undefined) {
        shown = new Row(row);
        this.#shown.set(key, shown);
      }
      shown.update();
      const isActive = row.kind === "call" && ACTIVE.has(row.status);
      if (isActive) {
        if (shown.element.parentNode !== this.#active) this.#active.append(shown.element);
      } else if (shown.element.parentNode !== this.#past) {
        added += 1;
        shown.isFresh = true;
      }
    }
    if (added > 0) this.#place();
    if (anchor?.isConnected) {
      this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
      this.#unseen += added;
    }
    this.#now.hidden = this.#active.childElementCount === 0;
    this.#none.hidden = this.#shown.size > 0;
    this.#older.hidden = this.#history.removed === 0;
    this.#older.textContent = t("timeline.older", count(this.#history.removed));
    this.#scrolled();
  }

  // What has ended goes on top, in the order in which it did.
  #place() {
    const fresh = [];
    for (const row of this.#history.rows.values()) {
      const shown = this.#shown.get(row.key);
      if (shown?.isFresh) {
        shown.isFresh = false;
        fresh.push(shown.element);
      }
    }
    this.#past.prepend(...fresh.reverse());
  }

  #isBeingRead() {
    return (
      this.#scroller.scrollTop > 4 ||
      performance.now() < this.#readsUntil ||
      this.#past.querySelector("details[open]") !== null
    );
  }

  // The first row in sight: it stays where it is when others come above it.
  #anchor() {
    const top = this.#scroller.getBoundingClientRect().top;
    for (const one of this.#past.children) if (one.getBoundingClientRect().bottom > top + 1) return one;
    return null;
  }

  #reads() {
    this.#readsUntil = performance.now() + READING_MS;
  }

  #scrolled() {
    if (this.#unseen > 0 && this.#scroller.scrollTop <= 4) this.#unseen = 0;
    this.#newer.hidden = this.#unseen === 0;
    this.#newer.textContent = t("timeline.newer", count(this.#unseen));
  }

  #toTop() {
    this.#scroller.scrollTop = 0;
    this.#unseen = 0;
    this.#scrolled();
  }

  #tick() {
    for (const each of this.#active.children) this.#shown.get(Number(each.dataset.key))?.tick();
  }
}
