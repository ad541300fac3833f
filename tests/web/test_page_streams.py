"""The chat's agent for pages of other protocols: the Vercel AI SDK and AG-UI; their real clients are integrations."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, ChatTurn, Decision, Settings, ToolDenied, ask, create_app, serve
from notifier_service.core.permission_request import PermissionRequest

from .conftest import API, PATIENCE_SECONDS

AI = f"{API}/ai-sdk/s"
SEVEN = f"{AI}?sdk=7"
AG = f"{API}/ag-ui/s"


SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}


class Agent:
    """Deletes what it is told to, and says how that went."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.turns: list[ChatTurn] = []
        self.broker: Broker | None = None

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[Any]:
        self.turns.append(turn)
        yield "I will. "

        async def delete(path: str) -> dict[str, str]:
            if path == "broken":
                raise ValueError("it is broken")
            self.ran.append(path)
            return {"gone": path}

        tool = turn.tools(delete, risk_level="high")
        if turn.query == "both":
            await asyncio.gather(tool("a"), tool("b"), return_exceptions=True)
            yield "Both."
            return
        if turn.query == "schema":
            given = await ask("s", "delete", {"path": "a"}, service=self.broker, input_schema=SCHEMA)
            yield str(given)
            return
        if turn.query == "say":
            yield {"type": "chart.x", "points": [1]}
            yield b"\x01"
            raise ValueError("no more")
        try:
            yield f"Done: {await tool(turn.query)}"
        except ToolDenied as denial:
            yield str(denial)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
async def page(agent: Agent, broker: Broker) -> AsyncIterator[Page]:
    agent.broker = broker
    async with serve(broker, Settings(port=0), agent=agent) as site, aiohttp.ClientSession(site.url) as http:
        yield Page(http, broker)


class Page:
    def __init__(self, http: aiohttp.ClientSession, broker: Broker) -> None:
        self.http = http
        self.broker = broker

    async def post(self, path: str, body: Any) -> list[Any]:
        """All that a stream says."""
        async with asyncio.timeout(PATIENCE_SECONDS), self.http.post(path, json=body) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            return said(await response.text())

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        async with self.http.request(method, path, json=body) as response:
            return response.status, (await response.json())["error"]["code"]

    async def asked(self) -> PermissionRequest:
        session = self.broker.open("s")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not session.desk.pending:
                await session.log.wait_after(session.log.last_seq)
        return session.desk.pending[-1]


def said(text: str) -> list[Any]:
    lines = [line[6:] for line in text.split("\n\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def types(chunks: list[Any]) -> list[str]:
    return [chunk if isinstance(chunk, str) else chunk["type"] for chunk in chunks]


def one(chunks: list[Any], kind: str) -> Any:
    return next(chunk for chunk in chunks if isinstance(chunk, dict) and chunk["type"] == kind)


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "c1", "messages": [{"role": "user", "parts": [{"type": "text", "text": text}]}], **more}


def responded(request_id: Any, approved: Any, **more: Any) -> dict[str, Any]:
    approval = {"id": request_id, "approved": approved, **more}
    part = {"type": "dynamic-tool", "state": "approval-responded", "input": {"path": "/etc"}, "approval": approval}
    return {"messages": [{"role": "assistant", "parts": [part]}]}


def carrying(url: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "parts": [{"type": "text", "text": "a"}, {"type": "file", "url": url}]}]}


ASKED = [
    "start", "start-step", "text-start", "text-delta", "text-end", "tool-input-start", "tool-input-available",
    "tool-approval-request",
]  # fmt: skip


async def test_ai_sdk_page_is_left_to_answer_and_goes_on_with_what_was_kept(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("a"))
    assert types(asked) == [*ASKED, "finish-step", "finish", "[DONE]"]
    request = one(asked, "tool-approval-request")

    rest = await page.post(SEVEN, responded(request["approvalId"], True))

    assert types(rest) == [
        "start", "tool-approval-response", "tool-output-available", "text-start", "text-delta", "text-end",
        "finish-step", "finish", "[DONE]",
    ]  # fmt: skip
    assert "messageId" not in rest[0]
    assert agent.ran == ["a"]  # not the page's copy
    assert one(rest, "tool-output-available")["output"] == {"gone": "a"}


async def test_ai_sdk_page_that_denies_is_told_so(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("a"))
    request = one(asked, "tool-approval-request")
    rest = await page.post(SEVEN, responded(request["approvalId"], False, reason="not now"))

    assert one(rest, "tool-approval-response") == {
        "type": "tool-approval-response", "approvalId": request["approvalId"], "approved": False, "reason": "not now",
    }  # fmt: skip
    assert one(rest, "tool-output-denied")["toolCallId"] == request["toolCallId"]
    assert agent.ran == []


