"""Every stream as other people's clients read it: each of their parsers gets the same events, and each is JSON.

The three are modelled here after their own sources: the standard's EventSource (WHATWG HTML section 9.2.6),
@microsoft/fetch-event-source 2.0.1 and httpx-sse 0.4.3.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from notifier_service import Settings, serve
from notifier_service.chat import ChatTurn
from notifier_service.web import Site

from .conftest import PATIENCE_SECONDS, Service, serving, until

SSE = "/agent_backend/api/sse/events/s"
CHAT = "/agent_chat_stream?query="
#: What str.splitlines takes for ends of lines, and JSON does not.
LINE_ENDS = "a\u2028b\u2029c\u0085d\r\ne\vf\fg\x1ch"


def event_source(body: bytes) -> Iterator[str]:
    """What ``onmessage`` gets by the standard."""
    data: list[str] = []
    for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line:
            if data:
                yield "\n".join(data)
            data = []


def fetch_event_source(body: bytes) -> Iterator[str]:
    """Every blank line is a message, whatever came before it; only lines with a name count."""
    data = ""
    for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        name, colon, value = line.partition(":")
        if not line:
            yield data
            data = ""
        elif name == "data" and colon:
            value = value.removeprefix(" ")
            data = f"{data}\n{value}" if data else value


def httpx_sse(body: bytes) -> Iterator[str]:
    """Lines are those of ``str.splitlines``; a block with any field is a message, and the last id stays one."""
    data: list[str] = []
    event, last_event_id, retry = "", "", None
    for line in body.decode().splitlines():
        if not line:
            if event or data or last_event_id or retry is not None:
                yield "\n".join(data)
            data, event, retry = [], "", None
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                last_event_id = value
            elif name == "retry":
                retry = int(value)


PARSERS: tuple[Callable[[bytes], Iterator[str]], ...] = (event_source, fetch_event_source, httpx_sse)


def told(body: bytes) -> list[dict[str, Any]]:
    """The events of a body, the same to all parsers."""
    first, *others = [[json.loads(data) for data in parser(body)] for parser in PARSERS]
    assert all(other == first for other in others)
    return first


def types(body: bytes) -> list[str]:
    return [event["type"] for event in told(body)]


def get(path: str, cursor: str = "") -> bytes:
    header = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
    return f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{header}\r\n".encode()


async def body_of(site: Site, request: bytes, *, seen: bytes = b"", then: Callable[[], object] = lambda: None) -> bytes:
    """The whole body of an answer that ends; ``then`` is done when ``seen`` has come twice."""
    reader, writer = await asyncio.open_connection(site.host, site.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        received = b"".join([await reader.readuntil(seen) for _ in range(2)]) if seen else b""
        then()
        received += await reader.read()
    writer.close()
    return received.partition(b"\r\n\r\n")[2]


def test_models_are_as_strict_as_the_clients_they_are_of() -> None:
    retry_alone, comment_alone = b"retry: 1\n\ndata: {}\n\n", b"id: 1\ndata: {}\n\n: beat\n\n"

    assert list(event_source(retry_alone)) == list(event_source(comment_alone)) == ["{}"]
    assert list(fetch_event_source(retry_alone)) == list(httpx_sse(retry_alone)) == ["", "{}"]
    assert list(fetch_event_source(comment_alone)) == list(httpx_sse(comment_alone)) == ["{}", ""]


@pytest.mark.parametrize("query", ["", "?named=1"])
async def test_session_from_its_first_event_to_its_end_is_json_to_every_client(query: str) -> None:
    async with serving(heartbeat_seconds=0.05) as service:
        broker = service.site.broker

        def go_on() -> None:
            broker.publish_nowait("s", "note", {"text": LINE_ENDS})
            broker.ask("s", tool_name="rm", parameters={"path": LINE_ENDS})
            broker.end_session("s")

        body = await body_of(service.site, get(SSE + query), seen=b"heartbeat", then=go_on)
        heard = [event for event in told(body) if event["type"] != "heartbeat"]

    assert [event["type"] for event in heard] == [
        "hello", "snapshot", "note", "permission_request", "permission_cleared", "bye",
    ]  # fmt: skip
    assert heard[2]["data"]["text"] == heard[3]["data"]["parameters"]["path"] == LINE_ENDS


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        ("none", ["hello", "gap", "snapshot", "bye"]),
        ("earliest", ["hello", "note", "note", "bye"]),
    ],
)
async def test_session_that_is_resumed_is_json_to_every_client(cursor: str, expected: list[str]) -> None:
    async with serving() as service:
        broker = service.site.broker
        for _ in range(2):
            broker.publish_nowait("s", "note", {"text": LINE_ENDS})
        body = asyncio.ensure_future(body_of(service.site, get(SSE, cursor)))
        await until(lambda: broker.connections)
        broker.end_session("s")

        assert types(await body) == expected


async def test_stream_that_is_refused_is_json_to_every_client() -> None:
    async with serving(max_connections_per_session=1) as service, service.http.get(SSE):
        assert types(await body_of(service.site, get(SSE))) == ["error", "bye"]


async def test_shutdown_is_json_to_every_client() -> None:
    async with serving() as service:
        body = asyncio.ensure_future(body_of(service.site, get(SSE)))
        await until(lambda: service.site.broker.connections)

    assert types(await body) == ["hello", "snapshot", "bye"]


class Slow:
    """An agent that says nothing until it may."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[Any]:
        if turn.query == "slow":
            await self.go_on.wait()
        yield LINE_ENDS
        if turn.query == "fail":
            raise ZeroDivisionError("by zero")
        yield {"type": "note", "text": LINE_ENDS}
        yield b"\0"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("now", ["content", "note", "binary", "done"]),
        ("slow", ["content", "content", "note", "binary", "done"]),  # the first is empty, and has the place
        ("fail", ["content", "error"]),
    ],
)
async def test_chat_is_json_to_every_client(query: str, expected: list[str]) -> None:
    agent = Slow()
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.02), agent=agent) as site:
        seen = b"heartbeat" if query == "slow" else b""
        body = await body_of(site, get(CHAT + query), seen=seen, then=agent.go_on.set)

    assert types(body) == expected
    assert "".join(event["content"] for event in told(body) if event["type"] == "content") == LINE_ENDS


