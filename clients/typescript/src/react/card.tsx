import { useEffect, useRef, useState, type ReactNode } from "react";

import type { SessionClient } from "../client.js";
import { NotifierError } from "../errors.js";
import { exactJson, parseExact } from "../exact.js";
import { jsonPieces } from "../text.js";
import type { PermissionRecord } from "../wire.js";
import { Countdown } from "./countdown.js";
import type { PermissionLabels } from "./labels.js";
import { Parameters } from "./parameters.js";
import { editable, Text } from "./text.js";

interface CardProps {
  request: PermissionRecord;
  client: SessionClient;
  labels: PermissionLabels;
  /** For the element that names the request. */
  titleId: string;
  /** Its place among those that wait, from 1; 0 when it waits no more. */
  position: number;
  total: number;
  isConnected: boolean;
  onLater: () => void;
  /** It is answered, and was seen to be. */
  onOver: () => void;
}

interface Ending {
  readonly status: PermissionRecord["status"];
  readonly by: string | null;
}

/** A click that was already on its way when the card came was meant for something else. */
const READY_MS = 400;
/** How long it is said that somebody else has answered. */
const ENDING_MS = 4_000;

/** Codes that say that there is nothing to answer any more. */
const OVER: ReadonlyMap<string, PermissionRecord["status"]> = new Map([
  ["request_expired", "expired"],
  ["request_cancelled", "cancelled"],
  ["request_not_found", "pending"],
]);

