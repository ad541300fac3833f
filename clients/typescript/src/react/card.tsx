import { useEffect, useId, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import { answerTo, editedOf, editingOf, questionsOf } from "../bodies/index.js";
import type { SessionClient } from "../client.js";
import type { PermissionRecord } from "../wire.js";
import { useAnswer } from "./answer.js";
import { ChoiceButton, choicesOf, type Choice, type Press } from "./choices.js";
import { Countdown } from "./countdown.js";
import { useDraft, type Draft, type Form } from "./draft.js";
import { Editor, problemText } from "./editor.js";
import { Description, Judgement, ToolName, Unread } from "./facts.js";
import type { KeyAction } from "./keys.js";
import type { PermissionLabels } from "./labels.js";
import { End, Parameters, useShown, type RenderBody } from "./parameters.js";
import { useArmed, usePresses } from "./press.js";
import { QuestionForm } from "./questions.js";
import { useReading } from "./reading.js";
import { Text } from "./text.js";
import { useWhole } from "./whole.js";

interface CardProps {
  request: PermissionRecord;
  client: SessionClient;
  labels: PermissionLabels;
  renderBody: RenderBody | undefined;
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
  const { form: begun, response, editing, reason, isWritten, given, ...writing } = useDraft(props.draft);
  const { mayApprove } = client;
  const form = mayApprove ? begun : null;
  const isPending = position > 0;
  const answering = useAnswer({ client, request, labels, isPending, isWritten, onOver });
  const { isSending, isOver, ending, error, setError } = answering;
  const shown = useShown(request, props.renderBody);
  const [armed, setArmed] = useArmed();
  const [notice, setNotice] = useState<string | null>(null);
  const [unanswered, setUnanswered] = useState<readonly number[]>([]);
  const [showsKeys, setShowsKeys] = useState(false);
  const title = useRef<HTMLHeadingElement>(null);
  const card = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const end = useRef<HTMLSpanElement>(null);
  const bar = useRef<HTMLElement>(null);
  const writes = useRef<HTMLDivElement>(null);
  const readingId = useId();
  const { isReady, isInSight, isStray } = usePresses({ card, content, end, bar }, pressed);
  const isHigh = request.risk_level === "high";
  // At a high risk all of the card is to be read, else what would run.
  const isRead = useReading(isHigh ? card : content, shown.drawn) && shown.hidden === 0;
  const mayAct = isReady && !isSending && !isOver;
  const mayRun = isWhole && shown.body !== null;
  const rejectsFirst = isHigh && mayApprove && request.allowed_decisions.includes("reject");

  useEffect(() => {
    if (form !== null) writes.current?.scrollIntoView?.({ block: "nearest" });
  }, [form]);

  function send(answer: () => Promise<PermissionRecord>): void {
    if (mayAct) void answering.send(answer);
  }

  /** What lets a call run is done when the end of the call was seen; at a high risk with a second press. */
  const deliberately = (action: string, answer: () => Promise<PermissionRecord>) => (press: Press): void => {
    if (shown.hidden > 0) {
      shown.showAll();
      setNotice(labels.nowAll);
    } else if (!isRead) isInSight();
    else if (!isHigh) send(answer);
    else if (armed === action && press.isDouble !== true) send(answer);
    else setArmed(action);
  };

  function open(next: Form | null): void {
    if (next === "edit" && editing === null) writing.edit(editingOf(request.parameters, shown.body?.shape ?? "exact"));
    writing.open(next);
    setError(null);
  }

  function back(): void {
    open(null);
    // The button that has the focus is about to go.
    title.current?.focus();
  }

  const why = reason.trim() === "" ? undefined : reason;
  const options = why === undefined ? {} : { reason: why };

  function sendWritten(press: Press): void {
    if (form === "respond") return send(() => client.respond(request, response, why));
    if (editing === null) return;
    const edited = editedOf(editing, request.parameters);
    if ("problem" in edited) setError(edited.problem.name === null ? labels.notAnObject : problemText(edited.problem, labels));
    else deliberately("approve-edited", () => client.edit(request, edited.parameters, options))(press);
  }

  const found = questionsOf(request);
  const isAnswerable = request.allowed_decisions.includes(found?.way === "response" ? "respond" : "edit");
  const questions = isAnswerable && mayApprove ? found : null;

  function sendAnswer(): void {
    if (questions === null) return;
    const answer = answerTo(questions, request.parameters, questions.fields.map((field, at) => given[at] ?? field.given));
    setUnanswered("open" in answer ? answer.open : []);
    if ("response" in answer) send(() => client.respond(request, answer.response, why));
    else if ("parameters" in answer) send(() => client.edit(request, answer.parameters, options));
  }

  const written = (action: string, label: string): Choice[] => [
    { action, text: label, isApproving: form === "edit", act: sendWritten },
    { action: "back", text: labels.back, act: back },
  ];
  const choices =
    !mayApprove ? []
    : form === "edit" ? written("approve-edited", labels.approveEdited)
    : form === "respond" ? written("send-response", labels.sendResponse)
    : choicesOf(request, mayRun, labels, {
        approve: (action, scope) =>
          deliberately(action, () => client.approve(request, scope === undefined ? options : { ...options, scope })),
        reject: (scope) => send(() => client.reject(request, why, scope === undefined ? {} : { scope })),
        edit: () => open("edit"),
        respond: () => open("respond"),
      });
  const offered = questions === null || form !== null ? choices : answered(choices);

  /** An approval says nothing where something is to be chosen, and JSON is no way to answer. */
  function answered(others: Choice[]): Choice[] {
    const hasOptions = questions?.fields.some((field) => field.options.length > 0) ?? false;
    const gone = hasOptions ? ["approve", "edit"] : ["edit"];
    const answer: Choice = { action: "answer", text: labels.questions.send, key: "A", act: sendAnswer };
    return [answer, ...others.filter(({ action }) => !gone.includes(action))];
  }

  function pressed(key: KeyAction): void {
    switch (key) {
      case "help":
        return setShowsKeys(!showsKeys);
      case "exact":
        return shown.turnExact();
      case "next":
      case "previous":
        return props.onMove(key === "next" ? 1 : -1);
      default:
        if (mayAct && isInSight()) {
          const named = offered.find(({ action }) => action === key);
          (named ?? (key === "approve" ? offered.find(({ action }) => action === "answer") : undefined))?.act({});
        }
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
      sendWritten({ isDouble: event.repeat });
    }
  }

  const button = (choice: Choice): ReactNode => (
    <ChoiceButton
      key={choice.action}
      choice={choice}
      again={isHigh && choice.isApproving ? labels.again : undefined}
      isArmed={armed === choice.action}
      mayAct={mayAct}
      describedBy={choice.isApproving && (isHigh || !isRead) ? readingId : undefined}
      onPress={(press, isOfPointer) => {
        // A click that a key made may be of a button that nobody sees, or of a text that somebody writes.
        if (mayAct && (isOfPointer || (!isStray() && isInSight()))) choice.act(press);
      }}
    />
  );
  const lasting = offered.filter(({ isLasting }) => isLasting);
  return (
    <article
      ref={card}
      className="notifier-card"
      data-request-id={request.request_id}
      data-risk={request.risk_level}
      data-ready={(isReady && !isSending) || undefined}
      data-read={isRead || undefined}
      aria-busy={isSending || undefined}
    >
      <div ref={content} className="notifier-content">
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

        <Judgement request={request} labels={labels} />
        {!isWhole && <Unread request={request} labels={labels} problem={problem} onReadAgain={readAgain} />}
        {questions !== null && (
          <QuestionForm
            questions={questions}
            given={given}
            open={unanswered}
            labels={labels}
            isOver={isOver}
            onGiven={(index, answer) => {
              writing.give(index, answer);
              setUnanswered(unanswered.filter((one) => one !== index));
            }}
          />
        )}
        <Parameters request={request} labels={labels} shown={shown} />
        <Description request={request} labels={labels} />

        <div ref={writes} className="notifier-answer">
          {form === "respond" && (
            <label>
              {labels.response}
              <textarea
                autoFocus
                data-field="respond"
                rows={3}
                readOnly={isOver}
                value={response}
                onKeyDown={pressedInForm}
                onChange={({ target }) => writing.writeResponse(target.value)}
              />
            </label>
          )}
          {form === "edit" && editing !== null && (
            <Editor
              parameters={request.parameters}
              editing={editing}
              labels={labels}
              isOver={isOver}
              onKeyDown={pressedInForm}
              onWrite={(next) => {
                writing.edit(next);
                setError(null);
              }}
            />
          )}
          {mayApprove && (
            <label>
              {labels.reason}
              <input type="text" data-field="reason" value={reason} onChange={({ target }) => writing.writeReason(target.value)} />
            </label>
          )}
          {lasting.length > 0 && <p className="notifier-buttons" data-role="lasting">{lasting.map(button)}</p>}
          {showsKeys && <p data-role="keys">{mayApprove ? labels.keys : labels.keysLooking}</p>}
        </div>
        <span ref={end} className="notifier-end" aria-hidden="true" />
      </div>

      <footer ref={bar} className="notifier-bar">
        <p className="notifier-error" role="alert">
          {error !== null && <Text>{error}</Text>}
        </p>
        {shown.hidden > 0 && <p className="notifier-warning" data-role="hidden">{labels.hidden(shown.hidden)}</p>}
        {!mayApprove && <p className="notifier-warning" data-role="only-look">{labels.onlyLook}</p>}
        {mayRun && mayApprove && (isHigh || !isRead) && (
          <p id={readingId} className="notifier-label" data-role="reading">
            <span data-replaced={isRead || undefined}>{labels.readFirst}</span>
            {isHigh && <span data-replaced={!isRead || undefined}>{labels.twice}</span>}
          </p>
        )}
        <p className="notifier-buttons">
          {offered.filter(({ isLasting }) => !isLasting).map(button)}
          {!isOver && (
            <button type="button" className="notifier-later" data-action="later" onClick={props.onLater}>
              {labels.later}
            </button>
          )}
        </p>
        <p role="status">{isSending ? labels.sending : isHigh ? null : notice}</p>
      </footer>
      <End />
    </article>
  );
}

