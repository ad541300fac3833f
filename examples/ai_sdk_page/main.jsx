// A chat page with the Vercel AI SDK; the service answers, and asks before a tool runs.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const api = "/agent_backend/api/ai-sdk/page";
const hold = new URLSearchParams(location.search).has("hold"); // somebody else answers, on another screen
const transport = new DefaultChatTransport({
  api: `${api}?sdk=7${hold ? "&hold=1" : ""}`,
  // Only the last message counts; the whole conversation would outgrow what the service takes.
  prepareSendMessagesRequest: ({ messages, trigger }) => ({ body: { trigger, messages: messages.slice(-1) } }),
  prepareReconnectToStreamRequest: () => ({ api: `${api}/stream?sdk=7${hold ? "&hold=1" : ""}` }),
});

function Call({ part, answer }) {
  return (
    <fieldset>
      <legend>{part.toolName}: {part.state}</legend>
      <pre>{JSON.stringify(part.input, null, 2)}</pre>
      {part.state === "approval-requested" && !hold && (
        <p>
          {part.approval.requestReason}
          <button type="button" onClick={() => answer({ id: part.approval.id, approved: true })}>Approve</button>
          <button type="button" onClick={() => answer({ id: part.approval.id, approved: false, reason: prompt("Why?") ?? undefined })}>Reject</button>
        </p>
      )}
      {part.output !== undefined && <pre>{JSON.stringify(part.output)}</pre>}
      {part.approval?.reason && <p>{part.approval.reason}</p>}
    </fieldset>
  );
}

function Page() {
  const [text, setText] = useState("");
  const { messages, sendMessage, addToolApprovalResponse, error, status } = useChat({
    transport, resume: true, sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const show = (part, index) =>
    part.type === "text" ? <p key={index}>{part.text}</p>
    : part.type === "dynamic-tool" ? <Call key={index} part={part} answer={addToolApprovalResponse} /> : null;
  return (
    <form onSubmit={(event) => { event.preventDefault(); sendMessage({ text }); setText(""); }}>
      {messages.map((message) => <article key={message.id}>{message.parts.map(show)}</article>)}
      {error && <p role="alert">{error.message}</p>}
      <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} disabled={status !== "ready" && status !== "error"} />
    </form>
  );
}

createRoot(document.getElementById("root")).render(<Page />);
