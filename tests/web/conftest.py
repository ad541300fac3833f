"""A client of the application, a real service on a socket, and a reader of server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pytest_aiohttp import AiohttpClient

from notifier_service import Broker, Settings, create_app, serve
from notifier_service.web import AccessLog, Site
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import on_a_port

API = "/agent_backend/api"

Client: TypeAlias = TestClient[web.Request, web.Application]

#: Longer than anything here takes: what hangs, fails.
PATIENCE_SECONDS = 10


class Frame(NamedTuple):
    """One dispatched SSE message: its fields as they came, ``data`` parsed."""

    id: str | None
    event: str | None
    data: Any

    @property
    def type(self) -> str:
        return str(self.data["type"])


class Stream:
    """Reads an SSE body field by field, as the standard asks."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        #: The ``retry`` fields so far.
        self.retries: list[str] = []

    async def next(self) -> Frame | None:
        """The next message; None at the end of the body."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await self.response.content.readline():
                text = line.decode().removesuffix("\n")
                if text:
                    name, _, value = text.partition(":")
                    assert name in {"id", "event", "data", "retry"}, f"unknown field {name!r}"
                    assert name not in fields, f"{name} came twice"
                    fields[name] = value.removeprefix(" ")
                    if name == "retry":
                        self.retries.append(value.strip())
                elif "data" in fields:
                    return Frame(fields.get("id"), fields.get("event"), json.loads(fields["data"]))
                else:
                    fields = {}  # without data nothing is dispatched
        return None

    async def take(self, count: int) -> list[Frame]:
        frames = [await self.next() for _ in range(count)]
        assert None not in frames, "the stream ended"
        return [frame for frame in frames if frame is not None]

    async def until(self, event_type: str) -> list[Frame]:
        """All messages up to the first of this type, which is the last of them."""
        frames: list[Frame] = []
        while not frames or frames[-1].type != event_type:
            frames += await self.take(1)
        return frames

    async def rest(self) -> list[Frame]:
        """All messages up to the end of the body."""
        frames: list[Frame] = []
        while (frame := await self.next()) is not None:
            frames.append(frame)
        return frames


@asynccontextmanager
async def reading(
    client: Client | aiohttp.ClientSession, session_id: str = "s1", *, prefix: str = API, **request: Any
) -> AsyncIterator[Stream]:
    """Open the event stream of a session."""
    async with client.get(f"{prefix}/sse/events/{session_id}", **request) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


async def until(state: Callable[[], object]) -> None:
    """Let others run until ``state`` holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not state():  # noqa: ASYNC110  # the state of a core that has no event of its own for it
            await asyncio.sleep(0)


async def answer(response: aiohttp.ClientResponse) -> tuple[int, Any]:
    """Status and JSON body of a response."""
    return response.status, await response.json()


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and code of an error, whose body has the one shape."""
    body = await response.json()
    assert response.content_type == "application/json"
    assert set(body) == {"success", "error", "message"}
    assert body["success"] is False
    assert body["message"] == body["error"]["message"] != ""
    return response.status, body["error"]["code"]


class MakeClient(Protocol):
    def __call__(self, broker: Broker | None = None, **settings: Any) -> Awaitable[Client]: ...


@pytest.fixture
def make_client(aiohttp_client: AiohttpClient) -> MakeClient:
    """Make a client of an application with these settings, and a broker of its own unless one is given."""

    async def make(broker: Broker | None = None, **settings: Any) -> Client:
        given = Settings(**settings)
        server = TestServer(create_app(Broker(given) if broker is None else broker, given))
        await server.start_server(access_log_class=AccessLog)
        return await aiohttp_client(server, connector=aiohttp.TCPConnector(force_close=True))

    return make


@pytest.fixture
async def client(make_client: MakeClient, broker: Broker) -> Client:
    return await make_client(broker)


@dataclass(frozen=True)
class Service:
    """A service on a real socket, and an HTTP client for it."""

    site: Site
    http: aiohttp.ClientSession

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.site.host, self.site.port)

    async def raw(self, request: bytes) -> bytes:
        """Send these bytes, and return all that comes until the service closes the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Service]:
    async with (
        serve(settings=Settings(port=0, **settings)) as site,
        aiohttp.ClientSession(site.url, connector=aiohttp.TCPConnector(force_close=True)) as http,
    ):
        yield Service(site, http)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with serving() as running:
        yield running


@pytest.fixture
async def embedded(broker: Broker) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the application under a runner as a host program makes it: handlers are not cancelled."""
    runner = web.AppRunner(create_app(broker, Settings()), access_log_class=AccessLog)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{site.port}") as http:
        yield http
    await runner.cleanup()


class WriteTokens(Protocol):
    def __call__(self, entries: Sequence[Mapping[str, Any]] | str) -> Path: ...


@pytest.fixture
def write_tokens(tmp_path: Path) -> WriteTokens:
    """Write the tokens file, the way an editor does: a new file in the old one's place."""

    def write(entries: Sequence[Mapping[str, Any]] | str) -> Path:
        path, draft = tmp_path / "tokens.json", tmp_path / "draft.json"
        draft.write_text(entries if isinstance(entries, str) else json.dumps(entries))
        return draft.replace(path)

    return write


@pytest.fixture
async def guarded(make_client: MakeClient, broker: Broker, write_tokens: WriteTokens) -> Client:
    """A client of an application with a token for each right, in sessions ``team-*``; the token is the right's name."""
    entries = [
        {"token": f"{right}-token", "subject": right, "rights": [right], "sessions": ["team-*"]}
        for right in ("view", "approve", "produce", "admin")
    ]
    entries.append({"token": "other-token", "subject": "other", "rights": ["produce"], "sessions": ["team-*"]})
    return await make_client(broker, auth="tokens", tokens_file=write_tokens(entries))


def bearer(right: str) -> dict[str, str]:
    """The header of the caller who has this right in ``guarded``."""
    return {"Authorization": f"Bearer {right}-token"}


@pytest.fixture
async def stub() -> AsyncIterator[HttpStub]:
    """An MCP server that listens."""
    stub = HttpStub()
    async with on_a_port(stub.app()) as port:
        stub.port = port
        yield stub
