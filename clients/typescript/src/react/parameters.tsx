import { useMemo, useRef, useState, type ReactNode } from "react";

import { exactJson, keepsEveryNumber } from "../exact.js";
import { flags, jsonPieces } from "../text.js";
import type { PermissionLabels } from "./labels.js";
import { beginning, lengthOf, Pieces, Text } from "./text.js";

interface ParametersProps {
  value: Readonly<Record<string, unknown>>;
  labels: PermissionLabels;
}

/** What is longer is shown in part at first. */
const SHORT_LENGTH = 4_000;
/** Digits that a JavaScript number may not hold. */
const LONG_NUMBER = /\d{16}/;

/** What will run, exactly: nothing is invisible, and nothing is left out without a word. */
export function Parameters({ value, labels }: ParametersProps): ReactNode {
  const box = useRef<HTMLPreElement>(null);
  const [showsAll, setShowsAll] = useState(false);
  const json = useMemo(() => exactJson(value), [value]);
  const all = useMemo(() => jsonPieces(json), [json]);
  const shown = useMemo(() => (showsAll ? all : beginning(all, SHORT_LENGTH)), [all, showsAll]);
  const length = lengthOf(all);
  const hidden = length - lengthOf(shown);
  const unseen = flags(all);
  function showAll(): void {
    setShowsAll(true);
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
        <Pieces>{shown}</Pieces>
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
