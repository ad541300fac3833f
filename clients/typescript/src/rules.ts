import type { PermissionRecord } from "./wire.js";

/** What somebody decided for the rest of a session. */
export interface Rule {
  readonly rule_id: string;
  readonly source: "file" | "learned" | "session";
  /** For which calls it holds, in words. */
  readonly name: string;
  readonly effect: "allow" | "ask" | "deny";
  readonly tool: string;
  readonly server: string | null;
  readonly risk: PermissionRecord["risk_level"];
  readonly justification?: string;
  readonly used: number;
  readonly last_used_at: string | null;
  readonly created_by: string;
  readonly created_at: string;
}
