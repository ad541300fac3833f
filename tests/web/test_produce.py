"""Publishing over HTTP (contract section 5)."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Limits
from notifier_service.web import auth
from tests.signer import Signer

from .conftest import API, Client, MakeClient, Service, answer, bearer, error_of, reading, serving, until

PATH = f"{API}/events/s1"
MANY = f"{API}/events"
NDJSON = {"Content-Type": "application/x-ndjson"}
NOTE: dict[str, Any] = {"type": "note", "data": {"n": 1}}


def stored(broker: Broker, session_id: str = "s1") -> list[dict[str, Any]]:
    """The events of a session without their ids."""
    events = [json.loads(event.json) for event in broker.open(session_id).log.read_after(0)]
    return [{key: value for key, value in event.items() if key != "id"} for event in events]


async def stream(client: Client, *lines: bytes, path: str = PATH) -> aiohttp.ClientResponse:
    return await client.post(path, data=b"\n".join(lines), headers=NDJSON)


# JSON


async def test_one_event_is_appended_as_it_is(client: Client, broker: Broker) -> None:
    status, body = await answer(await client.post(PATH, json=NOTE))

    assert (status, body) == (201, {"success": True, "data": {"ids": [broker.get("s1").log.last_event_id]}})
    assert stored(broker) == [NOTE]


@pytest.mark.parametrize("event", [{"type": "note"}, {"type": "note", "data": None}])
async def test_an_event_may_have_no_data(client: Client, broker: Broker, event: dict[str, Any]) -> None:
    response = await client.post(PATH, json=event)

    assert response.status == 201
    assert stored(broker) == [{"type": "note"}]


async def test_an_array_is_appended_in_order(client: Client, broker: Broker) -> None:
    events = [{"type": "note", "data": {"n": n}} for n in range(300)]

    status, body = await answer(await client.post(PATH, json=events))

    log = broker.get("s1").log
    assert (status, body["data"]["ids"]) == (201, [event.id for event in log.read_after(0)])
    assert stored(broker) == events


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"type": "bad type"}, "1.type"),
        ({"type": "hello"}, "1.type"),
        ({"type": "tool_status"}, "1.data.status"),
        ({}, "1.type"),
        (7, "1"),
        (None, "1"),
        ([], "1"),
        ({"type": "note", "data": []}, "1.data"),
        ({"type": "note", "extra": 1}, "1.extra"),
        ({"type": "note", "session_id": "s2"}, "1.session_id"),
    ],
)
async def test_an_array_with_one_bad_event_is_not_taken_at_all(
    client: Client, broker: Broker, bad: Any, where: str
) -> None:
    response = await client.post(PATH, json=[NOTE, bad, NOTE])

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"].startswith(f"{where}: ")
    assert broker.sessions == ()


async def test_an_array_with_one_event_too_large_is_not_taken_at_all(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker)

    response = await client.post(PATH, json=[NOTE, {"type": "note", "data": {"x": "y" * 256 * 1024}}])

    assert await error_of(response) == (413, "too_large")
    assert (await response.json())["error"]["limit"] == "max_event_bytes"
    assert broker.sessions == ()


async def test_an_array_for_more_sessions_than_may_be_open_is_not_taken_at_all(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_sessions=2))
    client = await make_client(broker)

    response = await client.post(MANY, json=[{**NOTE, "session_id": f"s{n}"} for n in range(3)])

    assert await error_of(response) == (429, "limit_reached")
    assert response.headers["Retry-After"] == "1"
    assert [session.log.last_seq for session in broker.sessions] == [0, 0]


async def test_an_array_whose_sender_drops_is_taken_whole_or_not_at_all(service: Service) -> None:
    log = service.site.broker.open("s1").log
    reader, writer = await service.connect()
    body = json.dumps([NOTE] * 1000).encode()
    log.listen(writer.transport.abort)  # as soon as the first event is there, the sender is gone

    writer.write(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" % PATH.encode())
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    await reader.read()
    await until(lambda: log.last_seq)
    for _ in range(100):
        await asyncio.sleep(0)

    assert log.last_seq in (0, 1000)


@pytest.mark.parametrize("path", [PATH, MANY])
async def test_an_empty_array_is_invalid(client: Client, path: str) -> None:
    response = await client.post(path, json=[])

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"] == "an array of events must not be empty"


@pytest.mark.parametrize("data", [[], "text", 7, True, 1.5])
async def test_data_is_an_object_or_absent(client: Client, broker: Broker, data: Any) -> None:
    response = await client.post(PATH, json={"type": "note", "data": data})

    assert (await response.json())["message"] == "data: Input should be a valid dictionary"
    assert broker.sessions == ()


@pytest.mark.parametrize(
    "event_type",
    [
        "permission_request",
        "permission_cleared",
        "permission_response_result",
        "result_cleared",
        "heartbeat",
        "error",
        "hello",
        "snapshot",
        "gap",
        "bye",
    ],
)
async def test_a_type_that_only_the_service_publishes_is_invalid(client: Client, event_type: str) -> None:
    response = await client.post(PATH, json={"type": event_type, "data": {}})

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"] == f"type: only the service itself publishes {event_type}"


@pytest.mark.parametrize("event_type", ["a", "a" * 64, "a.b_c9", "message", "chat.token"])
async def test_a_type_of_its_own_is_delivered_as_it_is(client: Client, broker: Broker, event_type: str) -> None:
    data = {"any": [1, None, {"x": "é💥"}]}

    response = await client.post(PATH, json={"type": event_type, "data": data})

    assert response.status == 201
    assert stored(broker) == [{"type": event_type, "data": data}]


@pytest.mark.parametrize(
    "event_type", ["", "A", "9a", "_a", ".a", "a" * 65, "a b", "a-b", "ä", "a\n", "note\r\n", "a\0"]
)
async def test_a_type_that_is_none_is_invalid(client: Client, event_type: str) -> None:
    response = await client.post(PATH, json={"type": event_type})

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"].startswith("type: ")


@pytest.mark.parametrize("event_type", [None, 7, [], {}, True])
async def test_a_type_that_is_no_text_is_invalid(client: Client, event_type: Any) -> None:
    response = await client.post(PATH, json={"type": event_type})

    assert (await response.json())["message"] == "type: Input should be a valid string"


@pytest.mark.parametrize(
    ("event_type", "data", "where"),
    [
        ("tool_status", {"status": "sleeping", "tool_name": "ls"}, "data.status"),
        ("tool_status", {"status": "executing"}, "data.tool_name"),
        ("tool_status", {"status": "executing", "tool_name": ""}, "data.tool_name"),
        ("tool_status", {"status": "executing", "tool_name": "ls", "details": []}, "data.details"),
        ("tool_status", {"status": "executing", "tool_name": "ls", "extra": 1}, "data.extra"),
        ("tool_status", {"status": "executing", "tool_name": "ls", "timestamp": "noon"}, "data.timestamp"),
        ("tool_status", None, "data.status"),
        ("tool_progress", {"tool_name": "ls", "tool_call_id": "c", "progress": "half"}, "data.progress"),
        ("tool_progress", {"tool_name": "ls", "progress": 0.5}, "data.tool_call_id"),
        ("tool_result", {"tool_name": "ls", "success": "yes"}, "data.success"),
        ("tool_result", {"tool_name": "ls", "success": True, "duration_ms": -1}, "data.duration_ms"),
    ],
)
async def test_the_data_of_a_tool_event_is_validated(
    client: Client, broker: Broker, event_type: str, data: Any, where: str
) -> None:
    response = await client.post(PATH, json={"type": event_type, "data": data})

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["error"]["problems"][0]["where"] == where
    assert broker.sessions == ()


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("tool_status", {"status": "executing", "tool_name": "ls", "details": {"parameters": {"a": 1}}}),
        ("tool_progress", {"tool_name": "ls", "tool_call_id": "c", "progress": 1, "total": 2, "message": "m"}),
        ("tool_result", {"tool_name": "ls", "success": False, "result": None, "error": "no", "duration_ms": 1.5}),
    ],
)
async def test_a_tool_event_is_delivered_with_its_time(
    client: Client, broker: Broker, event_type: str, data: dict[str, Any]
) -> None:
    given = {**data, **({} if event_type == "tool_progress" else {"timestamp": "2026-01-02T03:04:05.678Z"})}

    response = await client.post(PATH, json={"type": event_type, "data": given})

    assert response.status == 201
    assert stored(broker) == [{"type": event_type, "data": given}]


async def test_executing_again_updates_the_same_call(client: Client, broker: Broker) -> None:
    for step in ("one", "two"):
        data = {"status": "executing", "tool_name": "ls", "tool_call_id": "c1", "details": {"step": step}}
        await client.post(PATH, json={"type": "tool_status", "data": data})

    running = broker.get("s1").snapshot().running

    assert [call.details for call in running] == [{"step": "two"}]


async def test_the_session_of_the_path_may_be_named_again(client: Client, broker: Broker) -> None:
    response = await client.post(PATH, json={**NOTE, "session_id": "s1"})

    assert response.status == 201
    assert stored(broker) == [NOTE]


async def test_events_for_many_sessions_go_each_to_its_own(client: Client, broker: Broker) -> None:
    status, body = await answer(
        await client.post(MANY, json=[{**NOTE, "session_id": name} for name in ("s1", "s2", "s1")])
    )

    assert (status, len(body["data"]["ids"])) == (201, 3)
    assert (stored(broker, "s1"), stored(broker, "s2")) == ([NOTE, NOTE], [NOTE])


async def test_one_event_may_name_its_session(client: Client, broker: Broker) -> None:
    status, body = await answer(await client.post(MANY, json={**NOTE, "session_id": "s1"}))

    assert (status, body["data"]["ids"]) == (201, [broker.get("s1").log.last_event_id])


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (NOTE, "session_id: Field required"),
        ({**NOTE, "session_id": None}, "session_id: Field required"),
        ({**NOTE, "session_id": 7}, "session_id: Input should be a valid string"),
        ({**NOTE, "session_id": ""}, "A session id matches [A-Za-z0-9._:~-]{1,128}."),
        ({**NOTE, "session_id": "a\r\nb"}, "A session id matches [A-Za-z0-9._:~-]{1,128}."),
        ({**NOTE, "session_id": "x" * 129}, "A session id matches [A-Za-z0-9._:~-]{1,128}."),
    ],
)
async def test_an_event_for_many_must_name_a_session(client: Client, event: dict[str, Any], message: str) -> None:
    response = await client.post(MANY, json=event)

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"] == message


async def test_events_for_many_stay_within_the_patterns_of_the_caller(guarded: Client, broker: Broker) -> None:
    events = [{**NOTE, "session_id": name} for name in ("team-1", "private")]

    array = await guarded.post(MANY, json=events, headers=bearer("produce"))
    ndjson = await guarded.post(
        MANY, data=b"\n".join(json.dumps(event).encode() for event in events), headers={**NDJSON, **bearer("produce")}
    )

    assert await error_of(array) == (403, "forbidden")
    assert await error_of(ndjson) == (403, "forbidden")
    assert (await ndjson.json())["error"]["line"] == 2
    assert stored(broker, "team-1") == [NOTE]  # that of the stream


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "multipart/form-data", ""])
async def test_events_come_as_json_or_ndjson_only(client: Client, content_type: str) -> None:
    response = await client.post(PATH, data=b"{}", headers={"Content-Type": content_type})

    assert await error_of(response) == (415, "unsupported_media_type")


# NDJSON


async def test_ndjson_is_appended_line_by_line(client: Client, broker: Broker) -> None:
    lines = [json.dumps({"type": "note", "data": {"n": n}}).encode() for n in range(3)]

    status, body = await answer(await stream(client, *lines))

    last = broker.get("s1").log.last_event_id
    assert (status, body) == (201, {"success": True, "data": {"count": 3, "last_event_ids": {"s1": last}}})
    assert [event["data"]["n"] for event in stored(broker)] == [0, 1, 2]


async def test_ndjson_may_carry_many_sessions(client: Client, broker: Broker) -> None:
    lines = [json.dumps({**NOTE, "session_id": name}).encode() for name in ("s1", "s2", "s1")]

    _, body = await answer(await stream(client, *lines, path=MANY))

    last = {name: broker.get(name).log.last_event_id for name in ("s1", "s2")}
    assert body["data"] == {"count": 3, "last_event_ids": last}


@pytest.mark.parametrize(
    ("body", "count"),
    [(b"", 0), (b"\n\n \n", 0), (b'{"type":"a"}\r\n{"type":"b"}\r\n', 2), (b'\n{"type":"a"}\n\n{"type":"b"}', 2)],
)
async def test_blank_lines_and_line_ends_of_windows_are_passed_over(client: Client, body: bytes, count: int) -> None:
    _, got = await answer(await stream(client, body))

    assert got["data"]["count"] == count


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        (b"{", "invalid", 422),
        (b"nonsense", "invalid", 422),
        (b"NaN", "invalid", 422),
        (b'{"type":"note","data":{"x":1e999}}', "invalid", 422),
        (b"[" * 1000, "invalid", 422),
        (b"[]", "invalid", 422),
        (b'[{"type":"note"}]', "invalid", 422),
        (b"\xff\xfe", "invalid", 422),
        (b'{"type":"hello"}', "invalid", 422),
        (b'{"type":"tool_status"}', "invalid", 422),
        (b'{"type":"note","session_id":"s2"}', "invalid", 422),
        (b'{"type":"note","data":{"x":"' + b"y" * 300_000 + b'"}}', "too_large", 413),
    ],
)
async def test_a_bad_line_is_told_by_its_number_and_what_stood_before_stays(
    client: Client, broker: Broker, line: bytes, code: str, status: int
) -> None:
    response = await stream(client, b'{"type":"a"}', b"", b'{"type":"b"}', line, b'{"type":"c"}')

    assert await error_of(response) == (status, code)
    error = (await response.json())["error"]
    assert (error["line"], error["count"]) == (4, 2)
    assert stored(broker) == [{"type": "a"}, {"type": "b"}]


async def test_a_line_without_an_end_is_refused_before_it_is_whole(service: Service) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"type":"a"}\n'
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)

    async with service.http.post(PATH, data=endless(), headers=NDJSON) as response:
        assert await error_of(response) == (413, "too_large")
        assert (await response.json())["error"]["line"] == 2


async def test_the_last_line_needs_no_end(client: Client, broker: Broker) -> None:
    response = await stream(client, b'{"type":"a"}\n{"type":"b"}')

    assert response.status == 201
    assert stored(broker) == [{"type": "a"}, {"type": "b"}]


async def test_a_bad_last_line_without_an_end_is_told_by_its_number(client: Client) -> None:
    response = await stream(client, b'{"type":"a"}\n{"type":')

    assert (await response.json())["error"]["line"] == 2


async def test_ndjson_has_no_total(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker, max_body_bytes=1024)

    _, body = await answer(await stream(client, *[b'{"type":"note"}'] * 5000))

    assert body["data"]["count"] == 5000


async def test_ndjson_takes_no_idempotency_key(client: Client) -> None:
    response = await client.post(PATH, data=b'{"type":"a"}', headers={**NDJSON, "Idempotency-Key": "k"})

    assert await error_of(response) == (422, "invalid")


async def test_events_of_a_stream_are_delivered_while_its_request_is_open(service: Service) -> None:
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield line

    publishing = asyncio.ensure_future(service.http.post(PATH, data=body(), headers=NDJSON))
    async with reading(service.http) as events:
        await events.take(2)
        for n in range(20):
            lines.put_nowait(json.dumps({"type": "note", "data": {"n": n}}).encode() + b"\n")
            frame = (await events.take(1))[0]
            assert frame.data["data"] == {"n": n}
        open_still = not publishing.done()
        lines.put_nowait(b'{"type":"no')
        lines.put_nowait(b'te","data":{"n":20}}\n')
        assert (await events.take(1))[0].data["data"] == {"n": 20}
        lines.put_nowait(None)
        response = await publishing

    assert open_still
    assert (await response.json())["data"]["count"] == 21


async def test_a_reader_who_keeps_up_loses_nothing_of_a_long_stream() -> None:
    count = 5000

    async def body() -> AsyncIterator[bytes]:
        for n in range(0, count, 500):
            yield b"".join(b'{"type":"note","data":{"n":%d}}\n' % k for k in range(n, n + 500))

    async with serving(log_events=400) as service, reading(service.http) as events:
        await events.take(2)
        publishing = asyncio.ensure_future(service.http.post(PATH, data=body(), headers=NDJSON))
        frames = await events.take(count)
        response = await publishing

    assert [frame.data["data"]["n"] for frame in frames] == list(range(count))
    assert response.status == 201


async def test_an_error_in_a_stream_is_told_while_the_sender_still_sends(service: Service) -> None:
    reader, writer = await service.connect()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    writer.write(head.encode() + b'd\r\n{"type":"a"}\n\r\n4\r\nbad\n\r\n')
    received = await reader.readuntil(b'"line":2')
    writer.close()
    await writer.wait_closed()

    assert received.startswith(b"HTTP/1.1 422 ")


async def test_a_stream_ends_at_the_first_line_after_its_token_has_expired(
    make_client: MakeClient, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.new()
    (tmp_path / "secret").write_bytes(signer.verifying)
    client = await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=tmp_path / "secret")
    token = signer.token(rights=["produce"], exp=time.time() + 60)
    log = broker.open("s1").log

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"type":"note"}\n\n{"type":"note"}\n'
        await until(lambda: log.last_seq == 2)
        monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: time.time() + 61))
        yield b'{"type":"note"}\n{"type":"note"}\n'

    response = await client.post(PATH, data=lines(), headers={**NDJSON, "Authorization": f"Bearer {token}"})

    assert await error_of(response) == (401, "unauthenticated")
    assert (await response.json())["error"] == {
        "code": "unauthenticated",
        "message": "The token has expired.",
        "line": 4,
        "count": 2,
    }
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="notifier_service"'
    assert log.last_seq == 2


async def test_a_packed_stream_that_breaks_is_invalid_and_what_stood_before_stays(service: Service) -> None:
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(b'{"type":"a"}\n') + packer.flush(zlib.Z_SYNC_FLUSH)
    broker = service.site.broker

    async def broken() -> AsyncIterator[bytes]:
        yield body
        await until(lambda: broker.sessions and broker.get("s1").log.last_seq)
        yield b"nonsense that is no gzip"

    headers = {**NDJSON, "Content-Encoding": "gzip"}
    async with service.http.post(PATH, data=broken(), headers=headers) as response:
        assert await error_of(response) == (422, "invalid")
        error = (await response.json())["error"]

    assert "it is not the gzip" in error["message"]
    assert error["count"] == 1
    assert stored(broker) == [{"type": "a"}]


async def test_a_packed_stream_is_unpacked(client: Client, broker: Broker) -> None:
    body = gzip.compress(b'{"type":"a"}\n{"type":"b"}\n')

    response = await client.post(PATH, data=body, headers={**NDJSON, "Content-Encoding": "gzip"})

    assert response.status == 201
    assert stored(broker) == [{"type": "a"}, {"type": "b"}]


async def test_a_stream_whose_sender_leaves_keeps_what_came(service: Service) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    _, writer = await service.connect()
    writer.write(head.encode() + b'd\r\n{"type":"a"}\n\r\n')
    broker = service.site.broker
    await until(lambda: broker.sessions and broker.get("s1").log.last_seq)
    writer.transport.abort()

    response = await service.http.post(PATH, json={"type": "b"})

    assert response.status == 201
    assert stored(broker) == [{"type": "a"}, {"type": "b"}]


@pytest.mark.parametrize("path", [PATH, MANY])
async def test_publishing_while_the_service_drains_is_refused(client: Client, broker: Broker, path: str) -> None:
    broker.close()
    event = {**NOTE, "session_id": "s1"}

    array = await client.post(path, json=event)
    ndjson = await client.post(path, data=json.dumps(event).encode(), headers=NDJSON)

    for response in (array, ndjson):
        assert await error_of(response) == (503, "shutting_down")
        assert response.headers["Retry-After"] == "5"
