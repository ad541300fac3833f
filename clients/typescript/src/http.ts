import { NotifierError } from "./errors.js";
import { exactJson, parseExact } from "./exact.js";

/** A token, or what gives one: called before every request, so that one that expires soon can be renewed. */
export type Token = string | (() => string | Promise<string>);

export interface HttpOptions {
  /** Where the service is, with its prefix; `/agent_backend` on the page's own origin. */
  baseUrl?: string;
  token?: Token;
  fetch?: typeof globalThis.fetch;
}

interface Call {
  body?: unknown;
  query?: Record<string, string>;
  /** A token that was asked for already. */
  token?: string;
  signal?: AbortSignal;
  /** What of the answer is returned; `data`. */
  field?: string;
  /** Without an answer after this long it is given up. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 20_000;

/** Requests to the service; every failure is a `NotifierError`, but an abort by `signal`. */
export class Http {
  readonly #base: string;
  readonly #token: Token | undefined;
  readonly #fetch: typeof globalThis.fetch;

  constructor({ baseUrl = "/agent_backend", token, fetch = globalThis.fetch }: HttpOptions) {
    this.#base = baseUrl.replace(/\/+$/, "");
    this.#token = token === "" ? undefined : token;
    this.#fetch = fetch.bind(globalThis);
  }

  /** Names this service and this caller to other tabs, without telling the token. */
  get identity(): string {
    const base = typeof location === "undefined" ? this.#base : new URL(this.#base, location.href).href;
    return `${base} ${typeof this.#token === "string" ? digest(this.#token) : typeof this.#token}`;
  }

  /** Whether another token may come: one that was refused is not the last word. */
  get renewsToken(): boolean {
    return typeof this.#token === "function";
  }

  /** The token to use now; empty where there is none. */
  async token(): Promise<string> {
    return (typeof this.#token === "function" ? await this.#token() : this.#token) ?? "";
  }

  url(path: string, query: Record<string, string> = {}): string {
    const search = new URLSearchParams(query).toString();
    return `${this.#base}${path}${search && `?${search}`}`;
  }

  /** Return the `data` of the answer, or another field of it. */
  async call<Data>(method: "GET" | "POST" | "DELETE", path: string, call: Call = {}): Promise<Data> {
    const headers: Record<string, string> = { Accept: "application/json" };
    const token = call.token ?? (await this.token());
    if (token !== "") headers["Authorization"] = `Bearer ${token}`;
    if (method === "POST") headers["Content-Type"] = "application/json";
    const timeout = AbortSignal.timeout(call.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    let status: number;
    let retryAfter: string | null;
    let text: string;
    try {
      const response = await this.#fetch(this.url(path, call.query), {
        method,
        headers,
        cache: "no-store",
        credentials: "same-origin",
        signal: call.signal === undefined ? timeout : AbortSignal.any([call.signal, timeout]),
        ...(method === "POST" ? { body: exactJson(call.body ?? {}, 0) } : {}),
      });
      ({ status } = response);
      retryAfter = response.headers.get("Retry-After");
      text = await response.text();
    } catch (cause) {
      call.signal?.throwIfAborted();
      throw new NotifierError("unreachable", `The service does not answer (${String(cause)}).`);
    }
    return read<Data>(text, status, retryAfter, call.field ?? "data");
  }
}

function read<Data>(text: string, status: number, retryAfter: string | null, field: string): Data {
  const answer = parsed(text);
  if (answer?.success === true) return answer[field] as Data;
  const { code, message, ...details } = answer?.error ?? {};
  const seconds = Number(retryAfter ?? Number.NaN);
  throw new NotifierError(
    typeof code === "string" ? code : "unexpected",
    typeof message === "string" ? message : `Status ${status}, and no answer of the service.`,
    status,
    details,
    Number.isFinite(seconds) ? seconds * 1000 : null,
  );
}

interface Answer {
  [field: string]: unknown;
  success?: unknown;
  error?: Record<string, unknown>;
}

/** Null for what is no JSON: something between us and the service answered in its place. */
function parsed(text: string): Answer | null {
  try {
    return parseExact(text) as Answer | null;
  } catch {
    return null;
  }
}

/** 53 bits that tell tokens apart (cyrb53); other scripts of this origin can read the token itself. */
function digest(text: string): string {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}
