import { useMemo, useState, type ReactNode } from "react";

import { bodyOf, inAscii, readableJson, type Body } from "../bodies/index.js";
import { exactJson, keepsEveryNumber } from "../exact.js";
import { flags, jsonPieces } from "../text.js";
import type { PermissionRecord } from "../wire.js";
import { Drawn, hiddenOf } from "./body.js";
import type { PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

/** Draws parameters in an application's own way; undefined leaves them to the dialog. */
export type RenderBody = (body: Body, request: PermissionRecord) => ReactNode;

/** What would run, and how it is shown. */
export interface Shown {
  /** Null where this browser cannot show them: deeper, or longer, than it can write. */
  readonly body: Body | null;
  readonly isExact: boolean;
  readonly showsAll: boolean;
  /** How many characters are folded. */
  readonly hidden: number;
  /** What of it is on the screen; another one means that it is drawn anew. */
  readonly drawn: string;
  /** What an application drew in the dialog's place. */
  readonly own: ReactNode;
  turnExact(): void;
  showAll(): void;
}

export function useShown(request: PermissionRecord, renderBody: RenderBody | undefined): Shown {
  const [showsAll, setShowsAll] = useState(false);
  const [isExact, setIsExact] = useState(false);
  const given = useMemo(() => readable(request), [request]);
  // What an easy shape would hide, nobody draws in a way of their own.
  const own = given === null || given.because !== null || isExact ? undefined : renderBody?.(given, request) ?? undefined;
  const body = useMemo(
    () => (given === null || !isExact ? given : { ...given, shape: "exact" as const, parts: exactly(given, request) }),
    [given, isExact, request],
  );
  const folded = useMemo(() => (body === null ? 0 : hiddenOf(body)), [body]);
  return {
    body,
    isExact,
    showsAll,
    hidden: showsAll || own !== undefined ? 0 : folded,
    drawn: `${isExact} ${showsAll} ${request.parameters_truncated ?? false}`,
    own,
    turnExact: () => {
      setShowsAll(true);
      setIsExact(!isExact);
    },
    showAll: () => setShowsAll(true),
  };
}

interface ParametersProps {
  request: PermissionRecord;
  labels: PermissionLabels;
  shown: Shown;
}

/** What will run: nothing is invisible, and nothing is left out without a word. */
export function Parameters({ request, labels, shown }: ParametersProps): ReactNode {
  const { body, isExact, showsAll, own } = shown;
  if (body === null) return <p className="notifier-warning" data-role="parameters">{labels.unshowable}</p>;
  return (
    <section>
      <div className="notifier-title">
        <h3>{labels.parameters}</h3>
        <button
          type="button"
          data-action="exact"
          data-key="X"
          aria-keyshortcuts="X"
          aria-pressed={isExact}
          onClick={shown.turnExact}
        >
          {labels.exact}
        </button>
      </div>
      <Warnings request={request} labels={labels} body={body} />
      <div className="notifier-parameters" data-role="parameters" data-shape={body.shape}>
        {Object.keys(request.parameters).length === 0 ? <p>{labels.noParameters}</p>
          : own ?? <Drawn body={body} labels={labels} showsAll={showsAll} onShowAll={shown.showAll} />}
      </div>
      <End />
    </section>
  );
}

/** Where something ends: who has had it on the screen has passed by all that is above. */
export function End(): ReactNode {
  return <span className="notifier-end" data-end="" aria-hidden="true" />;
}

/** Why they are shown as exact JSON, and what of them would not be seen, or be taken for something else. */
function Warnings({ request, labels, body }: Omit<ParametersProps, "shown"> & { body: Body }): ReactNode {
  const json = useMemo(() => exactJson(request.parameters), [request]);
  const characters = (body.because?.characters ?? []).map((name) => [letterOf(name), name] as const);
  const unseen = [
    ...flags(jsonPieces(json)),
    ...characters.filter(([letter]) => /(?!\p{DI})\p{M}/u.test(letter)).map(([, name]) => name),
  ];
  const posing = characters.filter(([letter]) => /\p{L}/u.test(letter)).map(([letter, name]) => `${letter} (${name})`);
  return (
    <>
      {unseen.length > 0 && <p className="notifier-warning" data-role="flags"><Text>{labels.unseen(unseen)}</Text></p>}
      {posing.length > 0 && <p className="notifier-warning" data-role="posing"><Text>{labels.posing(posing)}</Text></p>}
      {!keepsEveryNumber && /\d{16}/.test(json) && <p className="notifier-warning">{labels.inexact}</p>}
    </>
  );
}

function readable(request: PermissionRecord): Body | null {
  try {
    return bodyOf(request);
  } catch {
    return null;
  }
}

function exactly(body: Body, { parameters }: PermissionRecord): Body["parts"] {
  const json = { kind: "json" as const, name: "", text: inAscii(readableJson(parameters)) };
  return [json, ...body.parts.filter(({ kind }) => kind === "steps")];
}

/** `U+0430` as the letter that it names. */
function letterOf(name: string): string {
  return String.fromCodePoint(Number.parseInt(name.slice(2), 16));
}
