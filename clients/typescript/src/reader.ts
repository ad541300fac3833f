import { Backoff } from "./backoff.js";
import type { Connection } from "./connection.js";
import { NotifierError } from "./errors.js";
import { Ladder } from "./ladder.js";
import { Moment } from "./moment.js";
import { poll, readStream, sleep, type Ending, type Reading, type Transport } from "./transports.js";
import type { Bye } from "./wire.js";

/** A transport that held for so long is trusted again. */
const PROVED_MS = 10_000;
/** Refusals in a row before a token that can be renewed is given up. */
const MOST_REFUSALS = 3;

/** Why the service ended a stream that may come back. */
const FAREWELL: Record<Bye["code"], string> = {
  limit: "The service takes no more readers now.",
  session_closed: "The session has ended.",
  shutdown: "The service is shutting down, or starting again.",
  slow: "This reader took too long to take what it was sent.",
  token_expired: "The token has expired.",
};

export interface ReaderOptions {
  readonly transports: readonly Transport[];
  readonly backoffMs: number;
  readonly backoffCapMs: number;
  readonly stepUpMs: number;
  readonly stepUpCapMs: number;
  readonly maxReconnectAttempts: number;
}

/** Reads a session for as long as it is wanted: connects, comes back, and changes the transport where one does not work. */
export class Reader {
  readonly #reading: Reading;
  readonly #options: ReaderOptions;
  readonly #report: (change: Partial<Connection>) => void;
  readonly #backoff: Backoff;
  readonly #ladder: Ladder;
  #refusals = 0;
  #restart: () => void = () => undefined;

