// What happens in a session, as a list: what runs now on top, then what happened, the newest first.

import { exactJson } from "./client/index.js";
import { button, element, fill } from "./element.js";
import { count } from "./format.js";
import { known, t } from "./language.js";
import { addressOf } from "./route.js";
import { Row } from "./row.js";

const KINDS = ["all", "calls", "failures", "decisions", "messages"];
const FITS = {
  calls: (row) => row.kind === "call",
  failures: (row) => row.status === "failed" || row.status === "denied" || ["gap", "restart", "end"].includes(row.kind),
  decisions: (row) => row.decision !== undefined || row.status === "waiting_permission",
  messages: (row) => row.kind === "message",
};
// As many rows as are made before somebody scrolls to older ones, and of those that run.
const FIRST_ROWS = 60;
const MOST_ACTIVE = 100;
// More at once than anybody follows, and how many rows are made then.
const MUCH = 40;
const FEW_ROWS = 20;
const REST_MS = 150;
// So many calls that are alike stand as one.
const FEWEST_ALIKE = 3;
// So long a row that an address names may take to come.
const WANTED_MS = 3000;
const ACTIVE = new Set(["executing", "waiting_permission"]);
// A person who has just moved or touched something in the list is reading it.
const READING_MS = 5000;

export class Timeline {
  // `sessionId` is whose it is; `row` names the row that the address asks for.
  constructor(history, { sessionId, row } = {}) {
    this.#history = history;
    this.#sessionId = sessionId;
    this.#wanted = row;
    this.#wantedUntil = performance.now() + WANTED_MS;
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
      element("div", { class: "line" }, element("h2", { id: "timeline-title" }, t("timeline.title")), this.#chooser()),
      this.#notice,
      this.#newer,
      this.#scroller,
    );
    this.#timer = setInterval(() => this.#tick(), 500);
  }

  #history;
  #sessionId;
  #wanted;
  #wantedUntil;
  #notice = element("p", { class: "warning", role: "status", data: { notice: "row" }, hidden: true });
  #kind = "all";
  #words = [];
  #unfolded = new Set(); // the oldest rows of runs that a person has opened
  #active;
  #past;
  #now;
  #none;
  #older;
  #newer;
  #kinds;
  #scroller;
  #timer;
  #shown = new Map();
  #readsUntil = 0;
  #unseen = 0;
  #limit = FIRST_ROWS; // how many rows are made at most; it grows as a person scrolls
  #hasMore = false;
  #rest = 0;
  #newestLaid = 0;