async def test_chat_that_is_gone_is_json_to_every_client() -> None:
    async with serve(settings=Settings(port=0), agent=Slow()) as site:
        assert types(await body_of(site, get(CHAT + "now", "0-1"))) == ["error"]


async def test_prompt_tool_is_json_to_every_client() -> None:
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "approval_prompt", "arguments": {"tool_name": "Bash", "input": {"command": LINE_ENDS}}},
    }
    sent = json.dumps(call).encode()
    head = (
        b"POST /mcp/s HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(sent)
    )
    async with serve(settings=Settings(port=0, heartbeat_seconds=0.02)) as site:

        def withdraw() -> None:
            site.broker.get("s").desk.pending[0].cancel(LINE_ENDS)

        body = await body_of(site, head + sent, seen=b": a person", then=withdraw)

    assert [event["id"] for event in told(body)] == [1]


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId", "Last-Event-ID", "evs_last_event_id", "lasteventid"])
async def test_names_that_polyfills_use_resume(service: Service, name: str) -> None:
    first, second = [service.site.broker.publish_nowait("s", "note", {"n": n}).id for n in range(2)]

    assert await _resumed(service, f"?{name}={first}") == [second]


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("?lastEventId={old}", "{new}"),
        ("?Last-Event-ID=&lastEventId={new}", ""),
        ("?lastEventId={new}&Last-Event-ID=", ""),
        ("?last_event_id={old}&lastEventId={new}", ""),
        ("?lastEventId={old}&lastEventId={new}", ""),
        ("?lastEventId=nonsense&last_event_id={old}", "{new}"),
    ],
)
async def test_header_wins_then_what_stands_last_in_the_query(service: Service, query: str, header: str) -> None:
    old, new, last = [service.site.broker.publish_nowait("s", "note", {"n": n}).id for n in range(3)]

    assert await _resumed(service, query.format(old=old, new=new), header.format(new=new)) == [last]


async def _resumed(service: Service, query: str, header: str = "") -> list[str]:
    """The ids that a reader misses who comes back so."""
    body = asyncio.ensure_future(body_of(service.site, get(SSE + query, header)))
    await until(lambda: service.site.broker.connections)
    service.site.broker.end_session("s")
    hello, *events = told(await body)
    assert hello["data"]["resumed"] == "full"
    return [event["id"] for event in events if event["type"] == "note"]


@pytest.mark.parametrize("name", ["lastEventId", "Last-Event-ID"])
async def test_names_that_polyfills_use_resume_a_chat(name: str) -> None:
    async with serve(settings=Settings(port=0), agent=Slow()) as site:
        whole = await body_of(site, get(CHAT + "now&session_id=a"))
        first = whole.split(b"id: ")[1].split(b"\n")[0].decode()
        rest = await body_of(site, get(f"{CHAT}now&session_id=a&{name}={first}"))

    assert types(rest) == types(whole)[1:]
