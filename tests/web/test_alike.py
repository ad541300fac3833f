"""Events that are alike are taken as they came, and mean what they meant before."""

from __future__ import annotations

import json
import math
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier_service import Broker
from notifier_service.core.errors import NotifierError
from notifier_service.core.events import parse_json
from notifier_service.web import produce, short_way
from notifier_service.web.alike import alike_in_array, alike_lines
from notifier_service.web.plain_events import Pieces, plain_pieces

from .conftest import API, MakeClient
from .test_plain_events import answered_and_read

MOST = 16_384
#: What has been learned stays so: each test has types of its own.
_TYPES = (f"note{number}" for number in count())


@pytest.fixture
def kind() -> str:
    return next(_TYPES)


def event(kind: str, data: bytes = b'{"n":1,"text":"x"}') -> bytes:
    return b'{"type":"%b","data":%b}' % (kind.encode(), data)


def array(*events: bytes) -> bytes:
    return b"[%b]" % b",".join(events)


def learn(*events: bytes) -> None:
    """Let these forms be learned, in arrays and in lines."""
    for one in events:
        for _ in range(100):
            in_array = alike_in_array(array(*[one] * 100), max_bytes=MOST)
            in_lines = alike_lines(b"\n" + b"\n".join([one] * 100), max_bytes=MOST)
            if in_array is not None and in_lines is not None:
                break


def read(pieces: Pieces | None) -> list[tuple[str, Any]] | None:
    """What they mean."""
    return None if pieces is None else [(kind, json.loads(piece)) for kind, piece in zip(*pieces, strict=True)]


def as_all_are(body: bytes) -> list[tuple[str, Any]] | None:
    """What plain events mean that are read one by one; None where something is wrong with them, or they are not."""
    try:
        values: Any = parse_json(body)
    except NotifierError:
        return None
    return read(plain_pieces(values, max_bytes=MOST)) if isinstance(values, list) else None


def test_form_that_comes_often_is_learned(kind: str) -> None:
    body = array(*[event(kind)] * 100)

    taken = [alike_in_array(body, max_bytes=MOST) for _ in range(4)]

    assert taken[0] is None
    assert taken[-1] == ([kind] * 100, [b'{"n":1,"text":"x"}'] * 100)


#: Data whose form is learned, and what may stand in an event of it.
TAKEN = {
    "other values": (b'{"n":1,"text":"x"}', b'{"n":-12.5e3,"text":"other"}'),
    "values of another kind": (b'{"n":1,"text":"x"}', b'{"n":"y","text":null}'),
    "no data at all": (b"{}", b"{}"),
    "what is nested": (b'{"a":{"b":[1,2]},"c":[]}', b'{"a":{"b":["x",true]},"c":[]}'),
    "spaces": (b'{"n" :  1, "text": "x"}', b'{"n" :  2, "text": "},{"}'),
    "escapes": (b'{"n":1,"text":"x"}', rb'{"n":"\\","text":"\"\\\" \u00e9\ud83d\ude00\n\/\u0000"}'),
    "what would part events": (b'{"n":1,"text":"x"}', rb'{"n":1,"text":"\"}},{\"type\":\"note\",\"data\":{"}'),
    "names with escapes": (rb'{"\u0061\n":1}', rb'{"\u0061\n":2}'),
    "more than ASCII": (b'{"n":1,"text":"x"}', '{"n":1,"text":"é 😀 \x7f\x80"}'.encode()),
    "zeros": (b'{"n":1,"text":"x"}', b'{"n":-0,"text":0.0}'),
}


@pytest.mark.parametrize("name", TAKEN)
def test_alike_events_are_taken_as_they_came(kind: str, name: str) -> None:
    first, other = [event(kind, data) for data in TAKEN[name]]
    learn(first)
    events = [first, other, first]

    in_array = alike_in_array(array(*events), max_bytes=MOST)
    lines = alike_lines(b"\n" + b"\n".join(events), max_bytes=MOST)

    assert in_array == lines == ([kind] * 3, [TAKEN[name][number] for number in (0, 1, 0)])
    assert read(in_array) == as_all_are(array(*events))


def test_characters_that_end_lines_are_escaped(kind: str) -> None:
    learn(event(kind))

    taken = alike_in_array(array(*[event(kind, '{"n":1,"text":"\u2028\u2029\x85é"}'.encode())] * 2), max_bytes=MOST)

    assert taken == ([kind] * 2, ['{"n":1,"text":"\\u2028\\u2029\\u0085é"}'.encode()] * 2)


