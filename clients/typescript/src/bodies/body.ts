/** What is drawn of the parameters of a request: the same in a page, a dialog and a terminal. */

import type { SaidReason } from "../wire.js";

export type Shape = "diff" | "command" | "file" | "table" | "message" | "http" | "fields" | "exact";

/**
 * `shape` is read from the parameters alone; `because` says why they are shown as exact JSON though they have another
 * shape, null where nothing is to be said. The parts follow each other, and together hold every name and character.
 */
export interface Body {
  readonly shape: Shape;
  readonly because: Because | null;
  readonly parts: readonly Part[];
}

/**
 * `unseen`: they hold characters that nobody sees or that turn the direction of reading, and maybe those of `mixed`: a
 * word has letters of several scripts that look alike; `cut`: only the beginning is here.
 */
export interface Because {
  readonly code: "unseen" | "mixed" | "cut";
  /** Such as `U+202E`, each once, the lowest first. */
  readonly characters: readonly string[];
}

export type Part = ValuePart | ListPart | TextPart | FilePart | DiffPart | TablePart | StepsPart | JsonPart;

/** Text as it is; a mark says what of it to look at. */
export interface Segment {
  readonly text: string;
  readonly mark?: "gone" | "new" | "risky" | "host";
}

interface Named {
  /** Where it stands in the parameters: `path`, `edits[0].replace_all`. */
  readonly name: string;
}

/** One short value. A text is in quotes where it could be taken for something else. */
export interface ValuePart extends Named {
  readonly kind: "value";
  readonly segments: readonly Segment[];
  /** It is what the agent says of its call. */
  readonly isAgents: boolean;
}

export interface ListPart extends Named {
  readonly kind: "list";
  readonly items: readonly string[];
}

/** A text of lines, as it is. */
export interface TextPart extends Named {
  readonly kind: "text";
  readonly role: "command" | "body" | "text";
  readonly segments: readonly Segment[];
  readonly isAgents: boolean;
}

/** What a file will hold: joined by line feeds, the lines are the text. */
export interface FilePart extends Named {
  readonly kind: "file";
  readonly lines: readonly string[];
}

/** Joined by line feeds, the lines that stay and go are the old text, those that stay and come the new one. */
export interface DiffPart extends Named {
  readonly kind: "diff";
  readonly lines: readonly DiffLine[];
}

export interface DiffLine {
  /** A `note` is a line of a patch that changes nothing: of which file, and where. */
  readonly kind: "same" | "gone" | "new" | "note";
  readonly segments: readonly Segment[];
  /** Numbers of the line in the old and the new text, counted from 1. */
  readonly old: number | null;
  readonly new: number | null;
}

export interface TablePart extends Named {
  readonly kind: "table";
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What a command runs, as the service read it. */
export interface StepsPart {
  readonly kind: "steps";
  readonly steps: readonly Step[];
  /** How many more there are. */
  readonly leftOut: number;
  /** Why more may run, and anything. */
  readonly notUnderstood: SaidReason | null;
}

export interface Step {
  readonly words: readonly string[];
  /** How many wrappers it stands in. */
  readonly depth: number;
  readonly does: string | null;
  readonly isRisky: boolean;
}

/** JSON in which an escape stands for what nobody sees. `name` is empty for all of the parameters. */
export interface JsonPart extends Named {
  readonly kind: "json";
  readonly text: string;
}