  constructor(reading: Reading, options: ReaderOptions, report: (change: Partial<Connection>) => void) {
    this.#options = options;
    this.#report = report;
    this.#backoff = new Backoff(options.backoffMs, options.backoffCapMs);
    this.#ladder = new Ladder(options.transports, options);
    this.#reading = {
      ...reading,
      opened: (transport) => {
        this.#refusals = 0;
        report({ phase: "open", transport, attempt: 0, retryAt: null, error: null });
        reading.opened(transport);
      },
    };
  }

  /** Connect again now: what is open may be dead, and what waits need not. */
  restart(): void {
    this.#backoff.reset();
    this.#restart();
  }

  /** Read until `signal` is aborted, which returns null, or until there is no use: then the reason is returned. */
  async run(signal: AbortSignal): Promise<NotifierError | null> {
    while (!signal.aborted) {
      this.#report({ phase: "connecting", transport: this.#ladder.transport, retryAt: null });
      const startedAt = new Moment();
      const ending = await this.#untilRestart(signal, (until) => this.#read(until));
      if (signal.aborted) break;
      if (ending.kind === "stopped") continue;
      if (startedAt.steadyAgoMs >= PROVED_MS) {
        this.#backoff.reset();
        this.#ladder.proved();
      }
      const next = await this.#after(ending, signal);
      if (next instanceof NotifierError) return next;
      if (signal.aborted) break;
      if (next > 0) await this.#wait(next, signal);
    }
    return null;
  }

  /** Read over the present transport; meanwhile try the better one from time to time, and change over once it works. */
  async #read(signal: AbortSignal): Promise<Ending> {
    const transport = this.#ladder.transport;
    if (transport === "sse") return readStream(this.#reading, signal);
    const present = new AbortController();
    const better = new AbortController();
    const stop = (): void => {
      present.abort();
      better.abort();
    };
    signal.addEventListener("abort", stop);
    let adopted: Promise<Ending> | null = null;
    try {
      void this.#tryBetter(better.signal, (ending) => {
        adopted = ending;
        present.abort();
      });
      const ending = await poll(transport, this.#reading, present.signal);
      return adopted === null ? ending : await (adopted as Promise<Ending>);
    } finally {
      stop();
      signal.removeEventListener("abort", stop);
    }
  }

  async #tryBetter(signal: AbortSignal, adopt: (ending: Promise<Ending>) => void): Promise<void> {
    try {
      for (let better = this.#ladder.better; better !== null; better = this.#ladder.better) {
        await sleep(this.#ladder.waitMs, signal);
        const works = await this.#works(better, signal, adopt);
        if (works) return;
        this.#ladder.stay();
      }
    } catch {
      // The present transport is over, and this with it.
    }
  }

  /** Start reading over a transport and hand it over once it is open; false when it never is. */
  async #works(
    transport: Transport,
    signal: AbortSignal,
    adopt: (ending: Promise<Ending>) => void,
  ): Promise<boolean> {
    let isOpen = false;
    const reading: Reading = {
      ...this.#reading,
      opened: (opened) => {
        isOpen = true;
        this.#ladder.stepUp();
        // A poll is not carried over: it is soon asked anew, with an eye on what is better still.
        adopt(transport === "sse" ? ending : Promise.resolve({ kind: "stopped" }));
        this.#reading.opened(opened);
      },
    };
    const ending = transport === "sse" ? readStream(reading, signal) : poll(transport, reading, signal);
    await ending;
    signal.throwIfAborted();
    return isOpen;
  }

  /** What to do now that reading has ended: how long to wait, in milliseconds, or why there is no use. */
  async #after(ending: Ending, signal: AbortSignal): Promise<number | NotifierError> {
    if (ending.kind === "bye") {
      const { code, reconnect, retry_ms } = ending.bye;
      if (code === "token_expired") {
        return this.#reading.http.renewsToken ? 0 : new NotifierError("unauthenticated", FAREWELL[code]);
      }
      if (!reconnect) return new NotifierError(code, FAREWELL[code]);
      return this.#failed(new NotifierError(code, FAREWELL[code]), retry_ms);
    }
    if (ending.kind === "stopped") return 0;
    const error = ending.kind === "lost" ? ending.error : null;
    const isPoll = this.#ladder.transport !== "sse";
    if (error !== null && !(isPoll && error.isPassing && error.status !== 429)) return this.#refused(error);
    // A browser does not say why a stream is gone, and what cuts a held request may let a short one pass. A request
    // tells, and brings what was missed meanwhile.
    this.#report({ phase: "connecting" });
    try {
      await this.#reading.ask(signal, 0);
    } catch (failure) {
      if (signal.aborted) return 0;
      if (failure instanceof NotifierError) return this.#refused(failure);
      throw failure;
    }
    this.#refusals = 0;
    if (this.#ladder.failed({ mute: ending.kind === "mute" })) return 0;
    return this.#failed(error);
  }

  #refused(error: NotifierError): number | NotifierError {
    if (!error.isPassing) {
      this.#refusals += 1;
      const mayPass = error.status === 401 && this.#reading.http.renewsToken && this.#refusals < MOST_REFUSALS;
      if (!mayPass) return error;
    }
    return this.#failed(error, error.retryAfterMs ?? 0);
  }

  #failed(error: NotifierError | null, atLeastMs = 0): number | NotifierError {
    if (this.#backoff.attempt >= this.#options.maxReconnectAttempts) {
      return new NotifierError("gave_up", `No connection after ${this.#backoff.attempt} attempts.`, null, {
        cause: error?.code ?? null,
      });
    }
    const waitMs = this.#backoff.next(atLeastMs);
    this.#report({
      // A browser that is offline may still reach a service on its own machine: it is only a word for the failure.
      phase: typeof navigator !== "undefined" && navigator.onLine === false ? "offline" : "waiting",
      attempt: this.#backoff.attempt,
      retryAt: Date.now() + waitMs,
      error,
    });
    return waitMs;
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#untilRestart(signal, (until) => sleep(ms, until));
    } catch {
      // Somebody wants it sooner, or not at all.
    }
  }

  /** Do something that `restart` aborts, as `signal` does. */
  async #untilRestart<Result>(signal: AbortSignal, work: (until: AbortSignal) => Promise<Result>): Promise<Result> {
    const restarted = new AbortController();
    this.#restart = () => restarted.abort();
    try {
      return await work(AbortSignal.any([signal, restarted.signal]));
    } finally {
      this.#restart = () => undefined;
    }
  }
}
