import { placeOf } from "./cursor.js";
import { advance, NOTHING, type SessionState } from "./state.js";
import {
  EVENT_TYPES,
  type PermissionRecord,
  type SnapshotEvent,
  type StateAndEvents,
  type WireEvent,
} from "./wire.js";

/** An event of a type that the producer made up. */
export interface OwnEvent {
  readonly type: string;
  readonly id?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export type SessionEvent = WireEvent | OwnEvent;

/** Whether an event is one of the service's own, and so typed. */
export function isWireEvent(event: SessionEvent): event is WireEvent {
  return EVENT_TYPES.has(event.type);
}

/** The place of an event in the log; undefined for what is told beside it. */
export function idOf(event: SessionEvent): string | undefined {
  return (event as OwnEvent).id;
}

/** Requests that were settled stay known, so that one told again late is not taken for a new one. */
const MOST_SETTLED = 1000;

/**
 * What was heard, whoever told it: each event of the log once and in order, and the state that follows from them.
 *
 * Several may tell at once (a stream and a poll, another tab): the place in the log says what is new.
 */
export class Feed {
  /** The id behind which reading goes on; null before anything was heard. */
  cursor: string | null = null;
  state: SessionState = NOTHING;

  readonly #emit: (event: SessionEvent) => void;
  readonly #onUnexplained: (request: PermissionRecord) => void;
  readonly #settled = new Set<string>();

  /** `emit` hears what is new; `onUnexplained` of requests that are pending no more, and nobody told why. */
  constructor(emit: (event: SessionEvent) => void, onUnexplained: (request: PermissionRecord) => void) {
    this.#emit = emit;
    this.#onUnexplained = onUnexplained;
  }

  /**
   * Take what the service said; `streamId` is the id beside it on the stream. Returns false for an event behind ones
   * that were not heard: with `inSequence` it is not taken, and the caller asks for what is missing.
   */
  take(event: SessionEvent, { streamId, inSequence = false }: { streamId?: string; inSequence?: boolean } = {}): boolean {
    const place = placeOf(idOf(event));
    if (place !== null) {
      const here = placeOf(this.cursor);
      if (here?.epoch === place.epoch && place.seq <= here.seq) return true;
      if (inSequence && (here?.epoch !== place.epoch || place.seq !== here.seq + 1)) return false;
      this.cursor = idOf(event) ?? null;
    }
    if (event.type === "hello" && this.cursor === null && isResumed(event)) this.cursor = streamId || null;
    if (event.type === "snapshot") return this.#takeSnapshot(event as SnapshotEvent);
    this.#tell(event);
    return true;
  }

  /** Take the answer of a poll: what was missed, or the gap, and the state after it. */
  takeAnswer(answer: StateAndEvents): void {
    const knewPlace = this.cursor !== null;
    if (answer.gap !== null) this.#tell({ type: "gap", data: answer.gap });
    for (const event of answer.events as SessionEvent[]) this.take(event);
    if (answer.gap !== null || !knewPlace) {
      const { events: _events, gap: _gap, may_approve: _rights, ...data } = answer;
      this.#takeSnapshot({ type: "snapshot", data });
    } else if (this.cursor === answer.last_event_id) {
      this.#correct(answer.permission_requests);
    }
  }

  #takeSnapshot(snapshot: SnapshotEvent): boolean {
    const here = placeOf(this.cursor);
    const place = placeOf(snapshot.data.last_event_id);
    // A snapshot from before what was heard since would undo it.
    if (here !== null && here.epoch === place?.epoch && place.seq < here.seq) return true;
    this.cursor = snapshot.data.last_event_id;
    this.#correct(snapshot.data.permission_requests);
    this.#tell(snapshot);
    return true;
  }

  /** Make what is pending what the service says is pending. */
  #correct(pending: readonly PermissionRecord[]): void {
    const ids = new Set(pending.map((request) => request.request_id));
    for (const request of this.state.pending) {
      if (ids.has(request.request_id)) continue;
      this.#settle(request.request_id);
      this.state = Object.freeze({
        ...this.state,
        pending: this.state.pending.filter((other) => other !== request),
      });
      this.#onUnexplained(request);
    }
    for (const request of pending) this.#tell({ type: "permission_request", data: request });
  }

  #tell(event: SessionEvent): void {
    if (isWireEvent(event)) {
      if (event.type === "permission_request") {
        const { request_id } = event.data;
        if (this.#settled.has(request_id)) return;
        const isKnown = this.state.pending.some((request) => request.request_id === request_id);
        if (isKnown && advance(this.state, event) === this.state) return;
      }
      if (event.type === "permission_cleared" || event.type === "permission_response_result") {
        this.#settle(event.data.request_id);
      }
      this.state = advance(this.state, event);
    }
    this.#emit(event);
  }

  #settle(requestId: string): void {
    this.#settled.add(requestId);
    const [oldest] = this.#settled;
    if (this.#settled.size > MOST_SETTLED && oldest !== undefined) this.#settled.delete(oldest);
  }
}

function isResumed(event: SessionEvent): boolean {
  return isWireEvent(event) && event.type === "hello" && event.data.resumed !== "none";
}