async def test_ai_sdk_stream_that_is_held_hears_the_answer_of_somebody_else(page: Page, agent: Agent) -> None:
    stream = asyncio.create_task(page.post(f"{AI}?hold=1&sdk=7", user("a")))
    request = await page.asked()
    page.broker.decide("s", Decision(request_id=request.request_id, approved=True), decided_by="ada")
    chunks = await stream

    assert types(chunks)[: len(ASKED)] == ASKED
    assert types(chunks)[len(ASKED) :][:2] == ["tool-approval-response", "tool-output-available"]
    assert chunks[-2:] == [{"type": "finish", "finishReason": "stop"}, "[DONE]"]


async def test_ai_sdk_page_hears_what_somebody_else_decided_first(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("a"))
    request_id = one(asked, "tool-approval-request")["approvalId"]
    page.broker.decide("s", Decision(request_id=request_id, approved=False), decided_by="ada")

    rest = await page.post(SEVEN, responded(request_id, True))

    assert one(rest, "tool-approval-response")["approved"] is False
    assert one(rest, "tool-approval-response")["reason"] == "rejected by ada"
    assert agent.ran == []


async def test_ai_sdk_calls_side_by_side_are_asked_about_together(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("both"))
    ids = [chunk["approvalId"] for chunk in asked if chunk != "[DONE]" and chunk["type"] == "tool-approval-request"]
    assert len(ids) == 2
    again = await page.post(AI, responded(ids[0], True))
    assert types(again)[-3:] == ["finish-step", "finish", "[DONE]"]
    assert one(again, "tool-output-available")["output"] == {"gone": agent.ran[0]}

    rest = await page.post(AI, responded(ids[1], True))
    assert one(rest, "text-delta")["delta"] == "Both."


async def test_ai_sdk_page_that_comes_back_hears_the_answer_from_its_beginning(page: Page) -> None:
    async with page.http.get(f"{AI}/stream") as response:
        assert response.status == 204
    asked = await page.post(AI, user("a"))
    async with page.http.get(f"{AI}/stream") as response:
        assert said(await response.text()) == asked
        assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    await page.post(AI, responded(one(asked, "tool-approval-request")["approvalId"], True))
    async with page.http.get(f"{AI}/stream") as response:
        assert response.status == 204


async def test_ai_sdk_answer_is_stopped(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("a"))
    async with page.http.delete(f"{AI}/stream") as response:
        assert response.status == 200
    rest = await page.post(AI, responded(one(asked, "tool-approval-request")["approvalId"], True))

    assert one(rest, "abort")["reason"] == "the answer was cancelled"
    assert agent.ran == []
    assert await page.refused("DELETE", f"{AI}/stream") == (404, "not_found")


async def test_ai_sdk_agent_that_fails_is_told_after_what_it_said(page: Page) -> None:
    chunks = await page.post(AI, user("say"))

    assert one(chunks, "data-chart-x")["data"] == {"points": [1]}
    assert one(chunks, "data-binary")["data"] == "AQ=="
    assert one(chunks, "error")["errorText"] == "ValueError: no more"
    assert chunks[-2]["finishReason"] == "error"


async def test_ai_sdk_tool_that_fails_is_told(page: Page) -> None:
    asked = await page.post(AI, user("broken"))
    rest = await page.post(AI, responded(one(asked, "tool-approval-request")["approvalId"], True))

    assert one(rest, "tool-output-error")["errorText"] == "ValueError: it is broken"


async def test_ai_sdk_before_seven_is_told_nothing_that_it_does_not_know(page: Page) -> None:
    asked = await page.post(AI, user("a"))
    rest = await page.post(AI, responded(one(asked, "tool-approval-request")["approvalId"], True))

    assert types(rest)[:2] == ["start", "tool-output-available"]


async def test_ai_sdk_files_reach_the_agent(page: Page, agent: Agent) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"png").decode()
    body = user("say")
    body["messages"][0]["parts"].append({"type": "file", "mediaType": "image/png", "url": url})
    await page.post(AI, body)

    assert agent.turns[0].attachments == (b"png",)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"messages": []}, (422, "invalid")),
        ({}, (422, "invalid")),
        ({"messages": [{"role": "system", "parts": []}]}, (422, "invalid")),
        (user(""), (422, "invalid")),
        (responded("pr_1", True), (404, "not_found")),
        (responded("pr_1", "yes"), (422, "invalid")),
        (responded(7, True), (422, "invalid")),
        (carrying("data:;base64,?"), (422, "invalid")),
    ],
)  # fmt: skip
async def test_ai_sdk_body_that_is_wrong_is_refused(body: Any, refusal: tuple[int, str], page: Page) -> None:
    assert await page.refused("POST", AI, body) == refusal


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"id": "pr_1"}, (404, "request_not_found")),
        ({"id": ""}, (404, "request_not_found")),
        ({"id": "x" * 300}, (422, "invalid")),
        ({"reason": "x" * 10_001}, (422, "invalid")),
        ({"approved": None}, (422, "invalid")),
        ({"approved": False}, (422, "invalid")),  # and yes, and no
    ],
)
async def test_ai_sdk_approval_that_is_forged_or_wrong_decides_nothing(
    wrong: dict[str, Any], refusal: tuple[int, str], page: Page, agent: Agent
) -> None:
    asked = await page.post(AI, user("a"))
    right = responded(one(asked, "tool-approval-request")["approvalId"], True)
    parts = right["messages"][0]["parts"]
    body = {
        "messages": [{"role": "assistant", "parts": [*parts, parts[0] | {"approval": parts[0]["approval"] | wrong}]}]
    }

    assert await page.refused("POST", AI, body) == refusal
    assert len(page.broker.open("s").desk.pending) == 1
    assert agent.ran == []


