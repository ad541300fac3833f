import { SessionClient } from "./client.js";
import type { Connection } from "./connection.js";
import { placeOf } from "./cursor.js";
import { NotifierError } from "./errors.js";
import { idOf, type SessionEvent } from "./feed.js";
import { Http } from "./http.js";
import { Live } from "./live.js";
import type { ClientOptions } from "./options.js";
import type { Heard } from "./transports.js";
import type { Decision, InboxEvent, InboxRecord, InboxSnapshot, PermissionRecord, SessionLabel, SessionRow } from "./wire.js";

/** What waits in all sessions, as the events so far tell it. Never changed: each change makes a new one. */
export interface InboxState {
  /** The oldest first. */
  readonly pending: readonly InboxRecord[];
  /** Those in which something waits first, then the busiest, as of the last snapshot; new ones stand at the end. */
  readonly sessions: readonly SessionRow[];
}

/** How one of many decisions went. */
export interface Decided {
  readonly session_id: string;
  readonly request_id: string;
  readonly status: 200 | 403 | 404 | 409 | 410 | 503;
  readonly record?: PermissionRecord;
  readonly error?: { readonly code: string; readonly message: string };
}

export type InboxOptions = Omit<ClientOptions, "from">;

type InboxListener = (event: InboxEvent) => void;

const NOTHING: InboxState = Object.freeze({ pending: [], sessions: [] });
/** Requests that were settled stay known, so that one told again late is not taken for a new one. */
const MOST_SETTLED = 1000;
/** As many as the service takes in one request. */
const MOST_DECISIONS = 100;
const WHOLE_TIMEOUT_MS = 120_000;

/** Watches all sessions that the token covers, and answers what is asked in them. It comes back by itself. */
export class InboxClient {
  readonly #options: InboxOptions;
  readonly #http: Http;
  readonly #live: Live;
  readonly #watchers = new Set<() => void>();
  readonly #listeners = new Set<InboxListener>();
  readonly #feed = new InboxFeed((event) => this.#emit(event));

