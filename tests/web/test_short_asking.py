"""Who asks about a call, and who decides, goes past routes and middlewares too, and nobody can tell but by the time."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import pytest

from .conftest import API, Service, WriteTokens, serving, until
from .test_short_way import LONG, TRACE, answered, asked, post
from .test_short_way import taken as taken  # the fixture

ASK = f"{API}/permissions/s1"
DECIDE = f"{API}/sse/permission-response/s1"
CALL = {"tool_name": "write_file", "parameters": {"path": "a.txt", "text": "é\u2028"}}

#: Bodies by which somebody asks; what is no text is JSON.
ASKED: dict[str, Any] = {
    "plain": CALL,
    "described": {**CALL, "description": "why", "risk_reasons": ["it is risky"], "tool_call_id": "c1"},
    "of a server": {
        **CALL,
        "server": "files",
        "definition_sha256": "a" * 64,
        "allowed_decisions": ["approve", "reject"],
    },
    "harmless": {**CALL, "risk_level": "low"},
    "for a second": {**CALL, "timeout_seconds": 1},
    "known to its agent": {**CALL, "agent_call_id": "toolu_1"},
    "checked": {**CALL, "input_schema": {"type": "object"}},
    "badly checked": {**CALL, "input_schema": {"type": 1}},
    "a command": {"tool_name": "bash", "parameters": {"command": "rm -rf build && ls"}},
    "large": {**CALL, "parameters": {"text": "x" * 300_000}},
    "too large": {**CALL, "parameters": {"text": "x" * 900_000}},
    "many values": {**CALL, "parameters": {"list": [0] * 50_001}},
    "deep": b'{"tool_name":"t","parameters":{"a":%b%b}}' % (b"[" * 190, b"]" * 190),
    "too deep": b'{"tool_name":"t","parameters":{"a":%b%b}}' % (b"[" * 300, b"]" * 300),
    "a key twice": b'{"tool_name":"t","parameters":{"a":1,"a":2}}',
    "colons in texts": b'{"tool_name":"t","parameters":{"a":"b:c","d":"{\\"e\\":1}"}}',
    "infinity": b'{"tool_name":"t","parameters":{"a":1e999}}',
    "NaN": b'{"tool_name":"t","parameters":{"a":NaN}}',
    "half a character": b'{"tool_name":"t","parameters":{"a":"\\ud800"}}',
    "no JSON": b'{"tool_name"',
    "no UTF-8": b'{"tool_name":"\xff","parameters":{}}',
    "nothing": b"",
    "an array": [CALL],
    "no tool": {"parameters": {}},
    "an empty name": {**CALL, "tool_name": ""},
    "a long name": {**CALL, "tool_name": "t" * 257},
    "unknown fields": {**CALL, "password": "hunter2"},
    "another risk": {**CALL, "risk_level": "extreme"},
    "no decision": {**CALL, "allowed_decisions": []},
    "for ever and a day": {**CALL, "timeout_seconds": 1e9},
}
#: Bodies by which somebody decides about the request that waits, whose id stands for ID.
DECIDED: dict[str, Any] = {
    "approved": {"approved": True, "request_id": "ID"},
    "the only one": {"approved": True},
    "rejected": {"approved": False, "request_id": "ID", "reason": "no:\u2028 never"},
    "edited": {"approved": True, "request_id": "ID", "parameters": {"path": "b.txt"}},
    "not edited": {"approved": True, "request_id": "ID", "parameters": CALL["parameters"]},
    "responded": {"approved": False, "request_id": "ID", "response": "do it yourself"},
    "for the session": {"approved": True, "request_id": "ID", "scope": "session"},
    "for ever": {"approved": True, "request_id": "ID", "scope": "always"},
    "another call": {"approved": True, "request_id": "ID", "parameters_sha256": "0" * 64},
    "another request": {"approved": True, "request_id": "pr_0"},
    "a key twice": b'{"approved":false,"approved":true}',
    "both": {"approved": True, "request_id": "ID", "response": "yes"},
    "neither": {"request_id": "ID"},
    "in words": {"approved": "yes", "request_id": "ID"},
    "unknown fields": {"approved": True, "request_id": "ID", "because": "I may"},
    "no JSON": b"approved",
    "nothing": b"",
    "too large": {"approved": True, "request_id": "ID", "response": "x" * 3_000_000},
}


def as_body(said: Any, request_id: str = "") -> bytes:
    return said if isinstance(said, bytes) else json.dumps(said).replace('"ID"', f'"{request_id}"').encode()


def lasting(text: bytes | str) -> str:
    """The text without ids, times and hashes that are others each time."""
    told = text.decode(errors="replace") if isinstance(text, bytes) else text
    told = re.sub(r"pr_[A-Za-z0-9_-]{20,}|rule_[A-Za-z0-9_-]{16}", "ID", told)
    told = re.sub(r'"id":"[^"]*"', '"id":"EVENT"', told)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "TIME", told)


def what_is_left(service: Service) -> tuple[Any, ...]:
    """What a session and the inbox have been told, and what was counted."""
    broker = service.site.broker
    session, counters = broker.open("s1"), broker.counters
    logs = [
        lasting(event.json) for log in (session.log, broker.inbox.log) for event in log.read_after(log.first_seq - 1)
    ]
    counted = counters.permissions, counters.decisions, counters.policy_decisions, counters.auth_failures
    return logs, [dict(each) for each in (*counted, counters.limits_reached)], counters.unseen_requests


async def asked_so(more: str, name: str, caplog: pytest.LogCaptureFixture) -> tuple[Any, ...]:
    caplog.clear()
    async with serving(max_body_bytes=200_000, max_parameters_bytes=400_000) as service:
        line, headers, text = await asked(service, post(as_body(ASKED[name]), more, path=ASK))
        headers.pop("Content-Length")
        return line, headers, lasting(text), what_is_left(service), lines_of(caplog)


async def decided_so(more: str, name: str, caplog: pytest.LogCaptureFixture) -> tuple[Any, ...]:
    caplog.clear()
    async with serving() as service:
        request = service.site.broker.ask("s1", tool_name="write_file", parameters=CALL["parameters"])
        body = as_body(DECIDED[name], request.request_id)
        answers = [await asked(service, post(body, more, path=DECIDE)) for _ in range(2)]
        for _, headers, _ in answers:
            headers.pop("Content-Length")
        told = [(line, headers, lasting(text)) for line, headers, text in answers]
        return told, what_is_left(service), lines_of(caplog)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged about calls; the line of each connection has its port."""
    return [lasting(record.getMessage()) for record in caplog.records if record.name == "notifier_service.permissions"]


