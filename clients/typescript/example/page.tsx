import { exactJson, type SessionEvent, type ToolResultEvent } from "@notifier-service/client";
import { CHINESE, ENGLISH, PermissionDialog, useSession } from "@notifier-service/client/react";
import "@notifier-service/client/react.css";

import "./page.css";

const labels = navigator.language.startsWith("zh") ? CHINESE : ENGLISH;

/** What the agent of a session does, what it gave, and what it asks. */
export function Page({ sessionId }: { sessionId: string }) {
  const session = useSession(sessionId, { from: "earliest", keepEvents: 500 });
  const { connection, running } = session;
  const results = session.events.filter(isResult).reverse();

  return (
    <>
      <header>
        <h1>Session {sessionId}</h1>
        <p role="status" data-connection={connection.phase}>
          {session.isConnected ? "Connected" : `Not connected (${connection.phase})`}
          {connection.error !== null && `: ${connection.error.message}`}
        </p>
      </header>

      <PermissionDialog session={session} labels={labels} />

      <section>
        <h2>Running</h2>
        {running.length === 0 && <p>Nothing runs.</p>}
        <ul>
          {running.map((call) => (
            <li key={call.tool_call_id ?? call.tool_name}>
              <code>{call.tool_name}</code> {call.status === "waiting_permission" ? "waits for an answer" : "runs"}
              {call.progress !== undefined && <progress value={call.progress.progress} max={call.progress.total} />}
            </li>
          ))}
        </ul>
      </section>

      <section>
        <h2>Results</h2>
        {results.length === 0 && <p>No results yet.</p>}
        <ol reversed>
          {results.map(({ id, data }) => (
            <li key={id}>
              <code>{data.tool_name}</code> {data.success ? "succeeded" : `failed: ${data.error ?? ""}`}
              <pre tabIndex={0}>{exactJson(data.result)}</pre>
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}

function isResult(event: SessionEvent): event is ToolResultEvent {
  return event.type === "tool_result";
}