  close() {
    clearInterval(this.#timer);
    clearTimeout(this.#rest);
  }

  update() {
    const changed = this.#history.takeChanged();
    if (changed.size === 0) return;
    for (const key of changed) {
      const row = this.#history.rows.get(key);
      if (row === undefined) this.#drop(key);
      else this.#shown.get(key)?.update();
    }
    // What nobody can follow is told in few rows; the others come when it is quieter.
    const isMuch = changed.size > MUCH && !this.#isBeingRead();
    this.#lay(isMuch ? FEW_ROWS : this.#limit);
    if (isMuch) {
      clearTimeout(this.#rest);
      this.#rest = setTimeout(() => this.#lay(), REST_MS);
    }
    this.#lookForWanted();
  }

  // Make the rows that are near what is in sight, in their order, and only those: much may happen at once.
  #lay(limit = this.#limit) {
    const anchor = this.#isBeingRead() ? this.#anchor() : null;
    const before = anchor?.getBoundingClientRect().top;
    const rows = [...this.#history.rows.values()];
    const active = rows.filter(isActive).slice(0, MOST_ACTIVE);
    const past = this.#chosen(rows.filter((row) => !isActive(row)).reverse());
    const near = past.slice(0, limit);
    const wanted = new Set([...active, ...near.map(({ row }) => row)].map(({ key }) => key));
    for (const key of [...this.#shown.keys()]) if (!wanted.has(key)) this.#drop(key);
    const newest = this.#newestLaid;
    this.#newestLaid = Math.max(newest, ...near.map(({ row }) => row.settled ?? 0));
    order(this.#active, active.map((row) => this.#made(row).element));
    order(
      this.#past,
      near.map(({ row, run }) => {
        const shown = this.#made(row);
        shown.fold(run);
        return shown.element;
      }),
    );
    if (anchor?.isConnected) {
      this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
      this.#unseen += near.filter(({ row }) => (row.settled ?? 0) > newest).length;
    }
    const isAll = near.length === past.length;
    this.#now.hidden = active.length === 0;
    this.#none.hidden = this.#shown.size > 0;
    this.#none.textContent = t(rows.length === 0 ? "timeline.none" : "timeline.noneChosen");
    this.#older.hidden = this.#history.removed === 0 || !isAll;
    this.#older.textContent = t("timeline.older", count(this.#history.removed));
    this.#hasMore = !isAll;
    this.#tellNewer();
  }

  #made(row) {
    let shown = this.#shown.get(row.key);
    if (shown === undefined) {
      shown = new Row(row, (of) => this.#addressOf(of));
      this.#shown.set(row.key, shown);
      shown.update();
    }
    return shown;
  }

  #drop(key) {
    this.#shown.get(key)?.element.remove();
    this.#shown.delete(key);
  }

  // Show the row that an address names.
  reveal(name) {
    if (name === undefined) return;
    this.#wanted = name;
    this.#wantedUntil = performance.now() + WANTED_MS;
    this.#lookForWanted();
  }

  #lookForWanted() {
    if (this.#wanted === undefined) return;
    const isIt = (row) => row.name === this.#wanted || row.requestId === this.#wanted;
    const found = [...this.#history.rows.values()].find(isIt);
    this.#notice.hidden = found !== undefined || performance.now() < this.#wantedUntil;
    if (found === undefined) {
      fill(this.#notice, t("timeline.noRow"));
      return;
    }
    this.#wanted = undefined;
    this.#kind = this.#kinds.value = "all";
    this.#words = [];
    this.#unfolded.add(found.key);
    this.#limit = Infinity;
    this.#lay();
    this.#made(found).reveal();
    this.#reads();
  }

  #addressOf(row) {
    return this.#sessionId === undefined || row.name === undefined ? null : addressOf(this.#sessionId, row.name);
  }

  #chooser() {
    const kinds = element(
      "select",
      { "aria-label": t("timeline.kinds"), data: { field: "kind" }, on: { change: (event) => this.#setKind(event.target.value) } },
      KINDS.map((kind) => element("option", { value: kind }, t(`timeline.kind.${kind}`))),
    );
    const words = element("input", {
      type: "search",
      placeholder: t("timeline.words"),
      "aria-label": t("timeline.words"),
      autocomplete: "off",
      data: { field: "words" },
      on: {
        input: (event) => {
          this.#words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
          this.#lay();
        },
      },
    });
    this.#kinds = kinds;
    return element("div", { class: "chooser" }, words, kinds);
  }

  #setKind(kind) {
    this.#kind = kind;
    this.#lay();
  }

  // Which rows are seen: those that are looked for; of calls that are alike, one after the other, the newest.
  #chosen(rows) {
    const found = [];
    let run = [];
    const close = () => {
      const oldest = run.at(-1)?.key;
      const isOpen = run.some(({ key }) => this.#unfolded.has(key));
      if (run.length < FEWEST_ALIKE) found.push(...run.map((row) => ({ row, run: null })));
      else {
        const toggle = () => this.#unfold(run0, oldest, isOpen);
        const run0 = run;
        found.push({ row: run[0], run: { number: run.length, of: oldest, isOpen, toggle } });
        if (isOpen) found.push(...run.slice(1).map((row) => ({ row, run: null })));
      }
      run = [];
    };
    for (const row of rows) {
      if (!this.#isWanted(row)) continue;
      if (run.length > 0 && !isAlike(run[0], row)) close();
      run.push(row);
      if (!isFoldable(row)) close();
    }
    close();
    return found;
  }

  // A run is open as long as one of its rows is known to be: the newest of them changes.
  #unfold(rows, oldest, isOpen) {
    if (isOpen) for (const { key } of rows) this.#unfolded.delete(key);
    else this.#unfolded.add(oldest);
    this.#reads();
    this.#lay();
  }

  #isWanted(row) {
    if (this.#kind !== "all" && !FITS[this.#kind](row)) return false;
    if (this.#words.length === 0) return true;
    const said = wordsOf(row);
    return this.#words.every((word) => said.includes(word));
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

  // Nothing of the layout is asked for where rows are laid: that would make the browser lay them twice.
  #tellNewer() {
    this.#newer.hidden = this.#unseen === 0;
    this.#newer.textContent = t("timeline.newer", count(this.#unseen));
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    if (this.#unseen > 0 && scrollTop <= 4) this.#unseen = 0;
    this.#tellNewer();
    if (!this.#hasMore || scrollTop + 2 * clientHeight < scrollHeight || clientHeight === 0) return;
    this.#limit += FIRST_ROWS;
    this.#lay();
  }

  #toTop() {
    this.#limit = FIRST_ROWS;
    this.#scroller.scrollTop = 0;
    this.#unseen = 0;
    this.#scrolled();
  }

  #tick() {
    if (this.#wanted !== undefined) this.#lookForWanted();
    for (const each of this.#active.children) this.#shown.get(Number(each.dataset.key))?.tick();
  }
}

function isActive(row) {
  return row.kind === "call" && ACTIVE.has(row.status);
}

// Calls that ended well, and that nobody decided: one says what all of them say.
function isFoldable(row) {
  return row.kind === "call" && row.status === "completed" && row.decision === undefined;
}

function isAlike(one, other) {
  return isFoldable(one) && isFoldable(other) && one.tool === other.tool;
}

// What a person looks for is found in these words.
function wordsOf(row) {
  const { tool, type, text, error, status, decision, callId, parameters, result, data } = row;
  const values = [parameters, result, data].map((value) => (value === undefined ? "" : exactJson(value, 0)));
  const words = [tool, type, text, error, callId, status && known("status", status), decision?.by, decision?.reason];
  return [...words, ...values].join(" ").toLowerCase();
}

// Make these the children of a place, in their order: what stays is not touched.
function order(place, elements) {
  const wanted = new Set(elements);
  for (const each of [...place.children]) if (!wanted.has(each)) each.remove();
  let next = place.firstChild;
  for (const each of elements) {
    if (each === next) next = next.nextSibling;
    else place.insertBefore(each, next);
  }
}