def test_spaces_between_events_are_those_between_names(kind: str) -> None:
    data = [{"n": number, "text": "a, b"} for number in range(300)]
    body = json.dumps([{"type": kind, "data": one} for one in data]).encode()
    alike_in_array(body, max_bytes=MOST)

    assert read(alike_in_array(body, max_bytes=MOST)) == [(kind, one) for one in data]


def test_form_may_change_where_it_does_not_change_often(kind: str) -> None:
    one, other = event(kind), event(kind + ".done", b'{"usage":{"tokens":7}}')
    learn(one, other)
    long, short = array(*[one] * 8, other, *[one] * 8), array(one, other, one, other)

    assert read(alike_in_array(long, max_bytes=MOST)) == as_all_are(long)
    assert alike_in_array(short, max_bytes=MOST) is None


#: An event that is not taken so, beside events of a form that is learned: the text of its data, or of all of it.
NOT_TAKEN = {
    "a line feed in a text": b'{"n":1,"text":"\n"}',
    "a tab in a text": b'{"n":1,"text":"\t"}',
    "a zero byte in a text": b'{"n":1,"text":"\0"}',
    "no UTF-8": b'{"n":1,"text":"\xff"}',
    "half a character in UTF-8": b'{"n":1,"text":"\xed\xa0\x80"}',
    "half a character": rb'{"n":1,"text":"\ud83d"}',
    "the other half": rb'{"n":"\ud83d","text":"\ude00"}',
    "an escape that is none": rb'{"n":1,"text":"\x"}',
    "an escape that is cut": rb'{"n":"\u12","text":"34"}',
    "an escape outside": rb'{"n":1\n,"text":"x"}',
    "a quote that is not escaped": rb'{"n":1,"text":"a\\"b"}',
    "a text without an end": rb'{"n":1,"text":"a\"}',
    "a number with a zero before it": b'{"n":01,"text":"x"}',
    "a number with a sign": b'{"n":+1,"text":"x"}',
    "a sign alone": b'{"n":-,"text":"x"}',
    "a point alone": b'{"n":1.,"text":"x"}',
    "an exponent alone": b'{"n":1e,"text":"x"}',
    "two numbers": b'{"n":1 2,"text":"x"}',
    "infinity": b'{"n":1e999,"text":"x"}',
    "many digits": b'{"n":%b,"text":"x"}' % (b"9" * 400),
    "NaN": b'{"n":NaN,"text":"x"}',
    "no JSON": b'{"n":True,"text":"x"}',
    "nothing": b'{"n":,"text":"x"}',
    "an object": b'{"n":{},"text":"x"}',
    "a name twice": b'{"n":1,"n":2,"text":"x"}',
    "a name twice, escaped": rb'{"n":1,"\u006e":2,"text":"x"}',
    "other order": b'{"text":"x","n":1}',
    "a name less": b'{"n":1}',
    "a comma too many": b'{"n":1,"text":"x",}',
    "other spaces": b'{"n": 1,"text":"x"}',
    "something behind": b'{"n":1,"text":"x"}x',
    "a name behind": b'{"n":1,"text":"x"},"session_id":"s1"',
    "another session": b'{"n":1,"text":"x"},"session_id":"s2"',
    "data twice": b'{"n":1,"text":"x"},"data":{}',
    "an end too many": b'{"n":1,"text":"x"}}',
    "two at once": b'{"n":1,"text":"x"}},{"type":"note","data":{}',
    "too large": b'{"n":1,"text":"%b"}' % (b"x" * MOST),
    "too large with its line ends escaped": b'{"n":1,"text":"%b"}' % ("\u2028".encode() * (MOST // 6)),
    "too large with its other line ends escaped": b'{"n":1,"text":"%b"}' % ("\x85".encode() * (MOST // 6)),
    "no data": b"null",
}


@pytest.mark.parametrize("name", NOT_TAKEN)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_alike_goes_the_way_of_all(kind: str, name: str, place: int) -> None:
    learn(event(kind))
    events = [event(kind)] * 3
    events[place] = event(kind, NOT_TAKEN[name])

    lines = b"\n" + b"\n".join(events)

    assert alike_in_array(array(*events), max_bytes=MOST) is None
    assert alike_lines(lines, max_bytes=MOST) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[", b"[]", b'[{"type":', b"[%b,%b", b"[%b,%b]]", b"[%b[%b]", b"[%b,,%b]", b"[,%b,%b]", b"[%b,%b,]",
        b"[%b, %b]", b"[ %b,%b]", b"[%b,%b] ", b"%b,%b]", b"\xef\xbb\xbf[%b,%b]", b"[%b\n%b]", b"[%b,7,%b]", b"[%b]",
    ],
)  # fmt: skip
def test_array_of_another_form_goes_the_way_of_all(kind: str, body: bytes) -> None:
    learn(event(kind))

    assert alike_in_array(body % ((event(kind),) * body.count(b"%b")), max_bytes=MOST) is None


def test_as_many_events_as_lines_are_taken(kind: str) -> None:
    one = event(kind)
    learn(one)
    half, rest = one.split(b",", 1)

    for lines in ([one + b"," + one, half, rest], [one + one, one], [one[:-1], b"}", one], [one, one + b"\r"]):
        assert alike_lines(b"\n" + b"\n".join(lines), max_bytes=MOST) is None


@pytest.mark.parametrize("data", [b'{"a":1,"a":2}', rb'{"a":1,"\u0061":2}', b'{"a":{"b":1,"b":2}}', b'{"a":01}'])
def test_form_that_is_not_plain_is_not_learned(kind: str, data: bytes) -> None:
    learn(event(kind, data))

    assert alike_in_array(array(*[event(kind, data)] * 2), max_bytes=MOST) is None


@pytest.mark.parametrize("kind", ["tool_progress", "hello"])
def test_types_of_the_service_are_not_learned(kind: str) -> None:
    data = b'{"tool_name":"t","tool_call_id":"c","progress":1}'
    learn(event(kind, data))

    assert alike_in_array(array(*[event(kind, data)] * 2), max_bytes=MOST) is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"%b":1}' % (b"x" * 1024),
        b'{"a":%b1%b}' % (b"[" * 20, b"]" * 20),
        b'{"a\x7f\x7f":1}',
        rb'{"a\"":1}',
        b'{"a":[{"b":1},{"type":"x","data":{}}]}',
    ],
    ids=["long", "many brackets", "what stands for an escape", "an escaped quote in a name", "events within events"],
)
def test_forms_that_are_not_remembered_go_the_way_of_all(kind: str, data: bytes) -> None:
    body = array(*[event(kind, data)] * 100)
    learn(event(kind, data))

    assert alike_in_array(body, max_bytes=MOST) is None


def test_names_that_look_alike_with_escapes_are_not_taken_for_each_other(kind: str) -> None:
    learn(event(kind, rb'{"a":1,"b\\":2}'))

    assert alike_in_array(array(*[event(kind, b'{"a":1,"b\x7f\x7f":2}')] * 2), max_bytes=MOST) is None


def test_newest_forms_of_a_type_are_remembered(kind: str) -> None:
    forms = [event(kind, b'{"a%d":1}' % number) for number in range(6)]
    learn(*forms)

    taken = [alike_in_array(array(form, form), max_bytes=MOST) is not None for form in reversed(forms)]
    assert taken == [True] * 4 + [False] * 2


def test_what_is_not_alike_at_the_very_end_is_found_out_in_one_pass(kind: str) -> None:
    data = b"{%b}" % b",".join([b'"a%d":1' % number for number in range(80)])
    learn(event(kind, data))

    assert alike_in_array(array(event(kind, data), event(kind, data[:-2] + b"x}")), max_bytes=MOST) is None


def test_values_that_are_not_taken_so_put_no_other_form_away(kind: str) -> None:
    learn(event(kind, b'{"n":1,"m":2}'), event(kind, b'{"n":1}'))
    long = array(*[event(kind, b'{"n":12345678901234567890}')] * 100)

    assert [pieces for _ in range(100) if (pieces := alike_in_array(long, max_bytes=MOST)) is not None] == []

    assert alike_in_array(array(*[event(kind, b'{"n":1,"m":2}')] * 2), max_bytes=MOST) is not None


def test_forms_that_come_and_go_are_not_learned(kind: str) -> None:
    bodies = [array(*[event(kind, b'{"a%d":1}' % number)] * 50) for number in range(10)]

    assert [body for body in bodies * 20 if alike_in_array(body, max_bytes=MOST) is not None] == []


def test_events_of_a_type_may_take_turns_with_their_forms(kind: str) -> None:
    body = array(*[event(kind, b'{"n":1}'), event(kind, b'{"n":1,"text":"x"}'), event(kind, b'{"text":"x"}')] * 30)

    taken = [alike_in_array(body, max_bytes=MOST) for _ in range(40)]

    assert read(taken[-1]) == as_all_are(body)


def test_more_objects_than_a_body_may_have_are_not_taken_so(kind: str) -> None:
    learn(event(kind, b"{}"))

    assert alike_in_array(array(*[event(kind, b"{}")] * 7000), max_bytes=MOST) is None


NAMES = st.text(max_size=4)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bool, bool]:
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    nested = draw(st.booleans())

    def data() -> dict[str, Any]:
        values = {name: draw(SCALARS) for name in names}
        return {"in": [values, 1], **values} if nested else values

    return [data() for _ in range(draw(st.integers(2, 4)))], draw(st.booleans()), draw(st.booleans())


