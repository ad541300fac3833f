/** What a page has in a browser and jsdom has not, and what of it is open. */

import { cleanup } from "@testing-library/react";
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
