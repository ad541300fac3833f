/** What breaks on the way, and how the client goes on. */

import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";

import type { OwnEvent, PermissionCleared } from "../src/index.js";
import { Proxy } from "./proxy.js";
import { numbers, startService, watch, type Service } from "./service.js";

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--heartbeat-seconds", "1");
});
afterAll(() => service.kill());

function aSession(): string {
  sessions += 1;
  return `f${sessions}`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("a proxy", () => {
  it("that holds the stream back is noticed, and reading goes on over long polls", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    proxy.holdsStreams = true;
    await service.ask(session, { tool_name: "write" });
    const reader = watch(proxy.url, session, { helloTimeoutMs: 200 });
    await reader.untilOpen("long-poll");
    await service.publish(session, ...numbers(1, 3));
    await reader.until(() => reader.numbers.length === 3);

    expect(reader.client.state.pending).toHaveLength(1);
    expect(reader.types.filter((type) => type === "permission_request")).toHaveLength(1);
  });

  it("that lets streams through again is noticed too, and nothing is lost or doubled", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    proxy.holdsStreams = true;
    const reader = watch(proxy.url, session, { helloTimeoutMs: 100, stepUpMs: 100 });
    await reader.untilOpen("long-poll");
    await service.publish(session, ...numbers(1, 3));
    proxy.holdsStreams = false;
    await reader.untilOpen("sse");
    await service.publish(session, ...numbers(4, 6));
    await reader.until(() => reader.numbers.length === 6);

    expect(reader.numbers).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it("that refuses streams is gone round at the second refusal", async () => {
    const proxy = await Proxy.before(service.port);
    proxy.refusesStreams = true;
    const reader = watch(proxy.url, aSession());
    await reader.untilOpen("long-poll");

    expect(proxy.asked.filter((line) => line.includes("/sse/events/"))).toHaveLength(2);
  });

  it("that cuts held requests is asked by short ones", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    proxy.refusesStreams = true;
    proxy.cutsAfterMs = 100;
    const reader = watch(proxy.url, session, { pollIntervalMs: 20 });
    await reader.untilOpen("polling");
    await service.publish(session, ...numbers(1, 3));
    await reader.until(() => reader.numbers.length === 3);

    expect(reader.numbers).toEqual([1, 2, 3]);
  });

  it("that falls silent in the middle of a stream is noticed by the missing heartbeat", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    const reader = watch(proxy.url, session, { heartbeatTimeoutMs: 1500 });
    // A stream that stops between its hello and its snapshot has told no place: who comes back then begins anew.
    await reader.until(() => reader.types.includes("snapshot"));
    proxy.freeze();
    await service.publish(session, ...numbers(1, 3));
    await reader.until(() => reader.numbers.length === 3);

    expect(reader.numbers).toEqual([1, 2, 3]);
  });

  it("that cuts every connection again and again costs no event", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    const reader = watch(proxy.url, session, { transports: ["sse"] });
    await reader.untilOpen("sse");

    for (let n = 1; n <= 60; n += 20) {
      await service.publish(session, ...numbers(n, n + 9));
      proxy.cut();
      await service.publish(session, ...numbers(n + 10, n + 19));
      await reader.until(() => reader.numbers.length === n + 19);
    }

    expect(reader.numbers).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });

  it("that answers with a page of its own is no service", async () => {
    const session = aSession();
    const proxy = await Proxy.before(service.port);
    proxy.answersItself = true;
    const reader = watch(proxy.url, session);
    await reader.until(() => reader.client.connection.phase === "waiting");

    expect(reader.client.connection.error).toMatchObject({ code: "unexpected", status: 200 });
    proxy.answersItself = false;
    await reader.untilOpen("sse");
  });
});

