import type { ReactNode } from "react";

import type { PermissionRecord } from "../wire.js";
import type { PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

export interface Press {
  /** The second half of a double click. */
  isDouble?: boolean;
}

export interface Choice {
  readonly action: string;
  readonly text: ReactNode;
  readonly act: (press: Press) => void;
  readonly key?: string;
  /** It is for more than this call. */
  readonly isLasting?: boolean;
  /** It has the focus when the card comes. */
  readonly isFirst?: boolean;
  /** It lets the call run. */
  readonly isApproving?: boolean;
}

/** What each way to answer does. */
interface Acts {
  /** `action` is the name of the choice, which takes two presses at a high risk. */
  approve(action: string, scope?: "session" | "always"): (press: Press) => void;
  reject(scope?: "session"): void;
  edit(): void;
  respond(): void;
}

/** What a person may answer to a request, in the order in which it is offered. */
export function choicesOf(request: PermissionRecord, mayRun: boolean, labels: PermissionLabels, acts: Acts): Choice[] {
  const { allowed_decisions: allowed, scopes, suggested_rule: suggested } = request;
  const isHigh = request.risk_level === "high";
  // Nobody approves what they were given the beginning of, or cannot be shown.
  const may = (decision: (typeof allowed)[number]): boolean =>
    allowed.includes(decision) && (mayRun || (decision !== "approve" && decision !== "edit"));
  // Whoever approves more than once must see what: a rule, or for the session every call of the tool.
  const lasting = scopes.filter(
    (scope) => may("approve") && scope !== "once" && (scope === "session" || suggested !== undefined),
  ) as ("session" | "always")[];
  const rule = (
    <>
      {suggested === undefined && `${labels.everyCall} `}
      <code><Text>{suggested ?? request.tool_name}</Text></code>
    </>
  );
  const approve: Choice | false = may("approve") && {
    action: "approve",
    text: labels.approve,
    key: "A",
    isApproving: true,
    act: acts.approve("approve"),
  };
  const reject: Choice | false = may("reject") && {
    action: "reject",
    text: labels.reject,
    key: "R",
    isFirst: isHigh,
    act: () => acts.reject(),
  };
  const offered: (Choice | false)[] = [
    ...(isHigh ? [reject, approve] : [approve, reject]),
    may("edit") && { action: "edit", text: labels.edit, key: "E", act: acts.edit },
    may("respond") && { action: "respond", text: labels.respond, key: "P", act: acts.respond },
    ...lasting.map((scope) => ({
      action: `approve-${scope}`,
      key: scope === "session" ? "S" : "W",
      text: <>{labels.approveFor[scope]} {rule}</>,
      isApproving: true,
      isLasting: true,
      act: acts.approve(`approve-${scope}`, scope),
    })),
    // Only a service that says what it would mean knows it.
    may("reject") &&
      scopes.includes("session") &&
      suggested !== undefined && {
        action: "reject-session",
        text: <>{labels.rejectForSession} {rule}</>,
        isLasting: true,
        act: () => acts.reject("session"),
      },
  ];
  return offered.filter((choice) => choice !== false);
}

interface ChoiceButtonProps {
  choice: Choice;
  /** What asks for the second press, where one is needed. */
  again: string | undefined;
  /** The next press counts. */
  isArmed: boolean;
  mayAct: boolean;
  /** The element that says what it takes. */
  describedBy: string | undefined;
  /** It was clicked; a click that a key made is no click of a pointer. */
  onPress: (press: Press, isOfPointer: boolean) => void;
}

export function ChoiceButton({ choice, again, isArmed, mayAct, describedBy, onPress }: ChoiceButtonProps): ReactNode {
  const { action, text, key, isFirst } = choice;
  return (
    <button
      type="button"
      data-action={action}
      data-key={key}
      data-armed={isArmed || undefined}
      data-focus={isFirst || undefined}
      aria-keyshortcuts={key}
      aria-describedby={describedBy}
      aria-disabled={!mayAct || undefined}
      onClick={({ detail }) => onPress({ isDouble: detail > 1 }, detail > 0)}
    >
      <span className="notifier-label" data-again={again}>
        <span data-replaced={isArmed || undefined}>{text}</span>
        {isArmed && <span role="status">{again}</span>}
      </span>
    </button>
  );
}
