"""Requests that aiohttp never sees, and what it is given when another one comes on their connection."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import pytest

from notifier_service.web import listener, plain_connection
from notifier_service.web.plain_connection import PlainConnection

from .conftest import API, Service, WriteTokens, serving, until
from .test_short_asking import ASK, CALL, as_body
from .test_short_way import LONG, NOTE, answered, post
from .test_short_way import taken as taken  # the fixture

GET = f"GET {API}/permissions/s1 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What aiohttp was given with a connection."""
    found: list[bytes] = []
    hand_over = PlainConnection._hand_over

    def noted(connection: PlainConnection, data: bytes) -> None:
        found.append(data)
        hand_over(connection, data)

    monkeypatch.setattr(PlainConnection, "_hand_over", noted)
    return found


@pytest.mark.parametrize("place", [1, 5, 40, -len(NOTE) - 4, -len(NOTE) - 2, -len(NOTE), -len(NOTE) + 1, -1])
async def test_request_that_comes_in_two_pieces_is_taken(service: Service, place: int) -> None:
    reader, writer = await service.connect()
    request = post()
    writer.write(request[:place])
    await asyncio.sleep(0.01)  # so that these are two
    writer.write(request[place:])

    assert (await answered(reader))[0] == "HTTP/1.1 201 Created"
    writer.close()


async def test_body_behind_its_head_is_waited_for_without_aiohttp(service: Service, handed: list[bytes]) -> None:
    reader, writer = await service.connect()
    for _ in range(3):
        writer.write(post()[: -len(NOTE)])
        await asyncio.sleep(0.01)  # so that these are two
        writer.write(NOTE)
        assert (await answered(reader))[0] == "HTTP/1.1 201 Created"
    writer.close()

    assert handed == []


async def test_body_that_stays_away_is_waited_for_by_aiohttp(
    service: Service, handed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_connection, "_REST_SECONDS", 0)
    reader, writer = await service.connect()
    writer.write(post()[:-5])
    await until(lambda: handed == [post()[:-5]])
    writer.write(post()[-5:])

    assert (await answered(reader))[0] == "HTTP/1.1 201 Created"
    writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        post(more="Content-Length: 3\r\n"),
        post(more="Transfer-Encoding: chunked\r\n"),
        post(more="X-Folded: a\r\n b\r\n"),
        post(more="Accept: a\r\n b\r\n"),
        post(more="Accept : a\r\n"),
        post(more="Accept: \x00\r\n"),
        post(more="Accept: a\rb: c\r\n"),
        post(more="Accept: a\n"),
        post(more="Accept:\r\n"),
        post(more="Accept: \u00e9\r\n"),
        post(more=f"Accept: {'a' * 5000}\r\n"),
        post().replace(b"Content-Length: ", b"Content-Length: +"),
        post().replace(b"Content-Length: ", b"Content-Length: 0"),
        post().replace(b"HTTP/1.1", b"HTTP/1.1 "),
        post().replace(b"POST ", b"POST  "),
        post().replace(b"POST ", b"post "),
        post().replace(b"POST ", b"\r\nPOST "),
        post().replace(b"POST /", b"POST http://localhost/"),
        post().replace(b"\r\n", b"\n"),
    ],
    ids=[str(number) for number in range(19)],
)
async def test_what_could_be_read_in_two_ways_is_read_by_aiohttp(
    service: Service, handed: list[bytes], taken: list[object], request_: bytes
) -> None:
    _, writer = await service.connect()
    writer.write(request_)
    await until(lambda: handed == [request_])
    writer.close()


