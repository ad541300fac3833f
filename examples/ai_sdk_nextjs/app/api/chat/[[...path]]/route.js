// The page asks this route, and the route asks the service, whose token stays on the server.
// The session is always the same here: take it from your login, and let nobody name that of somebody else.
const service = process.env.NOTIFIER_URL ?? "http://127.0.0.1:8000";
const token = process.env.NOTIFIER_TOKEN;

async function forward(request, { params }) {
  if (request.headers.get("sec-fetch-site") !== "same-origin") return new Response("Another site may not do that.", { status: 403 });
  const { path = [] } = await params; // of /api/chat/ID/stream, which the SDK asks after a reload
  const { search } = new URL(request.url);
  const answer = await fetch(`${service}/agent_backend/api/ai-sdk/page${path.at(-1) === "stream" ? "/stream" : ""}${search}`, {
    method: request.method,
    body: request.method === "POST" ? await request.text() : undefined,
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    signal: request.signal,
  });
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
}

export { forward as GET, forward as POST };
