import { useMemo, useRef, type ReactNode } from "react";

import { keepsEveryNumber } from "../exact.js";
import { flags, jsonPieces } from "../text.js";
import type { PermissionLabels } from "./labels.js";
import { beginning, lengthOf, Pieces, Text } from "./text.js";

interface ParametersProps {
  json: string;
  labels: PermissionLabels;
  showsAll: boolean;
  /** Every character that is not of ASCII as an escape. */
  isAscii: boolean;
  onShowAll: () => void;
}

/** What is longer is shown in part at first. */
const SHORT_LENGTH = 4_000;
/** Digits that a JavaScript number may not hold. */
const LONG_NUMBER = /\d{16}/;

/** How many characters of the parameters are not shown at first. */
export function hiddenOf(json: string): number {
  const all = jsonPieces(json);
  return lengthOf(all) - lengthOf(beginning(all, SHORT_LENGTH));
}

/** What will run, exactly: nothing is invisible, and nothing is left out without a word. */
export function Parameters({ json, labels, showsAll, isAscii, onShowAll }: ParametersProps): ReactNode {
  const box = useRef<HTMLPreElement>(null);
  const all = useMemo(() => jsonPieces(json), [json]);
  const shown = useMemo(() => (showsAll ? all : beginning(all, SHORT_LENGTH)), [all, showsAll]);
  const length = lengthOf(all);
  const hidden = length - lengthOf(shown);
  const unseen = flags(all);
  function showAll(): void {
    onShowAll();
    // The button that has the focus is about to go.
    box.current?.focus();
  }

  return (
    <section>
      <h3>{labels.parameters}</h3>
      <pre
        ref={box}
        className="notifier-parameters"
        data-role="parameters"
        role="group"
        aria-label={labels.parameters}
        tabIndex={0}
      >
        {isAscii ? inAscii(json) : <Pieces>{shown}</Pieces>}
      </pre>
      {hidden > 0 && (
        <p className="notifier-warning" data-role="hidden">
          {labels.hidden(hidden)}{" "}
          <button type="button" data-action="show-all" onClick={showAll}>
            {labels.showAll(length)}
          </button>
        </p>
      )}
      {unseen.length > 0 && (
        <p className="notifier-warning" data-role="flags"><Text>{labels.unseen(unseen)}</Text></p>
      )}
      {!keepsEveryNumber && LONG_NUMBER.test(json) && <p className="notifier-warning">{labels.inexact}</p>}
    </section>
  );
}

function inAscii(json: string): string {
  return json.replace(/[^\n\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
