// Says whether somebody sees this page: who sees none of what waits is called in other ways.

import { tellPresence } from "./client/index.js";

// What is said holds for a minute.
const EVERY_MS = 40_000;
const FIRST_MS = 1000;

// `connection` is that of the page; `isIn()` says whether somebody is signed in.
export function sayWhoLooks(connection, isIn) {
  const page = [...crypto.getRandomValues(new Uint32Array(4))].map((each) => each.toString(36)).join("");
  // What a page says that is about to be gone is sent all the same.
  const lasting = { ...connection, fetch: (url, request) => fetch(url, { ...request, keepalive: true }) };
  let said = null;
  const say = async (isVisible) => {
    // A hidden page has said so once.
    if (!isIn() || (!isVisible && said !== true)) return;
    said = isVisible;
    try {
      await tellPresence(lasting, page, isVisible);
    } catch {
      // It is said again soon; and who may not say it is called.
    }
  };
  const sayNow = () => say(!document.hidden);
  document.addEventListener("visibilitychange", sayNow);
  addEventListener("pagehide", () => say(false));
  addEventListener("pageshow", ({ persisted }) => persisted && sayNow());
  setTimeout(sayNow, FIRST_MS);
  setInterval(sayNow, EVERY_MS);
}
