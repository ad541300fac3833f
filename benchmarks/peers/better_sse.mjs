// A server as better-sse's guide has it: a session per reader, a channel per session id, broadcast to publish.
import { createServer } from "node:http";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { createChannel, createSession } from "better-sse";

const channels = new Map();

function channel(name) {
  if (!channels.has(name)) channels.set(name, createChannel());
  return channels.get(name);
}

async function body(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces));
}

function answer(response, status, value) {
  const text = JSON.stringify(value);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) });
  response.end(text);
}

function publish(name, data) {
  channel(name).broadcast({ type: "bench", data }, "message");
}

// What an order says is told in orders.py.
async function carryOut(order) {
  const pad = "x".repeat(order.pad);
  const start = performance.now();
  for (let done = 0; done < order.events; done++) {
    if (order.per_second) {
      const early = start + (done * 1000) / order.per_second - performance.now();
      if (early > 0) await sleep(early);
    }
    const n = order.first + Math.floor(done / order.sessions);
    publish(`b${done % order.sessions}`, { n, t: Number(process.hrtime.bigint()), pad });
    if (!order.per_second && (done + 1) % order.yield_every === 0) await turn();
  }
}

const server = createServer(async (request, response) => {
  const [, action, name] = request.url.split("/");
  if (action === "events") {
    const session = await createSession(request, response);
    channel(name).register(session);
    session.push("ready", "message");
  } else if (action === "publish") {
    publish(name, (await body(request)).data);
    answer(response, 201, { success: true });
  } else {
    await carryOut(await body(request));
    answer(response, 200, {});
  }
});
server.keepAliveTimeout = 3600_000;
server.requestTimeout = 0;
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
