"""What one caller keeps here never shuts out another."""

from __future__ import annotations

import asyncio
import gc
import socket
import tracemalloc
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Limits
from notifier_service.core import parameters
from notifier_service.web import produce

from .conftest import (
    API,
    PATIENCE_SECONDS,
    Client,
    MakeClient,
    Stream,
    WriteTokens,
    answer,
    error_of,
    reading,
    serving,
    until,
)

NOTE = {"type": "note"}
READS = [
    "sse/health/{}", "polling/session-info/{}", "polling/tool-status/{}", "polling/permission-request/{}",
    "polling/tool-result/{}", "long-poll/{}?timeout=0", "permissions/{}",
]  # fmt: skip


@pytest.fixture
def tokens(write_tokens: WriteTokens) -> Path:
    """A token for everybody of these names, who may do what the name says in every session."""
    rights: dict[str, list[str]] = {
        "producer": ["produce"], "other-producer": ["produce"], "viewer": ["view"], "other-viewer": ["view"],
        "approver": ["approve"],
    }  # fmt: skip
    return write_tokens(
        [{"token": f"{name}-token", "subject": name, "rights": its, "sessions": ["*"]} for name, its in rights.items()]
    )


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-token"}


async def guarded(make_client: MakeClient, tokens: Path, broker: Broker) -> Client:
    return await make_client(broker, auth="tokens", tokens_file=tokens)


# Sessions


@pytest.mark.parametrize("path", READS)
async def test_reading_sessions_that_nobody_opened_makes_none(client: Client, broker: Broker, path: str) -> None:
    for n in range(3):
        assert (await client.get(f"{API}/{path.format(f's{n}')}")).status == 200

    assert broker.sessions == ()
    assert (await client.get(f"{API}/permissions/s1/unknown")).status == 404
    assert (await client.post(f"{API}/polling/clear-result/s1", json={})).status == 200
    assert broker.sessions == ()


async def test_cursor_of_a_session_that_nobody_opened_yet_is_good_when_somebody_has(
    client: Client, broker: Broker
) -> None:
    info = (await answer(await client.get(f"{API}/polling/session-info/s1")))[1]["data"]
    broker.publish_nowait("s1", "note")

    polled = (await answer(await client.get(f"{API}/long-poll/s1?after={info['last_event_id']}")))[1]["data"]

    assert polled["gap"] is None
    assert [event["type"] for event in polled["events"]] == ["note"]


async def test_sessions_that_were_only_read_give_way_to_a_producer(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    for n in range(9):
        assert (await client.get(f"{API}/long-poll/read-{n}?timeout=0.01")).status == 200

    posted = [await client.post(f"{API}/events/made-{n}", json=NOTE) for n in range(4)]

    assert [response.status for response in posted] == [201, 201, 201, 429]
    assert [session.session_id for session in broker.sessions] == ["made-0", "made-1", "made-2"]


async def test_session_with_a_reader_or_a_question_does_not_give_way(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    broker.publish_nowait("published", "note")
    broker.ask("asked", tool_name="rm", parameters={})
    async with reading(client, "read") as stream:
        await stream.take(2)
        refused = await client.post(f"{API}/events/more", json=NOTE)

        assert await error_of(refused) == (429, "limit_reached")
        assert refused.headers["Retry-After"] == "1"
    await until(lambda: not broker.connections)
    assert (await client.post(f"{API}/events/more", json=NOTE)).status == 201


async def test_array_for_several_new_sessions_does_not_have_one_of_them_give_way_to_another(
    make_client: MakeClient,
) -> None:
    broker = Broker(Limits(max_sessions=3))
    client = await make_client(broker)
    broker.open("empty")

    response = await client.post(f"{API}/events", json=[{**NOTE, "session_id": f"s{n}"} for n in range(3)])

    assert response.status == 201
    assert [session.log.last_seq for session in broker.sessions] == [1, 1, 1]


async def test_one_producer_leaves_sessions_for_others(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_sessions=10))
    client = await guarded(make_client, tokens, broker)

    async def post(name: str, n: int) -> int:
        return (await client.post(f"{API}/events/{name}-{n}", json=NOTE, headers=bearer(name))).status

    assert [await post("producer", n) for n in range(10)] == [201] * 8 + [429] * 2
    assert [await post("other-producer", n) for n in range(2)] == [201] * 2
    assert broker.counters.limits_reached == {"max_sessions": 2}


async def test_live_reader_of_what_nobody_publishes_counts_against_the_reader(
    make_client: MakeClient, tokens: Path
) -> None:
    broker = Broker(Limits(max_sessions=10))
    client = await guarded(make_client, tokens, broker)
    held = [
        asyncio.create_task(client.get(f"{API}/long-poll/x{n}?timeout=10", headers=bearer("viewer")).__aenter__())
        for n in range(10)
    ]
    await until(lambda: len(broker.sessions) == 8)

    response = await client.post(f"{API}/events/s1", json=NOTE, headers=bearer("producer"))

    assert response.status == 201
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_number_of_sessions_of_one_subject_can_be_set(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_sessions_per_subject=2))
    client = await guarded(make_client, tokens, broker)

    async def post(name: str, n: int) -> Any:
        return await client.post(f"{API}/events/{name}-{n}", json=NOTE, headers=bearer(name))

    assert [(await post("producer", n)).status for n in range(3)] == [201, 201, 429]
    assert (await post("other-producer", 1)).status == 201
    broker.end_session("producer-0")
    assert (await post("producer", 3)).status == 201


