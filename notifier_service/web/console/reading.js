// What of a card has been on the screen. What has not been there cannot be approved where the risk is high.

// Of a page that is turned, so much stays for the eye to find its place; of a very long text more is passed at once.
const PAGE = 0.85;
const MOST_PAGES = 24;

export class Reading {
  // `onChange` hears when something more was seen.
  constructor(onChange) {
    this.#onChange = onChange;
    this.#observer = this.#looking();
  }

  #onChange;
  #observer;
  #unseen = new Set();
  #coveredPx = 0;

  get isOver() {
    return this.#unseen.size === 0;
  }

  // Each of these stands where something ends.
  begin(ends) {
    this.#observer.disconnect();
    this.#unseen = new Set(ends);
    for (const end of ends) this.#observer.observe(end);
  }

  // What lies over the bottom of the window, so high, hides what is there.
  cover(px) {
    if (px === this.#coveredPx) return;
    this.#coveredPx = px;
    this.#observer.disconnect();
    this.#observer = this.#looking();
    for (const end of this.#unseen) this.#observer.observe(end);
  }

  #looking() {
    const look = (seen) => {
      const before = this.#unseen.size;
      for (const { target, isIntersecting } of seen) if (isIntersecting) this.#unseen.delete(target);
      if (this.#unseen.size < before) this.#onChange();
    };
    return new IntersectionObserver(look, { rootMargin: `0px 0px ${-this.#coveredPx}px 0px` });
  }

  // Scroll on to the next end that was not seen, a page of what scrolls. False where nothing moved.
  goOn() {
    for (const end of this.#unseen) {
      const scroller = end.closest(".whole");
      if (scroller === null) continue;
      const before = scroller.scrollTop;
      const step = Math.max(scroller.clientHeight * PAGE, scroller.scrollHeight / MOST_PAGES);
      scroller.scrollBy({ top: step, behavior: "instant" });
      scroller.scrollIntoView({ block: "nearest" });
      if (scroller.scrollTop > before) return true;
    }
    return false;
  }

  stop() {
    this.#observer.disconnect();
  }
}
