// All that waits, a row for each item, by time left.

import { now } from "./clock.js";
import { element, fill } from "./element.js";
import { countdown } from "./format.js";
import { t } from "./language.js";
import { plainText } from "./readable.js";
import { Windowed } from "./windowed.js";

const URGENT_MS = 30_000;
const LONGEST = 200;

export class Queue {
  // `host`: {onChoose(item), nameOf(sessionId), isEverywhere}.
  constructor(host) {
    this.#host = host;
    this.#title = element("h2", { id: "queue-title" });
    this.#rows = new Windowed({
      label: "queue-title",
      make: (row) => this.#make(row),
      show: (made, row) => this.#show(made, row),
    });
    this.#none = element("p", { class: "none" }, t("cards.none"));
    this.element = element("section", { id: "queue" }, this.#title, this.#none, this.#rows.element);
  }

  #host;
  #title;
  #rows;
  #none;
  #list = [];
  #times = new Map();

  close() {
    this.#rows.close();
  }

  update(items, requests, shown) {
    this.#list = items.map((item) => {
      const records = requests.recordsOf(item);
      return { key: item.key, item, records, isShown: item === shown };
    });
    const number = requests.requests.size;
    fill(this.#title, t("cards.title"), element("span", { class: "badge", hidden: number === 0 }, number));
    this.#none.hidden = items.length > 0;
    this.#times.clear();
    this.#rows.update(this.#list);
    if (shown !== null) this.#rows.reveal(shown.key);
  }

  tick() {
    for (const [row, place] of this.#times) tellTime(row, place);
  }

  #make(row) {
    const chosen = () => this.#host.onChoose(row.item);
    return element("li", {}, element("button", { type: "button", class: "waiting", on: { click: chosen } }));
  }

  #show(made, row) {
    const control = made.firstChild;
    const { records, isShown } = row;
    const first = records[0];
    made.dataset.state = first === undefined ? "settled" : "open";
    if (isShown) control.setAttribute("aria-current", "true");
    else control.removeAttribute("aria-current");
    if (first === undefined) return;
    made.dataset.requestIds = records.map(({ request_id: id }) => id).join(" ");
    made.dataset.risk = first.risk_level;
    const time = element("span", { class: "time" });
    this.#times.set(row, time);
    tellTime(row, time);
    fill(
      control,
      element("strong", {}, plainText(first.tool_name.slice(0, LONGEST))),
      records.length > 1 && element("span", { class: "times" }, t("queue.times", records.length)),
      time,
      element("span", { class: "where" }, this.#where(records)),
    );
  }

  #where(records) {
    const names = [...new Set(records.map(({ session_id: id }) => id))].map((id) => this.#host.nameOf(id));
    return names.length > 1 ? t("queue.sessions", names.length) : names[0];
  }
}

function tellTime({ records }, place) {
  const ends = records.filter(({ expires_at: at }) => at).map(({ expires_at: at }) => Date.parse(at));
  const left = Math.min(...ends) - now();
  place.textContent = ends.length === 0 ? "" : left > 0 ? countdown(left) : t("card.over");
  place.classList.toggle("urgent", left <= URGENT_MS);
}
