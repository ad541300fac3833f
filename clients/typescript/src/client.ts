import type { Connection } from "./connection.js";
import { NotifierError } from "./errors.js";
import { Feed, isWireEvent, type OwnEvent, type SessionEvent } from "./feed.js";
import { Http } from "./http.js";
import { eventsOf } from "./iterator.js";
import { Live } from "./live.js";
import type { ClientOptions } from "./options.js";
import type { Rule, Suggestion } from "./rules.js";
import type { SessionState } from "./state.js";
import type {
  Decision,
  Hello,
  PermissionCleared,
  PermissionRecord,
  ResultCleared,
  SessionHealth,
  StateAndEvents,
  ToolResult,
  ToolStatus,
  WireEvent,
} from "./wire.js";

export type Scope = NonNullable<Decision["scope"]>;
type EventOf<Type extends string> = Extract<WireEvent, { type: Type }> extends never
  ? OwnEvent
  : Extract<WireEvent, { type: Type }>;

/** Some megabytes over a slow line. */
const WHOLE_TIMEOUT_MS = 120_000;
/**
 * Watches a session and answers its permission requests.
 *
 * It never loses a request: it resumes behind the last event it heard, corrects itself by the service's own state, comes
 * back by itself, and goes on over long polls where a proxy holds the stream back.
 */
export class SessionClient implements AsyncIterable<SessionEvent> {
  readonly sessionId: string;

  // The reference's callbacks. `on` and the iterator tell the same, typed, to any number of listeners.
  onConnectionOpen?: (event: Hello | null) => void;
  onToolStatusChange?: (status: ToolStatus) => void;
  /** Once for each request, also for those that were asked before this client came. */
  onPermissionRequest?: (request: PermissionRecord) => void;
  onToolResult?: (result: ToolResult) => void;
  onPermissionCleared?: (data: PermissionCleared) => void;
  onResultCleared?: (data: ResultCleared) => void;
  onPermissionResponseResult?: (result: PermissionRecord) => void;
  onHeartbeat?: (timestamp: number) => void;
  onError?: (message: string, error?: NotifierError) => void;
  onMaxReconnectAttemptsReached?: () => void;

  readonly #options: ClientOptions;
  readonly #http: Http;
  readonly #feed: Feed;
  readonly #listeners = new Map<string, Set<(event: SessionEvent) => void>>();
  readonly #watchers = new Set<() => void>();
  readonly #live: Live;
  #hello: Hello | null = null;

