// A page with the Vercel AI SDK, its own transport and no browser: node ai_sdk_page.mjs API approve|reject|hold|reload
// Prints as JSON how the last message looks after each answer of the agent.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The SDK is where the environment is, not beside this file.
const { AbstractChat, DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } = await import(
  pathToFileURL(createRequire(`${process.cwd()}/`).resolve("ai")).href
);

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => { this.messages = this.messages.concat(message); };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => { this.messages = this.messages.with(index, structuredClone(message)); };
  snapshot = (value) => structuredClone(value);
}
class Page extends AbstractChat {
  constructor(init) {
    super({ ...init, state: new State() });
  }
}

const [api, way] = process.argv.slice(2);
const problems = [];
const make = () =>
  new Page({
    id: "s1",
    transport: new DefaultChatTransport({ api, prepareReconnectToStreamRequest: () => ({ api: api.replace(/(?=[?]|$)/, "/stream") }) }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
    onError: (error) => problems.push(String(error)),
  });
let page = make();
const settled = async () => {
  do await new Promise((resolve) => setTimeout(resolve, 20));
  while (page.status !== "ready" && page.status !== "error");
};
const shown = () => page.messages.at(-1).parts.filter((part) => part.type !== "step-start");

await page.sendMessage({ text: "a.txt" });
const said = [shown()];
if (way === "reload") {
  page = make();
  await page.resumeStream();
  said.push(shown());
}
const asked = shown().find((part) => part.state === "approval-requested");
if (asked !== undefined) {
  const approved = way !== "reject";
  await page.addToolApprovalResponse({ id: asked.approval.id, approved, reason: approved ? undefined : "not now" });
  await settled();
  said.push(shown());
}
console.log(JSON.stringify({ said, problems }));
