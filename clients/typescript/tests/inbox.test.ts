/** All sessions at once, against a real service. */

import { EventSource } from "eventsource";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";

import { InboxClient, NotifierError, type InboxEvent, type InboxOptions } from "../src/index.js";
import { startService, type Service } from "./service.js";

let service: Service;

beforeAll(async () => {
  service = await startService("--heartbeat-seconds", "1");
});
afterAll(() => service.kill());

/** Wait for a state of the client; what never comes fails the test by its time-out. */
async function until(client: InboxClient, condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise<void>((resolve) => {
      const off = client.subscribe(() => {
        off();
        resolve();
      });
    });
  }
}

function inbox(options: InboxOptions = {}): { client: InboxClient; events: InboxEvent[] } {
  const client = new InboxClient({ baseUrl: service.url, EventSource: EventSource as never, pollIntervalMs: 20, ...options });
  const events: InboxEvent[] = [];
  client.listen((event) => events.push(event));
  client.connect();
  onTestFinished(() => client.disconnect());
  return { client, events };
}

async function label(session: string, body: object): Promise<void> {
  await fetch(`${service.url}/api/sessions/${session}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function end(session: string): Promise<void> {
  await fetch(`${service.url}/api/sessions/${session}`, { method: "DELETE" });
}

describe.each(["sse", "polling"] as const)("over %s", (transport) => {
  const a = `${transport}-a`;
  const b = `${transport}-b`;

  it("shows what waits in all sessions, and what becomes of it", async () => {
    const { client } = inbox({ transports: [transport] });
    const waiting = (): string[] => client.state.pending.map((request) => request.session_id);
    await service.ask(a, { tool_name: "rm" });
    await service.ask(b, { tool_name: "rm" });
    await until(client, () => waiting().includes(a) && waiting().includes(b));
    await label(a, { title: "Tidy up", agent: "robot" });
    await until(client, () => client.state.sessions.some((row) => row.session_id === a && row.title === "Tidy up"));
    expect(client.state.sessions.find((row) => row.session_id === a)).toMatchObject({
      agent: "robot",
      pending_permissions: 1,
      state: "waiting",
    });

    const [first] = client.state.pending.filter((request) => request.session_id === a);
    const [second] = client.state.pending.filter((request) => request.session_id === b);
    expect(await client.decide(first!, { approved: true, reason: "fine" })).toMatchObject({ status: "approved" });
    const told = await client.decideAll([first!, second!], false, "no");
    expect(told.map((one) => [one.session_id, one.status, one.error?.code])).toEqual([
      [a, 409, "already_decided"],
      [b, 200, undefined],
    ]);
    await until(client, () => !waiting().includes(a) && !waiting().includes(b));
    await end(b);
    await until(client, () => client.state.sessions.every((row) => row.session_id !== b));
  });
});

it("tells each event once and in order, and comes back behind the last", async () => {
  const { client, events } = inbox({ transports: ["sse"], backoffMs: 10 });
  await until(client, () => client.connection.phase === "open");
  for (let n = 0; n < 5; n += 1) {
    await service.ask(`once-${n}`, { tool_name: "rm" });
    if (n === 2) client.reconnect();
  }
  await until(client, () => client.state.pending.filter((request) => request.session_id.startsWith("once-")).length === 5);

  const asked = events.flatMap((event) => (event.type === "permission_request" ? [event.data.session_id] : []));
  expect(asked.filter((session) => session.startsWith("once-"))).toEqual([0, 1, 2, 3, 4].map((n) => `once-${n}`));
});

it("reads a request whole whose parameters were shown in their beginning", async () => {
  const { client } = inbox({ transports: ["polling"] });
  await service.ask("whole", { tool_name: "write", parameters: { text: "x".repeat(400_000) } });
  await until(client, () => client.state.pending.some((request) => request.session_id === "whole"));
  const [request] = client.state.pending.filter((one) => one.session_id === "whole");
  expect(request?.parameters_truncated).toBe(true);

  const whole = await client.whole(request!);

  expect(whole.session_id).toBe("whole");
  expect(String(whole.parameters["text"])).toHaveLength(400_000);
});

it("ends with the reason where there is no use, and asks anew when it is told to", async () => {
  const { client } = inbox({ baseUrl: `${service.url}/nowhere`, transports: ["sse", "polling"] });
  await until(client, () => client.connection.phase === "ended");
  expect(client.connection.error).toBeInstanceOf(NotifierError);

  await expect(client.refresh()).rejects.toThrow(NotifierError);
});