@pytest.mark.parametrize("name", ASKED)
async def test_all_who_ask_are_answered_alike_on_both_ways(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert await asked_so(TRACE, name, caplog) == await asked_so(TRACE + LONG, name, caplog)


@pytest.mark.parametrize("name", DECIDED)
async def test_all_who_decide_are_answered_alike_on_both_ways(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    assert await decided_so("", name, caplog) == await decided_so(LONG, name, caplog)


@pytest.mark.parametrize("more", ["", LONG], ids=["short", "long"])
@pytest.mark.parametrize("over", [0, 1, 4000], ids=["at the bound", "over it", "far over it"])
async def test_body_over_the_bound_that_comes_at_once_is_taken_whole(more: str, over: int) -> None:
    async with serving(max_body_bytes=2048) as service:
        text = "x" * (2048 + over - len(as_body({**CALL, "parameters": {"text": ""}})))
        asked_ = await asked(service, post(as_body({**CALL, "parameters": {"text": text}}), more, path=ASK))
        decision = {"approved": True, "parameters": {"text": ""}}
        edit = "y" * (2048 + over - len(as_body(decision)))
        decided = await asked(service, post(as_body({**decision, "parameters": {"text": edit}}), more, path=DECIDE))

    assert (asked_[0], decided[0]) == ("HTTP/1.1 201 Created", "HTTP/1.1 200 OK")
    assert json.loads(asked_[2])["data"]["parameters"] == {"text": text}
    assert json.loads(decided[2])["data"]["parameters"] == {"text": edit}


async def test_round_trip_goes_the_short_way(service: Service, taken: list[object]) -> None:
    asking = asyncio.create_task(asked(service, post(as_body(CALL), path=f"{ASK}?wait=30")))
    await until(lambda: service.site.broker.look("s1").pending)
    [request] = service.site.broker.look("s1").pending
    decided = await asked(service, post(as_body(DECIDED["approved"], request.request_id), path=DECIDE))
    answer = await asking

    assert (answer[0], decided[0]) == ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK")
    assert json.loads(answer[2]) == json.loads(decided[2])
    assert json.loads(answer[2])["data"]["status"] == "approved"
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post(as_body(CALL), path=f"{ASK}?wait=soon"), 422),
        (post(as_body(CALL), path=f"{ASK}?wait=9999"), 422),
        (post(as_body(CALL), path=f"{ASK}?wait=-1"), 422),
        (post(as_body(CALL), path=f"{ASK}?wait=1&wait=2"), 422),
        (post(as_body(CALL), path=f"{ASK}?timeout=1"), 422),
        (post(as_body(CALL), path=f"{API}/permissions/.."), 422),
        (post(as_body(CALL), path=f"{API}/permissions/decide"), 422),
        (post(as_body({"approved": True}), path=f"{DECIDE}?wait=1"), 422),
        (post(as_body(CALL), "Origin: https://elsewhere.example\r\n", path=ASK), 403),
        (post(as_body(CALL), "Sec-Fetch-Site: cross-site\r\n", path=ASK), 403),
        (post(as_body(CALL), path=ASK).replace(b"localhost", b"elsewhere.example"), 403),
        (post(as_body(CALL), path=ASK, content_type="text/plain"), 415),
        (post(as_body(CALL), path=ASK, version="1.0"), 201),
        (post(as_body(ASKED["known to its agent"]), path=ASK), 201),
    ],
    ids=[str(number) for number in range(14)],
)
async def test_what_is_not_known_goes_the_long_way(
    service: Service, taken: list[object], request_: bytes, status: int
) -> None:
    line, _, _ = await asked(service, request_)

    assert (int(line.split()[1]), taken) == (status, [])


