import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import type { SessionClient } from "../client.js";
import { exactJson, parseExact } from "../exact.js";
import { jsonPieces } from "../text.js";
import type { PermissionRecord } from "../wire.js";
import { useAnswer } from "./answer.js";
import { ChoiceButton, choicesOf, type Choice, type Press } from "./choices.js";
import { Countdown } from "./countdown.js";
import { useDraft, type Draft, type Form } from "./draft.js";
import { Command, Reasons, ToolName, Unread } from "./facts.js";
import type { KeyAction } from "./keys.js";
import type { PermissionLabels } from "./labels.js";
import { hiddenOf, Parameters } from "./parameters.js";
import { useArmed, usePresses } from "./press.js";
import { editable, Text } from "./text.js";
import { useWhole } from "./whole.js";

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

/** One request, and the ways to answer it. */
export function Card(props: CardProps): ReactNode {
  const { client, labels, position, total, onOver } = props;
  const { request, isWhole, problem, readAgain } = useWhole(client, props.request);
  const { form, text, reason, isWritten, ...writing } = useDraft(props.draft);
  const isPending = position > 0;
  const answering = useAnswer({ client, request, labels, isPending, isWritten, onOver });
  const { isSending, isOver, ending, error, setError } = answering;
  const [armed, setArmed] = useArmed();
  const [showsAll, setShowsAll] = useState(false);
  const [isAscii, setIsAscii] = useState(false);
  const [showsKeys, setShowsKeys] = useState(false);
  const title = useRef<HTMLHeadingElement>(null);
  const card = useRef<HTMLElement>(null);
  const answers = useRef<HTMLDivElement>(null);
  const { isReady, isInSight, isStray } = usePresses(card, answers, pressed);
  const mayAct = isReady && !isSending && !isOver;
  const isHigh = request.risk_level === "high";
  const rejectsFirst = isHigh && request.allowed_decisions.includes("reject");
  const json = useMemo(() => exactJson(request.parameters), [request.parameters]);
  const isHidden = useMemo(() => hiddenOf(json) > 0, [json]) && !showsAll;

  // What sends is in sight when somebody begins to write.
  useEffect(() => {
    if (form !== null) answers.current?.scrollIntoView?.({ block: "nearest" });
  }, [form]);

  function send(answer: () => Promise<PermissionRecord>): void {
    if (mayAct) void answering.send(answer);
  }

  /** What lets a call run is done when all of the call is shown, and at a high risk with a second press. */
  const deliberately = (action: string, answer: () => Promise<PermissionRecord>) => (press: Press): void => {
    if (isHidden) setShowsAll(true);
    else if (!isHigh || press.isSure || (armed === action && !press.isDouble)) send(answer);
    else setArmed(action);
  };

  function open(next: Form | null, beginning?: string): void {
    writing.open(next, beginning);
    setError(null);
  }

  function back(): void {
    open(null);
    // The button that has the focus is about to go.
    title.current?.focus();
  }

  const why = reason.trim() === "" ? undefined : reason;
  const options = why === undefined ? {} : { reason: why };

  function sendWritten(): void {
    if (form === "respond") return send(() => client.respond(request, text, why));
    const parameters = objectIn(text);
    if (parameters === null) setError(labels.notAnObject);
    else send(() => client.edit(request, parameters, options));
  }

  const written = (action: string, label: string): Choice[] => [
    { action, text: label, act: sendWritten },
    { action: "back", text: labels.back, act: back },
  ];
  const choices =
    form === "edit" ? written("approve-edited", labels.approveEdited)
    : form === "respond" ? written("send-response", labels.sendResponse)
    : choicesOf(request, isWhole, labels, {
        approve: (action, scope) =>
          deliberately(action, () => client.approve(request, scope === undefined ? options : { ...options, scope })),
        reject: (scope) => send(() => client.reject(request, why, scope === undefined ? {} : { scope })),
        edit: () => open("edit", editable(jsonPieces(json))),
        respond: () => open("respond"),
      });

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

  return (
    <article
      ref={card}
      className="notifier-card"
      data-request-id={request.request_id}
      data-risk={request.risk_level}
      data-ready={(isReady && !isSending) || undefined}
      aria-busy={isSending || undefined}
    >
      <h2 ref={title} id={props.titleId} tabIndex={-1} data-focus={!rejectsFirst || undefined}>
        <ToolName request={request} labels={labels} />
      </h2>
      <p className="notifier-facts">
        <strong className="notifier-risk">{labels.risk[request.risk_level]}</strong>
        {isPending && total > 1 && <span data-role="position">{labels.position(position, total)}</span>}
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

      <Command request={request} labels={labels} />
      <Reasons request={request} labels={labels} />
      {!isWhole && <Unread request={request} labels={labels} problem={problem} onReadAgain={readAgain} />}
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
              value={text}
              onKeyDown={pressedInForm}
              onChange={({ target }) => writing.write(target.value)}
            />
          </label>
        )}
        <label>
          {labels.reason}
          <input type="text" data-field="reason" value={reason} onChange={({ target }) => writing.writeReason(target.value)} />
        </label>
        <p className="notifier-error" role="alert">
          {error !== null && <Text>{error}</Text>}
        </p>
        <p className="notifier-buttons">
          {choices.map((choice) => (
            <ChoiceButton
              key={choice.action}
              choice={choice}
              again={isHigh && choice.isApproving ? labels.again : undefined}
              isArmed={armed === choice.action}
              mayAct={mayAct}
              onPress={(press, isOfPointer) => {
                // A click that a key made may be of a button that nobody sees, or of a text that somebody writes.
                if (mayAct && (isOfPointer || (!isStray() && isInSight()))) choice.act(press);
              }}
            />
          ))}
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

function objectIn(text: string): Record<string, unknown> | null {
  try {
    const value = parseExact(text) as Record<string, unknown>;
    return text.trimStart().startsWith("{") ? value : null;
  } catch {
    return null;
  }
}
