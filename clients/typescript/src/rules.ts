/** It may only look on; not decide in all sessions in which the rule holds; or the question was asked in its name. */
export type Refused = "right" | "sessions" | "asker";

/** A rule of the policy file, or what somebody decided for always or for the rest of a session. */
export interface Rule {
  readonly rule_id: string;
  readonly source: "file" | "learned" | "session";
  /** For which calls it holds, in words. */
  readonly name: string;
  readonly effect: "allow" | "ask" | "deny";
  /** Of a rule of the policy file there is what the file says. */
  readonly tool?: unknown;
  readonly server?: unknown;
  readonly risk?: unknown;
  /** The patterns of the sessions in which it holds; without, all. */
  readonly session?: readonly string[];
  readonly justification?: string;
  readonly used: number;
  readonly last_used_at: string | null;
  /** Null for a rule of the policy file. */
  readonly created_by: string | null;
  readonly created_at: string | null;
  /** Why the token may not take it back; nobody takes back a rule of the policy file. */
  readonly refused?: Refused;
}

/** A rule that would have saved questions, because people approved such calls again and again. */
export interface Suggestion {
  readonly suggestion_id: string;
  /** For which calls it would hold, in words. */
  readonly words: string;
  /** As the file of the learned rules would have it. */
  readonly rule: Readonly<Record<string, unknown>>;
  readonly would_have_saved: number;
  /** For how long a person may make it a rule. */
  readonly scopes: readonly ("session" | "always")[];
  readonly requests: readonly string[];
  /** Why the token may not make it a rule. */
  readonly refused?: Refused;
}
