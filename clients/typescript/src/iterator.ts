import type { SessionClient } from "./client.js";
import { idOf, type SessionEvent } from "./feed.js";

/** What is kept for a consumer that is slower than the events. */
const MOST_KEPT = 10_000;

/** The events of a client one by one, for one consumer; `newest` is the id of the last that the client heard. */
export async function* eventsOf(client: SessionClient, newest: () => string): AsyncGenerator<SessionEvent, void, void> {
  let kept: SessionEvent[] = [];
  let dropped: SessionEvent | null = null;
  let wake: () => void = () => undefined;
  const offs = [
    client.on("*", (event) => {
      kept.push(event);
      if (kept.length > MOST_KEPT) dropped = kept.shift() ?? null;
      wake();
    }),
    client.subscribe(() => wake()),
  ];
  try {
    client.connect();
    while (true) {
      if (dropped !== null) {
        yield missed(dropped, kept[0], newest());
        dropped = null;
      }
      const batch = kept;
      kept = [];
      yield* batch;
      if (kept.length > 0) continue;
      if (client.connection.phase === "ended" || client.connection.phase === "idle") return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    for (const off of offs) off();
  }
}

function missed(dropped: SessionEvent, oldest: SessionEvent | undefined, newest: string): SessionEvent {
  return {
    type: "gap",
    data: { requested: idOf(dropped) ?? "", oldest: (oldest && idOf(oldest)) ?? newest, newest, reason: "slow" },
  };
}
