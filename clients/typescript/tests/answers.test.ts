/** A person's answers, and who may give them, against a real service. */

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { EventSource } from "eventsource";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";

import { InboxClient, listSessions, NotifierError, SessionClient, SSEClient } from "../src/index.js";
import { Proxy } from "./proxy.js";
import { startService, watch, type Service } from "./service.js";

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--heartbeat-seconds", "1");
});
afterAll(() => service.kill());

function aSession(): string {
  sessions += 1;
  return `a${sessions}`;
}

describe("a decision", () => {
  it("edits the parameters that run", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write", parameters: { path: "a" } });
    const record = await watch(service.url, session).client.edit(asked, { path: "b" });

    expect(record).toMatchObject({ decision: "edit", status: "approved", parameters: { path: "b" } });
  });

  it("about large parameters counts when they were read whole", async () => {
    const session = aSession();
    const parameters = { path: "a", content: "x".repeat(700_000) };
    const asked = await service.ask(session, { tool_name: "write", parameters });
    const { client } = watch(service.url, session);

    await expect(client.approve(asked)).rejects.toMatchObject({ code: "parameters_unread", status: 409 });
    const whole = await client.whole(asked);
    expect(whole.parameters).toEqual(parameters);
    await expect(client.approve(whole)).resolves.toMatchObject({ status: "approved", parameters_truncated: true });
  });

  it("about large parameters does not count because the client asked what became of the request", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write", parameters: { content: "x".repeat(700_000) } });
    let isExplained = false;
    /** A service that says once too early that nothing is pending any more. */
    const forgetful: typeof fetch = async (input, init) => {
      const response = await fetch(input, init);
      const path = new URL(String(input)).pathname;
      if (path.includes("/permissions/")) isExplained = true;
      if (!path.includes("/long-poll/")) return response;
      const answer = (await response.json()) as { data: { permission_requests: unknown[] } };
      if (reader.client.state.pending.length > 0) answer.data.permission_requests = [];
      return Response.json(answer);
    };
    const reader = watch(service.url, session, { fetch: forgetful, transports: ["polling"], pollIntervalMs: 50 });
    await vi.waitUntil(() => isExplained);

    await expect(reader.client.approve(asked)).rejects.toMatchObject({ code: "parameters_unread" });
  });

  it("rejects with a reason, word for word", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write" });
    const record = await watch(service.url, session).client.reject(asked, "not “that” file");

    expect(record).toMatchObject({ decision: "reject", status: "rejected", reason: "not “that” file" });
  });

  it("answers in the tool's place", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "search" });
    const record = await watch(service.url, session).client.respond(asked, "there is nothing to find");

    expect(record).toMatchObject({ decision: "respond", response: "there is nothing to find", approved: false });
  });

  it("for the session lets later calls of that tool run unasked", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write" });
    await watch(service.url, session).client.approve(asked, { scope: "session" });

    expect(await service.ask(session, { tool_name: "write" })).toMatchObject({ status: "approved" });
  });

  it("that was made again and again becomes a rule when somebody takes it over, and is taken back", async () => {
    const session = aSession();
    const { client } = watch(service.url, session);
    const call = { tool_name: "search", parameters: {} };
    for (let times = 0; times < 2; times += 1) await client.approve(await service.ask(session, call));

    const [suggestion] = await client.suggestions();
    const rule = await client.takeOver(suggestion!);
    const listed = await client.rules();
    await client.revoke(rule);

    expect(suggestion).toMatchObject({ would_have_saved: 2, scopes: ["session"] });
    expect(listed).toMatchObject([{ rule_id: rule.rule_id, source: "session", name: suggestion!.rule["name"] }]);
    expect(await client.rules()).toEqual([]);
  });

  it("that comes after another one is refused with the record that won", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write" });
    const { client } = watch(service.url, session);
    await client.approve(asked);

    await expect(client.approve(asked)).resolves.toMatchObject({ status: "approved" });
    await expect(client.reject(asked)).rejects.toMatchObject({ code: "already_decided", status: 409 });
    const error = await client.reject(asked).catch((caught: NotifierError) => caught);
    expect(error).toMatchObject({ details: { record: { status: "approved" } } });
  });

  it("is bound to what was shown", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write", parameters: { path: "a" } });
    const answer = watch(service.url, session).client.approve({ ...asked, parameters_sha256: "0".repeat(64) });

    await expect(answer).rejects.toMatchObject({ code: "parameters_changed" });
  });
});

