/** The parts that know no network. */

import { describe, expect, it, vi } from "vitest";

import { Backoff } from "../src/backoff.js";
import { placeOf } from "../src/cursor.js";
import { Feed, type SessionEvent } from "../src/feed.js";
import { Http } from "../src/http.js";
import { exactJson, flags, jsonPieces, keepsEveryNumber, NotifierError, parseExact, pieces } from "../src/index.js";
import { Ladder } from "../src/ladder.js";
import type { PermissionRecord, StateAndEvents } from "../src/wire.js";

describe("a wait between attempts", () => {
  it("is 2 to 3 s in the first minute, with up to a third taken off", () => {
    const longest = new Backoff(1000, 8000, () => 1);
    const shortest = new Backoff(1000, 8000, () => 0);

    expect([1, 2, 3, 4, 5].map(() => longest.next())).toEqual([1000, 2000, 3000, 3000, 3000]);
    expect([1, 2, 3, 4, 5].map(() => shortest.next())).toEqual([667, 1333, 2000, 2000, 2000]);
  });

  it("doubles up to the cap after the first minute, and begins anew after success", () => {
    let now = 0;
    const backoff = new Backoff(1000, 8000, () => 1, () => now);
    for (; now < 60_000; now += 3000) backoff.next();

    expect([1, 2, 3].map(() => backoff.next())).toEqual([6000, 8000, 8000]);
    backoff.reset();
    expect([1, 2, 3].map(() => backoff.next())).toEqual([1000, 2000, 3000]);
  });

  it("keeps to a cap and a first wait of one's own", () => {
    expect([1, 2].map(((backoff) => () => backoff.next())(new Backoff(10, 15, () => 1)))).toEqual([10, 15]);
    expect([1, 2].map(((backoff) => () => backoff.next())(new Backoff(9000, 9000, () => 1)))).toEqual([9000, 9000]);
  });

  it("is never shorter than the service asks for, and short again after success", () => {
    const backoff = new Backoff(1000, 8000, () => 0);
    expect(backoff.next(3210)).toBe(3210);
    backoff.reset();
    expect(backoff.next()).toBe(667);
  });

  it("stays finite after thousands of failures", () => {
    let now = 0;
    const backoff = new Backoff(1000, 30_000, () => 1, () => now);
    for (; now < 5_000_000; now += 1000) backoff.next();

    expect(backoff.next()).toBe(30_000);
  });
});

describe("the choice of a transport", () => {
  const times = { stepUpMs: 60, stepUpCapMs: 200 };

  it("steps down at once when a stream is mute, else at the second failure", () => {
    const ladder = new Ladder(["sse", "long-poll", "polling"], times);
    expect(ladder.failed({ mute: false })).toBe(false);
    expect(ladder.failed({ mute: false })).toBe(true);
    expect(ladder.transport).toBe("long-poll");
    expect(ladder.failed({ mute: true })).toBe(true);
    expect(ladder.transport).toBe("polling");
    expect(ladder.failed({ mute: true })).toBe(false);
  });

  it("waits twice as long each time that stepping up was of no use", () => {
    const ladder = new Ladder(["sse", "long-poll"], times);
    ladder.failed({ mute: true });
    const waits = [ladder.waitMs];
    for (let n = 0; n < 3; n++) {
      ladder.stay();
      waits.push(ladder.waitMs);
    }

    expect(waits).toEqual([60, 120, 200, 200]);
  });

  it("forgets the waits only when the best transport has proved itself", () => {
    const ladder = new Ladder(["sse", "long-poll"], times);
    ladder.failed({ mute: true });
    ladder.stepUp();
    expect([ladder.transport, ladder.waitMs]).toEqual(["sse", 120]);
    ladder.failed({ mute: true });
    expect(ladder.waitMs).toBe(120);
    ladder.stepUp();
    ladder.proved();
    expect(ladder.waitMs).toBe(60);
  });

  it("wants at least one transport", () => {
    expect(() => new Ladder([], times)).toThrow(TypeError);
  });
});

it.each([
  ["k3f9-1a", { epoch: "k3f9", seq: 46 }],
  ["k3f9-0", { epoch: "k3f9", seq: 0 }],
  ["", null],
  [undefined, null],
  ["k3f9", null],
  ["k3f9-1A", null],
  ["k3f9-1-2", null],
])("reads the id %s", (id, place) => {
  expect(placeOf(id)).toEqual(place);
});

function request(id: string): PermissionRecord {
  return { request_id: id, tool_name: "write", status: "pending" } as PermissionRecord;
}

function answer(part: Partial<StateAndEvents>): StateAndEvents {
  return {
    events: [],
    gap: null,
    tool_status: null,
    permission_request: null,
    permission_requests: [],
    tool_result: null,
    running: [],
    last_event_id: "e-0",
    ...part,
  };
}

