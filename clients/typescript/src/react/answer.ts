import { useEffect, useRef, useState } from "react";

import type { SessionClient } from "../client.js";
import { NotifierError } from "../errors.js";
import type { PermissionRecord } from "../wire.js";
import { useEnding, type Ending } from "./ending.js";
import { inWords, type PermissionLabels } from "./labels.js";

interface Asked {
  client: SessionClient;
  request: PermissionRecord;
  labels: PermissionLabels;
  /** It waits still, as far as the session knows. */
  isPending: boolean;
  /** Somebody has begun to write: that stays until they have done with it. */
  isWritten: boolean;
  /** It is answered, and was seen to be. */
  onOver: () => void;
}

interface Answering {
  readonly isSending: boolean;
  /** There is nothing to answer any more. */
  readonly isOver: boolean;
  readonly ending: Ending | null;
  /** Why there is no answer yet. */
  readonly error: string | null;
  setError(error: string | null): void;
  send(answer: () => Promise<PermissionRecord>): Promise<void>;
}

/** How long it is said that somebody else has answered. */
const ENDING_MS = 4_000;

/** Codes that say that there is nothing to answer any more. */
const OVER: ReadonlyMap<string, PermissionRecord["status"]> = new Map([
  ["request_expired", "expired"],
  ["request_cancelled", "cancelled"],
  ["request_not_found", "pending"],
]);

/** How the answer to a request goes: it is sent, refused, or somebody else's. */
export function useAnswer({ client, request, labels, isPending, isWritten, onOver }: Asked): Answering {
  const [isSending, setIsSending] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [ending, setEnding] = useEnding(client, request.request_id);
  const isOver = !isSending && (ending !== null || !isPending);

  const over = useRef(onOver);
  useEffect(() => {
    over.current = onOver;
  });
  useEffect(() => {
    if (!isOver || isWritten) return;
    const timer = setTimeout(() => over.current(), ENDING_MS);
    return () => clearTimeout(timer);
  }, [isOver, isWritten]);

  async function send(answer: () => Promise<PermissionRecord>): Promise<void> {
    setIsSending(true);
    setError(null);
    try {
      await answer();
      over.current();
    } catch (thrown) {
      const failure = thrown instanceof NotifierError ? thrown : new NotifierError("unexpected", String(thrown));
      const record = failure.code === "already_decided" ? (failure.details["record"] as PermissionRecord) : null;
      const status = record?.status ?? OVER.get(failure.code);
      if (status === undefined) setError(inWords(failure, labels));
      else setEnding({ status, by: record?.decided_by ?? null });
      setIsSending(false);
    }
  }

  return { isSending, isOver, ending, error, setError, send };
}
