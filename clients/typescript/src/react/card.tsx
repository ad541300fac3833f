import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import type { SessionClient } from "../client.js";
import { NotifierError } from "../errors.js";
import { exactJson, parseExact } from "../exact.js";
import { jsonPieces } from "../text.js";
import type { PermissionRecord } from "../wire.js";
import { Countdown } from "./countdown.js";
import { useEnding } from "./ending.js";
import type { KeyAction } from "./keys.js";
import type { PermissionLabels } from "./labels.js";
import { hiddenOf, Parameters } from "./parameters.js";
import { usePresses } from "./press.js";
import { editable, Text } from "./text.js";
import { useWhole } from "./whole.js";

type Form = "edit" | "respond";

/** What a person has begun to write for a request. */
export interface Draft {
  form: Form | null;
  texts: Partial<Record<Form, string>>;
  reason: string;
}

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
  /** What was written before, and where it is kept. */
  draft: Draft;
  onLater: () => void;
  /** Another one that waits is wanted: the next (1), or the one before (-1). */
  onMove: (step: 1 | -1) => void;
  /** It is answered, and was seen to be. */
  onOver: () => void;
}

interface Press {
  /** Shift was held: what is done with two presses is done with one. */
  isSure?: boolean;
  /** The second half of a double click. */
  isDouble?: boolean;
}

interface Choice {
  readonly action: string;
  readonly text: ReactNode;
  readonly act: (press: Press) => void;
  readonly key?: string;
  /** It has the focus when the card comes. */
  readonly isFirst?: boolean;
  /** It lets the call run. */
  readonly isApproving?: boolean;
}

/** How long it is said that somebody else has answered. */
const ENDING_MS = 4_000;
/** How long the first press of what is done with two is remembered. */
const CONFIRM_MS = 4_000;

/** Codes that say that there is nothing to answer any more. */
const OVER: ReadonlyMap<string, PermissionRecord["status"]> = new Map([
  ["request_expired", "expired"],
  ["request_cancelled", "cancelled"],
  ["request_not_found", "pending"],
]);