@given(bodies())
def test_what_is_alike_is_what_the_way_of_all_makes_of_it(body: tuple[list[dict[str, Any]], bool, bool]) -> None:
    data, is_compact, is_ascii = body
    kind = next(_TYPES)
    separators = (",", ":") if is_compact else (", ", ": ")

    def text_of(*items: dict[str, Any]) -> bytes:
        told = [{"type": kind, "data": item} for item in items]
        return json.dumps(told, separators=separators, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")

    for _ in range(4):
        alike_in_array(text_of(*[data[0]] * 100), max_bytes=MOST)

    taken = alike_in_array(text_of(*data), max_bytes=MOST)

    if taken is not None:
        assert read(taken) == as_all_are(text_of(*data))
        assert all(b"\n" not in piece and piece.decode().splitlines() == [piece.decode()] for piece in taken[1])
        assert all(math.isfinite(item) for one in data for item in one.values() if isinstance(item, float))


@pytest.fixture(params=["short", "long", "lines"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_answers_and_events_are_those_of_the_way_of_all(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, way: str, kind: str
) -> None:
    taken = []

    def counted(pieces: Pieces | None) -> Pieces | None:
        taken.append(pieces is not None)
        return pieces

    ways = {
        "alike": (
            lambda body, **bounds: counted(alike_in_array(body, **bounds)),
            lambda lines, **bounds: counted(alike_lines(lines, **bounds)),
        ),
        "as all": (lambda body, **bounds: None, lambda lines, **bounds: None),
    }
    told: dict[str, list[Any]] = {}
    several = {name: [event(kind), event(kind, data), event(kind)] for name, data in NOT_TAKEN.items()}
    several |= {name: [event(kind, data) for data in TAKEN[name] * 3] for name in TAKEN}
    for in_array, of_lines in ways.values():
        monkeypatch.setattr(produce, "alike_in_array", in_array)
        monkeypatch.setattr(short_way, "alike_in_array", in_array)
        monkeypatch.setattr(produce, "alike_lines", of_lines)
        client = await make_client(max_event_bytes=MOST)
        headers = {"Content-Type": "application/x-ndjson" if way == "lines" else "application/json"}
        if way == "long":
            headers["X-Unknown"] = "1"
        for number, (name, several_events) in enumerate(several.items()):
            events = [
                one.replace(b'"%b"' % kind.encode(), b'"%b%d"' % (kind.encode(), number)) for one in several_events
            ]
            learn(events[0])
            body = b"\n".join(events) if way == "lines" else array(*events)
            told.setdefault(name, []).append(await answered_and_read(client, body, headers))

    assert {name: pair for name, pair in told.items() if pair[0] != pair[1]} == {}
    assert taken.count(True) >= len(TAKEN)
    assert False in taken


@pytest.mark.parametrize(
    ("many", "text_bytes", "bad"), [(1000, 10, 1), (1000, 10, 777), (1000, 10, 1000), (10, 20_000, 3), (10, 20_000, 10)]
)
async def test_bad_line_among_many_that_are_alike_is_told_by_its_number(
    make_client: MakeClient, kind: str, many: int, text_bytes: int, bad: int
) -> None:
    lines = [
        event(kind, b'{"n":%d,"text":"%b"}' % (number, b"x" * text_bytes))
        for number in range(1, 1001 if text_bytes == 10 else 11)
    ]
    learn(event(kind))
    lines[bad - 1] = event(kind, b'{"n":01,"text":"x"}')
    client = await make_client()

    response = await client.post(
        f"{API}/events/s1", data=b"\n".join(lines) + b"\n", headers={"Content-Type": "application/x-ndjson"}
    )

    error = (await response.json())["error"]
    assert (response.status, error["line"], error["count"]) == (422, bad, bad - 1)


@pytest.mark.parametrize("text_bytes", [10, 5000, 20_000])
async def test_stream_of_events_that_are_alike_is_taken_whole_and_in_order(
    make_client: MakeClient, broker: Broker, kind: str, text_bytes: int
) -> None:
    lines = [event(kind, b'{"n":%d,"text":"%b"}' % (number, b"x" * text_bytes)) for number in range(40)]
    learn(event(kind))
    lines[20:20] = [b"", b" "]
    client = await make_client(broker)

    response = await client.post(
        f"{API}/events/s1", data=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"}
    )

    assert response.status == 201
    told = [json.loads(event.json) for event in broker.get("s1").log.read_after(0)]
    assert [event["data"]["n"] for event in told] == [*range(40)]
    data = (await response.json())["data"]
    assert data == {"count": 40, "last_event_ids": {"s1": told[-1]["id"]}}