async def test_question_with_a_key_is_one_on_both_ways(taken: list[object]) -> None:
    told = []
    for more in ("", LONG):
        async with serving() as service:
            found = []
            for body, key in [(CALL, "k"), (CALL, "k"), ({**CALL, "risk_level": "low"}, "k"), (CALL, "k" * 256)]:
                head = f"{more}Idempotency-Key: {key}\r\n"
                line, headers, text = await asked(service, post(as_body(body), head, path=ASK))
                found.append((line, headers, lasting(text)))
            told.append((found, what_is_left(service)))

    assert told[0] == told[1]
    assert [line.split()[1] for line, _, _ in told[0][0]] == ["201", "201", "409", "422"]
    assert len(taken) == 4


@pytest.mark.parametrize(("path", "right"), [(ASK, "produce"), (DECIDE, "approve")], ids=["ask", "decide"])
async def test_revoked_token_stops_at_the_next_request(
    path: str, right: str, write_tokens: WriteTokens, taken: list[object]
) -> None:
    entry = {"token": "t" * 20, "subject": "ann", "rights": [right], "sessions": ["s1"]}
    tokens = write_tokens([entry])
    async with serving(auth="tokens", tokens_file=tokens) as service:
        asked_before = service.site.broker.ask("s1", tool_name="t", parameters={}, risk_level="high")
        body = as_body(CALL if path == ASK else DECIDED["approved"], asked_before.request_id)
        reader, writer = await service.connect()
        found = []
        for entries in ([entry], [{**entry, "sessions": ["s2"]}], [{**entry, "rights": ["view"]}], [], [entry]):
            write_tokens(entries)
            writer.write(post(body, f"Authorization: Bearer {'t' * 20}\r\n", path=path))
            found.append((await answered(reader))[0].split()[1])
        writer.write(post(body, path=path))
        found.append((await answered(reader))[0].split()[1])
        writer.close()
        failures = dict(service.site.broker.counters.auth_failures)

    good = "201" if path == ASK else "200"
    assert found == [good, "403", "403", "401", good, "401"]
    assert len(taken) == 2
    assert failures == {"forbidden": 2, "unknown": 1, "missing": 1}


