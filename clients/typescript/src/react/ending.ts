import { useEffect, useState } from "react";

import type { SessionClient } from "../client.js";
import type { PermissionRecord } from "../wire.js";

export interface Ending {
  readonly status: PermissionRecord["status"];
  readonly by: string | null;
}

/** How a request ended, as soon as somebody says so. */
export function useEnding(client: SessionClient, requestId: string): [Ending | null, (ending: Ending) => void] {
  const [ending, setEnding] = useState<Ending | null>(null);
  useEffect(() => {
    const offs = [
      client.on("permission_response_result", ({ data }) => {
        if (data.request_id === requestId) setEnding({ status: data.status, by: data.decided_by });
      }),
      // It says less, and comes after the other if there is one.
      client.on("permission_cleared", ({ data }) => {
        if (data.request_id === requestId) setEnding((known) => known ?? { status: data.status, by: null });
      }),
    ];
    return () => offs.forEach((off) => off());
  }, [client, requestId]);
  return [ending, setEnding];
}
