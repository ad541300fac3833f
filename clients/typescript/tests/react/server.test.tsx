/** On a server there is no page: the first picture is made, and nothing is connected. */

import { readFileSync } from "node:fs";

import { renderToString } from "react-dom/server";
import { expect, it } from "vitest";

import { PermissionDialog, useSession } from "../../src/react/index.js";
import { EventSource, openStreams } from "./page.js";

function Page() {
  const session = useSession("s1", { baseUrl: "http://127.0.0.1:1", EventSource, keepEvents: 10 });
  return (
    <>
      <p>{session.isConnected ? "live" : "not yet"}</p>
      <PermissionDialog session={session} />
    </>
  );
}

it("is rendered without a connection", () => {
  const html = renderToString(<Page />);

  expect(html).toContain("not yet");
  expect(html).toMatch(/<dialog[^>]*><\/dialog>/);
  expect(openStreams()).toBe(0);
});

it("needs no page, and shows nothing of what waits until it is in one", () => {
  expect(typeof window).toBe("undefined");
  const waiting = { request_id: "r1", tool_name: "write_file" };
  function Waiting() {
    const session = useSession("s1", { baseUrl: "http://127.0.0.1:1", EventSource });
    return <PermissionDialog session={{ ...session, pending: [waiting as never] }} renderBody={() => <p>mine</p>} />;
  }

  expect(renderToString(<Waiting />)).toMatch(/^<dialog[^>]*><\/dialog>$/);
});

it("is told to frameworks as what runs in a page: the first words of its entry say so", () => {
  const entry = readFileSync(new URL("../../src/react/index.ts", import.meta.url), "utf8");

  expect(entry).toMatch(/^"use client";\n/);
});
