import type { ReactNode } from "react";

import { isQuestion } from "../bodies/index.js";
import type { NotifierError } from "../errors.js";
import type { Deeds, PermissionRecord } from "../wire.js";
import { inWords, type PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

interface Facts {
  request: PermissionRecord;
  labels: PermissionLabels;
}

export function ToolName({ request, labels }: Facts): ReactNode {
  return (
    <>
      {isQuestion(request) ? labels.questions.title : labels.title} <code><Text>{request.tool_name}</Text></code>
      {request.server != null && <> {labels.server} <code data-role="server"><Text>{request.server}</Text></code></>}
    </>
  );
}

/** What the service itself says of the call: what it does, where, whether it can be taken back, and why it asks. */
export function Judgement({ request, labels }: Facts): ReactNode {
  const { deeds, rated_by: ratedBy } = request;
  const reasons = reasonsOf(request);
  if (!deeds?.does.length && reasons.length === 0) return null;
  return (
    <section className="notifier-ours" data-role="judgement">
      {deeds !== undefined && deeds.does.length > 0 && (
        <p data-role="deeds">
          {labels.does} <b><Text>{deedsIn(deeds, labels)}</Text></b>
          {deeds.reversible === false && <strong className="notifier-final"> {labels.isFinal}</strong>}
          {deeds.reversible === true && String(deeds.does) !== "reads" && <> {labels.isReversible}</>}
        </p>
      )}
      {reasons.length > 0 && (
        <>
          <h3>{ratedBy === "producer" ? labels.producersReasons : labels.riskReasons}</h3>
          <ul>
            {reasons.map((text, index) => (
              <li key={index}><Text>{text}</Text></li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** Without what is said of its deeds and its command beside them. */
function reasonsOf({ reasons, risk_reasons: texts, deeds, command }: PermissionRecord): string[] {
  const said = [deeds && "deeds", command?.not_understood?.code];
  // A service of before says them as texts alone.
  if ((reasons as unknown) === undefined) return texts;
  return reasons.filter(({ code }) => !said.includes(code)).map(({ text }) => text);
}

function deedsIn({ does, where, paths = [], hosts = [] }: Deeds, labels: PermissionLabels): string {
  const words = [...does.map((deed) => labels.deeds[deed] ?? deed), ...where.map((place) => labels.places[place] ?? place)];
  const named = [...paths, ...hosts];
  return `${words.join(", ")}${named.length > 0 ? `: ${named.join(", ")}` : ""}`;
}

/** What the agent says of its call. */
export function Description({ request, labels }: Facts): ReactNode {
  if (request.description === undefined) return null;
  return (
    <section className="notifier-said">
      <h3>{labels.description}</h3>
      <blockquote data-role="description"><Text>{request.description}</Text></blockquote>
    </section>
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
