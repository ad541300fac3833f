// What happened in a session, as rows: one per tool call, message, event, gap. Bounded, whatever comes.

import { now } from "./clock.js";

const MAX_ROWS = 500;
// Of results and parameters that are kept to be looked at; the oldest go first.
const MAX_PAYLOAD = 8_000_000;

const ACTIVE = new Set(["executing", "waiting_permission"]);
const SILENT = new Set(["hello", "heartbeat", "result_cleared", "bye", "error"]);

export class History {
  constructor() {
    this.rows = new Map(); // by key, in the order of what happened last
    this.removed = 0; // how many older rows are not kept
    this.#changed = new Set();
  }

  #changed;
  #calls = new Map(); // what names a call on the wire, and the key of its row
  #number = 0;
  #stamps = 0;
  #eventId; // of what is heard now: it names the row that it begins
  #payload = 0;
  #lastAt = null;
  #caughtUpAt = null; // the number of the newest event when this reader came: what is up to there happened before

  // The keys of rows that were added, changed or removed since the last time.
  takeChanged() {
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  hear(event) {
    const data = event.data ?? {};
    if (event.type === "hello") this.#caughtUpAt ??= sequence(data.last_event_id);
    const at = this.#time(event, data);
    this.#eventId = event.id;
    switch (event.type) {
      case "tool_status":
        return this.#status(data, at);
      case "tool_progress":
        return this.#progress(data, at);
      case "tool_result":
        return this.#result(data, at);
      case "permission_request":
        return this.#asked(data, at);
      case "permission_response_result":
        return this.#decided(data, at, true);
      case "permission_cleared":
        return this.#decided(data, at, false);
      case "snapshot":
        return this.#resync(data, at);
      case "gap":
        return this.#gap(data, at);
      case "agent_message":
        if (typeof data.text === "string") return this.#add({ kind: "message", at, text: data.text });
        break;
      default:
        if (SILENT.has(event.type)) return undefined;
    }
    return this.#add({ kind: "event", at, type: event.type, data: event.data, size: sizeOf(event.data) });
  }

  // Whose decision it was is told in other words now.
  retell(requestId) {
    const row = this.rows.get(this.#calls.get(`request ${requestId}`));
    if (row !== undefined) this.#touch(row);
  }

  // The session has ended, or the page may not read it any more.
  end(code) {
    for (const row of this.rows.values())
      if (row.kind === "call" && ACTIVE.has(row.status)) this.#settle(row, "unknown", now());
    this.#add({ kind: "end", at: now(), code });
  }

  // An event without a time happened when it came; one from before this reader came, no earlier than the one before it.
  #time(event, data) {
    const told = Date.parse(data.timestamp ?? "");
    if (!Number.isNaN(told)) this.#lastAt = told;
    else if (this.#caughtUpAt === null || sequence(event.id) > this.#caughtUpAt) return now();
    return this.#lastAt ?? now();
  }

  #status(data, at) {
    const details = data.details ?? {};
    let row = this.#call(data, at, { isBeginning: ACTIVE.has(data.status) });
    if (details.agent_call_id) this.#calls.set(`gateway ${details.agent_call_id}`, row.key);
    row = this.#asOne(details.agent_call_id ?? data.tool_call_id) ?? row;
    if (details.request_id) this.#calls.set(`request ${details.request_id}`, row.key);
    if (details.risk_level) row.risk = details.risk_level;
    if (details.parameters !== undefined) this.#keepParameters(row, details.parameters, details);
    row.isTold = true;
    if (data.status === "executing") {
      row.runsSince ??= Date.parse(details.start_time ?? "") || at;
      row.status = "executing";
      this.#touch(row);
    } else if (data.status === "waiting_permission") {
      row.status = "waiting_permission";
      this.#touch(row);
    } else {
      if (typeof details.duration_ms === "number") row.durationMs = details.duration_ms;
      row.error ??= details.error;
      const isEndUnknown = data.status === "failed" && details.outcome === "unknown";
      this.#settle(row, isEndUnknown ? "end_unknown" : data.status, at);
    }
  }

  #progress(data, at) {
    const row = this.#call(data, at, { isBeginning: false });
    row.runsSince ??= at;
    row.progress = { progress: data.progress, total: data.total, message: data.message };
    this.#touch(row);
  }

