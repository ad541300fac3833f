import type { Http } from "./http.js";

/** What is said counts for a minute. */
const AGAIN_MS = 40_000;

/**
 * Say until `signal` whether this page is visible, in one session or in all: who sees it is not called elsewhere.
 *
 * What fails is said again with the next word; without a page nothing is said.
 */
export function tellWhetherVisible(http: Http, sessionId: string | null, signal: AbortSignal): void {
  if (typeof document === "undefined") return;
  const page = [...crypto.getRandomValues(new Uint32Array(4))].map((each) => each.toString(36)).join("");
  let said = false;
  const say = (visible: boolean): void => {
    if (!visible && !said) return;
    said = visible;
    const body = { visible, page, ...(sessionId === null ? {} : { session_id: sessionId }) };
    http.call("POST", "/api/presence", { body }).catch(() => undefined);
  };
  const look = (): void => say(document.visibilityState === "visible");
  const again = setInterval(look, AGAIN_MS);
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", () => {
    clearInterval(again);
    say(false);
  });
  look();
}