/** One request, and the ways to answer it. */
export function Card(props: CardProps): ReactNode {
  const { client, labels, position, total, onOver } = props;
  const [isReady, setIsReady] = useState(false);
  const [isSending, setIsSending] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const request = useWhole(client, props.request, setError);
  const [ending, setEnding] = useEnding(client, request.request_id);
  const [form, setForm] = useState<"edit" | "respond" | null>(null);
  const [draft, setDraft] = useState("");
  const [reason, setReason] = useState("");
  const title = useRef<HTMLHeadingElement>(null);
  const isOver = !isSending && (ending !== null || position === 0);
  const mayAct = isReady && !isSending && !isOver;

  useEffect(() => {
    const timer = setTimeout(() => setIsReady(true), READY_MS);
    return () => clearTimeout(timer);
  }, []);

  const over = useRef(onOver);
  useEffect(() => {
    over.current = onOver;
  });
  useEffect(() => {
    if (!isOver) return;
    const timer = setTimeout(() => over.current(), ENDING_MS);
    return () => clearTimeout(timer);
  }, [isOver]);

  async function send(answer: () => Promise<PermissionRecord>): Promise<void> {
    if (!mayAct) return;
    setIsSending(true);
    setError(null);
    try {
      await answer();
      over.current();
    } catch (thrown) {
      const failure = thrown instanceof NotifierError ? thrown : new NotifierError("unexpected", String(thrown));
      const record = failure.code === "already_decided" ? (failure.details["record"] as PermissionRecord) : null;
      const status = record?.status ?? OVER.get(failure.code);
      if (status === undefined) setError(labels.errors[failure.code] ?? failure.message);
      else setEnding({ status, by: record?.decided_by ?? null });
      setIsSending(false);
    }
  }

  const why = reason.trim() === "" ? undefined : reason;
  const options = why === undefined ? {} : { reason: why };
  const may = (decision: PermissionRecord["allowed_decisions"][number]): boolean =>
    request.allowed_decisions.includes(decision) &&
    // Nobody approves what he was given the beginning of.
    (request.parameters_truncated !== true || (decision !== "approve" && decision !== "edit"));
  // Whoever approves more than once must see what: a rule, or for the session every call of the tool.
  const lasting = request.scopes.filter(
    (scope) => may("approve") && scope !== "once" && (scope === "session" || request.suggested_rule !== undefined),
  ) as ("session" | "always")[];
  const rule = (
    <>
      {request.suggested_rule === undefined && `${labels.everyCall} `}
      <code><Text>{request.suggested_rule ?? request.tool_name}</Text></code>
    </>
  );
  const isHigh = request.risk_level === "high";

  function sendEdited(): void {
    const parameters = objectIn(draft);
    if (parameters === null) setError(labels.notAnObject);
    else void send(() => client.edit(request, parameters, options));
  }

  function open(next: "edit" | "respond" | null, text = ""): void {
    setForm(next);
    setDraft(text);
    setError(null);
  }

  function back(): void {
    open(null);
    // The button that has the focus is about to go.
    title.current?.focus();
  }

  const button = (action: string, text: ReactNode, act: () => void, isFirst = false): ReactNode => (
    <button
      key={action}
      type="button"
      data-action={action}
      data-focus={isFirst || undefined}
      aria-disabled={!mayAct || undefined}
      onClick={() => mayAct && act()}
    >
      {text}
    </button>
  );

  return (
    <article
      className="notifier-card"
      data-request-id={request.request_id}
      data-risk={request.risk_level}
      data-ready={(isReady && !isSending) || undefined}
      aria-busy={isSending || undefined}
    >
      <h2 ref={title} id={props.titleId} tabIndex={-1} data-focus={!(isHigh && may("reject")) || undefined}>
        {labels.title} <code><Text>{request.tool_name}</Text></code>
      </h2>
      <p className="notifier-facts">
        <strong className="notifier-risk">{labels.risk[request.risk_level]}</strong>
        {position > 0 && total > 1 && <span data-role="position">{labels.position(position, total)}</span>}
        {request.expires_at !== null && !isOver && <Countdown until={request.expires_at} text={labels.expiresIn} />}
      </p>

      {isOver && (
        <p className="notifier-over" role="status">
          <Text>{labels.over(ending?.status ?? "pending", ending?.by ?? null)}</Text>{" "}
          <button type="button" data-action="next" onClick={onOver}>
            {total > 0 ? labels.next : labels.close}
          </button>
        </p>
      )}
      {!props.isConnected && !isOver && <p className="notifier-warning">{labels.notConnected}</p>}

      {request.risk_reasons.length > 0 && (
        <section>
          <h3>{labels.riskReasons}</h3>
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
      {request.parameters_truncated && <p className="notifier-warning" data-role="reading">{labels.reading}</p>}
      <Parameters labels={labels} value={request.parameters} />

      <div className="notifier-answer">
        {form !== null && (
          <label>
            {form === "edit" ? labels.edited : labels.response}
            <textarea
              key={form}
              autoFocus
              data-field={form}
              rows={form === "edit" ? 8 : 3}
              spellCheck={form === "respond"}
              value={draft}
              onChange={(event) => setDraft(event.target.value)}
            />
          </label>
        )}
        <label>
          {labels.reason}
          <input type="text" data-field="reason" value={reason} onChange={(event) => setReason(event.target.value)} />
        </label>
        <p className="notifier-error" role="alert">
          {error !== null && <Text>{error}</Text>}
        </p>
        <p className="notifier-buttons">
          {form === null && (
            <>
              {may("approve") &&
                button("approve", labels.approve, () => void send(() => client.approve(request, options)))}
              {may("reject") &&
                button("reject", labels.reject, () => void send(() => client.reject(request, why)), isHigh)}
              {may("edit") &&
                button("edit", labels.edit, () => open("edit", editable(jsonPieces(exactJson(request.parameters)))))}
              {may("respond") && button("respond", labels.respond, () => open("respond"))}
              {lasting.map((scope) =>
                button(
                  `approve-${scope}`,
                  <>{labels.approveFor[scope]} {rule}</>,
                  () => void send(() => client.approve(request, { ...options, scope })),
                ),
              )}
            </>
          )}
          {form === "edit" && button("approve-edited", labels.approveEdited, sendEdited)}
          {form === "respond" &&
            button("send-response", labels.sendResponse, () => void send(() => client.respond(request, draft, why)))}
          {form !== null && button("back", labels.back, back)}
          {!isOver && (
            <button type="button" className="notifier-later" data-action="later" onClick={props.onLater}>
              {labels.later}
            </button>
          )}
        </p>
        <p role="status">{isSending && labels.sending}</p>
      </div>
    </article>
  );
}

/** How a request ended, as soon as somebody says so. */
/** The request, and instead of one with the beginning of its parameters, as soon as it is there, the whole. */
function useWhole(
  client: SessionClient,
  shown: PermissionRecord,
  onError: (message: string) => void,
): PermissionRecord {
  const [whole, setWhole] = useState<PermissionRecord | null>(null);
  const fail = useRef(onError);
  useEffect(() => {
    let isWanted = shown.parameters_truncated === true;
    if (isWanted)
      client.whole(shown).then(
        (record) => isWanted && setWhole(record),
        (error: unknown) => isWanted && fail.current(error instanceof NotifierError ? error.message : String(error)),
      );
    return () => {
      isWanted = false;
    };
  }, [client, shown.request_id, shown.parameters_truncated]);
  return whole ?? shown;
}

function useEnding(
  client: SessionClient,
  requestId: string,
): [Ending | null, (ending: Ending) => void] {
  const [ending, setEnding] = useState<Ending | null>(null);
  useEffect(() => {
    const offs = [
      client.on("permission_response_result", ({ data }) => {
        if (data.request_id === requestId) setEnding({ status: data.status, by: data.decided_by });
      }),
      // It says less, and comes after the other if there is one.
      client.on("permission_cleared", ({ data }) => {
        if (data.request_id === requestId) setEnding((known) => known ?? { status: data.status, by: null });
      }),
    ];
    return () => offs.forEach((off) => off());
  }, [client, requestId]);
  return [ending, setEnding];
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value = parseExact(text) as Record<string, unknown>;
    return text.trimStart().startsWith("{") ? value : null;
  } catch {
    return null;
  }
}
