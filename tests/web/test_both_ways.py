"""Whole stories leave the same behind on the short way and on the long one, in services that keep all they can keep.

Each is told to two of them over bare sockets: to one so that every request goes the short way that may, to the other
with a header in some that nobody knows, which leads the long way. What was answered, told, counted, put on record and
kept over a restart must not say which was which.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from notifier_service.core.events import PermissionCleared, PermissionRecord, ToolProgress, ToolResult, ToolStatus, dump
from tests.raw_socket import RawSocket
from tests.raw_stream import RawStream
from tests.service_process import service_process

from .conftest import API, PATIENCE_SECONDS, Service, serving
from .test_alike import event, learn
from .test_plain_events import NOTE
from .test_short_asking import CALL, as_body, lasting
from .test_short_telling import STATUS
from .test_short_way import LONG, TRACE, asked

ASKER, PERSON, STRANGER = "asker" * 4, "person" * 4, "stranger" * 4
TOKENS = [
    {"token": ASKER, "subject": "ann", "rights": ["produce"], "sessions": ["*"]},
    {"token": PERSON, "subject": "bob", "rights": ["admin"], "sessions": ["*"]},
    {"token": STRANGER, "subject": "eve", "rights": ["view"], "sessions": ["*"]},
]
RULES = """
[[rule]]
name = "no deleting"
effect = "deny"
tool = "delete"
[[rule]]
name = "look around"
effect = "allow"
tool = "look"
"""
MODELS: Mapping[str, type[BaseModel]] = {
    "permission_request": PermissionRecord,
    "permission_response_result": PermissionRecord,
    "permission_cleared": PermissionCleared,
    "tool_status": ToolStatus,
    "tool_progress": ToolProgress,
    "tool_result": ToolResult,
}

#: What is sent: where, and a body in which "ID" is that of the request that was asked last.
Step: TypeAlias = tuple[str, bytes]
EVENTS, ASK, WAIT, DECIDE, POLLED = (
    "events", "permissions", "permissions?wait=0.01", "sse/permission-response", "polling/permission-response",
)  # fmt: skip


class Line:
    """A connection of a client that blocks."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def answer(self) -> tuple[str, dict[str, str], str]:
        """The next answer: its status line, its headers without those that are others each time, its body."""
        status = self._file.readline().decode().strip()
        lines = iter(lambda: self._file.readline().decode().strip(), "")
        headers = dict(line.split(": ", 1) for line in lines)
        headers.pop("Date", None)
        return status, headers, self._file.read(int(headers.pop("Content-Length", 0))).decode()

    def got(self, path: str) -> str:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PERSON}\r\n\r\n"
        self.send(head.encode())
        return self.answer()[2]


class Way(NamedTuple):
    """A service that is told everything on one way."""

    port: int
    folder: Path
    is_long: bool

    def more(self, place: int, every: int) -> str:
        """The header that leads the long way, in one of so many requests."""
        return LONG if self.is_long and place % every == 0 else ""


@asynccontextmanager
async def running(folder: Path, *, is_long: bool) -> AsyncIterator[Way]:
    folder.mkdir(exist_ok=True)
    (folder / "tokens").write_text(json.dumps(TOKENS))
    (folder / "rules.toml").write_text(RULES)
    named = {"tokens-file": "tokens", "policy-file": "rules.toml", "audit-file": "audit", "journal": "journal"}
    files = [word for flag, name in named.items() for word in (f"--{flag}", str(folder / name))]
    bounds = ("--max-body-bytes", "4096", "--max-event-bytes", "16384", "--log-events", "30")
    spared = ("--log-level", "error", "--journal-sync", "normal")
    async with service_process("--auth", "tokens", *files, *bounds, *spared) as (process, port):
        yield Way(port, folder, is_long)
        process.terminate()
        await process.wait()


Ways: TypeAlias = tuple[Way, Way]


@asynccontextmanager
async def both(folder: Path) -> AsyncIterator[Ways]:
    async with running(folder / "short", is_long=False) as short, running(folder / "long", is_long=True) as long:
        yield short, long


