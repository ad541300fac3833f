import { useDeferredValue, useId, useMemo, type KeyboardEvent, type ReactNode } from "react";

import { editChanges, editedOf, editingJson, firstToEdit, isJsonEditing, type EditProblem, type Editing } from "../bodies/index.js";
import { exactJson } from "../exact.js";
import { flags, jsonPieces } from "../text.js";
import { Drawn } from "./body.js";
import type { PermissionLabels } from "./labels.js";
import { Text } from "./text.js";

const MOST_ROWS = 20;

interface EditorProps {
  /** As they were asked. */
  parameters: Record<string, unknown>;
  editing: Editing;
  labels: PermissionLabels;
  isOver: boolean;
  onKeyDown: (event: KeyboardEvent) => void;
  onWrite: (editing: Editing) => void;
}

/** The parameters as fields, or as JSON, and what is changed in them. */
export function Editor({ parameters, editing, labels, isOver, onKeyDown, onWrite }: EditorProps): ReactNode {
  const id = useId();
  const isJson = isJsonEditing(editing);
  const begins = useMemo(() => firstToEdit(editing), [isJson]);
  const write = (place: number, text: string): void =>
    onWrite({ ...editing, texts: editing.texts.map((before, at) => (at === place ? text : before)) });
  return (
    <div className="notifier-editor" data-role="editor">
      {editing.fields.map(({ name, isText, before }, at) => (
        <label key={name ?? "json"}>
          {name === null ? labels.edited : <span><Text>{name}</Text>{!isText && " JSON"}</span>}
          <textarea
            autoFocus={at === begins}
            data-field={name === null ? "edit" : undefined}
            data-name={name ?? undefined}
            rows={Math.min(MOST_ROWS, Math.max(isJson ? 8 : 1, before.split("\n").length))}
            spellCheck={false}
            autoCapitalize="off"
            autoComplete="off"
            readOnly={isOver}
            value={editing.texts[at]}
            aria-describedby={`${id}-problem`}
            onKeyDown={onKeyDown}
            onChange={({ target }) => write(at, target.value)}
          />
        </label>
      ))}
      {!isJson && !isOver && (
        <button type="button" data-action="edit-json" onClick={() => onWrite(editingJson(editing, parameters))}>
          {labels.editing.asJson}
        </button>
      )}
      <Changes id={`${id}-problem`} parameters={parameters} editing={editing} labels={labels} />
    </div>
  );
}

interface ChangesProps {
  id: string;
  parameters: Record<string, unknown>;
  editing: Editing;
  labels: PermissionLabels;
}

/** What is changed by now, or why it cannot be read. Of a long text it comes when there is time for it. */
function Changes({ id, parameters, editing, labels }: ChangesProps): ReactNode {
  const words = labels.editing;
  const written = useDeferredValue(editing);
  const edited = useMemo(() => editedOf(written, parameters), [written, parameters]);
  const problem = "problem" in edited ? edited.problem : null;
  const changes = useMemo(() => ("problem" in edited ? [] : editChanges(written, edited.parameters)), [edited, written]);
  const unseen = "problem" in edited ? [] : flags(jsonPieces(exactJson(edited.parameters)));
  return (
    <>
      <p id={id} className="notifier-error" data-role="problem" aria-live="polite">
        {problem !== null && <Text>{problemText(problem, labels)}</Text>}
      </p>
      <h3>{words.changes}</h3>
      <div role="group" tabIndex={0} aria-label={words.changes} data-role="changes">
        {"isSame" in edited && edited.isSame && <p>{words.same}</p>}
        {changes.length > 0 && <Drawn body={{ parts: changes }} labels={labels} showsAll onShowAll={() => undefined} />}
        {unseen.length > 0 && <p className="notifier-warning"><Text>{labels.unseen(unseen)}</Text></p>}
      </div>
    </>
  );
}

/** Why what is written cannot be read. */
export function problemText({ name, line, message }: EditProblem, labels: PermissionLabels): string {
  const text = message === null ? labels.notAnObject : labels.editing.problem(line, message);
  return name === null ? text : `${name}: ${text}`;
}
