/** What stands between a page and the service, and what it can do to a stream. */

import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";

import { onTestFinished } from "vitest";

export class Proxy {
  /** Streams are held back: neither head nor body goes on. */
  holdsStreams = false;
  /** Streams are answered by the proxy itself. */
  refusesStreams = false;
  /** Every request is answered with a page of the proxy's own, as where one must log in to a network first. */
  answersItself = false;
  /** Requests that take longer are cut. */
  cutsAfterMs: number | null = null;
  /** The requests that came, as `GET /path?query`. */
  readonly asked: string[] = [];
  #frozen = new Set<ServerResponse>();
  #streams = new Set<ServerResponse>();
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((from, to) => this.#pass(from, to));

  private constructor(readonly target: number) {}

  static async before(port: number): Promise<Proxy> {
    const proxy = new Proxy(port);
    proxy.#server.on("connection", (socket) => {
      proxy.#sockets.add(socket);
      socket.on("close", () => proxy.#sockets.delete(socket));
    });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    onTestFinished(() => proxy.close());
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/agent_backend`;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** From now on the open streams say nothing more, and stay open. */
  freeze(): void {
    for (const stream of this.#streams) this.#frozen.add(stream);
  }

  /** Cut every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #pass(from: IncomingMessage, to: ServerResponse): void {
    this.asked.push(`${from.method} ${from.url}`);
    const isStream = from.url?.includes("/sse/events/") === true;
    if (this.answersItself) {
      to.writeHead(200, { "Content-Type": "text/html" }).end("<h1>Welcome to the hotel</h1>");
      return;
    }
    if (isStream && this.refusesStreams) {
      to.writeHead(502).end("no streams here");
      return;
    }
    if (isStream) {
      this.#streams.add(to);
      to.on("close", () => this.#streams.delete(to));
    }
    const onward = request(
      { host: "127.0.0.1", port: this.target, path: from.url, method: from.method, headers: from.headers },
      (answer) => {
        if (isStream && this.holdsStreams) {
          answer.resume();
          return;
        }
        to.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.on("data", (piece) => {
          if (!this.#frozen.has(to)) to.write(piece);
        });
        answer.on("end", () => {
          if (!this.#frozen.has(to)) to.end();
        });
        answer.on("error", () => to.destroy());
      },
    );
    onward.on("error", () => to.destroy());
    to.on("close", () => onward.destroy());
    from.pipe(onward);
    if (this.cutsAfterMs !== null && !isStream) {
      const timer = setTimeout(() => to.destroy(), this.cutsAfterMs);
      to.on("close", () => clearTimeout(timer));
    }
  }
}