def sent(where: str, session_id: str, body: bytes, more: str = "") -> bytes:
    kind, _, query = where.partition("?")
    path = f"{API}/{kind}/{session_id}" + (f"?{query}" if query else "")
    token = PERSON if kind.endswith("response") else ASKER
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode() + body


def same(text: str) -> str:
    """The text without what is another in each service."""
    text = re.sub(r'(?<=")[0-9a-z]{9,16}-(?=[0-9a-z]{1,6}")', "", lasting(text))
    return re.sub(r'(?<="idle_seconds":)[0-9.]+|(?<=_ms": )[0-9]+', "0", text)


def told(way: Way, session_id: str, steps: Sequence[Step], *, every: int = 1, at_once: bool = False) -> list[Any]:
    """Tell a story, and return what was answered, and what is seen of the session then."""
    answers, request_id = [], b"null"  # where all is sent at once, nobody knows its id
    with closing(Line(way.port)) as line:
        requests = []
        for place, (where, body) in enumerate(steps):
            request = sent(where, session_id, body.replace(b'"ID"', request_id), way.more(place, every))
            requests.append(request)
            if not at_once:
                line.send(request)
                answers.append(line.answer())
                if where.startswith(ASK) and (found := re.search(r'"pr_[\w-]+"', answers[-1][2])):
                    request_id = found[0].encode()
        if at_once:
            line.send(b"".join(requests))
            answers = [line.answer() for _ in requests]
        return [[(status, headers, same(text)) for status, headers, text in answers], seen(line, session_id)]


def seen(line: Line, session_id: str) -> list[str]:
    paths = f"long-poll/{session_id}?after=earliest&timeout=0", f"permissions/{session_id}", "history?limit=2"
    return [same(line.got(f"{API}/{path}")) for path in (*paths, f"polling/session-info/{session_id}")]


def left(way: Way, *session_ids: str) -> list[Any]:
    """What a service has counted, what stands in its audit log, and what it tells of everything and these sessions."""
    with closing(Line(way.port)) as line:
        metrics = line.got("/metrics")
        inbox = same(line.got(f"{API}/inbox"))
        sessions = [seen(line, session_id) for session_id in session_ids]
    counted = re.findall(r"^notifier_(?!\S*(?:seconds|journal|created|bytes))\S+ .*$", metrics, re.MULTILINE)
    lines = [json.loads(line) for line in (way.folder / "audit").read_text().split("\n")[:-1]]
    for told_there in lines:
        for name in ("hash", "prev", "time", "file"):
            told_there.pop(name, None)
    return [counted, inbox, sessions, [same(json.dumps(told_there)) for told_there in lines]]


