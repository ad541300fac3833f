// Says whether somebody sees this page: who sees none of what waits is called in other ways.

import { tellPresence } from "./client/index.js";

// What is said holds for a minute.
const EVERY_MS = 40_000;
const FIRST_MS = 1000;

// `connection` is that of the page; `isIn()` says whether somebody is signed in.
export function sayWhoLooks(connection, isIn) {
  const page = [...crypto.getRandomValues(new Uint32Array(4))].map((each) => each.toString(36)).join("");
  let said = null;
  const say = async () => {
    const isVisible = !document.hidden;
    // A hidden page has said so once.
    if (!isIn() || (!isVisible && said !== true)) return;
    said = isVisible;
    try {
      await tellPresence(connection, page, isVisible);
    } catch {
      // It is said again soon; and who may not say it is called.
    }
  };
  document.addEventListener("visibilitychange", say);
  setTimeout(say, FIRST_MS);
  setInterval(say, EVERY_MS);
}
