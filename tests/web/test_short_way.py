"""What producers send most goes past routes and middlewares, and nobody can tell but by the time."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from notifier_service.storage.journal import JournalFile
from notifier_service.web.short_way import ShortWay

from .conftest import API, PATIENCE_SECONDS, Service, WriteTokens, serving, until
from .test_plain_events import BODIES, NOTE

PATH = f"{API}/events/s1"
#: A header that nobody knows: it leads the long way.
LONG = "X-Unknown: 1\r\n"
TRACE = "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01\r\n"


def post(
    body: bytes = NOTE,
    more: str = "",
    *,
    path: str = PATH,
    content_type: str = "application/json",
    version: str = "1.1",
) -> bytes:
    head = f"POST {path} HTTP/{version}\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """The next answer: its status line, its headers without the date, its body."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers.pop("Date"))
        return status, headers, await reader.readexactly(int(headers["Content-Length"]))


async def asked(service: Service, request: bytes) -> tuple[str, dict[str, str], bytes]:
    reader, writer = await service.connect()
    writer.write(request)
    try:
        return await answered(reader)
    finally:
        writer.close()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The answers that were given on the short way."""
    found: list[object] = []
    answer = ShortWay.answer

    def noted(*arguments: Any) -> object:
        given = answer(*arguments)
        if given is not None:
            found.append(given)
        return given

    monkeypatch.setattr(ShortWay, "answer", noted)
    return found


async def test_all_bodies_are_answered_alike_on_both_ways(taken: list[object]) -> None:
    told: dict[str, list[Any]] = {}
    for more in (TRACE, TRACE + LONG):
        async with serving(max_event_bytes=16_384) as service:
            for name, one in BODIES.items():
                for form, body in (("one", one), ("array", b"[%b,%b]" % (NOTE, one))):
                    status, headers, text = await asked(service, post(body, more))
                    headers.pop("Content-Length")
                    log = service.site.broker.open("s1").log
                    events = [json.loads(event.json) for event in log.read_after(log.first_seq - 1)]
                    notes = [{**event, "id": "", "timestamp": ""} for event in events if event["type"] == "note"]
                    text = re.sub(rb"[0-9a-z]+-(?=[0-9a-z]+\")", b"", text)
                    told.setdefault(f"{form} {name}", []).append((status, headers, text, len(events), notes))
        if more == TRACE:
            short = len(taken)

    assert {name: pair for name, pair in told.items() if pair[0] != pair[1]} == {}
    assert 0 < short == len(taken) < len(told)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(more="Origin: https://elsewhere.example\r\n"), 403),
        (post(more="Sec-Fetch-Site: cross-site\r\n"), 403),
        (post(more="X-Forwarded-For: 192.0.2.1\r\n"), 403),
        (post().replace(b"localhost", b"elsewhere.example"), 403),
        (post(more="Host: localhost\r\n"), 400),
        (post(content_type="text/plain"), 415),
        (post(more="Content-Encoding: br\r\n"), 415),
        (post(more="Expect: something\r\n"), 417),
        (post(path=f"{PATH}?x=1"), 422),
        (post(path=f"{API}/events/s%201"), 422),
        (post(path=f"{API}/events/.."), 422),
        (post(b"[]"), 422),
        (post(b" " * 1_100_000), 413),
        (post().replace(b"POST", b"PUT"), 405),
    ],
)
async def test_what_is_refused_on_the_long_way_is_refused(
    service: Service, taken: list[object], request_: bytes, status: int
) -> None:
    line, _, _ = await asked(service, request_)

    assert int(line.split()[1]) == status
    assert taken == []
    assert service.site.broker.sessions == ()


@pytest.mark.parametrize(
    "request_",
    [
        post(version="1.0"),
        post(more="Connection: close\r\n"),
        post(content_type="application/json;charset=UTF-8"),
    ],
)
async def test_what_is_taken_on_the_long_way_is_taken(service: Service, taken: list[object], request_: bytes) -> None:
    line, _, _ = await asked(service, request_)

    assert (int(line.split()[1]), taken) == (201, [])
    assert service.site.broker.counters.events_published == 1


async def test_key_is_known_on_both_ways(taken: list[object]) -> None:
    told = []
    steps = [
        (NOTE, "k1"), (NOTE, "k1"), (b"[%b,%b]" % (NOTE, NOTE), "k1"), (b"[%b,%b]" % (NOTE, NOTE), "k2"), (b"{", "k3"),
        (NOTE, "k3"), (b"[]", "k4"), (NOTE, "k" * 256), (b'{"type":"note","data":{"a":1e999}}', "k5"),
    ]  # fmt: skip
    for more in ("", LONG):
        async with serving(allowed_origins=["https://a.example"], publish_rate="0.001/7") as service:
            found = []
            for body, key in steps:
                line, headers, text = await asked(service, post(body, f"{more}Idempotency-Key: {key}\r\n"))
                headers.pop("Content-Length")
                headers.pop("Retry-After", None)
                found.append((line, headers, re.sub(rb"[0-9a-z]+-(?=[0-9a-z]+\")|[0-9.]+(?= s\.|[,}])", b"", text)))
            log = service.site.broker.open("s1").log
            told.append((found, log.last_seq, dict(service.site.broker.counters.limits_reached)))

    assert told[0] == told[1]
    assert [line.split()[1] for line, _, _ in told[0][0]][:5] == ["201", "201", "409", "201", "422"]
    assert told[0][1] == 4
    assert len(taken) == len(steps)


async def test_many_requests_on_a_connection_are_answered_in_order(service: Service, taken: list[object]) -> None:
    reader, writer = await service.connect()
    writer.write(b"".join([post(b'{"type":"note","data":{"n":%d}}' % n, LONG if n % 3 == 0 else "") for n in range(9)]))
    ids = [json.loads((await answered(reader))[2])["data"]["ids"][0] for _ in range(9)]
    writer.close()

    events = service.site.broker.get("s1").log.read_after(0)
    assert [(event.id, json.loads(event.json)["data"]["n"]) for event in events] == list(
        zip(ids, range(9), strict=True)
    )
    assert len(taken) == 6


async def test_body_that_comes_behind_its_head_is_taken(service: Service) -> None:
    reader, writer = await service.connect()
    request = post()
    writer.write(request[:-10])
    await asyncio.sleep(0)
    writer.write(request[-10:])

    assert (await answered(reader))[0] == "HTTP/1.1 201 Created"
    writer.close()


async def test_array_of_many_lets_readers_have_their_turn(service: Service, taken: list[object]) -> None:
    line, _, body = await asked(service, post(b"[%b]" % b",".join([NOTE] * 300)))

    assert line == "HTTP/1.1 201 Created"
    assert json.loads(body)["data"]["ids"] == [event.id for event in service.site.broker.get("s1").log.read_after(0)]
    assert len(taken) == 1


async def test_single_events_let_readers_have_their_turn(service: Service, taken: list[object]) -> None:
    reader, writer = await service.connect()
    for _ in range(60):
        writer.write(post())
        await answered(reader)
    writer.close()

    assert (len(taken), service.site.broker.get("s1").log.last_seq) == (60, 60)


async def test_revoked_token_stops_at_the_next_request_of_a_connection(
    write_tokens: WriteTokens, taken: list[object]
) -> None:
    entry = {"token": "t" * 20, "rights": ["produce"], "sessions": ["s1"]}
    path = write_tokens([entry])
    async with serving(auth="tokens", tokens_file=path) as service:
        reader, writer = await service.connect()
        request = post(more=f"Authorization: Bearer {'t' * 20}\r\n")
        found = []
        for entries in ([entry], [{**entry, "sessions": ["s2"]}], [{**entry, "rights": ["view"]}], [], [entry]):
            write_tokens(entries)
            writer.write(request)
            found.append((await answered(reader))[0].split()[1])
        writer.write(post())
        found.append((await answered(reader))[0].split()[1])
        writer.close()

        failures = dict(service.site.broker.counters.auth_failures)

    assert found == ["201", "403", "403", "401", "201", "401"]
    assert len(taken) == 2
    assert failures == {"forbidden": 2, "unknown": 1, "missing": 1}


async def test_token_in_the_place_of_a_session_is_not_written_down(
    write_tokens: WriteTokens, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token = "t" * 20
    path = write_tokens([{"token": token, "rights": ["produce"], "sessions": ["*"]}])
    async with serving(auth="tokens", tokens_file=path) as service:
        for name in ("s1", token):
            await asked(service, post(path=f"{API}/events/{name}", more=f"Authorization: Bearer {token}\r\n"))
        await until(lambda: caplog.text.count("POST") == 2)

    assert "/events/s1 201" in caplog.text
    assert "/events/*** 201" in caplog.text
    assert token not in caplog.text


async def test_limits_are_told_and_counted(taken: list[object]) -> None:
    async with serving(max_sessions=1) as service:
        first = await asked(service, post())
        second = await asked(service, post(path=f"{API}/events/s2"))
        counted = service.site.broker.counters.limits_reached["max_sessions"]

    assert (first[0].split()[1], second[0].split()[1], second[1]["Retry-After"]) == ("201", "429", "1")
    assert json.loads(second[2])["error"]["limit"] == "max_sessions"
    assert counted == 1


async def test_who_has_a_say_in_answers_has_it_here(taken: list[object]) -> None:
    async with serving(log_format="json") as service:
        _, headers, _ = await asked(service, post())

    assert "X-Request-Id" in headers
    assert taken == []


@pytest.mark.parametrize(
    "settings", [{"allowed_origins": ["https://a.example"]}, {"publish_rate": "0.001/2"}], ids=["origins", "rate"]
)
@pytest.mark.parametrize("many", [0, 2, 3])
async def test_what_is_set_holds_on_both_ways(taken: list[object], settings: dict[str, Any], many: int) -> None:
    body, told = b"[%b]" % b",".join([NOTE] * many) if many else NOTE, []
    for more in ("", LONG):
        async with serving(max_sessions=1, **settings) as service:
            found = []
            for path in (PATH, PATH, PATH, f"{API}/events/s2"):
                line, headers, text = await asked(service, post(body, more, path=path))
                headers.pop("Content-Length")
                headers.pop("Retry-After", None)
                text = re.sub(rb"[0-9a-z]+-(?=[0-9a-z]+\")|[0-9.]+(?= s\.|[,}])", b"", text)
                found.append((line, headers, text))
            counted = dict(service.site.broker.counters.limits_reached)
            told.append((found, counted, service.site.broker.counters.events_published))

    assert told[0] == told[1]
    assert len(taken) == 4


async def test_what_is_acknowledged_with_a_journal_is_there_again(taken: list[object], tmp_path: Path) -> None:
    told = []
    for body in (NOTE, b"[%b,%b]" % (NOTE, NOTE)):
        async with serving(journal=tmp_path / "journal") as service:
            told.append(json.loads((await asked(service, post(body)))[2])["data"]["ids"])
            events = service.site.broker.get("s1").log.read_after(0)

    assert [event.id for event in events] == [event_id for ids in told for event_id in ids]
    assert (len(taken), len(events)) == (2, 3)


async def test_nothing_is_acknowledged_that_no_journal_keeps(
    taken: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(journal=tmp_path / "journal") as service:
        await asked(service, post())
        monkeypatch.setattr(JournalFile, "error", "the disk is full")
        refused = [await asked(service, post(more=more)) for more in ("", LONG)]
        monkeypatch.undo()

        events = service.site.broker.get("s1").log.read_after(0)

    assert (refused[0], refused[0][0].split()[1]) == (refused[1], "503")
    assert len(events) == 1
