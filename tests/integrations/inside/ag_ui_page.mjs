// A client of AG-UI: node ag_ui_page.mjs URL PAYLOAD. Runs the agent, answers its interrupts, and prints what came.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { HttpAgent } = await import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve("@ag-ui/client")).href);
const [url, payload] = process.argv.slice(2);
const agent = new HttpAgent({ url, threadId: "t1", initialMessages: [{ id: "m1", role: "user", content: "a.txt" }] });
const runs = [];
for (let resume; runs.length < 3; ) {
  const events = [];
  await agent.runAgent({ runId: `r${runs.length}`, resume }, { onEvent: ({ event }) => { events.push(event); } });
  runs.push(events.map((event) => event.type));
  const interrupts = events.at(-1).outcome?.interrupts;
  if (interrupts === undefined) break;
  resume = interrupts.map(({ id }) => ({ interruptId: id, status: "resolved", payload: JSON.parse(payload) }));
}
console.log(JSON.stringify({ runs, messages: agent.messages }));