# Connections


async def test_streams_of_a_viewer_do_not_keep_out_who_may_approve(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_connections_per_session=20))
    client = await guarded(make_client, tokens, broker)
    path = f"{API}/sse/events/s1"
    async with AsyncExitStack() as stack:

        async def first(name: str) -> str:
            response = await stack.enter_async_context(client.get(path, headers=bearer(name)))
            return (await Stream(response).take(1))[0].type

        assert [await first("viewer") for _ in range(17)] == ["hello"] * 16 + ["error"]
        assert [await first("other-viewer") for _ in range(3)] == ["hello"] * 2 + ["error"]
        assert [await first("approver") for _ in range(2)] == ["hello"] * 2
    assert broker.counters.limits_reached == {"max_connections_per_session": 2}


async def test_held_answers_of_one_caller_leave_connections_for_others(make_client: MakeClient, tokens: Path) -> None:
    broker = Broker(Limits(max_connections=10))
    client = await guarded(make_client, tokens, broker)
    request = broker.ask("s1", tool_name="rm", parameters={}, asked_by="producer")
    waiting = f"{API}/permissions/s1/{request.request_id}?wait=10"
    held = [asyncio.create_task(client.get(waiting, headers=bearer("producer")).__aenter__()) for _ in range(10)]
    await until(lambda: broker.connections == 8)
    done, _ = await asyncio.wait(held, return_when=asyncio.FIRST_COMPLETED)

    assert {response.result().status for response in done} == {429}
    poll = await client.get(f"{API}/long-poll/s1?timeout=0.01", headers=bearer("approver"))
    assert poll.status == 200
    request.cancel()
    assert sorted([(await task).status for task in held]) == [200] * 8 + [429] * 2
    assert broker.connections == 0


@pytest.mark.parametrize(
    "how",
    [
        lambda client: client.get(f"{API}/long-poll/s1?timeout=5"),
        lambda client: client.post(f"{API}/permissions/s1?wait=5", json={"tool_name": "rm", "parameters": {}}),
        lambda client: client.post(f"{API}/events/s1", data=b"", headers={"Content-Type": "application/x-ndjson"}),
        lambda client: client.get("/agent_chat_stream?query=x"),
    ],
    ids=["long-poll", "ask", "ndjson", "chat"],
)
async def test_every_held_answer_counts_as_a_connection(make_client: MakeClient, how: Any) -> None:
    broker = Broker(Limits(max_connections=1))
    client = await make_client(broker)
    async with reading(client, "other") as stream:
        await stream.take(1)

        response = await how(client)

        assert b"limit_reached" in await response.read()
        assert (response.status, response.headers.get("Retry-After")) in [(429, "1"), (200, None)]
    assert broker.counters.limits_reached == {"max_connections": 1}
    assert [session.session_id for session in broker.sessions] == ["other"]


