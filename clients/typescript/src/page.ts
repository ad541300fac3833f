import type { Link } from "./connection.js";
import { LOOK_MS } from "./follower.js";

/** What a client does when its page is looked at, goes offline, or is left. */
interface Ways {
  /** Whether there should have been word by now. */
  isLate(): boolean;
  reconnect(): void;
  /** Somebody looks at the page again. */
  seen(): void;
  offline(): void;
  leave(): void;
  comeBack(): void;
}

/** Pages sleep, go offline and come back; whatever they missed is asked for at once. */
export function watchPage(signal: AbortSignal, ways: Ways): void {
  if (typeof window === "undefined") return;
  const lookAgain = (): void => {
    if (document.visibilityState === "hidden") return;
    if (ways.isLate()) ways.reconnect();
    ways.seen();
  };
  document.addEventListener("visibilitychange", lookAgain, { signal });
  window.addEventListener("online", () => ways.reconnect(), { signal });
  window.addEventListener("offline", () => ways.offline(), { signal });
  // A page that is kept for the back button must not keep the stream from the other tabs.
  window.addEventListener(
    "pagehide",
    (event) => {
      if (!event.persisted) return;
      ways.leave();
      window.addEventListener("pageshow", () => ways.comeBack(), { once: true });
    },
    { signal },
  );
}

/** Whether it waits to try again, or has heard nothing for longer than the service's heart takes. */
export function isLate(link: Link): boolean {
  const isWaiting = link.now.phase === "waiting" || link.now.phase === "offline";
  return isWaiting || link.sinceHeardMs > link.heartbeatSeconds * 1000 + LOOK_MS;
}
