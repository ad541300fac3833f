/** The scenarios of the delivery contract, over every transport, against a real service. */

import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { SessionEvent, Transport } from "../src/index.js";
import { numbers, startService, watch, type Service } from "./service.js";

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--log-events", "50", "--heartbeat-seconds", "1");
});
afterAll(() => service.kill());

function aSession(): string {
  sessions += 1;
  return `s${sessions}`;
}

function range(from: number, to: number): number[] {
  return numbers(from, to).map((event) => (event.data as { n: number }).n);
}

describe.each<Transport>(["sse", "long-poll", "polling"])("over %s", (transport) => {
  const options = { transports: [transport], pollIntervalMs: 20 };

  it("tells events once and in order", async () => {
    const session = aSession();
    const reader = watch(service.url, session, options);
    await reader.untilOpen(transport);

    for (let n = 1; n <= 200; n += 20) {
      await service.publish(session, ...numbers(n, n + 19));
      await reader.until(() => reader.numbers.length === n + 19);
    }

    expect(reader.numbers).toEqual(range(1, 200));
  });

  it("tells who comes first the state, and nothing of what was before", async () => {
    const session = aSession();
    await service.publish(session, ...numbers(1, 5), {
      type: "tool_status",
      data: { status: "executing", tool_name: "read", tool_call_id: "c1" },
    });
    const reader = watch(service.url, session, options);
    await reader.untilOpen(transport);
    await reader.until(() => reader.types.includes("snapshot"));

    expect(reader.numbers).toEqual([]);
    expect(reader.client.state.toolStatus?.tool_name).toBe("read");
    expect(reader.client.state.running.map((call) => call.tool_call_id)).toEqual(["c1"]);
  });

  it("tells all that the log holds to who asks for the earliest", async () => {
    const session = aSession();
    await service.publish(session, ...numbers(1, 5));
    const reader = watch(service.url, session, { ...options, from: "earliest" });
    await reader.until(() => reader.numbers.length === 5);

    expect(reader.numbers).toEqual(range(1, 5));
  });

  it("tells who comes back what was missed, once", async () => {
    const session = aSession();
    const reader = watch(service.url, session, options);
    await reader.untilOpen(transport);
    await reader.until(() => reader.types.includes("snapshot"));
    await service.publish(session, ...numbers(1, 5));
    await reader.until(() => reader.numbers.length === 5);
    reader.client.disconnect();
    await service.publish(session, ...numbers(6, 20));
    reader.client.connect();
    await reader.until(() => reader.numbers.length === 20);

    expect(reader.numbers).toEqual(range(1, 20));
    expect(reader.types.filter((type) => type === "snapshot")).toHaveLength(1);
  });

  it("tells who comes too late of the gap and the state, and goes on", async () => {
    const session = aSession();
    const reader = watch(service.url, session, options);
    await reader.untilOpen(transport);
    await service.publish(session, ...numbers(1, 1));
    await reader.until(() => reader.numbers.length === 1);
    reader.client.disconnect();
    await service.publish(session, ...numbers(2, 90));
    reader.client.connect();
    await reader.until(() => reader.types.includes("gap"));
    await service.publish(session, ...numbers(91, 92));
    await reader.until(() => reader.numbers.length === 3);

    const told: readonly SessionEvent[] = reader.events;
    const gap = told.find((event) => event.type === "gap") as { data: { reason: string } };
    expect(gap.data.reason).toBe("evicted");
    expect(reader.types.slice(reader.types.indexOf("gap"), reader.types.indexOf("gap") + 2)).toEqual(["gap", "snapshot"]);
    expect(reader.numbers).toEqual([1, 91, 92]);
  });

  it("shows a request that was asked before, and hears how it ended", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write", parameters: { path: "a" } });
    const reader = watch(service.url, session, options);
    await reader.until(() => reader.client.state.pending.length === 1);
    const record = await reader.client.approve(asked, { reason: "go on" });
    await reader.until(() => reader.types.includes("permission_cleared"));

    expect(record).toMatchObject({ status: "approved", reason: "go on", parameters: { path: "a" } });
    expect(reader.types.filter((type) => type.startsWith("permission"))).toEqual([
      "permission_request",
      "permission_response_result",
      "permission_cleared",
    ]);
    expect(reader.client.state.pending).toEqual([]);
  });

  it("tells of a session that has ended and does not come back by itself", async () => {
    const session = aSession();
    const reader = watch(service.url, session, { ...options, from: "earliest" });
    await reader.untilOpen(transport);
    await service.publish(session, ...numbers(1, 3));
    await reader.until(() => reader.numbers.length === 3);
    await fetch(`${service.url}/api/sessions/${session}`, { method: "DELETE" });
    await reader.until(() => reader.client.connection.phase === "ended" || reader.types.includes("gap"));

    // A poll opens the session anew, and so hears of the end as a gap.
    if (transport === "sse") expect(reader.client.connection.error?.code).toBe("session_closed");
    else expect(reader.types).toContain("gap");
    expect(reader.numbers).toEqual(range(1, 3));
  });
});