  #result(data, at) {
    const row = this.#call(data, at, { isBeginning: false });
    const size = sizeOf(data.result);
    this.#payload += size - (row.resultSize ?? 0);
    Object.assign(row, {
      hasResult: true,
      result: data.result,
      resultSize: size,
      truncated: data.truncated === true,
      resultBytes: data.result_bytes,
      error: data.error ?? row.error,
      durationMs: data.duration_ms ?? row.durationMs,
    });
    this.#settle(
      row,
      data.success ? "completed" : ["denied", "cancelled"].includes(row.status) ? row.status : "failed",
      at,
    );
    this.#trim();
  }

  #asked(record, at) {
    const row = this.#call(record, at, { isBeginning: true, requestId: record.request_id });
    row.risk = record.risk_level;
    row.status = "waiting_permission";
    this.#keepParameters(row, record.parameters, {});
    this.#touch(row);
  }

  #decided(record, at, isAnswer) {
    const row = this.#call(record, at, { isBeginning: false, requestId: record.request_id });
    if (isAnswer) {
      row.decision = {
        request_id: record.request_id,
        kind: record.decision,
        by: record.decided_by,
        reason: record.reason,
        scope: record.scope,
        status: record.status,
      };
      if (record.decision === "edit") this.#keepParameters(row, record.parameters, {});
    } else {
      row.decision ??= { kind: null, by: null, reason: record.reason, scope: null, status: record.status };
      // Whoever asks without telling what it does afterwards is done with the answer.
      if (row.status === "waiting_permission") {
        if (record.status !== "approved") this.#settle(row, record.status === "cancelled" ? "cancelled" : "denied", at);
        else if (!row.isTold) this.#settle(row, "approved", at);
      }
    }
    this.#touch(row);
  }

  // What the present state says of calls: those it does not know any more have ended unseen.
  #resync(snapshot, at) {
    const running = new Set();
    for (const call of snapshot.running ?? []) {
      this.#status(call, Date.parse(call.timestamp ?? "") || at);
      if (call.progress) this.#progress(call.progress, at);
      running.add(this.#keyOf(call));
    }
    for (const call of snapshot.end_unknown ?? []) this.#status(call, Date.parse(call.timestamp ?? "") || at);
    for (const record of snapshot.permission_requests ?? []) {
      this.#asked(record, Date.parse(record.timestamp ?? "") || at);
      running.add(this.#keyOf(record, record.request_id));
    }
    for (const row of this.rows.values()) {
      if (row.kind === "call" && ACTIVE.has(row.status) && !running.has(row.key)) this.#settle(row, "unknown", at);
    }
  }

  #gap(data, at) {
    if (data.reason === "epoch") return this.#add({ kind: "restart", at: now() });
    const requested = sequence(data.requested);
    const oldest = sequence(data.oldest);
    const isSameLog = data.requested?.split("-")[0] === data.oldest?.split("-")[0];
    const gone = isSameLog && oldest > requested + 1 ? oldest - requested - 1 : null;
    return this.#add({ kind: "gap", at, gone, reason: data.reason });
  }

  #keyOf(data, requestId) {
    return (
      (requestId && this.#calls.get(`request ${requestId}`)) ??
      this.#calls.get(data.tool_call_id ? `call ${data.tool_call_id}` : `tool ${data.tool_name}`)
    );
  }

  // The row of the call that an event is about. Without an id, a call of the same tool that has ended is another one.
  #call(data, at, { isBeginning, requestId }) {
    const key = this.#keyOf(data, requestId);
    let row = key === undefined ? undefined : this.rows.get(key);
    if (row !== undefined && isBeginning && !data.tool_call_id && !requestId && !ACTIVE.has(row.status))
      row = undefined;
    if (
      row !== undefined &&
      requestId &&
      !data.tool_call_id &&
      row.requestId !== undefined &&
      row.requestId !== requestId
    )
      row = undefined;
    row ??= this.#add({ kind: "call", at, status: "executing", tool: data.tool_name, callId: data.tool_call_id });
    if (requestId) {
      row.requestId = requestId;
      this.#calls.set(`request ${requestId}`, row.key);
    }
    this.#calls.set(data.tool_call_id ? `call ${data.tool_call_id}` : `tool ${data.tool_name}`, row.key);
    return row;
  }

  // What an agent's hooks tell of a call, and the gateway before the server that has its tool, is of one call: the row in
  // which both are told from now on, if both have told of it. The agent makes a call once: another one stays another.
  #asOne(agentCallId) {
    const rowOf = (name) => this.rows.get(this.#calls.get(`${name} ${agentCallId}`));
    const row = rowOf("call");
    const gateways = rowOf("gateway");
    if (row === undefined || gateways === undefined || row === gateways || row.alsoCalled !== undefined) return undefined;
    if (!isToolOfServer(row.tool, gateways.tool)) return undefined;
    row.alsoCalled = [];
    for (const [name, key] of this.#calls) {
      if (key !== gateways.key) continue;
      row.alsoCalled.push(name);
      this.#calls.set(name, row.key);
    }
    const { status, runsSince, endedAt, durationMs, progress, requestId } = gateways;
    const told = { status, runsSince, endedAt, durationMs, progress, requestId };
    if (gateways.hasResult) {
      const { hasResult, result, resultSize, truncated, resultBytes, error } = gateways;
      this.#payload -= row.resultSize ?? 0;
      Object.assign(told, { hasResult, result, resultSize, truncated, resultBytes, error });
    }
    this.#payload -= gateways.parametersSize ?? 0;
    for (const [name, value] of Object.entries(told)) row[name] = value ?? row[name];
    // That the gateway let run what a person approved is no other decision.
    if (row.decision === undefined || gateways.decision?.by !== "policy") row.decision = gateways.decision ?? row.decision;
    this.rows.delete(gateways.key);
    this.#touch(gateways);
    this.#touch(row);
    return row;
  }

  #settle(row, status, at) {
    const wasActive = ACTIVE.has(row.status);
    row.status = status;
    row.endedAt = at;
    if (wasActive) {
      // It takes its place among what happened by when it ended.
      this.rows.delete(row.key);
      this.rows.set(row.key, row);
      this.#stamp(row);
    }
    this.#touch(row);
  }

  #keepParameters(row, parameters, details) {
    const size = sizeOf(parameters);
    this.#payload += size - (row.parametersSize ?? 0);
    Object.assign(row, {
      parameters,
      parametersSize: size,
      parametersBytes: details.parameters_truncated ? details.parameters_bytes : undefined,
    });
    this.#trim();
  }

  #add(row) {
    this.#number += 1;
    row.key = this.#number;
    row.name = row.callId ?? this.#eventId;
    this.#payload += row.size ?? 0;
    this.rows.set(row.key, row);
    this.#stamp(row);
    this.#touch(row);
    this.#trim();
    return row;
  }

  // Rows stand in the order of these numbers.
  #stamp(row) {
    this.#stamps += 1;
    row.settled = this.#stamps;
  }

  #touch(row) {
    this.#changed.add(row.key);
  }

  #trim() {
    if (this.rows.size <= MAX_ROWS && this.#payload <= MAX_PAYLOAD) return;
    for (const row of this.rows.values()) {
      const isTooMany = this.rows.size > MAX_ROWS;
      if (!isTooMany && this.#payload <= MAX_PAYLOAD) return;
      // What runs stays, unless nothing else is left to go.
      if (row.kind === "call" && ACTIVE.has(row.status) && this.rows.size <= 2 * MAX_ROWS) continue;
      this.#payload -= (row.size ?? 0) + (row.resultSize ?? 0) + (row.parametersSize ?? 0);
      if (isTooMany) {
        this.rows.delete(row.key);
        this.removed += 1;
        this.#forget(row);
      } else {
        Object.assign(row, {
          data: undefined,
          result: undefined,
          parameters: undefined,
          size: 0,
          resultSize: 0,
          parametersSize: 0,
          isEmptied: true,
        });
      }
      this.#touch(row);
    }
  }

  #forget(row) {
    const own = [`call ${row.callId}`, `request ${row.requestId}`, `tool ${row.tool}`];
    for (const name of [...own, ...(row.alsoCalled ?? [])]) {
      if (this.#calls.get(name) === row.key) this.#calls.delete(name);
    }
  }
}

// Whether an agent calls a server's tool so: mcp__SERVER__TOOL, in letters that its API takes.
function isToolOfServer(called, tool) {
  return called.startsWith("mcp__") && called.endsWith(`__${tool.replace(/[^a-zA-Z0-9_-]/g, "_")}`);
}

function sequence(id) {
  return parseInt(
    String(id ?? "")
      .split("-")
      .at(-1),
    36,
  );
}

function sizeOf(value) {
  return value === undefined ? 0 : (JSON.stringify(value) ?? "").length;
}
