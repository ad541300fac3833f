"""What an opencode server asks is asked here, and answered there; the real one is in ``integrations``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from notifier_service import Broker, Decision
from notifier_service.bridges import opencode
from notifier_service.bridges.opencode import OpencodeBridge
from notifier_service.calls.asker import BrokerAsker
from notifier_service.core.errors import InvalidInput, NotifierError
from notifier_service.core.permission_request import PermissionRequest
from tests.mcp.http_wiring import on_a_port

CALL = {"type": "tool", "callID": "c1", "tool": "bash", "state": {"status": "running", "input": {"command": "make"}}}


def permission(request_id: str = "p1", **more: Any) -> dict[str, Any]:
    asked = {
        "id": request_id,
        "sessionID": "o1",
        "permission": "bash",
        "patterns": ["make"],
        "metadata": {},
        "always": [],
    }
    return asked | {"tool": {"messageID": "m1", "callID": "c1"}} | more


class Server:
    """A stand-in of the interface that the bridge uses."""

    def __init__(self) -> None:
        self.pending: dict[str, dict[str, Any]] = {}
        self.parts: list[Any] = [CALL]
        self.replies: list[tuple[str, Any]] = []
        #: How it answers replies; the last one goes on.
        self.reply_statuses = [200]
        self.lists: list[Any] = []
        self._streams: list[web.StreamResponse] = []
        self._changed = asyncio.Event()
        self._cut = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/event", self._events)
        app.router.add_get("/permission", self._list)
        app.router.add_post("/permission/{id}/reply", self._reply)
        app.router.add_get("/session/{session}/message/{message}", self._message)
        return app

    async def until(self, state: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not state():
                self._changed.clear()
                await self._changed.wait()

    async def follows(self) -> None:
        await self.until(lambda: self._streams)

    async def tell(self, kind: str, properties: Any) -> None:
        await self.write(json.dumps({"type": kind, "properties": properties}))

    async def write(self, event: str) -> None:
        for stream in self._streams:
            await stream.write(f"data: {event}\n\n".encode())

    async def ask(self, **more: Any) -> None:
        asked = permission(**more)
        self.pending[asked["id"]] = asked
        await self.tell("permission.asked", asked)

    def cut(self) -> None:
        self._streams.clear()
        self._cut.set()
        self._cut = asyncio.Event()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b'data: {"type": "server.connected", "properties": {}}\n\n')
        self._streams.append(stream)
        self._changed.set()
        await self._cut.wait()
        return stream

    async def _list(self, request: web.Request) -> web.Response:
        if self.lists:
            return web.Response(text=self.lists.pop(0), content_type="application/json")
        return web.json_response(list(self.pending.values()))

    async def _message(self, request: web.Request) -> web.Response:
        return web.json_response({"info": {}, "parts": self.parts})

    async def _reply(self, request: web.Request) -> web.Response:
        self.replies.append((request.match_info["id"], await request.json()))
        self.pending.pop(request.match_info["id"], None)
        self._changed.set()
        statuses = self.reply_statuses
        return web.json_response(True, status=statuses.pop(0) if len(statuses) > 1 else statuses[0])


@pytest.fixture
async def server(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(opencode, "_MAX_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(opencode, "_REPLY_PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(opencode.random, "uniform", lambda *_: 0.01)
    server = Server()
    async with on_a_port(server.app()) as port:
        server.url = f"http://user:secret@127.0.0.1:{port}"
        yield server
        server.cut()


@asynccontextmanager
async def bridged(server: Server, broker: Broker) -> AsyncIterator[None]:
    async with OpencodeBridge(BrokerAsker(broker, "s"), server.url) as bridge:
        running = asyncio.create_task(bridge.run())
        await server.follows()
        yield
        running.cancel()


async def asked(broker: Broker, count: int = 1) -> PermissionRequest:
    session = broker.open("s")
    async with asyncio.timeout(10):
        while len(session.desk.pending) < count:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


async def nothing_waits(broker: Broker) -> None:
    session = broker.open("s")
    async with asyncio.timeout(10):
        while session.desk.pending:
            await session.log.wait_after(session.log.last_seq)


@pytest.mark.parametrize(
    ("decision", "reply"),
    [
        ({"approved": True}, {"reply": "once"}),
        ({"approved": True, "scope": "session"}, {"reply": "once"}),
        (
            {"approved": False, "reason": "not now"},
            {"reply": "reject", "message": "bash did not run: rejected by ada: not now"},
        ),
    ],
)
async def test_what_it_asks_is_asked_here_and_answered_there(
    decision: dict[str, Any], reply: dict[str, Any], server: Server, broker: Broker
) -> None:
    async with bridged(server, broker):
        await server.ask()
        request = await asked(broker)
        broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
        await server.until(lambda: server.replies)

    assert server.replies == [("p1", reply)]
    assert (request.record.tool_name, request.record.parameters) == ("bash", {"command": "make"})
    assert request.record.allowed_decisions == ("approve", "reject")


async def test_what_waited_before_is_asked_too(server: Server, broker: Broker) -> None:
    server.pending["p0"] = permission("p0")
    async with bridged(server, broker):
        assert (await asked(broker)).record.tool_name == "bash"


async def test_call_that_it_does_not_tell_is_shown_as_it_asked(server: Server, broker: Broker) -> None:
    server.parts = [None, {}, {"type": "tool", "callID": "c2"}]
    async with bridged(server, broker):
        await server.ask(permission="external_directory", patterns=["/etc/*"], metadata={"filepath": "/etc/x"})
        record = (await asked(broker)).record

    assert record.tool_name == "external_directory"
    assert record.parameters == {"metadata": {"filepath": "/etc/x"}, "patterns": ["/etc/*"]}


async def test_other_permission_of_a_call_says_what_it_is_for(server: Server, broker: Broker) -> None:
    async with bridged(server, broker):
        await server.ask(permission="external_directory", patterns=["/etc/*"])
        record = (await asked(broker)).record

    assert (record.tool_name, record.description) == ("bash", "asks for external_directory: /etc/*")


@pytest.mark.parametrize(
    "gone",
    [
        ("permission.replied", {"sessionID": "o1", "requestID": "p1", "reply": "once"}),
        ("session.deleted", {"info": {"id": "o1"}}),
    ],
)
async def test_answer_from_elsewhere_withdraws_the_card(gone: tuple[str, Any], server: Server, broker: Broker) -> None:
    async with bridged(server, broker):
        await server.ask()
        await asked(broker)
        await server.tell(*gone)
        await nothing_waits(broker)

    assert server.replies == []


async def test_after_a_cut_what_waits_waits_on_and_what_is_gone_is_withdrawn(server: Server, broker: Broker) -> None:
    async with bridged(server, broker):
        await server.ask(request_id="p1")
        await asked(broker)
        await server.ask(request_id="p2")
        kept = (await asked(broker, 2)).request_id
        del server.pending["p1"]
        server.cut()
        await server.follows()
        session = broker.open("s")
        async with asyncio.timeout(10):
            while len(session.desk.pending) > 1:
                await session.log.wait_after(session.log.last_seq)
        assert [request.request_id for request in session.desk.pending] == [kept]


async def test_answer_that_came_too_late_is_told(server: Server, broker: Broker) -> None:
    server.reply_statuses = [404]
    async with bridged(server, broker):
        await server.ask()
        request = await asked(broker)
        broker.decide("s", Decision(request_id=request.request_id, approved=True), decided_by="ada")
        await server.until(lambda: server.replies)
        session = broker.open("s")
        async with asyncio.timeout(10):
            while "had another one already" not in str(session.log.read_after(0)[-1].json):
                await session.log.wait_after(session.log.last_seq)


@pytest.mark.parametrize(("statuses", "times"), [([500, 502, 200], 3), ([503], 3), ([404], 1)])
async def test_answer_is_given_again_where_it_was_not_taken_for_a_moment(
    statuses: list[int], times: int, server: Server, broker: Broker
) -> None:
    server.reply_statuses = statuses
    async with bridged(server, broker):
        await server.ask()
        request = await asked(broker)
        broker.decide("s", Decision(request_id=request.request_id, approved=True), decided_by="ada")
        await server.until(lambda: len(server.replies) == times)
        await server.ask(request_id="p2")
        await asked(broker)

    assert server.replies == [("p1", {"reply": "once"})] * times


@pytest.mark.parametrize("listed", ["{}", "null", "7", '{"error": "no"}', "[" * 100_000, "[{]", "[null, 7, {}]"])
async def test_list_that_is_none_withdraws_nothing_and_is_asked_for_again(
    listed: str, server: Server, broker: Broker
) -> None:
    async with bridged(server, broker):
        await server.ask()
        waiting = await asked(broker)
        server.lists = [listed] if not listed.startswith("[null") else []
        server.cut()
        await server.follows()
        await server.ask(request_id="p2")
        await asked(broker, 2)

        assert waiting in broker.open("s").desk.pending


async def test_bridge_that_ends_withdraws_and_answers_nothing(server: Server, broker: Broker) -> None:
    async with bridged(server, broker):
        await server.ask()
        await asked(broker)

    await nothing_waits(broker)
    assert server.replies == []


@pytest.mark.parametrize(
    "event",
    [
        "null",
        "[]",
        '{"type": "permission.asked"}',
        '{"type": "permission.asked", "properties": {"id": 1}}',
        "not json",
        "[" * 100_000,
    ],
)
async def test_event_that_is_none_is_passed_over(event: str, server: Server, broker: Broker) -> None:
    async with bridged(server, broker):
        await server.write(event)
        await server.follows()
        await server.ask()
        await asked(broker)


async def test_server_that_is_none_is_said_without_its_password(broker: Broker, server: Server) -> None:
    async with on_a_port(web.Application()) as port:
        for url, says in (
            (f"http://u:secret@127.0.0.1:{port}", "no opencode server"),
            ("http://u:secret@127.0.0.1:9", "no opencode at http://127.0.0.1:9"),
        ):
            async with OpencodeBridge(BrokerAsker(broker, "s"), url) as bridge:
                with pytest.raises(NotifierError, match=says) as said:
                    await bridge.run()
            assert "secret" not in str(said.value)
    with pytest.raises(InvalidInput, match="is a URL"):
        OpencodeBridge(BrokerAsker(broker, "s"), "localhost:4096")
