"""A producer that repeats itself gets its answer again (contract section 5)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from notifier_service import Broker, Limits, Settings, create_app
from notifier_service.core.errors import IdempotencyConflict
from notifier_service.web.idempotency import IDEMPOTENCY, IdempotencyKeys

from .conftest import API, Client, MakeClient, Service, WriteTokens, answer, bearer, error_of, serving, until

if TYPE_CHECKING:
    from tests.clock import Clock

KEY = {"Idempotency-Key": "k1"}
NOTE: dict[str, Any] = {"type": "note", "data": {"n": 1}}
ASK: dict[str, Any] = {"tool_name": "rm", "parameters": {}}


def count(broker: Broker, session_id: str = "s1") -> int:
    return broker.open(session_id).log.last_seq


@pytest.mark.parametrize("path", [f"{API}/events/s1", f"{API}/events"])
async def test_the_same_events_with_the_same_key_are_appended_once(client: Client, broker: Broker, path: str) -> None:
    body = [{**NOTE, "session_id": "s1"}] * 3

    first = await answer(await client.post(path, json=body, headers=KEY))
    again = await answer(await client.post(path, json=body, headers=KEY))

    assert again == first
    assert (first[0], len(first[1]["data"]["ids"]), count(broker)) == (201, 3, 3)


async def test_the_same_body_in_other_words_is_the_same(client: Client, broker: Broker) -> None:
    headers = {**KEY, "Content-Type": "application/json"}
    await client.post(f"{API}/events/s1", data=b'{"type":"note"}', headers=headers)

    response = await client.post(f"{API}/events/s1", data=b'{ "type" : "n\\u006fte" }', headers=headers)

    assert (response.status, count(broker)) == (201, 1)


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [(f"{API}/events/s1", NOTE, {**NOTE, "data": {"n": 2}}), (f"{API}/permissions/s1", ASK, {**ASK, "tool_name": "x"})],
)
async def test_the_same_key_with_another_body_is_a_conflict(
    client: Client, broker: Broker, path: str, first: Any, second: Any
) -> None:
    await client.post(path, json=first, headers=KEY)

    response = await client.post(path, json=second, headers=KEY)

    assert await error_of(response) == (409, "idempotency_conflict")
    assert count(broker) == 1


@pytest.mark.parametrize("path", ["events", "permissions"])
async def test_a_key_belongs_to_a_session(client: Client, broker: Broker, path: str) -> None:
    body = NOTE if path == "events" else ASK
    for session_id in ("s1", "s2"):
        assert (await client.post(f"{API}/{path}/{session_id}", json=body, headers=KEY)).status == 201

    assert (count(broker, "s1"), count(broker, "s2")) == (1, 1)


async def test_a_key_belongs_to_a_caller(guarded: Client, broker: Broker) -> None:
    for right in ("produce", "other"):
        await guarded.post(f"{API}/events/team-1", json=NOTE, headers={**KEY, **bearer(right)})

    assert count(broker, "team-1") == 2


async def test_a_key_of_events_is_none_of_asking(client: Client, broker: Broker) -> None:
    await client.post(f"{API}/events/s1", json=NOTE, headers=KEY)

    assert (await client.post(f"{API}/permissions/s1", json=ASK, headers=KEY)).status == 201


async def test_two_at_once_with_the_same_key_get_one_answer(client: Client, broker: Broker) -> None:
    body = [NOTE] * 200  # enough that the first one yields to the others on its way

    responses = await asyncio.gather(
        *(client.post(f"{API}/events/s1", json=body, headers=KEY) for _ in range(5)),
    )

    answers = [await answer(response) for response in responses]
    assert answers == [answers[0]] * 5
    assert (answers[0][0], count(broker)) == (201, 200)


async def test_asking_again_with_the_same_key_joins_the_request(client: Client, broker: Broker) -> None:
    first = await answer(await client.post(f"{API}/permissions/s1", json=ASK, headers=KEY))
    waiting = asyncio.ensure_future(
        client.post(f"{API}/permissions/s1", json=ASK, headers=KEY, params={"wait": "60"}),
    )
    await client.post(f"{API}/sse/permission-response/s1", json={"approved": True})
    status, body = await answer(await waiting)
    after = await answer(await client.post(f"{API}/permissions/s1", json=ASK, headers=KEY))

    assert first[0] == 201
    assert (status, body["data"]["request_id"]) == (200, first[1]["data"]["request_id"])
    assert after == (200, body)


async def test_what_was_refused_is_forgotten(make_client: MakeClient) -> None:
    broker = Broker(Limits(max_pending_per_session=1, max_sessions=1))
    client = await make_client(broker)
    blocking = broker.ask("s1", **ASK)

    asked = await client.post(f"{API}/permissions/s1", json=ASK, headers=KEY)
    posted = await client.post(f"{API}/events/s2", json=NOTE, headers=KEY)
    blocking.cancel()
    asked_again = await client.post(f"{API}/permissions/s1", json=ASK, headers=KEY)
    broker.end_session("s1")
    posted_again = await client.post(f"{API}/events/s2", json=NOTE, headers=KEY)

    assert [asked.status, posted.status] == [429, 429]
    assert [asked_again.status, posted_again.status] == [201, 201]


async def test_a_bad_event_spoils_no_key(client: Client) -> None:
    bad = await client.post(f"{API}/events/s1", json={"type": "hello"}, headers=KEY)

    good = await client.post(f"{API}/events/s1", json=NOTE, headers=KEY)

    assert (bad.status, good.status) == (422, 201)


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
@pytest.mark.parametrize(("path", "body"), [("events", NOTE), ("permissions", ASK)])
async def test_a_key_that_is_none_is_invalid(
    client: Client, broker: Broker, path: str, body: dict[str, Any], key: str
) -> None:
    response = await client.post(f"{API}/{path}/s1", json=body, headers={"Idempotency-Key": key})

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"] == "Idempotency-Key must be 1 to 255 printable ASCII characters"
    assert broker.sessions == ()


@pytest.mark.parametrize("key", ["x", "x" * 255, "a b~!"])
async def test_a_key_of_the_contract_is_taken(client: Client, key: str) -> None:
    response = await client.post(f"{API}/events/s1", json=NOTE, headers={"Idempotency-Key": key})

    assert response.status == 201


async def test_a_key_is_remembered_for_five_minutes(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock)
    answer, first = keys.claim(("a",), b"1")
    clock.advance(299)
    within = keys.claim(("a",), b"1")
    clock.advance(1)
    later, first_again = keys.claim(("a",), b"2")

    assert first is True
    assert within == (answer, False)
    assert first_again is True
    assert later is not answer


async def test_the_oldest_key_is_forgotten_when_there_are_too_many(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock, capacity=2)
    for name in ("a", "b", "c"):
        keys.claim((name,), b"1")

    assert keys.claim(("c",), b"1")[1] is False
    assert keys.claim(("b",), b"1")[1] is False
    assert keys.claim(("a",), b"1")[1] is True


async def test_another_fingerprint_is_a_conflict(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock)
    keys.claim(("a",), b"1")

    with pytest.raises(IdempotencyConflict):
        keys.claim(("a",), b"2")


async def test_forgetting_what_nobody_claimed_changes_nothing(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock)

    keys.forget(("a",))

    assert keys.claim(("a",), b"1")[1] is True


async def test_a_pending_request_can_be_joined_however_long_it_takes(
    aiohttp_client: Any, broker: Broker, clock: Clock
) -> None:
    app = create_app(broker, Settings())
    app[IDEMPOTENCY] = IdempotencyKeys(clock=clock)
    client = await aiohttp_client(app)
    body = {**ASK, "timeout_seconds": 3600}
    first = await answer(await client.post(f"{API}/permissions/s1", json=body, headers=KEY))
    clock.advance(301)

    again = await answer(await client.post(f"{API}/permissions/s1", json=body, headers=KEY))

    assert again == first


async def send(service: Service, events: int) -> asyncio.StreamWriter:
    """Send an array with the key on a connection of its own."""
    _, writer = await service.connect()
    body = json.dumps([NOTE] * events).encode()
    head = (
        f"POST {API}/events/s1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: k1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return writer


async def test_events_whose_sender_dropped_are_not_appended_again() -> None:
    async with serving(log_events=8) as service:  # so that appending yields after every second event
        log = service.site.broker.open("s1").log
        writer = await send(service, 500)
        await until(lambda: log.last_seq)
        writer.transport.abort()
        await until(lambda: log.last_seq == 500)

        response = await service.http.post(f"{API}/events/s1", json=[NOTE] * 500, headers=KEY)

        assert response.status == 201
        assert log.last_seq == 500


async def test_one_who_waits_beside_a_sender_that_drops_gets_the_answer() -> None:
    async with serving(log_events=8) as service:
        log = service.site.broker.open("s1").log
        writer = await send(service, 1000)
        await until(lambda: log.last_seq)
        waiting = asyncio.ensure_future(service.http.post(f"{API}/events/s1", json=[NOTE] * 1000, headers=KEY))
        await until(lambda: log.last_seq >= 700)
        writer.transport.abort()

        response = await waiting

        assert response.status == 201
        assert len((await response.json())["data"]["ids"]) == 1000


async def test_one_who_waits_for_an_answer_that_fails_gets_the_same_failure(make_client: MakeClient) -> None:
    """The service begins to drain while an array is appended."""
    broker = Broker()
    client = await make_client(broker)
    log = broker.open("s1").log
    log.listen(lambda: broker.close() if log.last_seq == 50 else None)

    first, second = await asyncio.gather(
        *(client.post(f"{API}/events/s1", json=[NOTE] * 200, headers=KEY) for _ in range(2)),
    )

    assert await error_of(first) == (503, "shutting_down")
    assert await error_of(second) == (503, "shutting_down")


async def test_keys_of_one_caller_do_not_push_out_those_of_another(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock, capacity=10)
    keys.claim(("publish", "ann", "s", "mine"), b"1")
    for n in range(50):
        keys.claim(("publish", "bob", "s", f"k{n}"), b"1")

    assert keys.claim(("publish", "ann", "s", "mine"), b"1")[1] is False
    assert keys.claim(("publish", "bob", "s", "k49"), b"1")[1] is False
    assert keys.claim(("publish", "bob", "s", "k0"), b"1")[1] is True


async def test_answers_are_bounded_by_bytes_and_who_has_most_loses_the_oldest(clock: Clock) -> None:
    keys = IdempotencyKeys(clock=clock, capacity_bytes=100_000)

    def answer(caller: str, key: str, size: int) -> None:
        scope = ("publish", caller, "s", key)
        keys.claim(scope, b"1")
        keys.answered(scope, b"x" * size, size)

    answer("ann", "mine", 20_000)
    for n in range(40):
        answer("bob", f"k{n}", 20_000)

    def is_remembered(caller: str, key: str) -> bool:
        return not keys.claim(("publish", caller, "s", key), b"1")[1]

    assert is_remembered("ann", "mine")
    assert [is_remembered("bob", f"k{n}") for n in (39, 38, 37)] == [True] * 3
    assert not is_remembered("bob", "k30")


async def test_repeated_ask_joins_the_one_that_waits_however_many_keys_others_send(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    tokens = [
        {"token": f"{name}-token", "subject": name, "rights": ["produce"], "sessions": ["*"]} for name in ("ann", "bob")
    ]
    client = await make_client(auth="tokens", tokens_file=write_tokens(tokens), max_idempotency_bytes=20_000)
    ann, bob = ({"Authorization": f"Bearer {name}-token"} for name in ("ann", "bob"))
    ask = {"tool_name": "rm", "parameters": {"path": "/srv"}}
    path = f"{API}/permissions/s1"
    first = await (await client.post(path, json=ask, headers={**ann, "Idempotency-Key": "mine"})).json()
    events = [{"type": "note"}] * 500
    for n in range(5):
        sent = await client.post(f"{API}/events/s2", json=events, headers={**bob, "Idempotency-Key": f"k{n}"})
        assert sent.status == 201

    again = await (await client.post(path, json=ask, headers={**ann, "Idempotency-Key": "mine"})).json()

    assert again["data"]["request_id"] == first["data"]["request_id"]


async def test_very_many_keys_that_are_too_old_go_a_part_at_a_time(clock: Clock) -> None:
    gone: list[Any] = []
    keys = IdempotencyKeys(clock=clock, forgotten=gone.append)
    for number in range(1200):
        keys.claim(("publish", "a", "s1", str(number)), b"")
        keys.answered(("publish", "a", "s1", str(number)), b"answer", 6)
    clock.advance(300)

    found = []
    for number in range(4):
        keys.claim(("publish", "a", "s1", f"new {number}"), b"")
        found.append(len(gone))

    assert found == [500, 1000, 1200, 1200]
