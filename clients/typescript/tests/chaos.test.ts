/** Connections that are delayed, cut, halved, swallowed or crumbled: everything is told once and in order. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";

import type { Transport } from "../src/index.js";
import { Proxy } from "./proxy.js";
import { numbers, startService, watch, type Service } from "./service.js";

/** As `tests/chaos_proxy.py` has it. */
interface Whim {
  then?: "pass" | "close" | "reset" | "half_close" | "black_hole";
  after?: number;
  side?: "answer" | "request";
  piece?: number;
  pause_seconds?: number;
}

const CUTS = [0, 1, 100, 421, 777, 1234];
const WHIMS: Record<string, Whim[]> = {
  "slow": [{ then: "close", after: 3000, piece: 500, pause_seconds: 0.02 }],
  "in crumbs": [{ then: "close", after: 3000, piece: 1 }, { then: "close", after: 100, side: "request", piece: 1 }],
  "closed": CUTS.map((after) => ({ then: "close", after })),
  "reset": CUTS.map((after) => ({ then: "reset", after })),
  "half-closed": CUTS.map((after) => ({ then: "half_close", after })),
  "half-closed by the client": [0, 20, 80].map((after) => ({ then: "half_close", after, side: "request" })),
  "swallowed": [{ then: "black_hole", after: 150 }, { then: "black_hole", after: 1500 }],
};

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--heartbeat-seconds", "1", "--log-events", "20000");
});
afterAll(() => service.kill());

/** The address of a proxy whose next connections meet these whims. */
async function chaos(whims: readonly Whim[]): Promise<string> {
  const child = spawn(
    process.env["PYTHON"] ?? "python3",
    ["-m", "tests.chaos_proxy", String(service.port), JSON.stringify(whims)],
    { stdio: ["ignore", "pipe", "inherit"], cwd: join(import.meta.dirname, "../../..") },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  const [port] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return `http://127.0.0.1:${port}/agent_backend`;
}

/** Gives up after a second what the client would wait for much longer. */
const impatient: typeof fetch = (input, init) =>
  fetch(input, { ...init, signal: AbortSignal.any([AbortSignal.timeout(1000), ...(init?.signal ? [init.signal] : [])]) });

describe.each<Transport>(["sse", "long-poll", "polling"])("over %s, connections that are", (transport) => {
  it.each(Object.keys(WHIMS))("%s cost no event", async (what) => {
    sessions += 1;
    const session = `c${sessions}`;
    await service.publish(session, ...numbers(1, 5));
    const reader = watch(await chaos(WHIMS[what] ?? []), session, {
      from: "earliest",
      transports: transport === "sse" ? ["sse", "long-poll"] : [transport],
      backoffMs: 10,
      pollIntervalMs: 10,
      helloTimeoutMs: 300,
      heartbeatTimeoutMs: 1500,
      fetch: impatient,
    });
    for (let n = 6; n <= 60; n += 5) {
      await service.publish(session, ...numbers(n, n + 4));
      await reader.until(() => reader.numbers.length >= n - 1);
    }
    await reader.until(() => reader.numbers.length >= 60);

    expect(reader.numbers).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
    expect(reader.types).not.toContain("gap");
  });
});

describe("a wall clock that is set", () => {
  const HOUR_MS = 3_600_000;

  function setBy(ms: number): void {
    const now = Date.now;
    vi.spyOn(Date, "now").mockImplementation(() => now() + ms);
    onTestFinished(() => void vi.restoreAllMocks());
  }

  it("an hour back hides no silence", async () => {
    const proxy = await Proxy.before(service.port);
    const reader = watch(proxy.url, "back", { heartbeatTimeoutMs: 1200 });
    await reader.until(() => reader.types.includes("snapshot")); // which tells a place to come back to
    proxy.freeze();
    setBy(-HOUR_MS);
    await service.publish("back", ...numbers(1, 3));
    await reader.until(() => reader.numbers.length === 3);

    expect(reader.numbers).toEqual([1, 2, 3]);
  });

  it("an hour forward costs no event and no transport", async () => {
    const proxy = await Proxy.before(service.port);
    const reader = watch(proxy.url, "forward");
    await reader.until(() => reader.types.includes("snapshot"));
    proxy.freeze(); // whatever is heard after the clock was set says that all is well
    setBy(HOUR_MS);
    await reader.until(() => reader.client.connection.phase !== "open");
    await service.publish("forward", ...numbers(1, 3));
    await reader.untilOpen("sse");
    await reader.until(() => reader.numbers.length === 3);

    expect(reader.numbers).toEqual([1, 2, 3]);
    expect(proxy.asked.filter((line) => line.includes("timeout=25"))).toEqual([]);
  });
});