describe("what was heard", () => {
  function heard(): { feed: Feed; told: SessionEvent[]; unexplained: PermissionRecord[] } {
    const told: SessionEvent[] = [];
    const unexplained: PermissionRecord[] = [];
    const feed = new Feed((event) => told.push(event), (gone) => unexplained.push(gone));
    return { feed, told, unexplained };
  }

  it("is told once, whoever tells it again", () => {
    const { feed, told } = heard();
    for (const id of ["e-1", "e-2", "e-1", "e-2", "e-3"]) feed.take({ type: "own", id });

    expect(told).toHaveLength(3);
    expect(feed.cursor).toBe("e-3");
  });

  it("is taken from another tab only in sequence", () => {
    const { feed, told } = heard();
    feed.take({ type: "own", id: "e-1" });

    expect(feed.take({ type: "own", id: "e-3" }, { inSequence: true })).toBe(false);
    expect(feed.take({ type: "own", id: "f-2" }, { inSequence: true })).toBe(false);
    expect(feed.take({ type: "own", id: "e-2" }, { inSequence: true })).toBe(true);
    expect(told).toHaveLength(2);
  });

  it("counts numbers of more than one digit right", () => {
    const { feed } = heard();
    feed.take({ type: "own", id: "e-z" });

    expect(feed.take({ type: "own", id: "e-10" }, { inSequence: true })).toBe(true);
  });

  it("is not undone by a snapshot from before it", () => {
    const { feed } = heard();
    const old = answer({ last_event_id: "e-1" });
    feed.take({ type: "permission_request", id: "e-2", data: request("r1") });
    feed.take({ type: "snapshot", data: { ...old } });

    expect(feed.state.pending).toHaveLength(1);
    expect(feed.cursor).toBe("e-2");
  });

  it("takes the later end of a request that has more time after a restart, in whatever order it hears of it", () => {
    const [early, late] = [60, 90].map((seconds) => new Date(seconds * 1000).toISOString());
    for (const ends of [[early, late], [late, early], [late, null]]) {
      const { feed } = heard();
      for (const expires_at of ends) {
        feed.take({ type: "permission_request", data: { ...request("r1"), expires_at } as PermissionRecord });
      }

      expect(feed.state.pending.map((one) => one.expires_at)).toEqual([late]);
    }
  });

  it("is corrected by the state of a poll, and what is gone unexplained is asked for", () => {
    const { feed, told, unexplained } = heard();
    feed.take({ type: "permission_request", id: "e-1", data: request("r1") });
    feed.takeAnswer(answer({ last_event_id: "e-1", permission_requests: [request("r2")] }));

    expect(feed.state.pending.map((one) => one.request_id)).toEqual(["r2"]);
    expect(unexplained.map((one) => one.request_id)).toEqual(["r1"]);
    expect(told.map((event) => event.type)).toEqual(["permission_request", "permission_request"]);
  });

  it("is not corrected by a poll that is older", () => {
    const { feed } = heard();
    feed.take({ type: "permission_request", id: "e-2", data: request("r1") });
    feed.takeAnswer(answer({ last_event_id: "e-1" }));

    expect(feed.state.pending).toHaveLength(1);
  });

  it("never shows a settled request again, though a replay comes late", () => {
    const { feed } = heard();
    feed.take({ type: "permission_request", id: "e-1", data: request("r1") });
    const cleared = { request_id: "r1", tool_name: "write", status: "approved", timestamp: "" } as const;
    feed.take({ type: "permission_cleared", id: "e-2", data: cleared });
    feed.take({ type: "permission_request", data: { ...request("r1"), replayed: true } });

    expect(feed.state.pending).toEqual([]);
  });

  it("keeps the running calls with their progress until they are over", () => {
    const { feed } = heard();
    const call = { tool_name: "run", tool_call_id: "c1", timestamp: "", details: {} };
    feed.take({ type: "tool_status", id: "e-1", data: { status: "executing", ...call } });
    feed.take({ type: "tool_progress", id: "e-2", data: { tool_name: "run", tool_call_id: "c1", progress: 1 } });
    feed.take({ type: "tool_status", id: "e-3", data: { status: "executing", ...call } });
    expect(feed.state.running).toMatchObject([{ tool_call_id: "c1", progress: { progress: 1 } }]);
    feed.take({ type: "tool_status", id: "e-4", data: { status: "failed", ...call } });

    expect(feed.state.running).toEqual([]);
  });
});

