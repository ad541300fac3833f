import { useEffect, useState } from "react";

import type { Given } from "../bodies/index.js";

export type Form = "edit" | "respond";

/** What a person has begun to write for a request. */
export interface Draft {
  form: Form | null;
  texts: Partial<Record<Form, string>>;
  reason: string;
  /** What is answered to each question. */
  given: readonly Given[];
}

interface Writing {
  /** The form that is open. */
  readonly form: Form | null;
  /** What is written in it. */
  readonly text: string;
  readonly reason: string;
  /** Whether anything would be lost. */
  readonly isWritten: boolean;
  /** Open a form with this text, or with what was written there before; null closes it. */
  open(form: Form | null, text?: string): void;
  write(text: string): void;
  writeReason(reason: string): void;
  readonly given: readonly Given[];
  /** Answer the question of this place. */
  give(index: number, given: Given): void;
}

/** What is written for a request; `draft` keeps it for when its card comes again. */
export function useDraft(draft: Draft): Writing {
  const [form, setForm] = useState(draft.form);
  const [texts, setTexts] = useState(draft.texts);
  const [reason, writeReason] = useState(draft.reason);
  const [given, setGiven] = useState(draft.given);
  useEffect(() => {
    Object.assign(draft, { form, texts, reason, given });
  }, [draft, form, texts, reason, given]);

  return {
    form,
    text: form === null ? "" : texts[form] ?? "",
    reason,
    isWritten: form !== null || reason !== "" || given.length > 0,
    given,
    give: (index, answer) =>
      setGiven((before) => Array.from({ length: Math.max(index + 1, before.length) }, (_, at) =>
        at === index ? answer : (before[at] as Given),
      )),
    open: (next, text = "") => {
      setForm(next);
      if (next !== null) setTexts((before) => ({ [next]: text, ...before }));
    },
    write: (text) => {
      if (form !== null) setTexts((before) => ({ ...before, [form]: text }));
    },
    writeReason,
  };
}