#: What clients send beside host, type and length.
CLIENTS = {
    "curl": "User-Agent: curl/7.88.1\r\nAccept: */*\r\n",
    "requests": "User-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
    "Connection: keep-alive\r\n",
    "httpx": "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    "User-Agent: python-httpx/0.28\r\n",
    "aiohttp": "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11 aiohttp/3.14\r\n",
    "node": "connection: keep-alive\r\naccept: */*\r\naccept-language: *\r\nsec-fetch-mode: cors\r\n"
    "user-agent: node\r\naccept-encoding: gzip, deflate\r\n",
    "go": "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n",
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_requests_of_common_clients_are_plain(service: Service, handed: list[bytes], name: str) -> None:
    reader, writer = await service.connect()
    for _ in range(2):
        writer.write(post(more=CLIENTS[name]))
        assert (await answered(reader))[0] == "HTTP/1.1 201 Created"
    writer.close()

    assert handed == []


async def test_page_of_a_browser_is_not_plain(service: Service, handed: list[bytes]) -> None:
    reader, writer = await service.connect()
    writer.write(post(more="Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\n"))
    line, _, _ = await answered(reader)
    writer.close()

    assert (line.split()[1], len(handed)) == ("403", 1)


async def test_connection_goes_on_with_aiohttp_once_it_has_it(service: Service, handed: list[bytes]) -> None:
    reader, writer = await service.connect()
    found = []
    for request in (post(), GET, post(), post(more=LONG), GET):
        writer.write(request)
        found.append((await answered(reader))[0].split()[1])
    writer.close()

    assert found == ["201", "200", "201", "201", "200"]
    assert handed == [GET]
    assert service.site.broker.get("s1").log.last_seq == 3


async def test_requests_behind_one_that_waits_are_answered_behind_it(service: Service, handed: list[bytes]) -> None:
    reader, writer = await service.connect()
    writer.write(post(as_body(CALL), path=f"{ASK}?wait=30"))
    writer.write(post() + post() + GET)
    await until(lambda: service.site.broker.look("s1").pending)
    [request] = service.site.broker.look("s1").pending
    request.cancel("enough")
    found = [await answered(reader) for _ in range(4)]
    writer.close()

    assert [line.split()[1] for line, _, _ in found] == ["200", "201", "201", "200"]
    assert json.loads(found[0][2])["data"]["status"] == "cancelled"
    assert handed == [GET]


async def test_peer_who_takes_no_answers_is_not_read_any_further(service: Service) -> None:
    reader, writer = await service.connect()
    log = service.site.broker.open("s1").log
    many = 60_000

    async def send() -> None:
        for _ in range(many // 1000):
            writer.write(post() * 1000)
            await writer.drain()

    reader._transport.pause_reading()  # type: ignore[attr-defined]  # a stream would read on
    sending = asyncio.create_task(send())
    before = -1
    while before != log.last_seq:
        before = log.last_seq
        await asyncio.sleep(0.1)
    stood_at = log.last_seq
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(many):
        await answered(reader)
    await sending
    writer.close()

    assert 0 < stood_at < many
    assert log.last_seq == many


async def test_refusals_have_the_headers_of_aiohttp(handed: list[bytes]) -> None:
    async with serving(max_sessions=1) as service:
        reader, writer = await service.connect()
        writer.write(post())
        await answered(reader)
        found = []
        for more in ("", LONG):
            writer.write(post(more=more, path=f"{API}/events/s2"))
            found.append(await answered(reader))
        writer.close()

    assert found[0] == found[1]
    assert found[0][0] == "HTTP/1.1 429 Too Many Requests"
    assert len(handed) == 1


async def test_fault_of_ours_is_told_and_logged_and_the_connection_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    reader, writer = await service.connect()
    with monkeypatch.context() as patched:
        patched.setattr(service.site.broker, "publish_to", fail)
        writer.write(post())
        refused = await answered(reader)
    writer.write(post())
    line, _, _ = await answered(reader)
    writer.close()
    lines = [record.getMessage() for record in caplog.records if record.name == "notifier_service.web"]

    assert (refused[0], line) == ("HTTP/1.1 500 Internal Server Error", "HTTP/1.1 201 Created")
    assert lines == [f"POST {API}/events/{{session_id}} failed"]


async def test_each_request_has_its_line_in_the_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reader, writer = await service.connect()
    for request in (post(), post(as_body(CALL), path=ASK), post(as_body({"approved": True}), path=f"{API}/nothing")):
        writer.write(request)
        await answered(reader)
    writer.close()
    await until(lambda: caplog.text.count(" ms") == 3)
    lines = [record.getMessage().rsplit(" ", 2)[0] for record in caplog.records if record.name == "aiohttp.access"]

    assert lines == [
        f"127.0.0.1 POST {API}/events/s1 201",
        f"127.0.0.1 POST {ASK} 201",
        f"127.0.0.1 POST {API}/nothing 404",
    ]


async def test_connection_on_which_nobody_asks_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_SILENCE_SECONDS", 0)
    async with serving() as service:
        reader, writer = await service.connect()
        writer.write(post())
        await answered(reader)
        assert await reader.read() == b""
        writer.close()


async def test_idle_connection_ends_with_its_service_and_what_waits_is_answered_before() -> None:
    async with serving(shutdown_seconds=1) as service:
        idle, other = await service.connect()
        other.write(post())
        await answered(idle)
        waiting, writer = await service.connect()
        writer.write(post(as_body(CALL), path=f"{ASK}?wait=30"))
        await until(lambda: service.site.broker.look("s1").pending)

    line, _, text = await answered(waiting)
    assert (line, json.loads(text)["data"]["status"]) == ("HTTP/1.1 200 OK", "cancelled")
    assert (await waiting.read(), await idle.read()) == (b"", b"")
    writer.close()
    other.close()


async def test_token_is_asked_for_each_time_though_its_head_is_known(write_tokens: WriteTokens) -> None:
    path = write_tokens([{"token": "t" * 20, "rights": ["produce"], "sessions": ["s1"]}])
    async with serving(auth="tokens", tokens_file=path) as service:
        reader, writer = await service.connect()
        request = post(more=f"Authorization: Bearer {'t' * 20}\r\n")
        writer.write(request + request)
        found = [(await answered(reader))[0].split()[1] for _ in range(2)]
        write_tokens([])
        writer.write(request)
        found.append((await answered(reader))[0].split()[1])
        writer.close()

    assert found == ["201", "201", "401"]


async def test_connection_with_a_request_under_way_gives_way_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(max_idle_connections=1) as service:
        reader, writer = await service.connect()
        writer.write(post())
        await answered(reader)
        # Both come in one turn of the loop, and this one first.
        with socket.create_connection((service.site.host, service.site.port)):
            writer.write(post(b"[%b,%b]" % (NOTE, NOTE)))
            line, _, _ = await answered(reader)
        writer.close()

    assert line == "HTTP/1.1 201 Created"
    assert [record for record in caplog.records if record.name == "asyncio"] == []
