// @vitest-environment jsdom
/** The hook in a page, with a real service behind it. */

import { act, render, renderHook, waitFor } from "@testing-library/react";
import { StrictMode } from "react";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { useSession, type SessionOptions } from "../../src/react/index.js";
import { numbers, startService, type Service } from "../service.js";
import { EventSource, openStreams } from "./page.js";

let service: Service;
let sessions = 0;

beforeAll(async () => {
  service = await startService("--allowed-origins", location.origin);
});
afterAll(() => service.kill());

function aSession(): string {
  sessions += 1;
  return `h${sessions}`;
}

function watched(session: string, options: SessionOptions = {}) {
  return renderHook(({ id }) => useSession(id, { baseUrl: service.url, EventSource, ...options }), {
    initialProps: { id: session },
    wrapper: StrictMode,
  });
}

async function readers(session: string): Promise<number> {
  const response = await fetch(`${service.url}/api/sse/health/${session}`);
  return ((await response.json()) as { data: { connections: number } }).data.connections;
}

describe("a session", () => {
  it("shows what waits, and answers it", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write_file" });
    const { result } = watched(session);
    await waitFor(() => expect(result.current.permissionRequest?.request_id).toBe(asked.request_id));
    expect(result.current.isConnected).toBe(true);

    let taken: boolean | undefined;
    await act(async () => {
      taken = await result.current.approvePermission(false, "not today");
    });

    expect(taken).toBe(true);
    await waitFor(() => expect(result.current.permissionRequest).toBeNull());
    const response = await fetch(`${service.url}/api/permissions/${session}/${asked.request_id}`);
    expect(await response.json()).toMatchObject({ data: { status: "rejected", reason: "not today" } });
  });

  it("answers what was on the screen, and nothing that came after it", async () => {
    const session = aSession();
    const first = await service.ask(session, { tool_name: "first" });
    const second = await service.ask(session, { tool_name: "second" });
    const { result } = watched(session);
    await waitFor(() => expect(result.current.pending).toHaveLength(2));
    const onScreen = result.current;
    await act(() => onScreen.reject(first));
    await waitFor(() => expect(result.current.permissionRequest?.request_id).toBe(second.request_id));

    let taken: boolean | undefined;
    await act(async () => {
      taken = await onScreen.approvePermission(true);
    });

    expect(taken).toBe(false);
    expect(result.current.pending.map((request) => request.tool_name)).toEqual(["second"]);
  });

  it("answers nothing while nothing is on the screen", async () => {
    const { result } = watched(aSession());

    expect(await result.current.approvePermission(true)).toBe(false);
  });

  it("shows status, running calls and results", async () => {
    const session = aSession();
    const { result } = watched(session);
    await waitFor(() => expect(result.current.isConnected).toBe(true));
    await service.publish(
      session,
      { type: "tool_status", data: { status: "executing", tool_name: "search", tool_call_id: "c1" } },
      { type: "tool_result", data: { tool_name: "read", result: "text", success: true } },
    );

    await waitFor(() => expect(result.current.toolResult?.result).toBe("text"));
    expect(result.current.toolStatus?.status).toBe("executing");
    expect(result.current.running.map((call) => call.tool_name)).toEqual(["search"]);
    expect(result.current.viewers).toBe(1);
  });

  it("holds as many events as it is told to, and none unless it is told", async () => {
    const session = aSession();
    const [some, none] = [watched(session, { keepEvents: 3 }), watched(session)];
    await waitFor(() => expect(some.result.current.isConnected && none.result.current.isConnected).toBe(true));
    await service.publish(session, ...numbers(1, 5));

    await waitFor(() => expect(some.result.current.events).toMatchObject([3, 4, 5].map((n) => ({ data: { n } }))));
    expect(none.result.current.events).toEqual([]);
  });
});

describe("a component", () => {
  it("has one stream in strict mode, however often it renders", async () => {
    const session = aSession();
    const { result, rerender } = watched(session);
    const { client } = result.current;
    await waitFor(() => expect(result.current.isConnected).toBe(true));
    for (let times = 0; times < 5; times++) rerender({ id: session });

    expect(result.current.client).toBe(client);
    expect(openStreams()).toBe(1);
    await waitFor(async () => expect(await readers(session)).toBe(1));
  });

  it("leaves nothing open when it goes away", async () => {
    const session = aSession();
    const { result, unmount } = watched(session);
    await waitFor(() => expect(result.current.isConnected).toBe(true));

    unmount();

    await waitFor(() => expect(openStreams()).toBe(0));
    expect(result.current.client.connection.phase).toBe("idle");
    await waitFor(async () => expect(await readers(session)).toBe(0));
  });

  it("leaves nothing open when it goes away before it was connected", async () => {
    const session = aSession();
    const { unmount } = watched(session);

    unmount();

    await waitFor(async () => expect(await readers(session)).toBe(0));
    expect(openStreams()).toBe(0);
  });

  it("that shows another session shows nothing of the one before", async () => {
    const [before, after] = [aSession(), aSession()];
    await service.ask(before, { tool_name: "old" });
    const { result, rerender } = watched(before);
    await waitFor(() => expect(result.current.pending).toHaveLength(1));

    rerender({ id: after });

    expect(result.current.pending).toEqual([]);
    expect(result.current.client.sessionId).toBe(after);
    await waitFor(() => expect(result.current.isConnected).toBe(true));
    expect(openStreams()).toBe(1);
    await waitFor(async () => expect([await readers(before), await readers(after)]).toEqual([0, 1]));
  });

  it("makes a new client for another token", () => {
    const session = aSession();
    const { result, rerender } = renderHook(
      ({ token }) => useSession(session, { baseUrl: service.url, EventSource, token }),
      { initialProps: { token: "annas" } },
    );
    const { client } = result.current;
    rerender({ token: "bens" });

    expect(result.current.client).not.toBe(client);
    expect(client.connection.phase).toBe("idle");
  });

  it("is asked for its token by the newest of its functions", async () => {
    const session = aSession();
    const asked = await service.ask(session, { tool_name: "write_file" });
    const used: string[] = [];
    const { result, rerender } = renderHook(
      ({ name }) => useSession(session, { baseUrl: service.url, EventSource, token: () => (used.push(name), name) }),
      { initialProps: { name: "first" } },
    );
    const { client } = result.current;
    await waitFor(() => expect(result.current.isConnected).toBe(true));
    rerender({ name: "second" });
    await act(() => result.current.approve(asked));

    expect(result.current.client).toBe(client);
    expect(used[0]).toBe("first");
    expect(used.at(-1)).toBe("second");
  });

  it("renders what came between rendering and connecting", async () => {
    const session = aSession();
    await service.ask(session, { tool_name: "write_file" });
    function Names() {
      const { pending } = useSession(session, { baseUrl: service.url, EventSource });
      return <p>{pending.map((request) => request.tool_name).join()}</p>;
    }
    const { findByText } = render(<Names />);

    expect(await findByText("write_file")).toBeTruthy();
  });
});
