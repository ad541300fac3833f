// The second press that a high risk takes: of the same button, and soon.

import { fill } from "./element.js";
import { t } from "./language.js";

const CONFIRM_MS = 4000;

export class SecondPress {
  #target = null; // the button whose next press counts
  #until = 0;
  #label = [];

  isOf(target) {
    return this.#target === target;
  }

  expect(target) {
    this.forget();
    this.#target = target;
    this.#until = performance.now() + CONFIRM_MS;
    // It keeps its size, so that nothing moves under the second press.
    const { width, height } = target.getBoundingClientRect();
    target.style.minInlineSize = `${width}px`;
    target.style.minBlockSize = `${height}px`;
    target.classList.add("confirming");
    this.#label = [...target.firstChild.childNodes];
    fill(target.firstChild, t("card.approveAgain"));
  }

  forget() {
    const target = this.#target;
    if (target === null) return;
    this.#target = null;
    target.style.minInlineSize = "";
    target.style.minBlockSize = "";
    target.classList.remove("confirming");
    fill(target.firstChild, this.#label);
  }

  tick() {
    if (performance.now() > this.#until) this.forget();
  }
}
