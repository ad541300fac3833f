/** On a server there is no page: the first picture is made, and nothing is connected. */

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
