// The official client of tasks before a gateway: calls the tools that standard input names, one a line, and prints what
// becomes of each. Its arguments are a URL, or a command.
import { createInterface } from "node:readline";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { createTaskSessionFromClient } from "@modelcontextprotocol/ext-tasks/client";

const VERSION = "2026-07-28";
const info = { name: "tasks-client", version: "1" };
const capabilities = { elicitation: { form: {} }, extensions: { "io.modelcontextprotocol/tasks": {} } };
const [target, ...rest] = process.argv.slice(2);
const isHttp = target.startsWith("http");
const transport = isHttp
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args: rest, env: process.env, stderr: "inherit" });
const client = new Client(info, { capabilities, versionNegotiation: { mode: "auto" } });
await client.connect(transport);

// The SDK's client has no words for tasks yet: its host sends these messages.
let count = 0;
const waiting = new Map();
if (!isHttp) {
  const others = transport.onmessage;
  transport.onmessage = (message, extra) => {
    if (!("method" in message) && waiting.has(message.id)) waiting.get(message.id)(message);
    else others(message, extra);
  };
}

async function overHttp(message) {
  const { method, params } = message;
  const headers = {
    "Content-Type": "application/json",
    Accept: "application/json, text/event-stream",
    "MCP-Protocol-Version": VERSION,
    "Mcp-Method": method,
    "Mcp-Name": params.taskId ?? params.name,
  };
  const response = await fetch(target, { method: "POST", headers, body: JSON.stringify(message) });
  const text = await response.text();
  const data = text.split("\n").filter((line) => line.startsWith("data: "));
  return JSON.parse(data.length > 0 ? data.at(-1).slice(6) : text);
}

async function overStdio(message) {
  const answer = new Promise((resolve) => waiting.set(message.id, resolve));
  await transport.send(message);
  return answer;
}

async function rawDispatch(request) {
  const message = { jsonrpc: "2.0", ...request, id: request.id ?? `raw-${(count += 1)}` };
  return isHttp ? overHttp(message) : overStdio(message);
}

const session = createTaskSessionFromClient(client, {
  endpointId: "gateway",
  rawDispatch,
  v2RequestFraming: { protocolVersion: VERSION, clientInfo: info, clientCapabilities: capabilities },
  onInputRequest: async () => ({ action: "accept", content: { confirm: true } }),
});

for await (const line of createInterface({ input: process.stdin })) {
  const [tool, parameters, isCancelled] = JSON.parse(line);
  const execution = await session.callTool(tool, parameters);
  const heard = [];
  if (isCancelled) await execution.cancel();
  const { outcome } = await execution.settle({
    onEvent: (event) => {
      if (event.type === "task") heard.push(event.task.statusMessage);
    },
  });
  const error = outcome.error && { message: outcome.error.message, code: outcome.error.code };
  console.log(JSON.stringify({ kind: execution.kind, status: outcome.status, result: outcome.result, error, heard }));
}
await session.close();
await client.close();