async def test_ai_sdk_approval_of_another_session_is_not_known_here(page: Page, agent: Agent) -> None:
    await page.post(AI, user("a"))
    other = await page.post(f"{API}/ai-sdk/other", user("b"))
    request_id = one(other, "tool-approval-request")["approvalId"]

    assert await page.refused("POST", AI, responded(request_id, True)) == (404, "request_not_found")
    assert agent.ran == []


async def test_ai_sdk_same_approval_again_gets_the_rest_again(page: Page, agent: Agent) -> None:
    asked = await page.post(AI, user("a"))
    answer = responded(one(asked, "tool-approval-request")["approvalId"], True)

    assert await page.post(AI, answer) == await page.post(AI, answer)
    assert agent.ran == ["a"]


async def test_ai_sdk_message_that_is_huge_is_refused(page: Page, agent: Agent) -> None:
    body = io.BytesIO(json.dumps(user("x" * 10_000_000)).encode())
    async with page.http.post(AI, data=body, headers={"Content-Type": "application/json"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (413, "too_large")
    assert agent.turns == []


async def test_ai_sdk_second_message_waits_for_the_first(page: Page) -> None:
    await page.post(AI, user("a"))
    assert await page.refused("POST", AI, user("b")) == (409, "answer_running")


def run(text: str = "a", **more: Any) -> dict[str, Any]:
    return {"threadId": "t", "runId": "r", "messages": [{"id": "m", "role": "user", "content": text}], **more}


def resume(interrupt_id: str, payload: Any = None, status: str = "resolved") -> dict[str, Any]:
    return run(resume=[{"interruptId": interrupt_id, "status": status, "payload": payload}])


async def interrupted(page: Page, text: str = "a") -> str:
    events = await page.post(AG, run(text))
    assert events[-1]["outcome"]["type"] == "interrupt"
    interrupt = events[-1]["outcome"]["interrupts"][0]
    assert interrupt["toolCallId"] == one(events, "TOOL_CALL_START")["toolCallId"]
    assert interrupt["responseSchema"]["required"] == ["approved"]
    return str(interrupt["id"])


@pytest.mark.parametrize(
    ("payload", "status", "ran"),
    [
        ({"approved": True}, "resolved", ["a"]),
        ({"approved": True, "editedArgs": {"path": "b"}}, "resolved", ["b"]),
        ({"approved": False, "reason": "no", "editedArgs": {"path": "b"}}, "resolved", []),
        ({"approved": True}, "cancelled", []),
    ],
)
async def test_ag_ui_request_is_an_interrupt_that_a_resume_answers(
    payload: Any, status: str, ran: list[str], page: Page, agent: Agent
) -> None:
    interrupt_id = await interrupted(page)
    events = await page.post(AG, resume(interrupt_id, payload, status))

    assert agent.ran == ran
    assert (events[0]["type"], events[-1]["type"]) == ("RUN_STARTED", "RUN_FINISHED")
    assert events[-1]["outcome"] == {"type": "success"}
    assert "TOOL_CALL_START" not in types(events)
    content = one(events, "TOOL_CALL_RESULT")["content"]
    assert ("gone" in content) is bool(ran)


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        (resume("pr_1", {"approved": True}), "invalid"),
        (run(resume=[]), "invalid"),
        (run(), "invalid"),
        (resume("pr_1", {"approved": True}) | {"threadId": "other"}, "invalid"),
        (run() | {"threadId": "other"}, "answer_running"),
    ],
)
async def test_ag_ui_resume_answers_every_open_interrupt(entry: Any, code: str, page: Page) -> None:
    await interrupted(page)
    events = await page.post(AG, entry)

    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", code)
    assert len(page.broker.open("s").desk.pending) == 1


