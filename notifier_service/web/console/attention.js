// What calls a person who looks elsewhere: the title, the icon, and a desktop notification if they want one.

import { button } from "./element.js";
import { known, t } from "./language.js";
import { plainText } from "./readable.js";
import { keep, kept } from "./store.js";

const KEY = "notifier.notify";

export class Attention {
  // `onOpen` hears which session a person chose by a click on a notification.
  constructor(onOpen) {
    this.#onOpen = onOpen;
    this.button = button("notify", "", () => this.#toggle(), { class: "quiet" });
    this.#show();
  }

  #onOpen;
  #waiting = new Map(); // by session: how many wait
  #told = new Set(); // the requests that this page has notified of, or that were there when it came
  #isFirst = true;

  get isWanted() {
    return "Notification" in globalThis && Notification.permission === "granted" && kept(KEY) === "on";
  }

  // All that the page knows: the rows of the list, and the requests of the session it shows.
  tell(rows, sessionId, pending) {
    const waiting = new Map(rows.map((row) => [row.session_id, row.pending_permissions ?? 0]));
    if (sessionId !== null) waiting.set(sessionId, pending.length);
    for (const record of pending) {
      if (this.#told.has(record.request_id)) continue;
      this.#told.add(record.request_id);
      // Never with the parameters: a notification is seen by whoever passes by, and kept by the system.
      if (!this.#isFirst)
        this.#notify(
          record.request_id,
          sessionId,
          t("notify.title", plainText(record.tool_name)),
          t("notify.body", known("risk", record.risk_level), sessionId),
        );
    }
    for (const [id, number] of waiting) {
      if (id !== sessionId && !this.#isFirst && number > (this.#waiting.get(id) ?? 0)) {
        this.#notify(`session ${id}`, id, t("notify.other", number, id), "");
      }
    }
    this.#isFirst = false;
    this.#waiting = waiting;
    if (this.#told.size > 1000) this.#told = new Set(pending.map((record) => record.request_id));
    const total = [...waiting.values()].reduce((sum, number) => sum + number, 0);
    const name = sessionId === null ? t("title") : `${sessionId} · ${t("title")}`;
    document.title = total > 0 ? `(${total}) ${name}` : name;
    const icon = `console/icon${total > 0 ? "-waiting" : ""}.svg`;
    const link = document.getElementById("icon");
    if (link.getAttribute("href") !== icon) link.setAttribute("href", icon);
  }

  #notify(tag, sessionId, title, body) {
    if (!this.isWanted || (!document.hidden && document.hasFocus())) return;
    try {
      const shown = new Notification(title, { body, tag });
      shown.onclick = () => {
        window.focus();
        this.#onOpen(sessionId);
        shown.close();
      };
    } catch {
      // Some phones show none that a page makes; the title says it too.
    }
  }

  async #toggle() {
    if (this.isWanted) keep(KEY, null);
    else if ((await Notification.requestPermission()) === "granted") keep(KEY, "on");
    this.#show();
  }

  #show() {
    this.button.hidden = !("Notification" in globalThis);
    if (this.button.hidden) return;
    this.button.textContent = this.isWanted ? t("notify.off") : t("notify.on");
    this.button.setAttribute("aria-pressed", String(this.isWanted));
    this.button.disabled = Notification.permission === "denied";
    this.button.title = this.button.disabled ? t("notify.blocked") : "";
  }
}
