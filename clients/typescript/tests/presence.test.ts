// @vitest-environment jsdom
/** Whether a page is seen is told while a client is connected, at once when it changes, and seldom else. */

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { InboxClient, SessionClient } from "../src/index.js";

let said: Record<string, unknown>[];
let seen: DocumentVisibilityState;

const fetch = async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
  if (!String(url).includes("/api/presence")) return new Promise(() => undefined);
  said.push(JSON.parse(String(init?.body)) as Record<string, unknown>);
  return new Response(JSON.stringify({ success: true, data: {} }));
};
const options = { baseUrl: "http://service/agent_backend", shareTabs: false, transports: ["polling"], fetch } as const;

const look = (state: DocumentVisibilityState): void => {
  seen = state;
  document.dispatchEvent(new Event("visibilitychange"));
};

beforeEach(() => {
  vi.useFakeTimers();
  [said, seen] = [[], "visible"];
  vi.spyOn(document, "visibilityState", "get").mockImplementation(() => seen);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("a client that tells whether its page is seen", () => {
  it("says so when it connects, when that changes, every 40 s while it is, and no more when it ends", async () => {
    const client = new SessionClient("s1", { ...options, tellPresence: true });
    client.connect();
    await vi.advanceTimersByTimeAsync(39_000);
    expect(said.map((each) => each["visible"])).toEqual([true]);
    await vi.advanceTimersByTimeAsync(2_000);
    look("hidden");
    await vi.advanceTimersByTimeAsync(120_000);
    look("visible");
    await vi.advanceTimersByTimeAsync(0);
    client.disconnect();
    look("hidden");
    await vi.advanceTimersByTimeAsync(120_000);

    expect(said.map((each) => each["visible"])).toEqual([true, true, false, true, false]);
    expect(new Set(said.map((each) => each["page"])).size).toBe(1);
    expect(said.every((each) => each["session_id"] === "s1")).toBe(true);
  });

  it("of all sessions names none, and one that is hidden from the start says nothing", async () => {
    seen = "hidden";
    const client = new InboxClient({ ...options, tellPresence: true });
    client.connect();
    await vi.advanceTimersByTimeAsync(100_000);
    expect(said).toEqual([]);
    look("visible");
    await vi.advanceTimersByTimeAsync(0);
    client.disconnect();
    await vi.advanceTimersByTimeAsync(0);

    expect(said.map((each) => Object.keys(each).sort())).toEqual([["page", "visible"], ["page", "visible"]]);
  });

  it("says nothing unless it is told to", async () => {
    const client = new SessionClient("s1", options);
    client.connect();
    await vi.advanceTimersByTimeAsync(100_000);
    client.disconnect();

    expect(said).toEqual([]);
  });
});