@pytest.mark.parametrize("payload", [None, {}, {"approved": "yes"}, {"approved": True, "editedArgs": []}, [True]])
async def test_ag_ui_payload_that_is_wrong_decides_nothing(payload: Any, page: Page) -> None:
    interrupt_id = await interrupted(page)
    events = await page.post(AG, resume(interrupt_id, payload))

    assert events[-1]["code"] == "invalid"
    assert len(page.broker.open("s").desk.pending) == 1


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ([{"interruptId": "pr_1", "status": "resolved", "payload": {"approved": True}}], "request_not_found"),
        ([{"interruptId": "x" * 300, "status": "cancelled"}], "invalid"),
        (None, "invalid"),
    ],
)
async def test_ag_ui_resume_with_one_wrong_answer_decides_nothing(
    more: Any, code: str, page: Page, agent: Agent
) -> None:
    body = resume(interrupt_id := await interrupted(page), {"approved": True})
    body["resume"] += more or [{"interruptId": interrupt_id, "status": "resolved", "payload": {"approved": False}}]
    events = await page.post(AG, body)

    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", code)
    assert len(page.broker.open("s").desk.pending) == 1
    assert agent.ran == []


@pytest.mark.parametrize("payload", [{"reason": "x" * 10_001, "approved": False}, {"approved": True, "editedArgs": {}}])
async def test_ag_ui_answer_that_cannot_be_taken_leaves_the_request_open(payload: Any, page: Page) -> None:
    interrupt_id = await interrupted(page, "schema")
    events = await page.post(AG, resume(interrupt_id, payload))

    assert (events[-1]["type"], events[-1]["code"]) == ("RUN_ERROR", "invalid")
    edited = await page.post(AG, resume(interrupt_id, {"approved": True, "editedArgs": {"path": "b"}}))
    assert one(edited, "TEXT_MESSAGE_CONTENT")["delta"] == "{'path': 'b'}"


@pytest.mark.parametrize(("approved", "end"), [(True, "RUN_FINISHED"), (False, "RUN_ERROR")])
async def test_ag_ui_resume_agrees_with_what_somebody_else_decided_or_hears_of_it(
    approved: bool, end: str, page: Page
) -> None:
    interrupt_id = await interrupted(page)
    page.broker.decide("s", Decision(request_id=interrupt_id, approved=True), decided_by="ada")
    events = await page.post(AG, resume(interrupt_id, {"approved": approved}))

    assert events[-1]["type"] == end
    assert events[-1].get("code") in (None, "already_decided")


async def test_ag_ui_same_resume_again_is_safe(page: Page, agent: Agent) -> None:
    interrupt_id = await interrupted(page)
    first = await page.post(AG, resume(interrupt_id, {"approved": True}))
    again = await page.post(AG, resume(interrupt_id, {"approved": True}))

    assert (first[-1]["type"], again[-1]["type"]) == ("RUN_FINISHED", "RUN_FINISHED")
    assert agent.ran == ["a"]


async def test_ag_ui_resume_of_nothing_is_an_error_of_the_run(page: Page) -> None:
    events = await page.post(AG, resume("pr_1", {"approved": True}))
    assert types(events) == ["RUN_STARTED", "RUN_ERROR"]


async def test_ag_ui_agent_that_fails_ends_the_run_with_an_error(page: Page) -> None:
    events = await page.post(AG, run("say"))

    assert one(events, "CUSTOM") == {"type": "CUSTOM", "name": "chart.x", "value": {"points": [1]}}
    assert events[-1] == {"type": "RUN_ERROR", "message": "ValueError: no more"}


async def test_ag_ui_text_of_parts_is_taken(page: Page, agent: Agent) -> None:
    body = run()
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "say"}]}, {"role": "assistant"}]
    await page.post(AG, body)
    assert agent.turns[0].query == "say"


async def test_answer_of_somebody_else_is_as_if_there_were_none(
    agent: Agent, tmp_path: Any, aiohttp_client: Any
) -> None:
    tokens = tmp_path / "tokens.json"
    names = {"a" * 40: "ada", "b" * 40: "ben"}
    entries = [
        {"token": token, "subject": name, "rights": ["approve"], "sessions": ["*"]} for token, name in names.items()
    ]
    tokens.write_text(json.dumps(entries))
    tokens.chmod(0o600)
    client = await aiohttp_client(create_app(settings=Settings(auth="tokens", tokens_file=tokens), agent=agent))
    ada, ben = ({"Authorization": f"Bearer {token}"} for token in names)

    async with client.post(AI, json=user("a"), headers=ada) as response:
        request_id = one(said(await response.text()), "tool-approval-request")["approvalId"]
    async with client.get(f"{AI}/stream", headers=ben) as response:
        assert response.status == 204
    async with client.post(AI, json=user("a")) as response:
        assert response.status == 401
    async with client.post(AI, json=responded(request_id, True), headers=ada) as response:
        assert "[DONE]" in await response.text()
