// A list of many rows of one height, of which only those are made that are near what is in sight.

import { element } from "./element.js";

const BEYOND = 8; // rows above and below
const FIRST = 20; // before the height of a row is known

export class Windowed {
  // `make(row)` gives the element of a row, `show(element, row)` brings it up to date; rows have a `key`.
  constructor({ make, show, label }) {
    this.#make = make;
    this.#show = show;
    this.#list = element("ol", { class: "windowed", "aria-labelledby": label });
    this.element = element("div", { class: "window", on: { scroll: () => this.#place() } }, this.#list);
    this.#sizes = new ResizeObserver(() => this.#place());
    this.#sizes.observe(this.element);
  }

  #make;
  #show;
  #list;
  #sizes;
  #rows = [];
  #made = new Map();
  #height = 0;

  close() {
    this.#sizes.disconnect();
  }

  update(rows) {
    this.#rows = rows;
    this.#place({ isNew: true });
  }

  // Bring a row into sight; the list scrolls no further than it must.
  reveal(key) {
    const at = this.#rows.findIndex((row) => row.key === key);
    if (at === -1 || this.#height === 0) return;
    const { scrollTop, clientHeight } = this.element;
    const top = at * this.#height;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#height > scrollTop + clientHeight) this.element.scrollTop = top + this.#height - clientHeight;
  }

  #place({ isNew = false } = {}) {
    const height = this.#height;
    const from = height === 0 ? 0 : Math.max(0, Math.floor(this.element.scrollTop / height) - BEYOND);
    const until = height === 0 ? FIRST : Math.ceil((this.element.scrollTop + this.element.clientHeight) / height) + BEYOND;
    const near = new Map(this.#rows.slice(from, until).map((row, index) => [row.key, { row, at: from + index }]));
    for (const [key, made] of this.#made) {
      // What has the focus stays, however far away.
      if (near.has(key) || (made.contains(document.activeElement) && this.#rows.some((row) => row.key === key))) continue;
      made.remove();
      this.#made.delete(key);
    }
    let before = null;
    for (const [key, { row, at }] of near) {
      let made = this.#made.get(key);
      const isMade = made === undefined;
      if (isMade) {
        made = this.#make(row);
        this.#made.set(key, made);
      }
      if (isMade || isNew) this.#show(made, row);
      made.setAttribute("aria-setsize", this.#rows.length);
      made.setAttribute("aria-posinset", at + 1);
      made.style.translate = `0 ${at * this.#height}px`;
      const next = before === null ? this.#list.firstChild : before.nextSibling;
      if (made !== next) this.#list.insertBefore(made, next);
      before = made;
    }
    this.#list.style.blockSize = `${this.#rows.length * this.#height}px`;
    // All rows are as high as the first one.
    const measured = before === null ? height : before.offsetHeight;
    if (measured !== 0 && measured !== height) {
      this.#height = measured;
      this.#place();
    }
  }
}