describe("a service", () => {
  it("that is killed and starts again is found again; what waited is told to be gone", async () => {
    const port = String(await freePort());
    const first = await startService("--port", port);
    onTestFinished(() => first.kill());
    const reader = watch(first.url, "s1");
    const cleared: PermissionCleared[] = [];
    reader.client.onPermissionCleared = (data) => cleared.push(data);
    await reader.untilOpen("sse");
    const asked = await first.ask("s1", { tool_name: "write" });
    await reader.until(() => reader.client.state.pending.length === 1);
    await first.kill();
    await reader.until(() => reader.client.connection.phase === "waiting");
    const second = await startService("--port", port);
    onTestFinished(() => second.kill());
    const again = await second.ask("s1", { tool_name: "run" });
    await reader.until(() => reader.client.state.pending[0]?.request_id === again.request_id && cleared.length === 1);

    const gap = reader.events.find((event) => event.type === "gap") as OwnEvent;
    expect(gap.data?.["reason"]).toBe("epoch");
    expect(cleared).toMatchObject([{ request_id: asked.request_id, status: "cancelled" }]);
  });

  it("that took events before the client was back tells them all, once, and the state stays right", async () => {
    const port = String(await freePort());
    const first = await startService("--port", port);
    onTestFinished(() => first.kill());
    const reader = watch(first.url, "s1");
    await reader.untilOpen("sse");
    await first.publish("s1", { type: "note", data: { n: 0 } });
    await reader.until(() => reader.events.some((event) => event.type === "note"));
    await first.kill();
    await reader.until(() => reader.client.connection.phase === "waiting");
    const second = await startService("--port", port);
    onTestFinished(() => second.kill());
    for (let n = 1; n <= 20; n += 1) await second.publish("s1", { type: "note", data: { n } });
    const asked = await second.ask("s1", { tool_name: "run" });
    await second.publish("s1", { type: "note", data: { n: 21 } });
    await reader.until(() => reader.events.some((event) => (event as OwnEvent).data?.["n"] === 21));

    const told = reader.events.filter((event) => event.type === "note").map((event) => (event as OwnEvent).data?.["n"]);
    expect(told).toEqual([...Array(22).keys()]);
    expect(reader.client.state.pending.map((request) => request.request_id)).toEqual([asked.request_id]);
  });

  it("that stops says bye, and the client waits as long as it was asked to", async () => {
    const own = await startService();
    onTestFinished(() => own.kill());
    const reader = watch(own.url, "s1");
    await reader.untilOpen("sse");
    own.process.kill("SIGTERM");
    await reader.until(() => reader.client.connection.phase === "waiting");

    const bye = reader.events.find((event) => event.type === "bye") as { data: { code: string; retry_ms: number } };
    expect(bye.data.code).toBe("shutdown");
    expect(reader.client.connection.retryAt).toBeGreaterThan(Date.now() + bye.data.retry_ms - 1000);
  });

  it("that is away for good is given up after as many attempts as are allowed", async () => {
    const url = `http://127.0.0.1:${await freePort()}/agent_backend`;
    const reader = watch(url, "s1", { maxReconnectAttempts: 2, backoffMs: 5 });
    const onMaxReconnectAttemptsReached = vi.fn();
    reader.client.onMaxReconnectAttemptsReached = onMaxReconnectAttemptsReached;
    await reader.until(() => reader.client.connection.phase === "ended");

    expect(reader.client.connection.error).toMatchObject({ code: "gave_up", details: { cause: "unreachable" } });
    expect(onMaxReconnectAttemptsReached).toHaveBeenCalledOnce();
  });

  it("that came back is found at once when somebody asks", async () => {
    const port = String(await freePort());
    const reader = watch(`http://127.0.0.1:${port}/agent_backend`, "s1", { backoffMs: 60_000, backoffCapMs: 60_000 });
    await reader.until(() => reader.client.connection.phase === "waiting");
    const late = await startService("--port", port);
    onTestFinished(() => late.kill());
    reader.client.reconnect();
    await reader.untilOpen("sse");

    expect(reader.client.connection.attempt).toBe(0);
  });
});