def differing(pairs: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


STORIES: dict[str, list[Step]] = {
    "decided twice": [(ASK, as_body(CALL)), *[(DECIDE, as_body({"approved": True, "request_id": "ID"}))] * 2],
    "edited": [(ASK, as_body(CALL)), (POLLED, as_body({"approved": True, "parameters": {"path": "b.txt"}}))],
    "by the policy": [(WAIT, as_body({**CALL, "tool_name": name})) for name in ("look", "delete", "look")],
    "for the session": [
        (ASK, as_body(CALL)), (DECIDE, as_body({"approved": True, "scope": "session"})), (WAIT, as_body(CALL)),
        (EVENTS, NOTE), (ASK, as_body({**CALL, "tool_name": "u"})), (POLLED, b'{"approved":false,"request_id":"ID"}'),
    ],
    "a call from its beginning to its end": [
        (EVENTS, as_body({"type": "tool_status", "data": {"status": status, "tool_name": "t", "tool_call_id": "c"}}))
        for status in ("executing", "waiting_permission", "executing", "completed")
    ],
    "more than the log holds": [(ASK, as_body(CALL)), (EVENTS, b"[%b]" % b",".join([NOTE] * 70)), (EVENTS, NOTE)],
    "one of many is bad": [(EVENTS, b"[%b,%b,%b]" % (NOTE, b'{"type":"hello","data":{}}', NOTE)), (EVENTS, NOTE)],
    "told of calls among many": [
        (EVENTS, b"[%b,%b,%b]" % (NOTE, as_body({"type": "tool_status", "data": STATUS}), NOTE)), (EVENTS, b"[]"),
    ],
    "at the bound": [(ASK, as_body(CALL)[:-1] + b" " * (4096 - len(as_body(CALL))) + b"}"), (EVENTS, b" " * 4096)],
    "over the bound": [(ASK, as_body(CALL)[:-1] + b" " * (4097 - len(as_body(CALL))) + b"}"), (EVENTS, b" " * 4097)],
}  # fmt: skip


async def test_stories_are_the_same_on_both_ways_and_after_a_restart(tmp_path: Path) -> None:
    def tell(ways: Ways) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        for number, (name, steps) in enumerate(STORIES.items()):
            for every in (1, 2) if len(steps) > 1 else (1,):
                pairs[f"{name} {every}"] = [told(way, f"s{number}.{every}", steps, every=every) for way in ways]
        pairs["in the end"] = [left(way) for way in ways]
        return pairs

    def look(ways: Ways) -> list[list[Any]]:
        found = []
        for way in ways:
            with closing(Line(way.port)) as line:
                found.append([seen(line, f"s{number}.1") for number in range(len(STORIES))])
        return found

    async with both(tmp_path) as ways:
        pairs = await asyncio.to_thread(tell, ways)
    async with both(tmp_path) as ways:
        pairs["after a restart"] = await asyncio.to_thread(look, ways)

    assert differing(pairs) == {}


#: The same request in other words: what is replaced in it by what.
FORMS: dict[str, tuple[bytes, bytes]] = {
    "plain": (b"", b""),
    "small letters": (b"Content-Type", b"content-type"),
    "large letters": (b"Content-Length", b"CONTENT-LENGTH"),
    "another type": (b"application/json", b"text/plain"),
    "type in large letters": (b"application/json", b"APPLICATION/JSON"),
    "type with a charset": (b"application/json", b"application/json;charset=utf-8"),
    "type with another charset": (b"application/json", b"application/json; charset=latin-1"),
    "type on two lines": (b"application/json", b"application/json;\r\n charset=utf-8"),
    "no type": (b"Content-Type: application/json\r\n", b""),
    "two hosts": (b"Host: localhost", b"Host: localhost\r\nHost: localhost"),
    "no host": (b"Host: localhost\r\n", b""),
    "a port": (b"localhost", b"LOCALHOST:1"),
    "a name that nobody owns": (b"localhost", b"["),
    "two lengths": (b"Content-Length: ", b"Content-Length: 1\r\nContent-Length: "),
    "a signed length": (b"Content-Length: ", b"Content-Length: +"),
    "zeros before": (b"Content-Length: ", b"Content-Length: 00"),
    "close": (b"Host", b"Connection: close\r\nHost"),
    "upgrade": (b"Host", b"Connection: upgrade\r\nUpgrade: h2c\r\nHost"),
    "1.0": (b"HTTP/1.1", b"HTTP/1.0"),
    "kept alive": (b"HTTP/1.1\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n"),
    "whole address": (b"POST ", b"POST http://localhost"),
    "whole address of another": (b"POST ", b"POST http://elsewhere.example"),
    "two slashes": (b"POST ", b"POST /"),
    "a step aside": (b"/api/", b"/api/x/../"),
    "a slash behind": (b"/s1 ", b"/s1/ "),
    "a query": (b"/s1 ", b"/s1?x=1 "),
    "an empty query": (b"/s1 ", b"/s1? "),
    "a fragment": (b"/s1 ", b"/s1#x "),
    "no time to wait": (b"/s1 ", b"/s1?wait=0 "),
    "a time in other digits": (b"/s1 ", b"/s1?wait=%30.01 "),
    "too long a time": (b"/s1 ", b"/s1?wait=3601 "),
    "a token in the query": (b"/s1 ", b"/s1?token=" + PERSON.encode() + b" "),
    "an id in other letters": (b"/s1 ", b"/%73%31 "),
    "an id of 128": (b"/s1 ", b"/" + b"a" * 128 + b" "),
    "an id of 129": (b"/s1 ", b"/" + b"a" * 129 + b" "),
    "no id": (b"/s1 ", b"/ "),
    "dots": (b"/s1 ", b"/.. "),
    "a token for an id": (b"/s1 ", b"/" + PERSON.encode() + b" "),
    "an id that is a path": (b"/s1 ", b"/decide "),
    "another page": (b"Host", b"Origin: https://elsewhere.example\r\nHost"),
    "another site": (b"Host", b"Sec-Fetch-Site: cross-site\r\nHost"),
    "a proxy": (b"Host", b"X-Forwarded-For: 192.0.2.1\r\nHost"),
    "a terminal": (b"Host", b"User-Agent: x (terminal)\r\nHost"),
    "expected": (b"Host", b"Expect: 200-ok\r\nHost"),
    "packed": (b"Host", b"Content-Encoding: gzip\r\nHost"),
    "of a trace": (b"Host", TRACE.encode() + b"Host"),
    "of two traces": (b"Host", TRACE.encode() + TRACE.replace("1", "3").encode() + b"Host"),
    "of no trace": (b"Host", TRACE.replace("1", "0").encode() + b"Host"),
    "no token": (b"Authorization", b"Accept"),
    "two tokens": (b"Authorization", b"Authorization: Bearer x\r\nAuthorization"),
    "a token nobody knows": (b"Bearer ", b"Bearer x"),
    "a token in another way": (b"Bearer", b"Basic"),
    "a token on two lines": (b"Bearer ", b"Bearer\r\n "),
    "of one who looks on": (ASKER.encode(), STRANGER.encode()),
    "a byte that is none": (b"Host", b"Accept: a\x00b\r\nHost"),
    "another method": (b"POST", b"PUT"),
    "small method": (b"POST", b"post"),
}  # fmt: skip


async def test_forms_of_requests_are_the_same_on_both_ways(tmp_path: Path) -> None:
    def asked(way: Way, form: tuple[bytes, bytes], where: str, body: bytes) -> list[Any]:
        with closing(Line(way.port)) as line:
            line.send(sent(where, "s1", body, way.more(0, 1)).replace(*form, 1))
            status, headers, text = line.answer()
            return [status, headers, same(text)]

    def ask_all(ways: Ways) -> dict[str, Any]:
        requests = {EVENTS: NOTE, ASK: as_body(CALL), DECIDE: b'{"approved":true}'}
        pairs: dict[str, Any] = {
            f"{where} {name}": [asked(way, form, where, body) for way in ways]
            for name, form in FORMS.items()
            for where, body in requests.items()
        }
        pairs["in the end"] = [left(way, "s1") for way in ways]
        return pairs

    async with both(tmp_path) as ways:
        pairs = await asyncio.to_thread(ask_all, ways)

    assert differing(pairs) == {}
    assert {pair[0][0].split()[1] for name, pair in pairs.items() if name != "in the end"} >= {
        "200", "201", "400", "401", "403", "404", "405", "415", "417", "422"
    }  # fmt: skip


async def test_every_reader_at_every_place_is_told_what_both_ways_have_told(service: Service) -> None:
    status = as_body({"type": "tool_status", "data": {**STATUS, "tool_call_id": "c"}})
    steps = [
        (EVENTS, NOTE), (EVENTS, b"[%b]" % b",".join([NOTE] * 9)), (ASK, as_body(CALL)), (EVENTS, status),
        (DECIDE, b'{"approved":true}'), (EVENTS, b"[%b,%b]" % (NOTE, NOTE)), (ASK, as_body(CALL)), (EVENTS, NOTE),
    ]  # fmt: skip
    for place, (where, body) in enumerate(steps):
        await asked(service, sent(where, "s1", body, LONG if place % 3 == 0 else TRACE))

    async def polled(cursor: str) -> list[Any]:
        answer = await service.http.get(f"{API}/long-poll/s1?after={cursor}&timeout=0")
        events: list[Any] = json.loads(await answer.text())["data"]["events"]
        return events

    async def followed(reader: RawStream | RawSocket, last_id: str) -> list[Any]:
        events: list[Any] = []
        while not events or events[-1].get("id") != last_id or events[-1]["type"] == "hello":
            events.append(await reader.event())
            assert events[-1] is not None
        await reader.closed()
        return [one for one in events if one["type"] not in ("hello", "snapshot") and "id" in one]

    events, port = await polled("earliest"), service.site.port
    last_id = events[-1]["id"]

    assert len(events) == 18
    for cursor, tail in [
        ("earliest", events),
        *((one["id"], events[at:]) for at, one in enumerate(events[:-1], 1)),
    ]:
        stream = await RawStream.open(port, f"{API}/sse/events/s1?last_event_id={cursor}")
        socket = await RawSocket.open(port, f"{API.removesuffix('/api')}/ws/s1?after={cursor}")
        assert await polled(cursor) == await followed(stream, last_id) == await followed(socket, last_id) == tail
    for told_event in events:
        if told_event["type"] in MODELS:
            text = dump(told_event["data"])
            assert dump(MODELS[told_event["type"]].model_validate_json(text)) == text


async def test_rate_counts_all_that_is_sent_on_both_ways() -> None:
    one = event("rated")  # a type of its own: what is learned stays so
    alike = b"[%b,%b]" % (one, one)
    learn(one)
    status = as_body({"type": "tool_status", "data": STATUS})
    sixteen = [(EVENTS, NOTE), (ASK, as_body(CALL)), (WAIT, as_body(CALL)), (EVENTS, status), (EVENTS, alike)]
    sixteen += [(EVENTS, alike + b" "), (EVENTS, b"7"), (ASK, b"{}"), (EVENTS, b"[%b]" % b",".join([NOTE] * 6))]
    steps = [*sixteen, *sixteen[:-1]]
    found = []
    for more in ("", LONG):
        async with serving(publish_rate="0.001/16") as service:
            found.append([await asked(service, sent(where, "s1", body, more)) for where, body in steps])

    assert [line.split()[1] for line, _, _ in found[0]] == ["201"] * 6 + ["422"] * 2 + ["201"] + ["429"] * 8
    assert [line for line, _, _ in found[0]] == [line for line, _, _ in found[1]]


def mostly(*usual: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, 30).flatmap(lambda number: st.sampled_from(usual) if number else VALUES)


def joined(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"{%b}" % b",".join([b'"%b":%b' % pair for pair in pairs])


def an_object(**members: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """These members, the ones with a name that ends with _ only sometimes, and seldom one that is not expected."""
    named = {name.rstrip("_").encode(): value for name, value in members.items() if not name.endswith("_")}
    others = {name.rstrip("_").encode(): value for name, value in members.items() if name.endswith("_")}
    more = st.integers(0, 10).flatmap(lambda number: st.lists(st.tuples(KEYS, VALUES), max_size=number // 10))
    whole = st.fixed_dictionaries(named, optional=others)
    return st.builds(lambda known, extra: joined([*known.items(), *extra]), whole, more)


SCALARS = st.sampled_from([
    b"null", b"true", b"0", b"-0", b"-0.0", b"1.0", b"1e22", b"1e400", b"-1e999", b"5e-324", b"01", b"NaN",
    b"1" + b"0" * 400, b"9223372036854775808", b'""', b'"a"', b'"~"', rb'"\ud800"', rb'"\ud83d\ude00"', rb'"\u0000"',
    b'"\x00"', b'"\xff"', b'"\xed\xa0\x80"', '"\u2028\x85"'.encode(), rb'"\u2028"', rb'",\"~\","', rb'"\x"',
    b'"%b"' % (b"x" * 256), b'"%b"' % (b"x" * 257), b"{}", b"[]", b'["~"]', b"[" * 150 + b"]" * 150, b"[" * 250, b"",
    b'"2026-01-02T03:04:05.678901+02:00"', b"1700000000", b'"Infinity"', b"-Infinity", b'"0001-01-01T00:00:00+23:59"',
])  # fmt: skip
KEYS = st.sampled_from([b"type", b"data", rb"da\u0074a", b"session_id", b"tool_name", b"viewers", b"", b"a", b"status"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: b"[%b]" % b",".join(items))
        | st.lists(st.tuples(KEYS, inner), max_size=3).map(joined)
    ),
    max_leaves=4,
)
PLAIN = mostly(b"{}", b'{"n":1}', '{"é":"\u2029"}'.encode(), b'{"a":[1.50,{"b":null}]}', b'{"a":1,"a":2}')
NOTES = an_object(type=mostly(b'"note"', b'"a.b"'), data=PLAIN)
OF_CALLS = an_object(
    type=mostly(b'"tool_status"', b'"tool_result"', b'"tool_progress"'),
    data=an_object(
        tool_name=mostly(b'"t"'), tool_call_id=mostly(b'"c"', b'"d"'), status_=mostly(b'"executing"', b'"failed"'),
        success_=mostly(b"true"), progress_=mostly(b"1", b"0.5"), details_=PLAIN, result_=PLAIN,
        timestamp_=mostly(b'"2026-01-02T03:04:05Z"'),
    ),
)  # fmt: skip
ASKING = an_object(
    tool_name=mostly(b'"t"', b'"bash"', b'"look"', b'"delete"'), parameters=mostly(b'{"command":"rm x"}') | PLAIN,
    risk_level_=mostly(b'"low"', b'"high"'), tool_call_id_=mostly(b'"c"'), timeout_seconds_=mostly(b"0", b"600.5"),
    description_=mostly(b'"why"'), risk_reasons_=mostly(b'["a","b"]'), server_=mostly(b'"srv"'),
    allowed_decisions_=mostly(b'["approve","reject"]'), input_schema_=mostly(b'{"type":"object"}', b'{"type":1}'),
    definition_sha256_=mostly(b'"%b"' % (b"a" * 64)), agent_call_id_=mostly(b'"toolu"'),
)  # fmt: skip
DECIDING = an_object(
    approved=mostly(b"true", b"false"), request_id=mostly(b'"ID"'), reason_=mostly(b'"no"', b"null"),
    parameters_=PLAIN, response_=mostly(b'"do it"'), scope_=mostly(b'"once"', b'"session"'),
)  # fmt: skip
SPOILT: Sequence[Callable[[bytes], bytes]] = (
    lambda body: b"\xef\xbb\xbf" + body,
    lambda body: body.decode(errors="replace").encode("utf-16"),
    lambda body: body[:-1],
    lambda body: body + b" x",
    lambda body: b"\r\n\t " + body + b"\n",
)


def spoilt(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda text, how: how(text), body, st.sampled_from([lambda text: text] * 20 + [*SPOILT]))


ARRAYS = st.lists(NOTES | NOTES | OF_CALLS, max_size=5).map(lambda events: b"[%b]" % b",".join(events))
STEPS = (
    st.tuples(st.just(EVENTS), spoilt(NOTES | ARRAYS | OF_CALLS))
    | st.tuples(st.sampled_from([ASK, WAIT]), spoilt(ASKING))
    | st.tuples(st.sampled_from([DECIDE, POLLED]), spoilt(DECIDING))
)


async def test_whatever_is_sent_is_the_same_on_both_ways(tmp_path: Path) -> None:
    numbers = count()

    def tell_all(ways: Ways) -> None:
        @settings(max_examples=50, deadline=None)
        @given(st.lists(STEPS, min_size=1, max_size=6), st.integers(1, 2), st.booleans())
        def tell(steps: list[Step], every: int, at_once: bool) -> None:
            session_id = f"s{next(numbers)}"
            short, long = [told(way, session_id, steps, every=every, at_once=at_once) for way in ways]

            assert short == long

        tell()

    async with both(tmp_path) as ways:
        await asyncio.to_thread(tell_all, ways)
        short, long = [await asyncio.to_thread(left, way) for way in ways]

    assert short == long