async def test_answers_that_many_wait_for_in_many_sessions_are_not_kept() -> None:
    async with serving() as service:
        broker = service.site.broker

        async def read(session_id: str) -> int:
            async with service.http.get(f"{API}/long-poll/{session_id}?timeout=10") as response:
                return len(await response.read())

        async def poll_twice(session_id: str) -> None:
            polls = [asyncio.ensure_future(read(session_id)) for _ in range(2)]
            await until(lambda: broker.look(session_id).viewer_count == 2)
            broker.publish_nowait(session_id, "note", {"text": "x" * 60_000})
            assert min(await asyncio.gather(*polls)) > 60_000

        await poll_twice("first")
        tracemalloc.start()
        try:
            for number in range(80):
                await poll_twice(f"s{number}")
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - broker.statistics().log_bytes
        finally:
            tracemalloc.stop()

    assert held < 40 * 60_000


async def test_answer_that_was_held_and_is_not_read_is_cut_and_gives_its_place_back() -> None:
    async with (
        serving(stalled_seconds=1, max_connections=5, log_bytes=16 * 1024**2, max_event_bytes=16 * 1024**2) as service,
        AsyncExitStack() as stack,
    ):
        broker = service.site.broker
        for _ in range(5):
            raw = stack.enter_context(socket.socket())
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect((service.site.host, service.site.port))
            raw.sendall(f"GET {API}/long-poll/s1?timeout=30 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await until(lambda: broker.connections == 5)
        broker.publish_nowait("s1", "note", {"text": "x" * 12_000_000})
        refused = await service.http.get(f"{API}/long-poll/s1")
        still = broker.connections
        await until(lambda: broker.connections == 0)

        assert (refused.status, still) == (429, 5)
        assert (await service.http.get(f"{API}/long-poll/s1?timeout=0.01")).status == 200


async def test_stream_of_events_that_sends_nothing_ends_and_an_empty_line_keeps_it_open() -> None:
    head = (
        f"POST {API}/events/s1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    async with serving(producer_idle_seconds=0.6) as service:
        reader, writer = await service.connect()
        writer.write(head.encode())
        for _ in range(4):
            writer.write(b"1\r\n\n\r\n")
            await asyncio.sleep(0.2)
        writer.write(b"10\r\n" + b'{"type":"note"}\n' + b"\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await reader.read(4096)
        writer.close()

        assert b"429" in answer.split(b"\r\n")[0]
        assert b'"limit":"producer_idle_seconds"' in answer
        assert b'"count":1' in answer
        assert service.site.broker.counters.limits_reached == {"producer_idle_seconds": 1}


async def test_connection_that_asks_nothing_is_closed_soon_and_one_that_does_stays() -> None:
    async with serving(first_request_seconds=0.2) as service:
        silent, silent_writer = await service.connect()
        slow, slow_writer = await service.connect()
        kept, kept_writer = await service.connect()
        slow_writer.write(b"GET /healthz/live HTTP/1.1\r\nHost: loc")
        kept_writer.write(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await silent.read() == b""
            with suppress(ConnectionResetError):
                assert await slow.read() == b""
            await kept.readuntil(b"}}")
            kept_writer.write(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await kept.readuntil(b"}}")
        for writer in (silent_writer, slow_writer, kept_writer):
            writer.close()
        assert service.site.broker.counters.limits_reached["first_request_seconds"] == 2


async def test_idle_connections_give_way_and_whoever_asks_is_answered() -> None:
    async with serving(max_idle_connections=5) as service:
        idle = [await service.connect() for _ in range(20)]
        asked = [(await service.http.get("/healthz/live")).status for _ in range(3)]

        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionResetError):
                assert await idle[0][0].read() == b""
        for _, writer in idle:
            writer.close()

        assert asked == [200] * 3
        assert service.site.broker.counters.limits_reached["max_idle_connections"] >= 15


async def test_those_who_have_left_take_no_place_of_those_who_are_about_to_ask() -> None:
    async with serving(max_idle_connections=5) as service:
        for _ in range(10):
            reader, writer = await service.connect()
            writer.write(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        reader, writer = await service.connect()
        writer.write(b"GET /healthz/live HTTP/1.1\r\n")
        assert (await service.http.get("/healthz/live")).status == 200
        others = [await service.connect() for _ in range(2)]
        writer.write(b"Host: localhost\r\n\r\n")

        assert await reader.read(12) == b"HTTP/1.1 200"
        assert not service.site.broker.counters.limits_reached
        for _, one in [(reader, writer), *others]:
            one.close()


async def test_streams_are_no_idle_connections() -> None:
    async with serving(max_idle_connections=2, first_request_seconds=0.1) as service, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(reading(service.http, f"s{n}")) for n in range(6)]
        for stream in streams:
            await stream.take(2)
        sockets = [await stack.enter_async_context(service.http.ws_connect("/agent_backend/ws/s0")) for _ in "123"]
        await asyncio.sleep(0.7)
        service.site.broker.publish_nowait("s0", "note")

        assert (await streams[0].take(1))[0].type == "note"
        assert [(await one.receive_json())["type"] for one in sockets] == ["hello"] * 3


# Questions

ASK = {"tool_name": "rm", "parameters": {"path": "/srv"}}


async def asked(client: Client, name: str, session_id: str, **how: Any) -> int:
    response = await client.post(f"{API}/permissions/{session_id}", json={**ASK, **how}, headers=bearer(name))
    return response.status


async def test_one_asker_leaves_a_session_room_for_the_questions_of_others(
    make_client: MakeClient, tokens: Path
) -> None:
    broker = Broker(Limits(max_pending_per_session=10))
    client = await guarded(make_client, tokens, broker)

    assert [await asked(client, "producer", "s1") for _ in range(9)] == [201] * 8 + [429]
    assert [await asked(client, "other-producer", "s1") for _ in range(3)] == [201] * 2 + [429]
    broker.get("s1").desk.pending[-1].cancel()
    assert await asked(client, "other-producer", "s1") == 201


@pytest.mark.parametrize("timeout_seconds", [0, 86_401, 30 * 86_400])
async def test_questions_that_wait_as_if_for_ever_leave_room_for_those_that_do_not(
    make_client: MakeClient, tokens: Path, timeout_seconds: float
) -> None:
    client = await guarded(make_client, tokens, Broker(Limits(max_pending_per_session=4, max_pending_lasting=3)))
    lasting = {"timeout_seconds": timeout_seconds}

    assert [await asked(client, "producer", "s1", **lasting) for _ in range(3)] == [201, 201, 429]
    assert [await asked(client, "producer", f"s{n}", **lasting) for n in (2, 3)] == [201, 429]
    assert await asked(client, "producer", "s1", timeout_seconds=86_400) == 201


async def test_questions_of_one_asker_in_all_sessions_leave_room_for_others(
    make_client: MakeClient, tokens: Path
) -> None:
    broker = Broker(Limits(max_pending=10))
    client = await guarded(make_client, tokens, broker)

    assert [await asked(client, "producer", f"s{n}") for n in range(9)] == [201] * 8 + [429]
    assert await asked(client, "other-producer", "mine") == 201
    assert broker.counters.limits_reached == {"max_pending": 1}
    broker.end_session("s0")
    assert await asked(client, "other-producer", "mine") == 201


# What a body costs is known before it is paid

MEBIBYTE = 1024 * 1024


def many(item: str) -> str:
    return "[" + ",".join([item] * ((MEBIBYTE - 200) // (len(item) + 1))) + "]"


@pytest.mark.parametrize("item", ["1e22", "0.1", "1", "{}", "[]", '""', "1e300"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("events/s1", '{"type":"note","data":{"x":%s}}'),
        ("permissions/s1", '{"tool_name":"rm","parameters":{"x":%s}}'),
    ],
)
async def test_body_of_a_million_small_values_is_refused_before_it_is_worked_on(
    client: Client, broker: Broker, monkeypatch: pytest.MonkeyPatch, path: str, body: str, item: str
) -> None:
    worked: list[object] = []
    monkeypatch.setattr(parameters, "_shown", worked.append)
    monkeypatch.setattr(produce, "dump", worked.append)

    response = await client.post(f"{API}/{path}", data=body % many(item), headers={"Content-Type": "application/json"})

    assert await error_of(response) == (413, "too_large")
    assert worked == []
    assert not any(session.desk.pending_count for session in broker.sessions)
