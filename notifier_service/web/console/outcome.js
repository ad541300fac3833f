// How a request ended, in words.

import { isQuestion } from "./client/bodies/index.js";
import { known, t } from "./language.js";
import { isDecidedHere } from "./mine.js";
import { plainText } from "./readable.js";

// For its card: what this page, or somebody elsewhere, has just decided. `outcome` is the record as far as it is known.
export function outcomeText(outcome, isMine) {
  if (outcome?.status === "expired") return t("outcome.expired");
  if (outcome?.status === "cancelled") return t("outcome.cancelled");
  if (!outcome?.decision) return t("outcome.gone");
  const decision = outcome.decision === "edit" && isQuestion(outcome) ? "respond" : outcome.decision;
  if (!isMine) return t(`outcome.elsewhere.${decision}`, deciderOf(outcome));
  const isLasting = outcome.scope !== null && outcome.scope !== "once";
  const lasting = { approve: outcome.scope, reject: outcome.scope === "always" ? "rejectAlways" : "rejectSession" };
  return t(`outcome.${(isLasting && lasting[decision]) || decision}`);
}

export function deciderOf(record) {
  const by = record?.decided_by ?? record?.by;
  if (isDecidedHere(record?.request_id) && by !== "policy") return t("by.you");
  return by === "policy" ? t("by.policy") : plainText(by ?? "?");
}

// For the history.
export function decisionText(decision) {
  if (decision.kind === null) return known("decision", decision.status);
  const isLasting = Boolean(decision.scope) && decision.scope !== "once";
  const rejecting = decision.scope === "always" ? "rejectAlways" : "rejectSession";
  const lasting = { approve: decision.scope, reject: rejecting }[decision.kind];
  const name = (isLasting && lasting) || decision.kind;
  return t(`decision.${name}`, deciderOf(decision));
}

// For a list of what was decided: how a request ended, and by whom.
export function decidedText(record) {
  const { request_id: id, decision: kind, decided_by: by, scope, status } = record;
  if (status === "pending") return t("history.pending");
  return decisionText({ request_id: id, kind: kind ?? null, decided_by: by, scope, status });
}