describe("while nobody read", () => {
  it("a request was decided: its true end is told", async () => {
    const session = aSession();
    const own = await startService("--log-events", "5");
    onTestFinished(() => own.kill());
    const asked = await own.ask(session, { tool_name: "write" });
    const reader = watch(own.url, session);
    await reader.until(() => reader.client.state.pending.length === 1);
    reader.client.disconnect();
    await watch(own.url, session).client.reject(asked, "not that file");
    await own.publish(session, ...numbers(1, 20));
    reader.client.connect();
    await reader.until(() => reader.types.includes("permission_cleared"));

    const cleared = reader.events.find((event) => event.type === "permission_cleared");
    expect(cleared).toMatchObject({ data: { request_id: asked.request_id, status: "rejected", reason: "not that file" } });
    expect(reader.client.state.pending).toEqual([]);
  });
});

describe("a listener", () => {
  it("that throws is reported and holds nobody up", async () => {
    const session = aSession();
    const reported = vi.fn();
    // vitest listens too, and would fail the run for what this test provokes.
    const others = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", reported);
    onTestFinished(() => {
      process.removeAllListeners("uncaughtException");
      for (const other of others) process.on("uncaughtException", other);
    });
    const reader = watch(service.url, session);
    reader.client.on("number", () => {
      throw new Error("a bug of the page");
    });
    await reader.untilOpen("sse");
    await service.publish(session, ...numbers(1, 2));
    await reader.until(() => reader.numbers.length === 2);
    await vi.waitUntil(() => reported.mock.calls.length === 2);

    expect(reader.numbers).toEqual([1, 2]);
  });
});

describe("an iterator", () => {
  it("tells every event, and ends with the session", async () => {
    const session = aSession();
    const { client } = watch(service.url, session);
    const told: string[] = [];
    for await (const event of client) {
      told.push(event.type);
      if (event.type === "snapshot") await service.publish(session, ...numbers(1, 2));
      if (told.filter((type) => type === "number").length === 2) {
        await fetch(`${service.url}/api/sessions/${session}`, { method: "DELETE" });
      }
    }

    expect(told).toEqual(["hello", "snapshot", "number", "number", "bye"]);
  });

  it("that is left keeps nothing", async () => {
    const session = aSession();
    const { client } = watch(service.url, session);
    for await (const event of client) {
      if (event.type === "snapshot") break;
    }

    expect(client.connection.phase).toBe("open");
    client.disconnect();
    expect(client.connection.phase).toBe("idle");
  });

  it("whose consumer is far too slow loses the oldest and is told so", async () => {
    const session = aSession();
    const own = await startService("--log-events", "30000", "--log-bytes", "8388608");
    onTestFinished(() => own.kill());
    const reader = watch(own.url, session);
    await reader.untilOpen("sse");
    const iterator = reader.client[Symbol.asyncIterator]();
    const first = iterator.next();
    for (let n = 1; n <= 12_000; n += 4_000) await own.publish(session, ...numbers(n, n + 3_999));
    await first;
    await reader.until(() => reader.numbers.length === 12_000);
    const told: unknown[] = [];
    for (let next = await iterator.next(); told.length < 2_000; next = await iterator.next()) told.push(next.value);

    expect(told.some((event) => (event as OwnEvent).type === "gap")).toBe(true);
  });
});

it("leaves no connection open when it is disconnected", async () => {
  const proxy = await Proxy.before(service.port);
  const reader = watch(proxy.url, aSession());
  await reader.untilOpen("sse");
  expect(proxy.streams).toBe(1);
  reader.client.disconnect();

  await vi.waitUntil(() => proxy.streams === 0);
  expect(reader.client.connection.phase).toBe("idle");
});

it("opens one stream only, however often it is told to connect", async () => {
  const proxy = await Proxy.before(service.port);
  const reader = watch(proxy.url, aSession());
  reader.client.connect();
  reader.client.connect();
  await reader.untilOpen("sse");

  expect(proxy.streams).toBe(1);
});
