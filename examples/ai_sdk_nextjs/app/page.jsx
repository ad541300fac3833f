"use client";
// A chat page with the Vercel AI SDK; the service answers, and asks before a tool runs.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import { useState } from "react";

const transport = new DefaultChatTransport({
  api: "/api/chat?sdk=7",
  // Only the last message counts; the whole conversation would outgrow what the service takes.
  prepareSendMessagesRequest: ({ messages, trigger }) => ({ body: { trigger, messages: messages.slice(-1) } }),
  prepareReconnectToStreamRequest: () => ({ api: "/api/chat/page/stream?sdk=7" }),
});

function Call({ part, answer }) {
  return (
    <fieldset>
      <legend>{part.toolName}: {part.state}</legend>
      <pre>{JSON.stringify(part.input, null, 2)}</pre>
      {part.state === "approval-requested" && (
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

export default function Page() {
  const [text, setText] = useState("");
  const { messages, sendMessage, addToolApprovalResponse, error, status } = useChat({
    transport, resume: true, sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); sendMessage({ text }); setText(""); }}>
      {messages.flatMap((message) => message.parts.map((part, index) =>
        part.type === "text" ? <p key={message.id + index}>{part.text}</p>
        : part.type === "dynamic-tool" ? <Call key={message.id + index} part={part} answer={addToolApprovalResponse} /> : null))}
      {error && <p role="alert">{error.message}</p>}
      <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} disabled={status !== "ready" && status !== "error"} />
    </form>
  );
}