describe("the reference's approvePermission", () => {
  it("decides the request that is pending", async () => {
    const session = aSession();
    await service.ask(session, { tool_name: "write" });
    const reader = watch(service.url, session);
    await reader.until(() => reader.client.state.pending.length === 1);

    expect(await reader.client.approvePermission(false, "no")).toBe(true);
    await reader.until(() => reader.client.state.pending.length === 0);
    expect(reader.events.find((event) => event.type === "permission_response_result")).toMatchObject({
      data: { status: "rejected", reason: "no" },
    });
  });

  it("decides none of several, and says so", async () => {
    const session = aSession();
    await service.ask(session, { tool_name: "write" });
    const second = await service.ask(session, { tool_name: "run" });
    const reader = watch(service.url, session);
    const onError = vi.fn();
    reader.client.onError = onError;
    await reader.until(() => reader.client.state.pending.length === 2);

    expect(await reader.client.approvePermission(true)).toBe(false);
    expect(onError.mock.calls[0]?.[1]).toMatchObject({ code: "ambiguous_request" });
    expect(await reader.client.approvePermission(true, "", second.request_id)).toBe(true);
  });

  it("is false when nothing is pending", async () => {
    expect(await watch(service.url, aSession()).client.approvePermission(true)).toBe(false);
  });
});

it("calls back as the reference's client does", async () => {
  const session = aSession();
  const heard: string[] = [];
  const client = new SSEClient(session, { baseUrl: service.url, EventSource: EventSource as never });
  onTestFinished(() => client.disconnect());
  client.onConnectionOpen = () => heard.push("open");
  client.onToolStatusChange = (status) => heard.push(`status ${status.status}`);
  client.onPermissionRequest = (request) => {
    heard.push(`asks ${request.tool_name}`);
    void client.approvePermission(true, "go on");
  };
  client.onPermissionResponseResult = (result) => heard.push(`${result.status} ${result.reason}`);
  client.onPermissionCleared = (data) => heard.push(`cleared ${data.status}`);
  client.onToolResult = (result) => heard.push(`result ${String(result.result)}`);
  client.onResultCleared = () => heard.push("result cleared");
  client.onHeartbeat = (timestamp) => {
    if (Math.abs(timestamp * 1000 - Date.now()) < 60_000) heard.push("heartbeat");
  };
  client.connect();
  await vi.waitUntil(() => heard.includes("open"));
  await service.publish(session, { type: "tool_status", data: { status: "executing", tool_name: "read" } });
  await service.ask(session, { tool_name: "write" });
  await vi.waitUntil(() => heard.includes("cleared approved"));
  await service.publish(session, { type: "tool_result", data: { tool_name: "read", result: 1, success: true } });
  await vi.waitUntil(() => heard.includes("result 1"));
  await client.clearResult();
  await vi.waitUntil(() => heard.includes("result cleared"));
  await vi.waitUntil(() => heard.includes("heartbeat"), { timeout: 5000 });

  expect(heard.filter((word) => word !== "heartbeat")).toEqual([
    "open",
    "status executing",
    "asks write",
    "approved go on",
    "cleared approved",
    "result 1",
    "result cleared",
  ]);
  expect(await client.checkHealth()).toMatchObject({ session_id: session, connections: 1 });
});

it("asks for no ticket where its function has no token to give", async () => {
  const proxy = await Proxy.before(service.port);
  const reader = watch(proxy.url, aSession(), { token: () => "" });
  await reader.untilOpen("sse");

  expect(proxy.asked.filter((line) => line.includes("/ticket/"))).toEqual([]);
});

