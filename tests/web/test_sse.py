"""The event stream (contract sections 2 and 3)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from notifier_service import Broker, Limits
from notifier_service.core.events import ToolProgress, ToolResult, ToolStatus
from notifier_service.core.question import Decision

from .conftest import API, Client, Frame, MakeClient, Service, Stream, error_of, reading, serving, until

if TYPE_CHECKING:
    from conftest import Clock

ASK: dict[str, Any] = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}}


def types(frames: list[Frame]) -> list[str]:
    return [frame.type for frame in frames]


def ids(frames: list[Frame]) -> list[str | None]:
    return [frame.id for frame in frames]


def publish(broker: Broker, count: int, session_id: str = "s1") -> list[str]:
    return [broker.publish_nowait(session_id, "note", {"n": n}).id for n in range(count)]


async def opening(client: Client, cursor: str | None, count: int, **request: Any) -> list[Frame]:
    """What a reader with this ``Last-Event-ID`` is told first."""
    headers = {} if cursor is None else {"Last-Event-ID": cursor}
    async with reading(client, headers=headers, **request) as stream:
        return await stream.take(count)


async def test_a_stream_is_an_event_stream_that_no_proxy_keeps_back(client: Client) -> None:
    async with reading(client) as stream:
        headers = stream.response.headers

    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Transfer-Encoding"] == "chunked"


async def test_a_stream_says_that_its_connection_is_not_used_again(client: Client) -> None:
    async with reading(client) as stream:
        assert stream.response.headers["Connection"] == "close"


async def test_a_stream_begins_with_retry_longer_than_a_restart_takes(client: Client) -> None:
    async with reading(client) as stream:
        await stream.take(1)

    assert len(stream.retries) == 1
    assert 3000 <= int(stream.retries[0]) <= 5000


async def test_retry_is_longer_than_a_slow_shutdown(make_client: MakeClient) -> None:
    client = await make_client(shutdown_seconds=30)

    async with reading(client) as stream:
        await stream.take(1)

    assert int(stream.retries[0]) > 30_000


async def test_a_first_connect_gets_hello_and_snapshot(client: Client, broker: Broker) -> None:
    last = publish(broker, 2)[-1]

    hello, snapshot = await opening(client, None, 2)

    assert hello == Frame(
        id=last,
        event=None,
        data={
            "type": "hello",
            "data": {
                "session_id": "s1",
                "epoch": last.partition("-")[0],
                "last_event_id": last,
                "resumed": "none",
                "heartbeat_seconds": 15.0,
                "viewers": 1,
            },
        },
    )
    assert snapshot == Frame(
        id=None,
        event=None,
        data={
            "type": "snapshot",
            "data": {
                "last_event_id": last,
                "tool_status": None,
                "permission_request": None,
                "permission_requests": [],
                "tool_result": None,
                "running": [],
            },
        },
    )


async def test_a_session_nobody_published_to_can_be_read_from_before_its_first_event(
    client: Client, broker: Broker
) -> None:
    async with reading(client) as stream:
        hello = (await stream.take(2))[0]
        first = broker.publish_nowait("s1", "note")
        event = (await stream.take(1))[0]

    assert hello.id == f"{hello.data['data']['epoch']}-0"
    assert (event.id, event.data) == (first.id, {"type": "note", "id": first.id})


async def test_events_come_live_once_and_in_order(client: Client, broker: Broker) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        published = publish(broker, 50)
        frames = await stream.take(50)

    assert ids(frames) == published
    assert [frame.data["data"]["n"] for frame in frames] == list(range(50))


async def test_two_readers_of_a_session_get_the_same(client: Client, broker: Broker) -> None:
    async with reading(client) as one, reading(client) as two, reading(client, params={"named": "1"}) as three:
        for stream in (one, two, three):
            await stream.take(2)
        publish(broker, 3)
        first, second, third = await one.take(3), await two.take(3), await three.take(3)

    assert first == second
    assert [frame._replace(event=None) for frame in third] == first
    assert [frame.event for frame in third] == ["note"] * 3


async def test_readers_of_other_sessions_get_nothing_of_it(client: Client, broker: Broker) -> None:
    async with reading(client, "s2") as stream:
        await stream.take(2)
        publish(broker, 3)
        own = broker.publish_nowait("s2", "note")

        assert ids(await stream.take(1)) == [own.id]


async def test_the_snapshot_shows_the_present_state(client: Client, broker: Broker) -> None:
    broker.publish_nowait("s1", "tool_result", ToolResult(tool_name="ls", result=["a"], success=True))
    broker.publish_nowait("s1", "tool_status", ToolStatus(status="executing", tool_name="cp", tool_call_id="c1"))
    broker.publish_nowait("s1", "tool_progress", ToolProgress(tool_name="cp", tool_call_id="c1", progress=0.5))
    first, second = broker.ask("s1", **ASK), broker.ask("s1", **ASK)

    state = (await opening(client, None, 2))[1].data["data"]

    assert state["tool_result"]["result"] == ["a"]
    assert state["tool_status"]["status"] == "executing"
    assert [call["progress"]["progress"] for call in state["running"]] == [0.5]
    assert state["permission_request"]["request_id"] == first.request_id
    assert [record["request_id"] for record in state["permission_requests"]] == [first.request_id, second.request_id]


async def test_pending_requests_are_replayed_after_the_snapshot_without_an_id(client: Client, broker: Broker) -> None:
    asked = [broker.ask("s1", **ASK).request_id for _ in range(2)]
    settled = broker.ask("s1", **ASK)
    settled.cancel()

    frames = await opening(client, None, 4)

    assert types(frames) == ["hello", "snapshot", "permission_request", "permission_request"]
    assert ids(frames[2:]) == [None, None]
    assert all("id" not in frame.data for frame in frames[2:])
    assert [(frame.data["data"]["request_id"], frame.data["data"]["replayed"]) for frame in frames[2:]] == [
        (request_id, True) for request_id in asked
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"params": {"replay": "0"}},
        {"params": {"replay": "false"}},
        {"headers": {"Prefer": "replay=0"}},
        {"headers": {"Prefer": "respond-async, Replay = 0"}},
    ],
    ids=["0", "false", "header", "one-of-many"],
)
async def test_client_that_knows_the_snapshot_is_told_once_what_waits(
    client: Client, broker: Broker, said: dict[str, Any]
) -> None:
    asked = [broker.ask("s1", **ASK).request_id for _ in range(100)]

    async with reading(client, **said) as stream:
        frames = await stream.take(2)
        last = broker.publish_nowait("s1", "note").id
        frames += await stream.take(1)

    assert [record["request_id"] for record in frames[1].data["data"]["permission_requests"]] == asked
    assert all(str(frames[1].data).count(request_id) == 1 for request_id in asked[1:])
    assert (types(frames), frames[2].id) == (["hello", "snapshot", "note"], last)


async def test_client_that_knows_the_snapshot_is_told_what_waits_where_it_gets_none(
    client: Client, broker: Broker
) -> None:
    asked = broker.ask("s1", **ASK).request_id
    broker.publish_nowait("s1", "note")

    frames = await opening(client, "earliest", 3, params={"replay": "0"})

    assert {frame.data["data"]["request_id"] for frame in frames[1:] if frame.data["type"] != "note"} == {asked}
    assert "snapshot" not in types(frames)


async def test_a_request_asked_while_somebody_reads_is_not_replayed_and_counts_viewers(
    client: Client, broker: Broker
) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        broker.ask("s1", **ASK)
        frame = (await stream.take(1))[0]

    assert frame.id == frame.data["id"]
    assert "replayed" not in frame.data["data"]
    assert frame.data["data"]["viewers"] == 1


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_reader_resumes_behind_its_cursor(client: Client, broker: Broker, how: str) -> None:
    published = publish(broker, 5)
    where: dict[str, Any] = (
        {"headers": {"Last-Event-ID": published[1]}} if how == "header" else {"params": {"last_event_id": published[1]}}
    )

    async with reading(client, **where) as stream:
        frames = await stream.take(4)
        live = publish(broker, 1)
        frames += await stream.take(1)

    assert types(frames) == ["hello", "note", "note", "note", "note"]
    assert ids(frames) == [published[1], *published[2:], *live]
    assert frames[0].data["data"]["resumed"] == "full"
    assert frames[0].data["data"]["last_event_id"] == published[-1]


async def test_the_header_wins_over_the_query(client: Client, broker: Broker) -> None:
    published = publish(broker, 3)

    frames = await opening(client, published[1], 2, params={"last_event_id": published[0]})

    assert ids(frames) == published[1:]


async def test_an_empty_header_leaves_it_to_the_query(client: Client, broker: Broker) -> None:
    published = publish(broker, 3)

    frames = await opening(client, "", 2, params={"last_event_id": published[1]})

    assert ids(frames) == published[1:]


async def test_a_reader_at_the_end_gets_hello_and_then_only_what_comes(client: Client, broker: Broker) -> None:
    last = publish(broker, 3)[-1]

    async with reading(client, headers={"Last-Event-ID": last}) as stream:
        hello = await stream.take(1)
        live = publish(broker, 1)

        assert ids(hello + await stream.take(1)) == [last, *live]


async def test_the_id_of_hello_is_a_cursor_that_loses_nothing(client: Client, broker: Broker) -> None:
    published = publish(broker, 3)
    dropped = (await opening(client, published[0], 1))[0]

    frames = await opening(client, dropped.id, 3)

    assert ids(frames) == published


async def test_cursors_are_compared_as_numbers(client: Client, broker: Broker) -> None:
    published = publish(broker, 3)
    epoch, _, seq = published[1].partition("-")

    frames = await opening(client, f"00{epoch}-000{seq}", 2)

    assert frames[0].data["data"]["resumed"] == "full"
    assert ids(frames) == published[1:]


async def test_earliest_replays_all_that_the_log_holds(client: Client, broker: Broker) -> None:
    published = publish(broker, 3)

    async with reading(client, params={"last_event_id": "earliest"}) as stream:
        frames = await stream.take(4)

    assert types(frames) == ["hello", "note", "note", "note"]
    assert ids(frames[1:]) == published
    assert frames[0].data["data"]["resumed"] == "full"
    assert frames[0].id == f"{frames[0].data['data']['epoch']}-0"


async def test_earliest_shows_requests_whose_announcement_the_log_has_dropped(make_client: MakeClient) -> None:
    broker = Broker(Limits(log_events=2))
    client = await make_client(broker)
    request = broker.ask("s1", **ASK)
    published = publish(broker, 2)

    async with reading(client, params={"last_event_id": "earliest"}) as stream:
        frames = await stream.take(4)

    assert types(frames) == ["hello", "permission_request", "note", "note"]
    assert frames[1].data["data"]["request_id"] == request.request_id
    assert ids(frames[2:]) == published


async def test_a_cursor_behind_the_log_is_told_of_a_gap_and_of_the_state(make_client: MakeClient) -> None:
    broker = Broker(Limits(log_events=2))
    client = await make_client(broker)
    published = publish(broker, 5)

    async with reading(client, headers={"Last-Event-ID": published[0]}) as stream:
        frames = await stream.take(3)
        live = publish(broker, 1)
        frames += await stream.take(1)

    assert types(frames) == ["hello", "gap", "snapshot", "note"]
    assert frames[0].data["data"]["resumed"] == "partial"
    assert frames[1] == Frame(
        None,
        None,
        {
            "type": "gap",
            "data": {
                "requested": published[0],
                "oldest": published[3],
                "newest": published[4],
                "reason": "evicted",
            },
        },
    )
    assert frames[2].data["data"]["last_event_id"] == frames[0].id == published[4]
    assert frames[3].id == live[0]


async def test_a_cursor_just_before_the_oldest_event_is_no_gap(make_client: MakeClient) -> None:
    broker = Broker(Limits(log_events=2))
    client = await make_client(broker)
    published = publish(broker, 5)

    frames = await opening(client, published[2], 3)

    assert ids(frames) == published[2:]


async def test_pending_requests_are_replayed_after_a_gap_too(client: Client, broker: Broker) -> None:
    broker.ask("s1", **ASK)

    frames = await opening(client, "0-0", 4)

    assert types(frames) == ["hello", "gap", "snapshot", "permission_request"]
    assert frames[3].data["data"]["replayed"] is True


async def test_a_cursor_of_another_epoch_is_a_gap_epoch(client: Client, broker: Broker) -> None:
    before = publish(broker, 3)[1]
    broker.end_session("s1")
    publish(broker, 1)

    frames = await opening(client, before, 4)

    assert types(frames) == ["hello", "gap", "snapshot", "note"]
    assert (frames[1].data["data"]["reason"], frames[1].data["data"]["requested"]) == ("epoch", before)


async def test_a_cursor_from_the_future_is_a_gap_unknown(client: Client, broker: Broker) -> None:
    epoch = publish(broker, 1)[0].partition("-")[0]

    frames = await opening(client, f"{epoch}-zz", 3)

    assert types(frames) == ["hello", "gap", "snapshot"]
    assert frames[1].data["data"]["reason"] == "unknown"


GARBAGE = [
    "x",
    "-",
    "1",
    "1-",
    "-1",
    "1-2-3",
    "A-1",
    "1-A",
    "1 -1",
    "EARLIEST",
    "null",
    "é-1",
    "٣-٣",
    "1-" + "z" * 25,
    "z" * 4000,
    "💥",
    "'; drop table",
]


@pytest.mark.parametrize("cursor", GARBAGE)
async def test_a_cursor_that_is_garbage_is_a_gap_unknown(client: Client, cursor: str) -> None:
    async with reading(client, params={"last_event_id": cursor}) as stream:
        frames = await stream.take(3)

    assert types(frames) == ["hello", "gap", "snapshot"]
    assert frames[1].data["data"]["reason"] == "unknown"
    assert frames[1].data["data"]["requested"] == cursor[:64]


@pytest.mark.parametrize("cursor", ["1-1\r\nid: x", "1-1\ndata: x", "\0", "1-1\r", "\u2028", " 1-1"])
async def test_a_cursor_cannot_break_out_of_its_line(client: Client, cursor: str) -> None:
    async with reading(client, params={"last_event_id": cursor}) as stream:
        frames = await stream.take(3)

    assert types(frames) == ["hello", "gap", "snapshot"]
    assert frames[1].data["data"]["requested"] == cursor


async def test_a_header_that_is_no_unicode_is_a_gap_unknown(service: Service) -> None:
    reader, writer = await service.connect()
    writer.write(
        b"GET /agent_backend/api/sse/events/s1 HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: \xff\xfe-1\r\n\r\n",
    )
    head = await reader.readuntil(b"snapshot")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"reason":"unknown"' in head


@pytest.mark.parametrize(
    "query",
    ["?unknown=1", "?last_event_id=a&last_event_id=b", "?named=maybe", "?token=x&token=y", "?named", "?%00=%0d"],
)
async def test_a_query_never_ends_a_stream_for_good(client: Client, query: str) -> None:
    async with client.get(URL(f"{API}/sse/events/s1{query}", encoded=True)) as response:
        frames = await Stream(response).take(2)

    assert response.status == 200
    assert frames[0].type == "hello"
    assert frames[0].event is None


@pytest.mark.parametrize("named", ["1", "true"])
async def test_a_named_stream_says_the_type_of_each_event(client: Client, broker: Broker, named: str) -> None:
    broker.ask("s1", **ASK)

    async with reading(client, params={"named": named}, headers={"Last-Event-ID": "garbage"}) as stream:
        frames = await stream.take(4)
        publish(broker, 1)
        broker.end_session("s1")
        frames += await stream.rest()

    assert types(frames) == [
        "hello",
        "gap",
        "snapshot",
        "permission_request",
        "note",
        "permission_cleared",
        "bye",
    ]
    assert [frame.event for frame in frames] == types(frames)


async def test_without_named_no_event_has_a_name(client: Client, broker: Broker) -> None:
    broker.ask("s1", **ASK)

    async with reading(client, headers={"Last-Event-ID": "garbage"}) as stream:
        await stream.take(4)
        broker.end_session("s1")
        frames = await stream.rest()

    assert [frame.event for frame in frames] == [None, None]


async def test_a_silent_stream_gets_heartbeats_without_an_id(make_client: MakeClient) -> None:
    client = await make_client(heartbeat_seconds=0.04)
    began = time.time()

    async with reading(client, params={"named": "1"}) as stream:
        frames = (await stream.take(4))[2:]

    assert [(frame.id, frame.event, frame.type) for frame in frames] == [(None, "heartbeat", "heartbeat")] * 2
    assert [set(frame.data) for frame in frames] == [{"type", "timestamp"}] * 2
    assert began - 1 < frames[0].data["timestamp"] < frames[1].data["timestamp"] < time.time() + 1


async def test_a_heartbeat_comes_after_just_so_much_silence(make_client: MakeClient, clock: Clock) -> None:
    broker = Broker(Limits(heartbeat_seconds=15), clock=clock)
    client = await make_client(broker)

    async with reading(client) as stream:
        await stream.take(2)
        clock.advance(14)
        broker.sweep()
        publish(broker, 1)
        note = await stream.take(1)
        clock.advance(14)
        broker.sweep()
        clock.advance(1)
        broker.sweep()
        beat = await stream.take(1)
        publish(broker, 1)
        after = await stream.take(1)

    assert types(note + beat + after) == ["note", "heartbeat", "note"]


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_session", "max_sessions"])
async def test_a_reader_beyond_a_limit_is_told_and_comes_back(make_client: MakeClient, limit: str) -> None:
    client = await make_client(**{limit: 1})

    async with reading(client, "s1") as first:
        await first.take(2)
        other = "s2" if limit == "max_sessions" else "s1"
        async with reading(client, other, params={"named": "1"}) as second:
            frames = await second.rest()

    assert types(frames) == ["error", "bye"]
    assert [(frame.id, frame.event) for frame in frames] == [(None, "error"), (None, "bye")]
    error, bye = frames[0].data, frames[1].data["data"]
    assert error == {
        "type": "error",
        "success": False,
        "error": {"code": "limit_reached", "message": error["message"], "limit": limit},
        "message": error["message"],
        "code": "limit_reached",
    }
    assert bye == {"code": "limit", "reconnect": True, "retry_ms": int(second.retries[0])}


async def test_the_limit_of_a_session_is_not_that_of_another(make_client: MakeClient) -> None:
    client = await make_client(max_connections_per_session=1)

    async with reading(client, "s1") as first, reading(client, "s2") as second:
        assert types(await first.take(1) + await second.take(1)) == ["hello", "hello"]


async def test_who_leaves_makes_room(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_connections_per_session=1))
    client = await make_client(broker)
    async with reading(client) as first:
        await first.take(1)
    await until(lambda: broker.connections == 0)

    async with reading(client) as second:
        assert types(await second.take(1)) == ["hello"]


async def test_a_stream_that_begins_while_the_service_drains_gets_bye(client: Client, broker: Broker) -> None:
    broker.close()

    async with reading(client) as stream:
        frames = await stream.rest()

    assert [(frame.type, frame.data.get("code")) for frame in frames[:1]] == [("error", "shutting_down")]
    assert frames[1].data["data"]["code"] == "shutdown"
    assert frames[1].data["data"]["reconnect"] is True
    assert len(frames) == 2


async def test_a_session_that_is_ended_says_bye_after_all_that_was_published(client: Client, broker: Broker) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        broker.ask("s1", **ASK)
        publish(broker, 2)
        response = await client.delete(f"{API}/sessions/s1")
        frames = await stream.rest()

    assert await response.json() == {"success": True, "data": {"session_id": "s1", "status": "closed"}}
    assert types(frames) == ["permission_request", "note", "note", "permission_cleared", "bye"]
    bye = frames[-1].data["data"]
    assert (bye["code"], bye["reconnect"]) == ("session_closed", False)
    assert 3000 <= bye["retry_ms"] <= 5000


async def test_ending_a_session_that_nobody_opened_is_not_found(client: Client) -> None:
    assert await error_of(await client.delete(f"{API}/sessions/s1")) == (404, "session_not_found")


async def test_an_answer_is_told_to_every_reader(client: Client, broker: Broker) -> None:
    request = broker.ask("s1", **ASK)

    async with reading(client) as stream:
        await stream.take(3)
        broker.decide("s1", Decision(approved=True, reason="fine"), decided_by="ann")
        result, cleared = await stream.take(2)

    assert result.type == "permission_response_result"
    assert result.data["data"]["approved"] is True
    assert (result.data["data"]["reason"], result.data["data"]["decided_by"]) == ("fine", "ann")
    assert cleared.type == "permission_cleared"
    assert cleared.data["data"]["request_id"] == request.request_id


NASTY = ["a\r\nb", "a\nid: 1-1\n\ndata: x", "\0", "\x85\u2028\u2029", "]]>", "\x7f\x1b[31m", "💥", "\\n", "<script>"]


@pytest.mark.parametrize("text", NASTY)
async def test_no_published_string_breaks_out_of_its_frame(client: Client, text: str) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        posted = await client.post(f"{API}/events/s1", json={"type": "note", "data": {text: [text]}})
        frame = (await stream.take(1))[0]

    assert frame.data["data"] == {text: [text]}
    assert [frame.id] == (await posted.json())["data"]["ids"]


@pytest.mark.parametrize("text", NASTY)
async def test_no_asked_string_breaks_out_of_its_frame(client: Client, text: str) -> None:
    body = {"tool_name": text, "parameters": {text: text}, "tool_call_id": text, "description": text}

    async with reading(client) as stream:
        await stream.take(2)
        await client.post(f"{API}/permissions/s1", json=body)
        asked = (await stream.take(1))[0]
        await client.post(f"{API}/sse/permission-response/s1", json={"approved": False, "reason": text})
        result, cleared = await stream.take(2)

    assert {name: asked.data["data"][name] for name in body} == body
    assert result.data["data"]["reason"] == text
    assert cleared.data["data"]["tool_name"] == text


@pytest.mark.parametrize("event_type", ["note\nid: x", "note\r", "note\0", "no te"])
async def test_no_type_breaks_out_of_a_named_frame(client: Client, event_type: str) -> None:
    response = await client.post(f"{API}/events/s1", json={"type": event_type})

    assert await error_of(response) == (422, "invalid")


async def test_a_reader_that_was_overtaken_is_told_of_a_gap_and_goes_on(make_client: MakeClient) -> None:
    broker = Broker(Limits(log_events=3))
    client = await make_client(broker)

    async with reading(client) as stream:
        await stream.take(2)
        request = broker.ask("s1", **ASK)
        published = publish(broker, 10)
        frames = await stream.take(3)
        live = publish(broker, 1)
        frames += await stream.take(1)

    assert types(frames) == ["gap", "snapshot", "permission_request", "note"]
    assert frames[0].data["data"]["reason"] == "slow"
    assert (frames[0].data["data"]["oldest"], frames[0].data["data"]["newest"]) == (published[7], published[9])
    assert frames[1].data["data"]["last_event_id"] == published[9]
    assert frames[2].data["data"]["request_id"] == request.request_id
    assert frames[3].id == live[0]


async def test_a_backlog_larger_than_one_write_comes_whole(client: Client, broker: Broker) -> None:
    published = [broker.publish_nowait("s1", "note", {"text": "x" * 10_000}).id for _ in range(30)]

    async with reading(client, params={"last_event_id": "earliest"}) as stream:
        frames = await stream.take(31)

    assert ids(frames[1:]) == published


async def test_a_reader_that_left_is_counted_out(client: Client, broker: Broker) -> None:
    async with reading(client) as stream:
        await stream.take(1)
    await until(lambda: not broker.get("s1").readers)

    response = await client.get(f"{API}/sse/health/s1")

    assert (await response.json())["data"]["disconnects"] == {"left": 1}


async def test_a_reader_that_left_is_counted_out_where_handlers_are_not_cancelled(
    embedded: aiohttp.ClientSession, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with reading(embedded) as stream:
        await stream.take(2)
    await until(lambda: broker.sweep() and not broker.get("s1").readers)

    assert dict(broker.get("s1").readers.disconnects) == {"left": 1}
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_reader_of_http_1_0_is_answered(service: Service) -> None:
    reader, writer = await service.connect()
    writer.write(b"GET /agent_backend/api/sse/events/s1 HTTP/1.0\r\n\r\n")
    received = await reader.readuntil(b"snapshot")
    writer.close()
    await writer.wait_closed()

    assert received.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"chunked" not in received


async def test_a_reader_goes_on_over_a_restart_of_the_session(client: Client, broker: Broker) -> None:
    async with reading(client) as stream:
        await stream.take(2)
        publish(broker, 1)
        broker.end_session("s1")
        last = (await stream.rest())[0]
    after = publish(broker, 2)

    frames = await opening(client, last.id, 5)

    assert types(frames) == ["hello", "gap", "snapshot", "note", "note"]
    assert frames[1].data["data"]["reason"] == "epoch"
    assert ids(frames)[3:] == after
    # Whoever drops before they came goes on there.
    assert frames[0].id == frames[2].data["data"]["last_event_id"] == f"{after[0].partition('-')[0]}-0"


async def test_the_events_of_a_served_session_go_over_a_socket(service: Service) -> None:
    async with reading(service.http) as stream:
        await stream.take(2)
        published = [service.site.broker.publish_nowait("s1", "note").id for _ in range(3)]

        assert ids(await stream.take(3)) == published


async def test_leaving_the_service_says_bye_to_its_readers() -> None:
    async with serving(shutdown_seconds=1) as service:
        response = await service.http.get(f"{API}/sse/events/s1")
        stream = Stream(response)
        await stream.take(2)
        service.site.broker.close()
        frames = await stream.rest()

    assert [frame.data["data"]["code"] for frame in frames] == ["shutdown"]


async def test_stream_that_comes_back_to_a_session_that_was_ended_is_told_to_stop(
    client: Client, broker: Broker
) -> None:
    before = publish(broker, 1)[0]
    broker.end_session("s1")
    by_header = await client.get(f"{API}/sse/events/s1", headers={"Last-Event-ID": before})
    by_query = await client.get(f"{API}/sse/events/s1", params={"lastEventId": before})

    assert (by_header.status, by_query.status) == (204, 204)
    assert await by_header.read() == b""


async def test_session_that_was_ended_is_read_anew_and_opened_by_who_publishes(client: Client, broker: Broker) -> None:
    before = publish(broker, 1)[0]
    broker.end_session("s1")
    async with reading(client) as anew:
        await anew.take(2)
        while_it_waits = await client.get(f"{API}/sse/events/s1", headers={"Last-Event-ID": before})
        after = publish(broker, 1)
        live = await anew.take(1)
    back = await opening(client, before, 4)

    assert while_it_waits.status == 204
    assert ids(live) == after
    assert ids(back)[3:] == after


async def test_end_of_a_session_is_forgotten_after_a_minute(make_client: MakeClient, clock: Clock) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    before = publish(broker, 1)[0]
    broker.end_session("s1")
    clock.advance(59)
    too_soon = await client.get(f"{API}/sse/events/s1", headers={"Last-Event-ID": before})
    clock.advance(1)

    assert too_soon.status == 204
    assert types(await opening(client, before, 3)) == ["hello", "gap", "snapshot"]


def test_of_many_sessions_that_were_ended_the_oldest_are_forgotten(broker: Broker) -> None:
    for number in range(10_001):
        broker.open(f"s{number}")
        broker.end_session(f"s{number}")

    assert [broker.has_ended(f"s{number}") for number in (0, 1, 10_000)] == [False, True, True]
