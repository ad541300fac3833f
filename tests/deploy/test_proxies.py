"""Through each proxy, with the configuration that the command prints: all that a person and an agent do."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, ClientWebSocketResponse, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from notifier_service.cli.proxies import PROXIES, Front
from tests.cli.processes import free_port
from tests.deploy.conftest import AGENT, TOKEN
from tests.deploy.programs import make_certificate, needs, running
from tests.service_process import service_process

pytestmark = pytest.mark.integration

NAME = "notifier.test"
API = "/agent_backend/api"
#: What a person does not notice; a proxy that holds back does so for as long as nothing more comes.
SOON_SECONDS = 1.0
HELD_BACK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Through:
    """A client of the service through a proxy."""

    base: str
    session: ClientSession
    tls: ssl.SSLContext | None

    @property
    def origin(self) -> str:
        return "/".join(self.base.split("/", 3)[:3])

    async def post(self, path: str, body: Any, token: str = TOKEN) -> tuple[int, Any]:
        headers = {"Origin": self.origin, "Authorization": f"Bearer {token}"}
        headers["Content-Type"] = "application/json"
        data = io.BytesIO(json.dumps(body).encode())
        async with self.session.post(self.base + path, data=data, headers=headers) as answer:
            return answer.status, await answer.json()


class Here(AbstractResolver):
    """Every name is this machine's, so that a certificate is of the name that is typed."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def through(
    proxy: str, upstream: int | str, folder: Path, *, path: str = "", is_secure: bool = False
) -> AsyncIterator[Through]:
    needs(proxy)
    port = free_port()
    folder.mkdir(exist_ok=True)
    certificate, key = make_certificate(folder, NAME) if is_secure else (None, None)
    front = Front(
        upstreams=(upstream if isinstance(upstream, str) else f"127.0.0.1:{upstream}",),
        server_name=NAME,
        path=path,
        certificate=None if certificate is None else str(certificate),
        key=None if key is None else str(key),
        listen=f"127.0.0.1:{port}",
    )
    tls = None if certificate is None else ssl.create_default_context(cafile=str(certificate))
    async with (
        running(proxy, PROXIES[proxy](front), port, folder / proxy),
        ClientSession(
            connector=TCPConnector(ssl=tls if tls is not None else True, resolver=Here()),
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as session,
    ):
        yield Through(f"{'https' if is_secure else 'http'}://{NAME}:{port}{path}", session, tls)


async def event_of(answer: ClientResponse, event_type: str) -> tuple[dict[str, Any], float]:
    """The next event of a type on a stream, and when it came."""
    async with asyncio.timeout(HELD_BACK_SECONDS):
        async for line in answer.content:
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                if event["type"] == event_type:
                    return event, time.monotonic()
    raise AssertionError(f"the stream ended without {event_type}")


FRONTS = pytest.mark.parametrize(
    ("path", "is_secure"), [("", False), ("/notifier", True)], ids=["at the root", "under a path, with TLS"]
)
EACH = pytest.mark.parametrize("proxy", PROXIES)


@EACH
@FRONTS
async def test_events_come_as_they_are_published(
    proxy: str, path: str, is_secure: bool, service_port: int, tmp_path: Path
) -> None:
    async with through(proxy, service_port, tmp_path, path=path, is_secure=is_secure) as front:
        first, later = [], []
        # The best of some: a busy machine is late once, what holds back is late each time.
        for _ in range(2):
            began = time.monotonic()
            async with front.session.get(f"{front.base}{API}/sse/events/s1") as stream:
                _, at = await event_of(stream, "hello")
                first.append(at - began)
                for number in range(3):
                    published = time.monotonic()
                    assert (await front.post(f"{API}/events/s1", {"type": "note", "data": {"n": number}}))[0] == 201
                    event, at = await event_of(stream, "note")
                    assert event["data"]["n"] == number
                    later.append(at - published)

        assert min(first) < SOON_SECONDS
        assert min(later) < 0.15  # HAProxy's and TCP's own ways to wait take 0.2 s


@EACH
@FRONTS
async def test_person_approves_on_the_page_and_over_the_socket(
    proxy: str, path: str, is_secure: bool, service_port: int, tmp_path: Path
) -> None:
    async with through(proxy, service_port, tmp_path, path=path, is_secure=is_secure) as front:
        asked = {"tool_name": "rm", "parameters": {}, "risk_level": "high"}
        _, first = await front.post(f"{API}/permissions/s1", asked, AGENT)
        answer = {"approved": True, "request_id": first["data"]["request_id"]}
        assert (await front.post(f"{API}/sse/permission-response/s1", answer))[0] == 200

        _, second = await front.post(f"{API}/permissions/s1", asked, AGENT)
        request_id = second["data"]["request_id"]
        async with front.session.ws_connect(f"{front.base}/agent_backend/ws/s1", origin=front.origin) as live:
            await live.send_json({"type": "permission_response", "approved": False, "request_id": request_id})
            async with asyncio.timeout(HELD_BACK_SECONDS):
                while (await live.receive_json())["type"] != "permission_cleared":
                    pass
        async with front.session.get(f"{front.base}{API}/permissions/s1/{request_id}") as record:
            assert (await record.json())["data"]["status"] == "rejected"


@EACH
@FRONTS
async def test_lines_of_a_producer_arrive_while_it_goes_on(
    proxy: str, path: str, is_secure: bool, service_port: int, tmp_path: Path
) -> None:
    async with through(proxy, service_port, tmp_path, path=path, is_secure=is_secure) as front:
        goes_on = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield b'{"type": "note", "data": {"n": 1}}\n'
            await goes_on.wait()
            yield b'{"type": "note", "data": {"n": 2}}\n'

        async with front.session.get(f"{front.base}{API}/sse/events/s1") as stream:
            await event_of(stream, "hello")
            producing = asyncio.ensure_future(
                front.session.post(
                    f"{front.base}{API}/events/s1", data=lines(), headers={"Content-Type": "application/x-ndjson"}
                )
            )
            assert (await event_of(stream, "note"))[0]["data"]["n"] == 1
            goes_on.set()
            assert (await event_of(stream, "note"))[0]["data"]["n"] == 2
            assert (await producing).status in (200, 201)


@EACH
async def test_body_passes_up_to_the_bound_of_the_service_whose_answer_says_what_is_too_large(
    proxy: str, service_port: int, tmp_path: Path
) -> None:
    async with through(proxy, service_port, tmp_path) as front:
        notes = [{"type": "note", "data": {"text": "x" * 16_000}}] * 62
        assert len(json.dumps(notes)) > 990_000

        assert (await front.post(f"{API}/events/s1", notes))[0] == 201
        status, answer = await front.post(f"{API}/events/s1", notes * 2)
        assert (status, answer["error"]["code"]) == (413, "too_large")


@EACH
async def test_browser_is_offered_http_2(proxy: str, service_port: int, tmp_path: Path) -> None:
    async with through(proxy, service_port, tmp_path, is_secure=True) as front:
        assert front.tls is not None
        front.tls.set_alpn_protocols(["h2", "http/1.1"])
        port = int(front.origin.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=front.tls, server_hostname=NAME)
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

        assert chosen == "h2"


@EACH
async def test_page_is_reached_under_a_path_however_it_is_typed(proxy: str, service_port: int, tmp_path: Path) -> None:
    async with through(proxy, service_port, tmp_path, path="/notifier") as front:
        for typed in ("", "/", "/agent_backend", "/agent_backend/"):
            async with front.session.get(front.base + typed) as page:
                assert page.status == 200
                assert str(page.url) == f"{front.base}/agent_backend/"


@EACH
async def test_service_is_reached_over_a_unix_socket(proxy: str, tokens_file: Path, tmp_path: Path) -> None:
    # A test's own folder is closed to the users that proxies have.
    with tempfile.TemporaryDirectory(prefix="notifier-") as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/notifier.sock"
        flags = ["--unix", path, "--unix-mode", "666", "--auth", "tokens", "--tokens-file", str(tokens_file)]
        async with (
            service_process(*flags, "--trusted-proxies", "unix"),
            through(proxy, f"unix:{path}", tmp_path) as front,
            front.session.get(f"{front.base}{API}/sse/events/s1") as stream,
        ):
            await event_of(stream, "hello")
            assert (await front.post(f"{API}/events/s1", {"type": "note"}))[0] == 201
            await event_of(stream, "note")


@pytest.mark.integration
@pytest.mark.timeout(400)
async def test_stream_and_socket_live_through_two_silent_minutes(service_port: int, tmp_path: Path) -> None:
    """All proxies at once: what takes two minutes takes them once."""

    async def waits(proxy: str) -> None:
        async with (
            through(proxy, service_port, tmp_path / proxy, is_secure=True) as front,
            front.session.get(f"{front.base}{API}/sse/events/{proxy}", timeout=None) as stream,
            front.session.ws_connect(f"{front.base}/agent_backend/ws/{proxy}", origin=front.origin) as live,
        ):
            await event_of(stream, "hello")
            noted = asyncio.gather(note_on(stream), note_on_socket(live))
            await asyncio.wait([noted], timeout=125)
            assert not noted.done()
            assert (await front.post(f"{API}/events/{proxy}", {"type": "note"}))[0] == 201
            async with asyncio.timeout(HELD_BACK_SECONDS):
                await noted

    async def note_on(stream: ClientResponse) -> None:
        async for line in stream.content:
            if b'"note"' in line:
                return
        raise AssertionError("the stream was cut")

    async def note_on_socket(live: ClientWebSocketResponse) -> None:
        while (await live.receive_json())["type"] != "note":  # and answers pings
            pass

    async def waits_where_it_is(proxy: str) -> str | None:
        try:
            await waits(proxy)
        except pytest.skip.Exception as missing:
            return str(missing)
        return None

    left_out = await asyncio.gather(*map(waits_where_it_is, PROXIES))
    if any(left_out):
        pytest.skip("; ".join(filter(None, left_out)))
