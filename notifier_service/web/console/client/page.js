import { LOOK_MS } from "./follower.js";
/** Pages sleep, go offline and come back; whatever they missed is asked for at once. */
export function watchPage(signal, ways) {
    if (typeof window === "undefined")
        return;
    const lookAgain = () => {
        if (document.visibilityState === "hidden")
            return;
        if (ways.isLate())
            ways.reconnect();
        ways.seen();
    };
    document.addEventListener("visibilitychange", lookAgain, { signal });
    window.addEventListener("online", () => ways.reconnect(), { signal });
    window.addEventListener("offline", () => ways.offline(), { signal });
    // A page that is kept for the back button must not keep the stream from the other tabs.
    window.addEventListener("pagehide", (event) => {
        if (!event.persisted)
            return;
        ways.leave();
        window.addEventListener("pageshow", () => ways.comeBack(), { once: true });
    }, { signal });
}
/** Whether it waits to try again, or has heard nothing for longer than the service's heart takes. */
export function isLate(link) {
    const isWaiting = link.now.phase === "waiting" || link.now.phase === "offline";
    return isWaiting || link.sinceHeardMs > link.heartbeatSeconds * 1000 + LOOK_MS;
}
