// What calls a person who looks elsewhere: the title, the icons, and a sound or a desktop notification if they want one.

import { button } from "./element.js";
import { known, t } from "./language.js";
import { plainText } from "./readable.js";
import { ring } from "./sound.js";
import { keep, kept } from "./store.js";

const KEY = "notifier.notify";
const MAX_TOLD = 5000;

export class Attention {
  // `onOpen` hears which session a person chose by a click on a notification; `device` says whether this one is called.
  constructor(device, onOpen) {
    this.#device = device;
    this.#onOpen = onOpen;
    this.button = button("notify", "", () => this.#toggle(), { class: "quiet" });
    this.#show();
  }

  #device;
  #onOpen;
  #told = new Set(); // the requests that this page has notified of, or that were there when it came
  #isFirst = true;
  #marked = null;

  get isWanted() {
    return "Notification" in globalThis && Notification.permission === "granted" && kept(KEY) === "on";
  }

  // What waits in all sessions, and how many; `sessionId` is that of the page, and `isPresent` says that it is all.
  tell(pending, total, sessionId, isPresent) {
    let hasNew = false;
    for (const { request_id: id, session_id: session, tool_name: tool, risk_level: risk } of pending) {
      if (this.#told.has(id)) continue;
      this.#told.add(id);
      if (this.#isFirst) continue;
      hasNew = true;
      // Never with the parameters: a notification is seen by whoever passes by, and kept by the system.
      this.#notify(id, session, t("notify.title", plainText(tool)), t("notify.body", known("risk", risk), session));
    }
    if (hasNew) ring();
    if (isPresent) this.#isFirst = false;
    if (isPresent) this.#mark(total);
    if (this.#told.size > MAX_TOLD) this.#told = new Set(pending.map((record) => record.request_id));
    const name = sessionId === null ? t("title") : `${sessionId} · ${t("title")}`;
    const title = total > 0 ? `(${total}) ${name}` : name;
    if (document.title !== title) document.title = title;
    const link = document.getElementById("icon");
    link.dataset.calm ??= link.getAttribute("href");
    const href = total > 0 ? link.dataset.waiting : link.dataset.calm;
    if (link.getAttribute("href") !== href) link.setAttribute("href", href);
  }

  // On the icon of a page that is installed.
  #mark(total) {
    if (total === this.#marked || !("setAppBadge" in navigator)) return;
    this.#marked = total;
    navigator.setAppBadge(total).catch(() => {});
  }

  #notify(tag, sessionId, title, body) {
    if (!this.isWanted || this.#device.id !== null || (!document.hidden && document.hasFocus())) return;
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
