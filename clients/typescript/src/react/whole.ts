import { useEffect, useState } from "react";

import type { SessionClient } from "../client.js";
import { NotifierError } from "../errors.js";
import type { PermissionRecord } from "../wire.js";

interface Whole {
  /** With all parameters, as soon as they are here. */
  readonly request: PermissionRecord;
  /** Whether they are: until then nothing may let the call run. */
  readonly isWhole: boolean;
  /** Why they could not be read. */
  readonly problem: NotifierError | null;
  readonly readAgain: () => void;
}

/** What an event cannot hold is read from the service. */
export function useWhole(client: SessionClient, asked: PermissionRecord): Whole {
  const [whole, setWhole] = useState<PermissionRecord | null>(null);
  const [problem, setProblem] = useState<NotifierError | null>(null);
  const [attempt, setAttempt] = useState(0);
  const isCut = asked.parameters_truncated === true;
  useEffect(() => {
    if (!isCut) return;
    let isLeft = false;
    setProblem(null);
    client.whole(asked).then(
      (record) => isLeft || record.parameters_truncated || setWhole(record),
      (error: unknown) =>
        isLeft || setProblem(error instanceof NotifierError ? error : new NotifierError("unexpected", String(error))),
    );
    return () => {
      isLeft = true;
    };
  }, [client, asked.request_id, isCut, attempt]);
  return {
    request: whole ?? asked,
    isWhole: !isCut || whole !== null,
    problem,
    readAgain: () => setAttempt(attempt + 1),
  };
}
