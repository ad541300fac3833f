/** What a page has in a browser and jsdom has not, and what of it is open. */

import { act, cleanup } from "@testing-library/react";
import { EventSource as NodeEventSource } from "eventsource";
import { afterEach, beforeEach } from "vitest";

const streams: NodeEventSource[] = [];

class CountedEventSource extends NodeEventSource {
  constructor(...given: ConstructorParameters<typeof NodeEventSource>) {
    super(...given);
    streams.push(this);
  }
}

/** An `EventSource` whose streams `openStreams` counts. */
export const EventSource = CountedEventSource as unknown as typeof globalThis.EventSource;

export function openStreams(): number {
  return streams.filter((stream) => stream.readyState !== stream.CLOSED).length;
}

beforeEach(() => {
  streams.length = 0;
  screenOfTest.isShown = true;
});
afterEach(cleanup);

// jsdom's <dialog> neither opens nor closes. As in a browser, `close` is told in a task of its own.
if (typeof HTMLDialogElement !== "undefined") {
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    if (!this.open) return;
    this.open = false;
    setTimeout(() => this.dispatchEvent(new Event("close")), 0);
  };
}

/** What is on the screen, which jsdom has none of: all that is watched, unless a test keeps it away. */
export const screenOfTest = { isShown: true };

const observers = new Set<ObserverOfTest>();

class ObserverOfTest {
  readonly #ends = new Set<Element>();

  constructor(readonly told: IntersectionObserverCallback) {
    observers.add(this);
  }

  observe(end: Element): void {
    this.#ends.add(end);
    queueMicrotask(() => act(() => this.tell()));
  }

  disconnect(): void {
    this.#ends.clear();
    observers.delete(this);
  }

  tell(): void {
    const isIntersecting = screenOfTest.isShown;
    const entries = [...this.#ends].map((target) => ({ target, isIntersecting }) as IntersectionObserverEntry);
    if (entries.length > 0) this.told(entries, this as unknown as IntersectionObserver);
  }
}

globalThis.IntersectionObserver = ObserverOfTest as unknown as typeof IntersectionObserver;

/** The person scrolls to the end. */
export function scrollToTheEnd(): void {
  screenOfTest.isShown = true;
  act(() => observers.forEach((observer) => observer.tell()));
}
