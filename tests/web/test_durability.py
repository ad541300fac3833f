"""With a journal, what was acknowledged is there again after a restart (contract section 15)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from notifier_service import Broker, Settings
from notifier_service.core.errors import InvalidInput, NotDurable
from notifier_service.core.events import ToolResult, ToolStatus
from notifier_service.storage.journal import JournalFile
from notifier_service.web import Site, create_app, serve
from tests.raw_stream import RawStream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@asynccontextmanager
async def running(path: Path | None, **settings: Any) -> AsyncIterator[Site]:
    async with serve(Broker(Settings(**settings)), Settings(port=0, journal=path, **settings)) as site:
        yield site


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


def api(site: Site, path: str) -> str:
    return f"{site.url}{site.settings.prefix}/api/{path}"


async def post(http: ClientSession, site: Site, path: str, body: Any) -> tuple[int, Any]:
    if isinstance(body, bytes):
        data, kind = body, "application/x-ndjson"
    else:
        data, kind = json.dumps(body).encode(), "application/json"
    async with http.post(api(site, path), data=data, headers={"Content-Type": kind}) as answer:
        return answer.status, await answer.json()


async def got(http: ClientSession, site: Site, path: str) -> Any:
    async with http.get(api(site, path)) as answer:
        body = await answer.json()
        return body.get("data", body)


async def test_cursor_of_before_resumes_with_all_that_was_acknowledged(path: Path, http: ClientSession) -> None:
    note = {"type": "note", "data": {"text": "é \u2028 \n"}}
    async with running(path) as site:
        _, one = await post(http, site, "events/s", note)
        _, array = await post(http, site, "events/s", [note, note])
        status, stream = await post(http, site, "events/s", b'{"type":"note"}\n{"type":"note"}\n')
        event = await site.broker.publish("s", "note", {"n": 6})
        before = await got(http, site, f"long-poll/s?after={one['data']['ids'][0]}&timeout=1")

    async with running(path) as site:
        after = await got(http, site, f"long-poll/s?after={one['data']['ids'][0]}&timeout=1")
        _, more = await post(http, site, "events/s", note)
        at_end = await got(http, site, f"long-poll/s?after={event.id}&timeout=1")

    assert status == 201
    assert stream["data"]["last_event_ids"]["s"] == before["events"][-2]["id"]
    assert after == before
    assert [event["id"] for event in before["events"][:2]] == array["data"]["ids"]
    assert len(after["events"]) == 5
    assert [event["id"] for event in at_end["events"]] == more["data"]["ids"]


async def test_stream_goes_on_behind_its_cursor(
    path: Path, http: ClientSession, open_stream: Callable[..., Awaitable[RawStream]]
) -> None:
    async with running(path) as site:
        _, answer = await post(http, site, "events/s", [{"type": "note"}] * 3)

    async with running(path) as site:
        cursor = answer["data"]["ids"][0]
        stream = await open_stream(site.port, f"{site.settings.prefix}/api/sse/events/s?last_event_id={cursor}")
        hello = await stream.until("hello")
        events = [await stream.until("note") for _ in range(2)]

    assert hello["data"]["resumed"] == "full"
    assert hello["data"]["last_event_id"] == answer["data"]["ids"][-1]
    assert [event["id"] for event in events] == answer["data"]["ids"][1:]


async def test_present_state_is_what_it_was(path: Path, http: ClientSession) -> None:
    async with running(path) as site:
        for name in ("a", "b"):
            status = ToolStatus(status="executing", tool_name=name, tool_call_id=name, details={"x": 1})
            await site.broker.publish("s", "tool_status", status)
        done = {"status": "completed", "tool_name": "a", "tool_call_id": "a"}
        await post(http, site, "events/s", {"type": "tool_status", "data": done})
        await site.broker.publish("s", "tool_result", ToolResult(tool_name="a", success=True, result=[1]))
        before = await got(http, site, "polling/session-info/s")

    async with running(path) as site:
        after = await got(http, site, "polling/session-info/s")
        await post(http, site, "polling/clear-result/s", {})

    async with running(path) as site:
        cleared = await got(http, site, "polling/session-info/s")

    assert after == before
    assert [call["tool_name"] for call in after["running"]] == ["b"]
    assert cleared["tool_result"] is None


async def test_sessions_to_which_nobody_came_back_are_listed_and_expire(path: Path, http: ClientSession) -> None:
    async with running(path) as site:
        ids = [(await post(http, site, f"events/s{n}", {"type": "note"}))[1]["data"]["ids"][0] for n in range(3)]
        await post(http, site, "events/s1", {"type": "note"})

    async with running(path) as site:
        await post(http, site, "events/s1", {"type": "note"})
        listed = await got(http, site, "sessions")
        assert site.broker.statistics().sessions == 3
    async with running(path, session_idle_seconds=0.05) as site:
        while site.broker.statistics().sessions:  # noqa: ASYNC110  # no event tells that one has expired
            await asyncio.sleep(0.01)
    async with running(path) as site:
        left = await got(http, site, "sessions")

    assert [row["session_id"] for row in listed] == ["s1", "s0", "s2"]
    assert [row["last_event_id"] for row in listed[1:]] == [ids[0], ids[2]]
    assert left == []


async def test_session_that_was_ended_is_not_there_again(path: Path, http: ClientSession) -> None:
    async with running(path) as site:
        _, answer = await post(http, site, "events/s", {"type": "note"})
        async with http.delete(api(site, "sessions/s")) as ended:
            assert ended.status == 200

    async with running(path) as site:
        assert await got(http, site, "sessions") == []
        polled = await got(http, site, f"long-poll/s?after={answer['data']['ids'][0]}&timeout=0")

    assert polled["gap"]["reason"] == "epoch"


async def test_session_that_was_open_before_the_journal_is_kept_too(path: Path, http: ClientSession) -> None:
    broker = Broker()
    event = broker.publish_nowait("s", "note", {"n": 1})
    async with serve(broker, Settings(port=0, journal=path)):
        await broker.all_kept()

    async with running(path) as site:
        polled = await got(http, site, "long-poll/s?after=earliest&timeout=0")

    assert [each["id"] for each in polled["events"]] == [event.id]


async def test_who_asked_before_a_restart_is_not_known_to_be_alone(path: Path) -> None:
    async with running(path) as site:
        await site.broker.publish("s", "note")

    async with running(path) as site:
        assert not site.broker.get("s").desk.is_of("anybody")


async def test_evicted_events_leave_the_file_and_it_stays_bounded(path: Path, http: ClientSession) -> None:
    settings: dict[str, Any] = {"log_events": 50, "journal_sync": "normal"}
    async with running(path, **settings) as site:
        for _ in range(20):
            await post(http, site, "events/s", [{"type": "note", "data": {"text": "x" * 1000}}] * 20)
            site.broker.sweep()
        state = await got(http, site, "long-poll/s?after=earliest&timeout=0")
    connection = sqlite3.connect(path)
    [count] = connection.execute("SELECT sum(length(events)) FROM batches").fetchone()
    connection.close()

    async with running(path, **settings) as site:
        again = await got(http, site, "long-poll/s?after=earliest&timeout=0")

    assert again["events"] == state["events"]
    assert count < 3 * 50 * 1100


class Disk:
    """A disk that is full while the test says so, and does not answer while its gate is closed."""

    def __init__(self) -> None:
        self.is_full = False
        self.gate = threading.Event()
        self.gate.set()

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
                if sql == "COMMIT":
                    disk.gate.wait()
                if disk.is_full and sql == "COMMIT":
                    raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *more)

        return sqlite3.connect(*arguments, factory=Connection, **options)


async def test_while_the_disk_is_full_nothing_is_acknowledged_and_readers_go_on(
    path: Path, http: ClientSession
) -> None:
    disk = Disk()
    journal = JournalFile(path, connect=disk.connect)
    async with serve(Broker(journal=journal), Settings(port=0)) as site:
        await post(http, site, "events/s", {"type": "note"})
        disk.is_full = True
        first = await post(http, site, "events/s", {"type": "note"})
        refused = [
            await post(http, site, "events/s", body)
            for body in ({"type": "note"}, [{"type": "note"}] * 2, b'{"type":"note"}\n')
        ]
        with pytest.raises(NotDurable):
            await site.broker.publish("s", "note")
        health = await got(http, site, "sse/health/s")
        read = await got(http, site, "long-poll/s?after=earliest&timeout=0")
        async with http.get(f"{site.url}/healthz/ready") as answer:
            ready = await answer.json()
        disk.is_full = False
        while site.broker.journal.error is not None:  # noqa: ASYNC110  # no event tells that the disk is back
            await asyncio.sleep(0.02)
        again = await post(http, site, "events/s", {"type": "note"})
    journal.close()

    async with running(path) as site:
        after = await got(http, site, "long-poll/s?after=earliest&timeout=0")

    for status, body in (first, *refused):
        assert (status, body["error"]["code"]) == (503, "not_durable")
        assert "disk is full" in body["message"]
    assert refused[2][1]["error"]["count"] == 0
    assert health["journal"] == ready["data"]["journal"] == "failing"
    # What was told to readers before it was known is kept as soon as that is possible.
    assert len(read["events"]) == 2
    assert again[0] == 201
    ids = [event["id"] for event in read["events"]] + again[1]["data"]["ids"]
    assert [event["id"] for event in after["events"]] == ids


async def test_while_the_disk_is_slow_acknowledgements_wait_readers_go_on_and_the_service_ends_in_time(
    path: Path, http: ClientSession
) -> None:
    disk = Disk()
    journal = JournalFile(path, connect=disk.connect)
    broker = Broker(journal=journal)
    async with serve(broker, Settings(port=0)) as site:
        await post(http, site, "events/s", {"type": "note"})
        disk.gate.clear()
        posting = [asyncio.ensure_future(post(http, site, "events/s", {"type": "note"})) for _ in range(20)]
        read: list[Any] = []
        while len(read) < 21:
            read = (await got(http, site, "long-poll/s?after=earliest&timeout=5"))["events"]
        waiting = [each.done() for each in posting], journal.state.waiting, journal.error
        disk.gate.set()
        answers = [status for status, _ in await asyncio.gather(*posting)]
        disk.gate.clear()
        broker.publish_nowait("s", "note")
    assert not journal.close(within_seconds=0.05)
    disk.gate.set()
    assert journal.close()

    assert waiting == ([False] * 20, 20, None)
    assert answers == [201] * 20


async def test_service_ends_although_the_disk_does_not_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk()
    monkeypatch.setattr("notifier_service.storage.journal.JournalFile", partial(JournalFile, connect=disk.connect))
    async with asyncio.timeout(20), running(path, shutdown_seconds=0.5) as site:
        disk.gate.clear()
        site.broker.publish_nowait("s", "note")

    disk.gate.set()
    assert f"the journal {path} is left without its end" in caplog.text


async def test_session_that_cannot_be_read_is_ended_by_who_opened_it_or_may_approve(
    path: Path, http: ClientSession, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    entries = [
        {"token": f"{name}-token", "subject": name, "rights": rights, "sessions": ["*"]}
        for name, rights in (("ann", ["produce"]), ("bob", ["produce"]), ("eve", ["produce", "approve"]))
    ]
    tokens.write_text(json.dumps(entries))
    settings: dict[str, Any] = {"auth": "tokens", "tokens_file": tokens}

    async def call(site: Site, name: str, method: str, where: str, body: Any = None) -> int:
        headers = {"Authorization": f"Bearer {name}-token"}
        async with http.request(method, api(site, where), json=body, headers=headers) as answer:
            return answer.status

    async with running(path, **settings) as site:
        for session_id in ("s", "t"):
            assert await call(site, "ann", "POST", f"events/{session_id}", {"type": "note"}) == 201
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE batches SET events = 'a diary'")

    async with running(path, **settings) as site:
        assert await call(site, "ann", "POST", "events/s", {"type": "note"}) == 503
        assert await call(site, "bob", "DELETE", "sessions/s") == 403
        assert await call(site, "ann", "DELETE", "sessions/s") == 200
        assert await call(site, "ann", "POST", "events/s", {"type": "note"}) == 201
        assert await call(site, "bob", "DELETE", "sessions/t") == 403
        both = await call(site, "eve", "DELETE", "sessions/t"), await call(site, "eve", "DELETE", "sessions/t")
    async with running(path, **settings) as site:
        [session] = site.broker.dormant

    assert (both, session.session_id) == ((200, 404), "s")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"answer":1}', b'{"scope":[1],"answer":"","fingerprint":"x"}'])
async def test_answer_to_a_key_that_cannot_be_read_keeps_nobody_from_starting(path: Path, body: bytes) -> None:
    async with running(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO kept VALUES ('published', 'x', ?)", (body,))

    async with running(path) as site:
        await site.broker.on_disk()
    with closing(sqlite3.connect(path)) as connection:
        left = connection.execute("SELECT count(*) FROM kept WHERE kind = 'published'").fetchone()

    assert left == (0,)


async def test_journal_that_cannot_be_used_keeps_the_service_from_starting(path: Path) -> None:
    path.write_text("a diary")

    with pytest.raises(InvalidInput, match=f"journal {path}: it holds something else than a journal"):
        create_app(Broker(), Settings(journal=path))
    assert path.read_text() == "a diary"


async def test_journal_in_which_what_waits_for_a_person_cannot_be_read_keeps_the_service_from_starting(
    path: Path, http: ClientSession
) -> None:
    async with running(path) as site:
        asked, _ = await post(http, site, "permissions/s?wait=0", {"tool_name": "rm", "parameters": {}})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE batches SET events = ?", (b"a diary",))

    for _ in range(2):  # the file is let go of
        with pytest.raises(InvalidInput, match=f"journal {path}: What was kept of this session cannot be read"):
            create_app(Broker(), Settings(journal=path))
    assert asked == 201


async def test_second_service_is_refused(path: Path) -> None:
    async with running(path):
        with pytest.raises(InvalidInput, match="another process uses it already"):
            create_app(Broker(), Settings(journal=path))


async def test_service_without_a_journal_says_so(http: ClientSession) -> None:
    async with running(None) as site:
        health = await got(http, site, "sse/health/s")
        async with http.get(f"{site.url}/healthz/ready") as answer:
            ready = await answer.json()

    assert health["journal"] == "none"
    assert "journal" not in ready["data"]


async def test_producer_that_repeats_itself_after_a_restart_gets_its_answer_again(
    path: Path, http: ClientSession
) -> None:
    async def publish(site: Site, key: str, body: Any) -> tuple[int, Any]:
        async with http.post(api(site, "events/s"), json=body, headers={"Idempotency-Key": key}) as answer:
            return answer.status, await answer.json()

    note, many = {"type": "note", "data": {"n": 1}}, [{"type": "note", "data": {"n": n}} for n in range(300)]
    async with running(path) as site:
        first = await publish(site, "a", note)
        array, _ = await asyncio.gather(publish(site, "b", many), publish(site, "c", note))

    async with running(path) as site:
        again = await publish(site, "a", note)
        array_again = await publish(site, "b", many)
        other = await publish(site, "a", many)
        polled = await got(http, site, "long-poll/s?after=earliest&timeout=0")
        while len(polled["events"]) < 302:
            more = await got(http, site, f"long-poll/s?after={polled['events'][-1]['id']}&timeout=0")
            assert more["events"]
            polled["events"] += more["events"]

    assert again == first
    assert array_again == array
    assert other[0] == 409
    assert len({event["id"] for event in polled["events"]}) == 302
