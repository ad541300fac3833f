// A page that stands here as soon as it is loaded: who looks at what waits does not wait for the others.

import { button, element, fill } from "./element.js";
import { t } from "./language.js";

export class Later {
  // `make(pages)` makes it of what `other_pages.js` has.
  constructor(make) {
    this.#load(make);
  }

  element = element("div", { class: "later" });
  #isClosed = false;
  #page = null;

  close() {
    this.#isClosed = true;
    this.#page?.close?.();
  }

  async #load(make) {
    try {
      const pages = await import("./other_pages.js");
      if (this.#isClosed) return;
      this.#page = make(pages);
      this.element.replaceWith(this.#page.element);
      this.element = this.#page.element;
    } catch (error) {
      if (this.#isClosed) return;
      // The service is away, or is of another version by now.
      const again = button("reload", t("later.reload"), () => location.reload());
      fill(this.element, element("p", { class: "failure", role: "alert" }, t("later.failed")), again);
      console.warn(error);
    }
  }
}