/** One request, and the ways to answer it. */
export function Card(props: CardProps): ReactNode {
  const { client, labels, position, total, onOver } = props;
  const { request, isWhole, problem, readAgain } = useWhole(client, props.request);
  const [isSending, setIsSending] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [ending, setEnding] = useEnding(client, request.request_id);
  const [form, setForm] = useState(props.draft.form);
  const [texts, setTexts] = useState(props.draft.texts);
  const [reason, setReason] = useState(props.draft.reason);
  const [armed, setArmed] = useState<string | null>(null);
  const [showsAll, setShowsAll] = useState(false);
  const [isAscii, setIsAscii] = useState(false);
  const [showsKeys, setShowsKeys] = useState(false);
  const title = useRef<HTMLHeadingElement>(null);
  const card = useRef<HTMLElement>(null);
  const answers = useRef<HTMLDivElement>(null);
  const { isReady, isInSight, isStray } = usePresses(card, answers, pressed);
  const isOver = !isSending && (ending !== null || position === 0);
  const mayAct = isReady && !isSending && !isOver;
  const draft = form === null ? "" : texts[form] ?? "";

  useEffect(() => {
    if (armed === null) return;
    const timer = setTimeout(() => setArmed(null), CONFIRM_MS);
    return () => clearTimeout(timer);
  }, [armed]);
  useEffect(() => {
    Object.assign(props.draft, { form, texts, reason });
  }, [props.draft, form, texts, reason]);

  // What sends is in sight when somebody begins to write.
  useEffect(() => {
    if (form !== null) answers.current?.scrollIntoView?.({ block: "nearest" });
  }, [form]);

  const over = useRef(onOver);
  useEffect(() => {
    over.current = onOver;
  });
  // What somebody has written stays until they have done with it.
  const isWritten = form !== null || reason !== "";
  useEffect(() => {
    if (!isOver || isWritten) return;
    const timer = setTimeout(() => over.current(), ENDING_MS);
    return () => clearTimeout(timer);
  }, [isOver, isWritten]);

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
      if (status === undefined) setError(inWords(failure, labels));
      else setEnding({ status, by: record?.decided_by ?? null });
      setIsSending(false);
    }
  }

  const why = reason.trim() === "" ? undefined : reason;
  const options = why === undefined ? {} : { reason: why };
  const may = (decision: PermissionRecord["allowed_decisions"][number]): boolean =>
    request.allowed_decisions.includes(decision) &&
    // Nobody approves what they were given the beginning of.
    (isWhole || (decision !== "approve" && decision !== "edit"));
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
  const json = useMemo(() => exactJson(request.parameters), [request.parameters]);
  const isHidden = useMemo(() => hiddenOf(json) > 0, [json]) && !showsAll;

  /** What lets a call run is done when all of the call is shown, and at a high risk with a second press. */
  const deliberately = (action: string, answer: () => Promise<PermissionRecord>) => (press: Press): void => {
    if (isHidden) setShowsAll(true);
    else if (!isHigh || press.isSure || (armed === action && !press.isDouble)) void send(answer);
    else setArmed(action);
  };

  function open(next: Form | null, text = ""): void {
    setForm(next);
    if (next !== null) setTexts((before) => ({ [next]: text, ...before }));
    setError(null);
  }

  function back(): void {
    open(null);
    // The button that has the focus is about to go.
    title.current?.focus();
  }

  function sendEdited(): void {
    const parameters = objectIn(draft);
    if (parameters === null) setError(labels.notAnObject);
    else void send(() => client.edit(request, parameters, options));
  }
  const sendWritten = (): void =>
    form === "edit" ? sendEdited() : void send(() => client.respond(request, draft, why));

  const approve: Choice | false = may("approve") && {
    action: "approve",
    text: labels.approve,
    key: "A",
    isApproving: true,
    act: deliberately("approve", () => client.approve(request, options)),
  };
  const reject: Choice | false = may("reject") && {
    action: "reject",
    text: labels.reject,
    key: "R",
    isFirst: isHigh,
    act: () => void send(() => client.reject(request, why)),
  };
  const offered: (Choice | false)[] = [
    ...(isHigh ? [reject, approve] : [approve, reject]),
    may("edit") && {
      action: "edit",
      text: labels.edit,
      key: "E",
      act: () => open("edit", editable(jsonPieces(json))),
    },
    may("respond") && { action: "respond", text: labels.respond, key: "P", act: () => open("respond") },
    ...lasting.map((scope) => ({
      action: `approve-${scope}`,
      key: scope === "session" ? "S" : "W",
      text: <>{labels.approveFor[scope]} {rule}</>,
      isApproving: true,
      act: deliberately(`approve-${scope}`, () => client.approve(request, { ...options, scope })),
    })),
    // Only a service that says what it would mean knows it.
    may("reject") &&
      request.scopes.includes("session") &&
      request.suggested_rule !== undefined && {
        action: "reject-session",
        text: <>{labels.rejectForSession} {rule}</>,
        act: () => void send(() => client.reject(request, why, { scope: "session" })),
      },
  ];
  const choices: Choice[] =
    form === null
      ? offered.filter((choice) => choice !== false)
      : [
          form === "edit"
            ? { action: "approve-edited", text: labels.approveEdited, act: sendWritten }
            : { action: "send-response", text: labels.sendResponse, act: sendWritten },
          { action: "back", text: labels.back, act: back },
        ];

  function pressed(key: KeyAction, isSure: boolean): void {
    switch (key) {
      case "help":
        return setShowsKeys(!showsKeys);
      case "exact":
        setShowsAll(true);
        return setIsAscii(!isAscii);
      case "next":
      case "previous":
        return props.onMove(key === "next" ? 1 : -1);
      default:
        if (mayAct && isInSight()) choices.find(({ action }) => action === key)?.act({ isSure });
        else setArmed(null);
    }
  }

  function pressedInForm(event: KeyboardEvent): void {
    if (event.nativeEvent.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      back();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      sendWritten();
    }
  }

  const button = ({ action, text, act, key, isFirst, isApproving }: Choice): ReactNode => {
    const isArmed = armed === action;
    return (
      <button
        key={action}
        type="button"
        data-action={action}
        data-key={key}
        data-armed={isArmed || undefined}
        data-focus={isFirst || undefined}
        aria-keyshortcuts={key}
        aria-disabled={!mayAct || undefined}
        onClick={({ detail }) => {
          // A click that a key made may be of a button that nobody sees, or of a text that somebody writes.
          if (mayAct && (detail > 0 || (!isStray() && isInSight()))) act({ isDouble: detail > 1 });
        }}
      >
        <span className="notifier-label" data-again={(isHigh && isApproving && labels.again) || undefined}>
          <span data-replaced={isArmed || undefined}>{text}</span>
          {isArmed && <span role="status">{labels.again}</span>}
        </span>
      </button>
    );
  };

  return (
    <article
      ref={card}
      className="notifier-card"
      data-request-id={request.request_id}
      data-risk={request.risk_level}
      data-ready={(isReady && !isSending) || undefined}
      aria-busy={isSending || undefined}
    >
      <h2 ref={title} id={props.titleId} tabIndex={-1} data-focus={!(isHigh && may("reject")) || undefined}>
        {labels.title} <code><Text>{request.tool_name}</Text></code>
        {request.server != null && <> {labels.server} <code data-role="server"><Text>{request.server}</Text></code></>}
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
      {!isWhole && (
        <p className="notifier-warning" role="status" data-role="whole">
          {problem === null ? (
            labels.reading(request.parameters_bytes ?? 0)
          ) : (
            <>
              <Text>{labels.unread(request.parameters_bytes ?? 0, inWords(problem, labels))}</Text>{" "}
              <button type="button" data-action="read-whole" onClick={readAgain}>
                {labels.readAgain}
              </button>
            </>
          )}
        </p>
      )}
      <Parameters
        labels={labels}
        json={json}
        showsAll={showsAll}
        isAscii={isAscii}
        onShowAll={() => setShowsAll(true)}
      />

      <div ref={answers} className="notifier-answer">
        {form !== null && (
          <label>
            {form === "edit" ? labels.edited : labels.response}
            <textarea
              key={form}
              autoFocus
              data-field={form}
              rows={form === "edit" ? 8 : 3}
              spellCheck={form === "respond"}
              readOnly={isOver}
              value={draft}
              onKeyDown={pressedInForm}
              onChange={({ target }) => setTexts((before) => ({ ...before, [form]: target.value }))}
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
          {choices.map(button)}
          {!isOver && (
            <button type="button" className="notifier-later" data-action="later" onClick={props.onLater}>
              {labels.later}
            </button>
          )}
        </p>
        <p role="status">{isSending && labels.sending}</p>
        {showsKeys && <p data-role="keys">{labels.keys}</p>}
      </div>
    </article>
  );
}

/** What a refusal says: of a proxy that changed the page's origin, what mends it; else the words for its code. */
function inWords({ code, message, details }: NotifierError, labels: PermissionLabels): string {
  const { cause, origin, host } = details;
  if (code === "forbidden" && cause === "origin") return labels.originChanged(String(origin), String(host));
  return labels.errors[code] ?? message;
}

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value = parseExact(text) as Record<string, unknown>;
    return text.trimStart().startsWith("{") ? value : null;
  } catch {
    return null;
  }
}