async def test_token_that_is_revoked_while_its_request_waits_ends_that(write_tokens: WriteTokens) -> None:
    tokens = write_tokens([{"token": "t" * 20, "rights": ["produce"], "sessions": ["*"]}])
    async with serving(auth="tokens", tokens_file=tokens) as service:
        reader, writer = await service.connect()
        writer.write(post(as_body(CALL), f"Authorization: Bearer {'t' * 20}\r\n", path=f"{ASK}?wait=30"))
        await until(lambda: service.site.broker.look("s1").pending)
        [request] = service.site.broker.look("s1").pending
        write_tokens([])
        line, _, _ = await answered(reader)
        writer.close()

    assert line == "HTTP/1.1 401 Unauthorized"
    assert (request.record.status, request.record.reason) == (
        "cancelled", "the asker's token is no longer good for it",
    )  # fmt: skip


async def test_request_of_an_asker_who_leaves_is_withdrawn(service: Service) -> None:
    _, writer = await service.connect()
    writer.write(post(as_body(CALL), path=f"{ASK}?wait=30"))
    await until(lambda: service.site.broker.look("s1").pending)
    [request] = service.site.broker.look("s1").pending
    writer.close()
    await until(lambda: not request.pending)
    await until(lambda: service.site.broker.connections == 0)

    assert (request.record.status, request.record.reason) == ("cancelled", "the connection of the asker dropped")


async def test_waiting_for_too_short_is_told_as_pending(service: Service, taken: list[object]) -> None:
    line, _, text = await asked(service, post(as_body(CALL), path=f"{ASK}?wait=0.05"))

    assert (line, json.loads(text)["data"]["status"], len(taken)) == ("HTTP/1.1 201 Created", "pending", 1)
    assert service.site.broker.connections == 0


async def test_who_has_a_say_in_answers_has_it_here(taken: list[object]) -> None:
    async with serving(log_format="json") as service:
        line, headers, _ = await asked(service, post(as_body(CALL), path=ASK))

    assert line == "HTTP/1.1 201 Created"
    assert "X-Request-Id" in headers
    assert taken == []


async def test_pages_of_other_origins_change_nothing_but_a_header(taken: list[object]) -> None:
    found = []
    for more in ("", LONG):
        async with serving(allowed_origins=["https://a.example"]) as service:
            found.append(await asked(service, post(as_body(CALL), more, path=ASK)))

    assert [(line, headers, lasting(text)) for line, headers, text in found] == [
        (found[1][0], found[1][1], lasting(found[1][2]))
    ] * 2
    assert found[0][1]["Vary"] == "Origin"
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("setting", "path", "body", "good"),
    [
        ("decide_rate", DECIDE, as_body({"approved": True, "request_id": "pr_0"}), "404"),
        ("publish_rate", ASK, as_body(CALL), "201"),
    ],
    ids=["decide", "ask"],
)
async def test_rates_are_kept_to_on_both_ways(
    taken: list[object], setting: str, path: str, body: bytes, good: str
) -> None:
    told = []
    for more in ("", LONG):
        async with serving(**{setting: "0.001/2"}) as service:
            told.append([(await asked(service, post(body, more, path=path)))[:2] for _ in range(4)])
            assert service.site.broker.counters.limits_reached[setting] == 2
    for _, headers in (*told[0], *told[1]):
        assert headers.pop("Content-Length")
        headers.pop("Retry-After", None)

    assert [line.split()[1] for line, _ in told[0]] == [good, good, "429", "429"]
    assert told[0] == told[1]
    assert len(taken) == 4


async def test_fault_of_ours_is_told_and_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(service.site.broker, "ask", fail)
    told = [await asked(service, post(as_body(CALL), more, path=ASK)) for more in ("", LONG)]
    lines = [record.getMessage() for record in caplog.records if record.name == "notifier_service.web"]

    assert told[0] == told[1]
    assert told[0][0] == "HTTP/1.1 500 Internal Server Error"
    assert lines == [f"POST {API}/permissions/{{session_id}} failed"] * 2
