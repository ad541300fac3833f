import type { Connection } from "./connection.js";

/** What the tab that reads tells the others. */
export type Told =
  | { readonly kind: "said"; readonly text: string }
  | { readonly kind: "alive" }
  | {
      readonly kind: "connection";
      readonly connection: Connection;
      readonly heartbeatSeconds: number;
      readonly mayApprove: boolean;
    }
  | { readonly kind: "ended"; readonly code: string; readonly message: string };

type Asked = { readonly kind: "joined" } | { readonly kind: "restart" };

export interface Tab {
  /** Read, until the signal is aborted or there is no use. */
  lead(signal: AbortSignal): Promise<void>;
  /** Another tab reads: begin to follow, until the signal is aborted. */
  follow(signal: AbortSignal): void;
  /** The tab that reads says something. */
  told(message: Told): void;
  /** Another tab asks the one that reads. */
  asked(kind: Asked["kind"]): void;
}

/** Whether this browser lets tabs agree on one of them (a secure context, which localhost is). */
export function canShare(): boolean {
  return (
    typeof document !== "undefined" &&
    typeof BroadcastChannel !== "undefined" &&
    typeof navigator !== "undefined" &&
    "locks" in navigator
  );
}

/**
 * One reader for all tabs of a browser: over HTTP/1.1 it gives an origin six connections, and a stream holds one.
 *
 * Whoever holds the Web Lock reads and tells the others over a BroadcastChannel; when that tab goes away the browser
 * gives the lock to the next one.
 */
export class Tabs {
  readonly #name: string;
  readonly #channel: BroadcastChannel;
  readonly #tab: Tab;
  #leads = false;

  constructor(name: string, tab: Tab) {
    this.#name = name;
    this.#tab = tab;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Told | Asked>) => {
      if (data.kind === "joined" || data.kind === "restart") {
        if (this.#leads) tab.asked(data.kind);
      } else if (!this.#leads) {
        tab.told(data);
      }
    };
  }

  tell(message: Told): void {
    if (this.#leads) this.#channel.postMessage(message);
  }

  ask(kind: Asked["kind"]): void {
    if (!this.#leads) this.#channel.postMessage({ kind } satisfies Asked);
  }

  /** Lead or follow, until the signal is aborted or the tab that leads finds that there is no use. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        if (await this.#tryToLead({ ifAvailable: true }, signal)) return;
        if (await this.#followUntilLeading(signal)) return;
      }
    } finally {
      this.#channel.close();
    }
  }

  /** Take the lock from a tab that does not answer any more; it goes on as one of the others. */
  steal: () => void = () => undefined;

  async #followUntilLeading(signal: AbortSignal): Promise<boolean> {
    const following = new AbortController();
    const until = AbortSignal.any([signal, following.signal]);
    const stolen = new AbortController();
    let isStealing = false;
    this.steal = () => {
      isStealing = true;
      stolen.abort();
    };
    this.#tab.follow(until);
    this.ask("joined");
    try {
      const lead = (): void => following.abort();
      return await this.#tryToLead({ signal: AbortSignal.any([signal, stolen.signal]) }, signal, lead);
    } catch (error) {
      if (signal.aborted) return true;
      if (!isStealing) throw error;
      return await this.#tryToLead({ steal: true }, signal, () => following.abort());
    } finally {
      this.steal = () => undefined;
      following.abort();
    }
  }

  /** Read while holding the lock. Returns whether reading came to its own end; false when the lock was not had or lost. */
  async #tryToLead(options: LockOptions, signal: AbortSignal, begin: () => void = () => undefined): Promise<boolean> {
    const lost = new AbortController();
    let isHeld = false;
    let isDone = false;
    try {
      await navigator.locks.request(this.#name, options, async (lock) => {
        if (lock === null || signal.aborted) return;
        isHeld = true;
        begin();
        this.#leads = true;
        await this.#tab.lead(AbortSignal.any([signal, lost.signal]));
        isDone = !lost.signal.aborted;
      });
    } catch (error) {
      // Another tab has taken the lock while this one slept; before that, the wait for it was given up.
      if (!isHeld) throw error;
      lost.abort();
    } finally {
      this.#leads = false;
    }
    return isDone || signal.aborted;
  }
}