describe("text that may be hostile", () => {
  it.each([
    ["evil\u202egnp.exe", "evil\\u202egnp.exe", ["right-to-left override"]],
    ["\u001b[31mred", "\\u001b[31mred", ["terminal escape"]],
    ["a\u200bb\u2060c", "a\\u200bb\\u2060c", ["zero-width space", "word joiner"]],
    ["tag\u{e0041}", "tag\\u{e0041}", ["tag characters"]],
    ["half\ud800", "half\\ud800", ["half of a character"]],
    ["a\u00a0b\u3000c", "a\\u00a0b\\u3000c", ["no-break space", "unusual space U+3000"]],
    ["\u3164\uffa0", "\\u3164\\uffa0", ["Hangul filler", "invisible character U+FFA0"]],
    ["line\r\nnext\ttab", "line\\u000d\nnext\ttab", ["carriage return"]],
    ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>", []],
    ["naïve Ünïcode 中文 עברית", "naïve Ünïcode 中文 עברית", []],
    ["👩‍👩‍👧 ❤️ 👍🏽", "👩‍👩‍👧 ❤️ 👍🏽", []],
  ])("shows %j so that it can be seen", (text, shown, names) => {
    expect(pieces(text).map((piece) => piece.text).join("")).toBe(shown);
    expect(flags(text)).toEqual(names);
  });

  it("flags what JSON has escaped, but no backslash that is only text", () => {
    const json = exactJson({ a: "\u001b[0m", b: "\\u001b", c: "x\u202ey" });

    expect(flags(jsonPieces(json))).toEqual(["terminal escape", "right-to-left override"]);
    expect(jsonPieces(json).map((piece) => piece.text).join("")).toBe(json.replace("\u202e", "\\u202e"));
  });

  it("takes a megabyte in its stride", () => {
    const text = "x\u200b".repeat(500_000);

    expect(pieces(text)).toHaveLength(1_000_000);
  });
});

describe("JSON that loses nothing", () => {
  it("is ordinary JSON where numbers are ordinary", () => {
    const text = '{"a":1,"b":[1.5,true,null],"__proto__":{"c":9007199254740991}}';

    expect(exactJson(parseExact(text), 0)).toBe(text);
    expect(({} as { c?: unknown }).c).toBeUndefined();
  });

  it.runIf(keepsEveryNumber)("writes numbers as they were spelled", () => {
    const text = '{"a":1.0,"b":[1e3,-0.0,0.50],"c":{"d":1E-7}}';
    const value = parseExact(text) as { a: number; b: number[] };

    expect(exactJson(value, 0)).toBe(text);
    expect(exactJson({ ...value, b: [2, ...value.b.slice(1)] }, 0)).toContain('"b":[2,0,0.5]');
    expect(value.a).toBe(1);
  });

  it.runIf(keepsEveryNumber)("keeps integers that a number cannot hold", () => {
    const text = '{"id":9007199254740993,"big":123456789012345678901234567890,"n":-9007199254740995}';

    expect(exactJson(parseExact(text), 0)).toBe(text);
  });

  it("throws for what is no JSON", () => {
    expect(() => parseExact("{")).toThrow(SyntaxError);
  });
});

describe("a request to the service", () => {
  it("tells callers apart by their token without telling the token", () => {
    const [a, b, c] = ["secret-a", "secret-b", undefined].map(
      (token) => new Http({ baseUrl: "/x", ...(token === undefined ? {} : { token }) }).identity,
    );

    expect(new Set([a, b, c]).size).toBe(3);
    expect(`${a}${b}`).not.toContain("secret");
  });

  it("sends the token in a header, and JSON", async () => {
    const fetch = vi.fn(async () => new Response('{"success":true,"data":7}'));
    const http = new Http({ baseUrl: "http://host/x/", token: "secret", fetch });

    expect(await http.call("POST", "/api/y", { body: { z: 1 } })).toBe(7);
    const [url, init] = fetch.mock.calls[0] as unknown as [string, RequestInit];
    expect(url).toBe("http://host/x/api/y");
    expect(init).toMatchObject({ method: "POST", body: '{"z":1}', headers: { Authorization: "Bearer secret" } });
  });

  it.each([
    [429, '{"success":false,"error":{"code":"limit_reached","message":"m","limit":"x"},"message":"m"}', "limit_reached", true],
    [403, '{"success":false,"error":{"code":"forbidden","message":"m"},"message":"m"}', "forbidden", false],
    [502, "<html>", "unexpected", true],
    [200, "null", "unexpected", true],
    [404, "not here", "unexpected", true],
  ])("that is answered %i %s is the error %s", async (status, body, code, isPassing) => {
    const fetch = async (): Promise<Response> => new Response(body, { status, headers: { "Retry-After": "2" } });
    const error = await new Http({ baseUrl: "http://host", fetch }).call("GET", "/").catch((caught: unknown) => caught);

    expect(error).toBeInstanceOf(NotifierError);
    expect(error).toMatchObject({ code, status, isPassing, retryAfterMs: 2000 });
  });

  it("is told apart from one that nobody answers", async () => {
    const fetch = async (): Promise<Response> => Promise.reject(new TypeError("fetch failed"));

    await expect(new Http({ fetch }).call("GET", "/")).rejects.toMatchObject({ code: "unreachable", status: null });
  });
});
