import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";

import { SessionClient } from "../client.js";
import { IDLE, type Connection } from "../connection.js";
import type { SessionEvent } from "../feed.js";
import type { ClientOptions } from "../options.js";
import { NOTHING, type SessionState } from "../state.js";
import type { PermissionRecord } from "../wire.js";

export interface SessionOptions extends ClientOptions {
  /** How many of the newest events `events` holds; 0. */
  keepEvents?: number;
}

/** A session as a component sees it. A new object whenever something in it has changed. */
export interface Session
  extends SessionState,
    Pick<SessionClient, "approve" | "edit" | "reject" | "respond"> {
  readonly client: SessionClient;
  readonly connection: Connection;
  readonly isConnected: boolean;
  /** False where the token may only look on: then no answer is taken, and none is to be offered. */
  readonly mayApprove: boolean;
  /** The oldest request that waits for a person. */
  readonly permissionRequest: PermissionRecord | null;
  /** The newest events, oldest first, without heartbeats; as many as `keepEvents` says. */
  readonly events: readonly SessionEvent[];
  /** Answer `permissionRequest`, this one and no other; true when the decision was taken. */
  approvePermission(approved: boolean, reason?: string): Promise<boolean>;
}

const NO_EVENTS: readonly SessionEvent[] = [];

/**
 * Watch a session for as long as the component is mounted.
 *
 * Options may be written inline: only another session, or an option with another value, makes a new client. A function
 * among them (`token`, `fetch`) may be another one in each render, and the newest is called.
 */
export function useSession(sessionId: string, options: SessionOptions = {}): Session {
  const { keepEvents = 0, ...clientOptions } = options;
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });

  const key = JSON.stringify([sessionId, clientOptions], (_name, value: unknown) =>
    typeof value === "function" ? "function" : value,
  );
  const make = (): Watched => new Watched(key, newClient(sessionId, clientOptions, latest));
  // Not a memo, which React may forget: the client knows what was heard.
  const [held, setHeld] = useState(make);
  let watched = held;
  if (held.key !== key) {
    watched = make();
    setHeld(watched);
  }
  const { client } = watched;

  useEffect(() => watched.watch(() => latest.current.keepEvents ?? 0), [watched]);

  const subscribe = useCallback((changed: () => void) => client.subscribe(changed), [client]);
  const state = useSyncExternalStore(subscribe, () => client.state, () => NOTHING);
  const connection = useSyncExternalStore(subscribe, () => client.connection, () => IDLE);
  const mayApprove = useSyncExternalStore(subscribe, () => client.mayApprove, () => true);
  const kept = useSyncExternalStore(subscribe, () => watched.events, () => NO_EVENTS);
  const events = useMemo(() => (keepEvents > 0 ? kept.slice(-keepEvents) : NO_EVENTS), [kept, keepEvents]);

  const answers = useMemo(
    () => ({
      approve: client.approve.bind(client),
      edit: client.edit.bind(client),
      reject: client.reject.bind(client),
      respond: client.respond.bind(client),
    }),
    [client],
  );
  return useMemo(() => {
    const permissionRequest = state.pending[0] ?? null;
    return {
      ...state,
      ...answers,
      client,
      connection,
      isConnected: connection.phase === "open",
      mayApprove,
      permissionRequest,
      events,
      // What was on the screen is what is answered, whatever is pending by now.
      approvePermission: async (approved, reason) =>
        permissionRequest !== null && client.approvePermission(approved, reason, permissionRequest.request_id),
    };
  }, [client, answers, state, connection, mayApprove, events]);
}

/** A client, and the events that it told while it was watched. */
class Watched {
  events = NO_EVENTS;

  constructor(
    readonly key: string,
    readonly client: SessionClient,
  ) {}

  /** Read until what is returned is called; a later call goes on where that ended. */
  watch(mostKept: () => number): () => void {
    const off = this.client.on("*", (event) => {
      const most = mostKept();
      if (event.type !== "heartbeat") this.events = most > 0 ? [...this.events, event].slice(-most) : NO_EVENTS;
    });
    this.client.connect();
    return () => {
      off();
      this.client.disconnect();
    };
  }
}

function newClient(
  sessionId: string,
  options: ClientOptions,
  latest: { readonly current: ClientOptions },
): SessionClient {
  const { token, fetch } = options;
  const given = { ...options };
  if (typeof token === "function") {
    given.token = () => {
      const newest = latest.current.token;
      return typeof newest === "function" ? newest() : token();
    };
  }
  if (fetch !== undefined) given.fetch = (...request) => (latest.current.fetch ?? fetch)(...request);
  return new SessionClient(sessionId, given);
}
