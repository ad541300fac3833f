/** The service as its users run it: a process of its own, spoken to over HTTP. */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { EventSource } from "eventsource";
import { onTestFinished } from "vitest";

import { SessionClient, type ClientOptions, type OwnEvent, type PermissionRecord, type SessionEvent } from "../src/index.js";

export interface Service {
  readonly url: string;
  readonly port: number;
  readonly process: ChildProcess;
  publish(session: string, ...events: { type: string; data?: object }[]): Promise<string[]>;
  ask(session: string, request: { tool_name: string; parameters?: object } & Record<string, unknown>): Promise<PermissionRecord>;
  kill(): Promise<void>;
}

/** Start a service; it listens when this resolves. */
export async function startService(...flags: string[]): Promise<Service> {
  const child = spawn(
    process.env["PYTHON"] ?? "python3",
    ["-m", "notifier_service", "serve", "--log-level", "warning", ...(flags.includes("--port") ? [] : ["--port", "0"]), ...flags],
    {
      stdio: ["ignore", "pipe", "inherit"],
      cwd: join(import.meta.dirname, "../../.."),
      // It makes a key in the configuration of its user, which is no test's.
      env: { ...process.env, XDG_CONFIG_HOME: mkdtempSync(join(tmpdir(), "notifier-")) },
    },
  );
  const [ready] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const url = ready.slice(ready.indexOf("http"));

  async function post(path: string, body: unknown): Promise<never> {
    const response = await fetch(`${url}/api/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const answer = (await response.json()) as { success: boolean; data: never; message: string };
    if (!answer.success) throw new Error(answer.message);
    return answer.data;
  }

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  return {
    url,
    port: Number(new URL(url).port),
    process: child,
    publish: async (session, ...events) => ((await post(`events/${session}`, events)) as { ids: string[] }).ids,
    ask: (session, request) => post(`permissions/${session}`, { parameters: {}, risk_level: "medium", ...request }),
    kill,
  };
}

/** A client of that service that keeps all it heard. */
export function watch(url: string, session: string, options: ClientOptions = {}): Watching {
  const client = new SessionClient(session, {
    baseUrl: url,
    EventSource: EventSource as unknown as typeof globalThis.EventSource,
    backoffMs: 50,
    ...options,
  });
  onTestFinished(() => client.disconnect());
  return new Watching(client);
}

export class Watching {
  readonly events: SessionEvent[] = [];

  constructor(readonly client: SessionClient) {
    client.on("*", (event) => {
      if (event.type !== "heartbeat") this.events.push(event);
    });
    client.connect();
  }

  get types(): string[] {
    return this.events.map((event) => event.type);
  }

  /** The numbers in the events of a type of the test's own. */
  get numbers(): unknown[] {
    return this.events.flatMap((event) => (event.type === "number" ? [(event as OwnEvent).data?.["n"]] : []));
  }

  /** Wait for a state; what never comes fails the test by its time-out. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        const off = this.client.subscribe(() => {
          off();
          resolve();
        });
      });
    }
  }

  untilOpen(transport = "sse"): Promise<void> {
    return this.until(() => this.client.connection.phase === "open" && this.client.connection.transport === transport);
  }
}

export function numbers(from: number, to: number): { type: string; data: object }[] {
  return Array.from({ length: to - from + 1 }, (_, index) => ({ type: "number", data: { n: from + index } }));
}