  /** `tokenOrOptions` is the token alone, as the reference's client takes it, or everything that can be chosen. */
  constructor(sessionId: string, tokenOrOptions: string | ClientOptions = {}) {
    this.sessionId = sessionId;
    this.#options = typeof tokenOrOptions === "string" ? { token: tokenOrOptions } : tokenOrOptions;
    this.#http = new Http(this.#options);
    this.#feed = new Feed(
      (event) => this.#emit(event),
      (request) => void this.#explain(request),
    );
    this.#live = new Live(this.#http, this.#options, {
      name: sessionId,
      sessionId,
      paths: { stream: this.#path("/api/sse/events"), ticket: this.#path("/api/sse/ticket") },
      feed: this.#feed,
      begin: this.#options.from === "earliest" ? "earliest" : null,
      isHeld: true,
      ask: (signal, holdSeconds) => this.#missed(signal, holdSeconds),
      changed: () => this.#changed(),
      opened: () => this.#call(() => this.onConnectionOpen?.(this.#hello)),
      ended: (reason) => {
        if (reason.code === "gave_up") this.#call(() => this.onMaxReconnectAttemptsReached?.());
        this.#complain(reason);
      },
    });
  }

  get connection(): Connection {
    return this.#live.link.now;
  }

  get state(): SessionState {
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

  /** Hear events of one type, or with `"*"` of all: each once, in order. Returns what ends it. */
  on(type: "*", listener: (event: SessionEvent) => void): () => void;
  on<Type extends string>(type: Type, listener: (event: EventOf<Type>) => void): () => void;
  on(type: string, listener: (event: never) => void): () => void {
    const own = (event: SessionEvent): void => listener(event as never);
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(own));
    return () => listeners.delete(own);
  }

  /** Every event from now on, until the client has ended; reading begins if it has not. A consumer that falls 10,000
   * events behind loses the oldest, and is told so by a `gap` with the reason `slow`. */
  [Symbol.asyncIterator](): AsyncGenerator<SessionEvent, void, void> {
    return eventsOf(this, () => this.#feed.cursor ?? "");
  }

  /**
   * The request with all of its parameters, where `parameters_truncated` says that events carry their beginning only.
   * Whoever approves such a request, or edits it, must have read it whole.
   */
  async whole(request: PermissionRecord): Promise<PermissionRecord> {
    const whole = await this.#http.call<PermissionRecord>("GET", this.#pathOf(request), { timeoutMs: WHOLE_TIMEOUT_MS });
    if (whole.parameters_sha256 === request.parameters_sha256) return whole;
    throw new NotifierError("parameters_changed", "These are not the parameters that were asked.");
  }

  /** The rules that hold in this session: of the policy file, what people decided for always, and for the session. */
  rules(): Promise<Rule[]> {
    return this.#http.call("GET", this.#path("/api/rules"));
  }

  /** The rules that would have saved questions in this session; none is made by itself. */
  suggestions(): Promise<Suggestion[]> {
    return this.#http.call("GET", this.#path("/api/rules"), { field: "suggestions" });
  }

  /** Make a rule of a suggestion. */
  takeOver(suggestion: Suggestion, scope: "session" | "always" = "session"): Promise<Rule> {
    const body = { suggestion_id: suggestion.suggestion_id, scope };
    return this.#http.call("POST", this.#path("/api/rules"), { body });
  }

  /** Take a rule back: the next call that it would have settled is asked again. */
  revoke(rule: Rule): Promise<Rule> {
    return this.#http.call("DELETE", `${this.#path("/api/rules")}/${encodeURIComponent(rule.rule_id)}`);
  }

  /** Let a call run as it was shown. Throws `NotifierError`, as every answer does. */
  approve(request: PermissionRecord, options: { reason?: string; scope?: Scope } = {}): Promise<PermissionRecord> {
    return this.#answer(request, { approved: true, ...options });
  }

  /** Let a call run with other parameters. */
  edit(
    request: PermissionRecord,
    parameters: Record<string, unknown>,
    options: { reason?: string; scope?: Scope } = {},
  ): Promise<PermissionRecord> {
    return this.#answer(request, { approved: true, parameters, ...options });
  }

  /** Do not let a call run; the agent is given the reason word for word. */
  reject(request: PermissionRecord, reason?: string, options: { scope?: Scope } = {}): Promise<PermissionRecord> {
    return this.#answer(request, { approved: false, ...(reason === undefined ? {} : { reason }), ...options });
  }

  /** Answer in the tool's place; it does not run. */
  respond(request: PermissionRecord, response: string, reason?: string): Promise<PermissionRecord> {
    return this.#answer(request, { approved: false, response, ...(reason === undefined ? {} : { reason }) });
  }

  /** Send a decision as it is. Without `request_id` it decides the one request that is pending, if it is one. */
  decide(decision: Decision): Promise<PermissionRecord> {
    return this.#http.call("POST", this.#path("/api/sse/permission-response"), { body: decision });
  }

  /**
   * The reference's way to answer: true when the decision was taken. It means the request that this client shows as
   * pending; while there are several the service refuses, and `onError` says so.
   */
  async approvePermission(approved: boolean, reason = "", requestId?: string): Promise<boolean> {
    const { pending } = this.state;
    const request =
      requestId === undefined
        ? pending.length === 1 ? pending[0] : undefined
        : pending.find((one) => one.request_id === requestId);
    try {
      if (request !== undefined) await this.#answer(request, { approved, reason });
      else await this.decide({ approved, reason, ...(requestId === undefined ? {} : { request_id: requestId }) });
      return true;
    } catch (error) {
      this.#complain(error);
      return false;
    }
  }

  /** Forget the last result, for everybody. */
  async clearResult(): Promise<void> {
    await this.#http.call("POST", this.#path("/api/polling/clear-result"));
  }

  /** How the session and its readers are; null when the service does not say. */
  async checkHealth(): Promise<SessionHealth | null> {
    try {
      return await this.#http.call<SessionHealth>("GET", this.#path("/api/sse/health"));
    } catch (error) {
      this.#complain(error);
      return null;
    }
  }

  // Reading

  async #missed(signal: AbortSignal, holdSeconds: number): Promise<readonly SessionEvent[]> {
    const after = this.#feed.cursor ?? (this.#options.from === "earliest" ? "earliest" : null);
    const answer = await this.#http.call<StateAndEvents>("GET", this.#path("/api/long-poll"), {
      query: { timeout: String(holdSeconds), ...(after === null ? {} : { after }) },
      signal,
      timeoutMs: holdSeconds * 1000 + 15_000,
    });
    this.#live.link.toldRights(answer);
    this.#feed.takeAnswer(answer);
    return answer.events as SessionEvent[];
  }

  // Telling

  #changed(): void {
    for (const watcher of [...this.#watchers]) this.#call(watcher);
  }

  #emit(event: SessionEvent): void {
    for (const type of [event.type, "*"]) {
      for (const listener of [...(this.#listeners.get(type) ?? [])]) this.#call(() => listener(event));
    }
    if (isWireEvent(event)) this.#callBack(event);
    if (event.type !== "heartbeat") this.#changed();
  }

  #callBack(event: WireEvent): void {
    switch (event.type) {
      case "hello":
        this.#hello = event.data;
        this.#live.link.greeted(event.data);
        break;
      case "snapshot": {
        const { tool_status, tool_result } = event.data;
        if (tool_status !== null) this.#call(() => this.onToolStatusChange?.(tool_status));
        if (tool_result !== null) this.#call(() => this.onToolResult?.(tool_result));
        break;
      }
      case "tool_status":
        this.#call(() => this.onToolStatusChange?.(event.data));
        break;
      case "permission_request":
        this.#call(() => this.onPermissionRequest?.(event.data));
        break;
      case "tool_result":
        this.#call(() => this.onToolResult?.(event.data));
        break;
      case "permission_cleared":
        this.#call(() => this.onPermissionCleared?.(event.data));
        break;
      case "result_cleared":
        this.#call(() => this.onResultCleared?.(event.data));
        break;
      case "permission_response_result":
        this.#call(() => this.onPermissionResponseResult?.(event.data));
        break;
      case "heartbeat":
        this.#call(() => this.onHeartbeat?.(event.timestamp));
        break;
      case "error":
        this.#call(() => this.onError?.(event.message));
        break;
    }
  }

  /** A listener that throws is its owner's bug: it is reported, and reading goes on. */
  #call(listener: () => void): void {
    try {
      listener();
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #complain(error: unknown): void {
    if (!(error instanceof NotifierError)) throw error;
    this.#call(() => this.onError?.(error.message, error));
  }

  /** A request is pending no more, and the event that said why is gone: ask, so that nobody is told a wrong end. */
  async #explain(request: PermissionRecord): Promise<void> {
    const { request_id, tool_name } = request;
    let cleared: PermissionCleared = {
      request_id,
      tool_name,
      status: "cancelled",
      timestamp: new Date().toISOString(),
      reason: "the service knows it no more",
    };
    try {
      // Who waits is not taken for one who has read it: nobody has seen what this brings.
      const record = await this.#http.call<PermissionRecord>("GET", this.#pathOf(request), { query: { wait: "0.01" } });
      if (record.status === "pending") return;
      cleared = { request_id, tool_name, status: record.status, timestamp: record.decided_at ?? cleared.timestamp };
      if (record.reason !== null) cleared.reason = record.reason;
    } catch {
      // It stays what a service that was restarted makes of it: cancelled.
    }
    this.#emit({ type: "permission_cleared", data: cleared });
  }

  #answer(request: PermissionRecord, decision: Decision): Promise<PermissionRecord> {
    const { request_id, parameters_sha256, action_sha256 } = request;
    return this.decide({ ...decision, request_id, parameters_sha256, action_sha256 });
  }

  #pathOf(request: PermissionRecord): string {
    return `${this.#path("/api/permissions")}/${encodeURIComponent(request.request_id)}`;
  }

  #path(path: string): string {
    return `${path}/${encodeURIComponent(this.sessionId)}`;
  }
}
