import type { ReactNode } from "react";

import type { NotifierError } from "../errors.js";
import type { PermissionRecord } from "../wire.js";
import { inWords, type PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

interface Facts {
  request: PermissionRecord;
  labels: PermissionLabels;
}

export function ToolName({ request, labels }: Facts): ReactNode {
  return (
    <>
      {labels.title} <code><Text>{request.tool_name}</Text></code>
      {request.server != null && <> {labels.server} <code data-role="server"><Text>{request.server}</Text></code></>}
    </>
  );
}

/** What its command runs, a part on each line, what a wrapper runs behind an arrow. */
export function Command({ request, labels }: Facts): ReactNode {
  const { parts, depths, left_out: leftOut, not_understood: why } = request.command ?? { parts: [] };
  return (
    <>
      {parts.length > 0 && (
        <section data-role="command">
          <h3>{labels.runs}</h3>
          <ul>
            {parts.map(([program = "", ...others], index) => (
              <li key={index}>
                <code>
                  {"→ ".repeat(depths?.[index] ?? 0)}
                  <b><Text>{quoted(program)}</Text></b> <Text>{others.map(quoted).join(" ")}</Text>
                </code>
              </li>
            ))}
          </ul>
          {leftOut !== undefined && <p className="notifier-warning">{labels.moreRuns(leftOut)}</p>}
        </section>
      )}
      {why != null && (
        <p className="notifier-warning" data-role="unknown"><Text>{labels.unknownRuns(why.text)}</Text></p>
      )}
    </>
  );
}

/** A word as one types it; one that ends early is no word to type. */
function quoted(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  const onOneLine = word.replaceAll("\n", "\\n").replaceAll("\t", "\\t");
  return word.endsWith("…") ? onOneLine : `'${onOneLine.replaceAll("'", `'"'"'`)}'`;
}

/** Why it is a risk, and what the agent says of it. */
export function Reasons({ request, labels }: Facts): ReactNode {
  return (
    <>
      {request.risk_reasons.length > 0 && (
        <section>
          <h3>{request.rated_by === "producer" ? labels.producersReasons : labels.riskReasons}</h3>
          <ul>
            {request.risk_reasons.map((text, index) => (
              <li key={index}><Text>{text}</Text></li>
            ))}
          </ul>
        </section>
      )}
      {request.description !== undefined && (
        <section>
          <h3>{labels.description}</h3>
          <blockquote data-role="description"><Text>{request.description}</Text></blockquote>
        </section>
      )}
    </>
  );
}

interface UnreadProps extends Facts {
  /** Why the parameters could not be read; null while they are being read. */
  problem: NotifierError | null;
  onReadAgain: () => void;
}

/** That only the beginning of the parameters is here. */
export function Unread({ request, labels, problem, onReadAgain }: UnreadProps): ReactNode {
  const size = request.parameters_bytes ?? 0;
  return (
    <p className="notifier-warning" role="status" data-role="whole">
      {problem === null ? (
        labels.reading(size)
      ) : (
        <>
          <Text>{labels.unread(size, inWords(problem, labels))}</Text>{" "}
          <button type="button" data-action="read-whole" onClick={onReadAgain}>
            {labels.readAgain}
          </button>
        </>
      )}
    </p>
  );
}