  constructor(options: InboxOptions = {}) {
    this.#options = options;
    this.#http = new Http(options);
    this.#live = new Live(this.#http, options, {
      name: "all sessions",
      sessionId: null,
      paths: { stream: "/api/sse/inbox", ticket: "/api/sse/ticket" },
      feed: this.#feed,
      begin: null,
      isHeld: false,
      ask: (signal) => this.#ask(signal),
      changed: () => this.#changed(),
      opened: () => undefined,
      ended: () => undefined,
    });
  }

  get connection(): Connection {
    return this.#live.link.now;
  }

  get state(): InboxState {
    return this.#feed.state;
  }

  /** False where the service has said that the token may only look on. */
  get mayApprove(): boolean {
    return this.#live.link.mayApprove;
  }

  /** Begin to read; what is heard already stays known. Without effect while it reads. */
  connect(): void {
    this.#live.connect();
  }

  /** Stop reading. `connect` goes on where this ended. */
  disconnect(): void {
    this.#live.disconnect();
  }

  /** Try now, and do not wait for the next attempt; also after it ended. */
  reconnect(): void {
    this.#live.reconnect();
  }

  /** Call `watcher` after `connection` or `state` has changed. Returns what ends it. */
  subscribe(watcher: () => void): () => void {
    const own = (): void => watcher();
    this.#watchers.add(own);
    return () => this.#watchers.delete(own);
  }

  /** Hear every event, each once and in order. Returns what ends it. */
  listen(listener: (event: InboxEvent) => void): () => void {
    const own: InboxListener = (event) => listener(event);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  /** Ask for the whole anew: how busy sessions are is told by no event. */
  async refresh(): Promise<void> {
    await this.#live.refresh();
  }

  /** The client of one session, with the same options; it reads only when it is connected. */
  of(sessionId: string): SessionClient {
    return new SessionClient(sessionId, this.#options);
  }

  /** The request with all of its parameters, where `parameters_truncated` says that they are their beginning only. */
  async whole(request: InboxRecord): Promise<InboxRecord> {
    const path = `/api/permissions/${encodeURIComponent(request.session_id)}/${encodeURIComponent(request.request_id)}`;
    const whole = await this.#http.call<PermissionRecord>("GET", path, { timeoutMs: WHOLE_TIMEOUT_MS });
    if (whole.parameters_sha256 === request.parameters_sha256) return { ...whole, session_id: request.session_id };
    throw new NotifierError("parameters_changed", "These are not the parameters that were asked.");
  }

  /** Answer one request as it was shown, in any of the four ways. Throws `NotifierError`. */
  decide(request: InboxRecord, decision: Decision): Promise<PermissionRecord> {
    const { request_id, parameters_sha256, action_sha256 } = request;
    const path = `/api/sse/permission-response/${encodeURIComponent(request.session_id)}`;
    return this.#http.call("POST", path, { body: { ...decision, request_id, parameters_sha256, action_sha256 } });
  }

  /** Approve or reject exactly these requests as they were shown, each by itself; tells how each went, in order. */
  async decideAll(requests: readonly InboxRecord[], approved: boolean, reason?: string): Promise<Decided[]> {
    const told: Decided[] = [];
    for (let start = 0; start < requests.length; start += MOST_DECISIONS) {
      const decisions = requests
        .slice(start, start + MOST_DECISIONS)
        .map(({ session_id, request_id, parameters_sha256 }) => ({
          session_id,
          request_id,
          parameters_sha256,
          approved,
          ...(reason === undefined ? {} : { reason }),
        }));
      told.push(...(await this.#http.call<Decided[]>("POST", "/api/permissions/decide", { body: { decisions } })));
    }
    return told;
  }

  async #ask(signal: AbortSignal): Promise<readonly SessionEvent[]> {
    const snapshot = await this.#http.call<InboxSnapshot>("GET", "/api/inbox", { signal });
    this.#live.link.toldRights(snapshot);
    this.#feed.takeSnapshot(snapshot);
    return [];
  }

  #emit(event: InboxEvent): void {
    if (event.type === "hello") this.#live.link.greeted(event.data);
    for (const listener of [...this.#listeners]) call(() => listener(event));
    if (event.type !== "heartbeat") this.#changed();
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) call(watcher);
  }
}

/** A listener that throws is its owner's bug: it is reported, and reading goes on. */
function call(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** What was heard of the inbox: each event once and in order, and the state that follows from them. */
class InboxFeed implements Heard {
  cursor: string | null = null;
  state: InboxState = NOTHING;

  readonly #emit: (event: InboxEvent) => void;
  readonly #settled = new Set<string>();

  constructor(emit: (event: InboxEvent) => void) {
    this.#emit = emit;
  }

  /** With `inSequence` what another tab heard: nothing to begin with, and of no other log. Others' events are no hole. */
  take(told: SessionEvent, { streamId, inSequence = false }: { streamId?: string; inSequence?: boolean } = {}): boolean {
    const event = told as InboxEvent;
    const id = idOf(told);
    const place = placeOf(id);
    if (place !== null) {
      const here = placeOf(this.cursor);
      if (here?.epoch === place.epoch && place.seq <= here.seq) return true;
      if (inSequence && here?.epoch !== place.epoch) return false;
      this.cursor = id ?? null;
    }
    if (event.type === "hello" && this.cursor === null && event.data.resumed !== "none") this.cursor = streamId || null;
    if (event.type === "snapshot") {
      this.takeSnapshot(event.data);
      return true;
    }
    this.state = this.#after(event);
    this.#emit(event);
    return true;
  }

  takeSnapshot(data: InboxSnapshot): void {
    const here = placeOf(this.cursor);
    const place = placeOf(data.last_event_id);
    // A snapshot from before what was heard since would undo it.
    if (here !== null && here.epoch === place?.epoch && place.seq < here.seq) return;
    this.cursor = data.last_event_id;
    const waiting = new Set(data.permission_requests.map((request) => request.request_id));
    for (const { request_id } of this.state.pending) if (!waiting.has(request_id)) this.#settle(request_id);
    this.state = Object.freeze({ pending: data.permission_requests, sessions: data.sessions });
    this.#emit({ type: "snapshot", data });
  }

  #after(event: InboxEvent): InboxState {
    const { pending, sessions } = this.state;
    switch (event.type) {
      case "permission_request": {
        const { request_id, session_id } = event.data;
        if (this.#settled.has(request_id) || pending.some((other) => other.request_id === request_id)) break;
        return Object.freeze({ pending: [...pending, event.data], sessions: counted(sessions, session_id, 1, "waiting") });
      }
      case "permission_cleared":
      case "permission_response_result": {
        const { request_id, session_id, status } = event.data;
        this.#settle(request_id);
        const left = pending.filter((other) => other.request_id !== request_id);
        if (left.length === pending.length) break;
        const next = status === "approved" ? "working" : "idle";
        return Object.freeze({ pending: left, sessions: counted(sessions, session_id, -1, next) });
      }
      case "session_opened":
        return Object.freeze({ pending, sessions: named(sessions, event.data) });
      case "session_closed": {
        const { session_id } = event.data;
        return Object.freeze({
          pending: pending.filter((request) => request.session_id !== session_id),
          sessions: sessions.filter((row) => row.session_id !== session_id),
        });
      }
    }
    return this.state;
  }

  #settle(requestId: string): void {
    this.#settled.add(requestId);
    const [oldest] = this.#settled;
    if (this.#settled.size > MOST_SETTLED && oldest !== undefined) this.#settled.delete(oldest);
  }
}

function counted(
  sessions: readonly SessionRow[],
  sessionId: string,
  change: number,
  state: SessionRow["state"],
): readonly SessionRow[] {
  return sessions.map((row) => {
    if (row.session_id !== sessionId) return row;
    const pending_permissions = Math.max(0, row.pending_permissions + change);
    return { ...row, pending_permissions, idle_seconds: 0, state: pending_permissions > 0 ? "waiting" : state };
  });
}

function named(sessions: readonly SessionRow[], { session_id, title, agent }: SessionLabel): readonly SessionRow[] {
  const label = { title: title ?? null, agent: agent ?? null };
  if (sessions.some((row) => row.session_id === session_id)) {
    return sessions.map((row) => (row.session_id === session_id ? { ...row, ...label } : row));
  }
  const row: SessionRow = {
    session_id,
    ...label,
    connections: 0,
    pending_permissions: 0,
    last_event_id: "",
    created_at: new Date().toISOString(),
    idle_seconds: 0,
    state: "idle",
  };
  return [...sessions, row];
}