describe("with tokens", () => {
  let guarded: Service;
  const asked: string[] = [];

  class Noting extends EventSource {
    constructor(url: string | URL) {
      super(url);
      asked.push(String(url));
    }
  }

  beforeAll(async () => {
    const file = join(mkdtempSync(join(tmpdir(), "notifier-")), "tokens.json");
    const rows = [
      { token: "boss-token-0123456789", subject: "boss", rights: ["admin"], sessions: ["*"] },
      { token: "guest-token-0123456789", subject: "guest", rights: ["view"], sessions: ["t*"] },
    ];
    writeFileSync(file, JSON.stringify(rows), { mode: 0o600 });
    guarded = await startService("--auth", "tokens", "--tokens-file", file);
  });
  afterAll(() => guarded.kill());

  it("uses a fresh ticket for each stream, and never the token, in a URL", async () => {
    asked.length = 0;
    const reader = watch(guarded.url, "t1", { token: "guest-token-0123456789", EventSource: Noting as never });
    await reader.untilOpen("sse");
    reader.client.reconnect();
    await reader.until(() => asked.length === 2);
    await reader.untilOpen("sse");

    const tickets = asked.map((url) => new URL(url).searchParams.get("ticket"));
    expect(new Set(tickets).size).toBe(2);
    expect(tickets.every((ticket) => ticket !== null && ticket.length > 20)).toBe(true);
    expect(asked.join()).not.toContain("guest-token");
  });

  it("knows whether the token may answer, also where another tab reads", async () => {
    const guest = watch(guarded.url, "t1", { token: "guest-token-0123456789" });
    const boss = watch(guarded.url, "t1", { token: "boss-token-0123456789" });
    const inbox = new InboxClient({ baseUrl: guarded.url, token: "guest-token-0123456789", transports: ["polling"] });
    inbox.connect();
    for (const reader of [guest, boss]) await reader.untilOpen("sse");
    await vi.waitFor(() => expect(inbox.connection.phase).toBe("open"));

    expect([guest.client.mayApprove, boss.client.mayApprove, inbox.mayApprove]).toEqual([false, true, false]);
    inbox.disconnect();
  });

  it.each(["long-poll", "polling"] as const)("knows it over %s", async (way) => {
    const guest = watch(guarded.url, "t1", { token: "guest-token-0123456789", transports: [way] });
    const boss = watch(guarded.url, "t1", { token: "boss-token-0123456789", transports: [way] });
    for (const reader of [guest, boss]) await reader.untilOpen(way);

    expect([guest.client.mayApprove, boss.client.mayApprove]).toEqual([false, true]);
    expect(guest.client.state).not.toHaveProperty("may_approve");
  });

  it("asks for a token before every request when it is given a function", async () => {
    const token = vi.fn(async () => "guest-token-0123456789");
    const reader = watch(guarded.url, "t2", { token });
    await reader.untilOpen("sse");

    expect(token).toHaveBeenCalled();
  });

  it.each([
    [undefined, "t1", "unauthenticated"],
    ["wrong-token-0123456789", "t1", "unauthenticated"],
    ["guest-token-0123456789", "elsewhere", "forbidden"],
  ])("ends with the reason for token %s in session %s", async (token, session, code) => {
    const reader = watch(guarded.url, session, token === undefined ? {} : { token });
    await reader.until(() => reader.client.connection.phase === "ended");

    expect(reader.client.connection.error?.code).toBe(code);
    expect(reader.client.connection.error?.message).not.toContain("token-0123");
  });

  it("refuses a decision of who may only look", async () => {
    const boss = new SessionClient("t3", { baseUrl: guarded.url, token: "boss-token-0123456789" });
    const { client } = watch(guarded.url, "t3", { token: "guest-token-0123456789" });

    await expect(client.decide({ approved: true })).rejects.toMatchObject({ code: "forbidden" });
    await expect(boss.decide({ approved: true })).rejects.toMatchObject({ code: "request_not_found" });
  });

  it("lists the sessions that the token covers", async () => {
    const rows = await listSessions({ baseUrl: guarded.url, token: "boss-token-0123456789" });

    expect(rows.every((row) => typeof row.pending_permissions === "number")).toBe(true);
    const seen = await listSessions({ baseUrl: guarded.url, token: "guest-token-0123456789" });
    expect(seen.map((row) => row.session_id)).toEqual(expect.arrayContaining(["t3"]));
    await expect(listSessions({ baseUrl: guarded.url })).rejects.toMatchObject({ code: "unauthenticated" });
  });
});
