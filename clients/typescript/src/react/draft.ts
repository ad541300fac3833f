import { useEffect, useState } from "react";

import type { Editing, Given } from "../bodies/index.js";

export type Form = "edit" | "respond";

/** What a person has begun to write for a request. */
export interface Draft {
  form: Form | null;
  response: string;
  /** Null before anybody has begun to. */
  editing: Editing | null;
  reason: string;
  /** What is answered to each question. */
  given: readonly Given[];
}

interface Writing {
  /** The form that is open. */
  readonly form: Form | null;
  readonly response: string;
  readonly editing: Editing | null;
  readonly reason: string;
  /** Whether anything would be lost. */
  readonly isWritten: boolean;
  /** Open a form, as it was left; null closes it. */
  open(form: Form | null): void;
  writeResponse(response: string): void;
  edit(editing: Editing): void;
  writeReason(reason: string): void;
  readonly given: readonly Given[];
  /** Answer the question of this place. */
  give(index: number, given: Given): void;
}

/** What is written for a request; `draft` keeps it for when its card comes again. */
export function useDraft(draft: Draft): Writing {
  const [form, setForm] = useState(draft.form);
  const [response, writeResponse] = useState(draft.response);
  const [editing, edit] = useState(draft.editing);
  const [reason, writeReason] = useState(draft.reason);
  const [given, setGiven] = useState(draft.given);
  useEffect(() => {
    Object.assign(draft, { form, response, editing, reason, given });
  }, [draft, form, response, editing, reason, given]);

  return {
    form,
    response,
    editing,
    reason,
    isWritten: form !== null || reason !== "" || given.length > 0,
    given,
    give: (index, answer) =>
      setGiven((before) => Array.from({ length: Math.max(index + 1, before.length) }, (_, at) =>
        at === index ? answer : (before[at] as Given),
      )),
    open: setForm,
    writeResponse,
    edit,
    writeReason,
  };
}
