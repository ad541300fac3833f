"""What travels: the shapes of contract section 2, and an encoder that nothing breaks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from notifier_service.core.errors import InvalidInput, TooLarge
from notifier_service.core.event_log import EventLog
from notifier_service.core.events import (
    PRODUCED,
    RESERVED,
    Bye,
    Deeds,
    EventData,
    Gap,
    Hello,
    InboxCleared,
    InboxRecord,
    PermissionCleared,
    PermissionRecord,
    ReadCommand,
    ResultCleared,
    RunningCall,
    SaidReason,
    Snapshot,
    ToolProgress,
    ToolResult,
    ToolStatus,
    checked_event,
    dump,
    dump_each,
    dump_plain,
    encode,
    is_own_type,
    made,
    parse_each,
    parse_json,
    parse_own,
    require_finite,
    utc_now,
    utc_text,
)

NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
NOON_TEXT = "2026-01-02T12:00:00.123Z"

RECORD = PermissionRecord(
    request_id="pr_1",
    tool_name="rm",
    parameters={"path": "/tmp/x"},
    risk_level="high",
    timestamp=NOON,
    parameters_sha256="ab",
    action_sha256="cd",
    expires_at=None,
    timeout_seconds=300,
    allowed_decisions=("approve", "reject"),
    scopes=("once",),
    viewers=2,
)
RECORD_ON_THE_WIRE = {
    "request_id": "pr_1",
    "tool_name": "rm",
    "parameters": {"path": "/tmp/x"},
    "risk_level": "high",
    "rated_by": "service",
    "timestamp": NOON_TEXT,
    "status": "pending",
    "parameters_sha256": "ab",
    "action_sha256": "cd",
    "expires_at": None,
    "timeout_seconds": 300.0,
    "risk_reasons": [],
    "reasons": [],
    "allowed_decisions": ["approve", "reject"],
    "scopes": ["once"],
    "viewers": 2,
    "decision": None,
    "approved": None,
    "reason": None,
    "response": None,
    "scope": None,
    "decided_by": None,
    "decided_at": None,
}
STATUS = ToolStatus(status="executing", tool_name="rm", timestamp=NOON)
STATUS_ON_THE_WIRE = {"status": "executing", "tool_name": "rm", "timestamp": NOON_TEXT, "details": {}}


@dataclass
class Row:
    name: str


def nested(depth: int, leaf: Any = 1) -> Any:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def circle(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {**more}
    found["again"] = found
    return found


# times


def test_time_is_told_in_utc_with_a_z_and_milliseconds() -> None:
    assert utc_text(NOON) == NOON_TEXT
    assert utc_text(NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))) == NOON_TEXT
    assert utc_text(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"


@given(since=st.timedeltas() | st.integers(0, 99).map(lambda seconds: timedelta(seconds=seconds, microseconds=-123456)))
def test_any_time_is_told_to_the_millisecond(since: timedelta) -> None:
    try:
        moment = NOON + since
    except OverflowError:
        return

    assert utc_text(moment) == moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def test_time_of_now_holds_no_more_than_the_wire_shows() -> None:
    before = datetime.now(UTC)
    now = utc_now()

    assert now.microsecond % 1000 == 0
    assert before - timedelta(milliseconds=1) < now <= datetime.now(UTC)
    assert datetime.fromisoformat(utc_text(now)) == now


# shapes


@pytest.mark.parametrize(
    ("event_type", "data", "on_the_wire"),
    [
        ("tool_status", STATUS, STATUS_ON_THE_WIRE),
        (
            "tool_status",
            ToolStatus(status="denied", tool_name="rm", timestamp=NOON, details={"a": 1}, tool_call_id="c1"),
            {**STATUS_ON_THE_WIRE, "status": "denied", "details": {"a": 1}, "tool_call_id": "c1"},
        ),
        (
            "tool_progress",
            ToolProgress(tool_name="rm", tool_call_id="c1", progress=0.5),
            {"tool_name": "rm", "tool_call_id": "c1", "progress": 0.5},
        ),
        (
            "tool_progress",
            ToolProgress(tool_name="rm", tool_call_id="c1", progress=1, total=2, message="half"),
            {"tool_name": "rm", "tool_call_id": "c1", "progress": 1.0, "total": 2.0, "message": "half"},
        ),
        (
            "tool_result",
            ToolResult(tool_name="rm", result={"n": None}, success=True, timestamp=NOON),
            {"tool_name": "rm", "result": {"n": None}, "success": True, "timestamp": NOON_TEXT},
        ),
        (
            "tool_result",
            ToolResult(
                tool_name="rm",
                success=False,
                timestamp=NOON,
                error="OSError",
                duration_ms=1.5,
                tool_call_id="c1",
                truncated=True,
                result_bytes=9,
            ),
            {
                "tool_name": "rm",
                "result": None,
                "success": False,
                "timestamp": NOON_TEXT,
                "error": "OSError",
                "duration_ms": 1.5,
                "tool_call_id": "c1",
                "truncated": True,
                "result_bytes": 9,
            },
        ),
        ("permission_request", RECORD, RECORD_ON_THE_WIRE),
        (
            "permission_response_result",
            RECORD.model_copy(update={"suggested_rule": "ask rm", "replayed": True}),
            {**RECORD_ON_THE_WIRE, "suggested_rule": "ask rm", "replayed": True},
        ),
        (
            "permission_cleared",
            PermissionCleared(request_id="pr_1", tool_name="rm", status="expired", timestamp=NOON),
            {"request_id": "pr_1", "tool_name": "rm", "status": "expired", "timestamp": NOON_TEXT},
        ),
        ("result_cleared", ResultCleared(timestamp=NOON), {"timestamp": NOON_TEXT}),
        (
            "hello",
            Hello(session_id="s", epoch="e", last_event_id="e-0", resumed="none", heartbeat_seconds=15, viewers=1),
            {
                "session_id": "s",
                "epoch": "e",
                "last_event_id": "e-0",
                "resumed": "none",
                "heartbeat_seconds": 15.0,
                "viewers": 1,
            },
        ),
        (
            "snapshot",
            Snapshot(
                last_event_id="e-1",
                tool_status=STATUS,
                permission_request=RECORD,
                permission_requests=[RECORD],
                tool_result=None,
                running=[
                    RunningCall(**STATUS.__dict__, progress=ToolProgress(tool_name="rm", tool_call_id="c1", progress=3))
                ],
            ),
            {
                "last_event_id": "e-1",
                "tool_status": STATUS_ON_THE_WIRE,
                "permission_request": RECORD_ON_THE_WIRE,
                "permission_requests": [RECORD_ON_THE_WIRE],
                "tool_result": None,
                "running": [
                    {
                        **STATUS_ON_THE_WIRE,
                        "progress": {"tool_name": "rm", "tool_call_id": "c1", "progress": 3.0},
                    }
                ],
            },
        ),
        (
            "gap",
            Gap(requested="e-1", oldest="e-5", newest="e-9", reason="evicted"),
            {"requested": "e-1", "oldest": "e-5", "newest": "e-9", "reason": "evicted"},
        ),
        (
            "bye",
            Bye(code="shutdown", reconnect=True, retry_ms=3000),
            {"code": "shutdown", "reconnect": True, "retry_ms": 3000},
        ),
    ],
)
def test_event_has_the_shape_of_the_contract(event_type: str, data: EventData, on_the_wire: dict[str, Any]) -> None:
    assert json.loads(encode(event_type, data, id="e-1")) == {"type": event_type, "id": "e-1", "data": on_the_wire}


def test_record_is_encoded_once_for_all_who_tell_of_it() -> None:
    record = RECORD.model_copy()

    assert record.encoded is record.encoded
    assert json.loads(record.encoded) == RECORD_ON_THE_WIRE
    assert json.loads(record.model_copy(update={"viewers": 3}).encoded)["viewers"] == 3


def test_record_that_no_event_holds_is_not_kept_encoded() -> None:
    record = RECORD.model_copy(update={"parameters": {"text": "x" * 300_000}})

    assert record.encoded == dump(record)
    assert record.encoded is not record.encoded


@given(
    parameters=st.dictionaries(
        st.sampled_from(["timestamp", "viewers", "expires_at", "path"]),
        st.sampled_from([NOON_TEXT, "null", 2, None, {"viewers": 2}, {"expires_at": None}, '"viewers":2']),
    ),
    viewers=st.integers(0, 3),
    expires_at=st.none() | st.timedeltas(timedelta(0), timedelta(days=9)).map(NOON.__add__),
)
def test_record_that_is_retold_says_what_one_says_that_is_encoded_anew(
    parameters: dict[str, Any], viewers: int, expires_at: datetime | None
) -> None:
    record = RECORD.model_copy(update={"parameters": parameters})

    retold = record.retold(viewers=viewers, expires_at=expires_at, timestamp=NOON + timedelta(seconds=1))

    assert json.loads(retold.encoded) == json.loads(dump(retold))
    assert retold.timestamp > record.timestamp


def test_record_that_is_read_first_of_all_is_encoded_in_parts() -> None:
    """As after a restart: older releases of pydantic write no model of which nothing was made before."""
    reasons = [{"code": "words", "text": "why"}]
    parts = {"deeds": {"does": [], "where": [], "reversible": None}, "command": {"parts": [], "not_understood": None}}
    told = {**RECORD_ON_THE_WIRE, "reasons": reasons, **parts}
    program = (
        "import sys; from notifier_service.core.events import PermissionRecord;"
        "print(PermissionRecord.model_validate_json(sys.stdin.read()).encoded.decode())"
    )

    ran = subprocess.run([sys.executable, "-c", program], input=json.dumps(told), capture_output=True, text=True)

    assert json.loads(ran.stdout) == told


ANY_TEXT = st.text(max_size=12) | st.sampled_from(
    ['a"b', "c\\d", "\x00\x1f\x7f", "e\u2028f", "\u0085", "\ud800", '"viewers":2']
)
MAYBE_TEXT = st.none() | ANY_TEXT
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.text(max_size=4) | st.sampled_from(["timestamp", "viewers", 'a"b'])
MOMENTS = st.builds(
    lambda since, zone: (NOON + since).astimezone(zone),
    st.timedeltas(timedelta(days=-9000), timedelta(days=9000)) | st.integers(0, 99).map(lambda n: timedelta(seconds=n)),
    st.sampled_from([UTC, timezone(timedelta(hours=-4))]),
)
MADE_OF_ANYTHING = st.fixed_dictionaries(
    {
        "request_id": ANY_TEXT,
        "tool_name": ANY_TEXT,
        "server": MAYBE_TEXT,
        "definition_sha256": MAYBE_TEXT,
        "parameters": st.dictionaries(KEYS, MAYBE_TEXT | FLOATS | st.lists(st.integers()), max_size=3),
        "timestamp": MOMENTS,
        "parameters_sha256": ANY_TEXT,
        "parameters_truncated": st.sampled_from([None, True]),
        "parameters_bytes": st.none() | st.integers(0),
        "asked_parameters_sha256": MAYBE_TEXT,
        "expires_at": st.none() | MOMENTS,
        "timeout_seconds": st.floats(0, allow_infinity=False),
        "risk_reasons": st.lists(ANY_TEXT, max_size=2).map(tuple),
        "reasons": st.lists(
            st.builds(lambda text, more: made(SaidReason, {"code": "x", "text": text}, more), ANY_TEXT,
                      st.dictionaries(st.sampled_from(["what", "viewers"]), ANY_TEXT | st.integers())),
            max_size=2,
        ).map(tuple),
        "deeds": st.none() | st.builds(
            lambda paths, back: Deeds(does=["runs"], where=[], paths=paths, reversible=back),
            st.none() | st.lists(st.text(max_size=9), max_size=2), st.sampled_from([None, True, False]),
        ),
        "command": st.sampled_from([None, ReadCommand(parts=[["ls", "-l"]], not_understood=None)]),
        "allowed_decisions": st.sampled_from([("approve", "reject"), ("approve", "edit", "reject", "respond")]),
        "scopes": st.sampled_from([("once",), ("once", "session", "always"), ()]),
        "suggested_rule": MAYBE_TEXT,
        "suggested_policy_rule": st.none() | st.dictionaries(KEYS, ANY_TEXT | st.lists(ANY_TEXT), max_size=2),
        "rule": MAYBE_TEXT,
        "justification": MAYBE_TEXT,
        "description": MAYBE_TEXT,
        "viewers": st.integers(0, 10**6),
        "tool_call_id": MAYBE_TEXT,
        "traceparent": MAYBE_TEXT,
        "replayed": st.sampled_from([None, True]),
    }
)  # fmt: skip
DECIDED_ANYHOW = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["approved", "rejected", "cancelled", "expired"]),
        "decision": st.sampled_from([None, "approve", "respond"]),
        "approved": st.booleans(),
        "reason": MAYBE_TEXT,
        "response": MAYBE_TEXT,
        "scope": st.sampled_from([None, "session"]),
        "decided_by": MAYBE_TEXT,
        "decided_at": st.none() | MOMENTS,
        "code": st.sampled_from([None, "shutdown"]),
    }
)


@given(values=MADE_OF_ANYTHING, decided=DECIDED_ANYHOW)
def test_record_is_encoded_in_parts_as_it_is_as_a_whole(values: dict[str, Any], decided: dict[str, Any]) -> None:
    asked = RECORD.altered(**values)
    announced = asked.retold(timestamp=NOON, viewers=7, expires_at=None)
    states = [asked, announced, announced.retold(**decided)]
    states.append(states[-1].retold(timestamp=NOON + timedelta(days=1)))

    encoded = [record.encoded for record in states]

    assert encoded == [dump(record) for record in states]


@given(tool_name=ANY_TEXT, reason=MAYBE_TEXT)
def test_that_a_request_is_cleared_is_encoded_by_the_rules_of_all(tool_name: str, reason: str | None) -> None:
    record = RECORD.altered(tool_name=tool_name, status="rejected", reason=reason)

    cleared = PermissionCleared.of(record)
    of_inbox = InboxCleared(request_id="pr_1", tool_name="rm", status="expired", session_id="s1")

    assert cleared.encoded == dump(cleared)
    assert of_inbox.encoded == dump(of_inbox)


def test_record_of_the_inbox_is_encoded_as_that_of_its_session() -> None:
    told = InboxRecord.of(RECORD, "s1")

    assert json.loads(told.encoded) == json.loads(dump(told)) == {**RECORD_ON_THE_WIRE, "session_id": "s1"}


@pytest.mark.parametrize("waiting", [0, 2])
@pytest.mark.parametrize("lost", [0, 1])
def test_snapshot_of_encoded_requests_says_the_same(waiting: int, lost: int) -> None:
    records = [RECORD.model_copy(update={"request_id": f"pr_{number}"}) for number in range(waiting)]
    snapshot = Snapshot(
        last_event_id="a-1",
        tool_status=ToolStatus(status="executing", tool_name="rm", timestamp=NOON),
        permission_request=records[0] if records else None,
        permission_requests=records,
        tool_result=None,
        running=(),
        end_unknown=(RunningCall(status="failed", tool_name="cp", timestamp=NOON),) * lost or None,
    )

    assert json.loads(snapshot.encoded) == json.loads(dump(snapshot))


def test_event_without_data_has_no_such_field() -> None:
    assert encode("heartbeat", timestamp=1.5) == b'{"type":"heartbeat","timestamp":1.5}'


def test_empty_data_is_an_object() -> None:
    assert encode("note", {}, id="e-1") == b'{"type":"note","id":"e-1","data":{}}'


def test_type_comes_first_and_the_event_is_one_line() -> None:
    encoded = encode("note", {"text": "a\r\nb\u2028c\u2029d\x85é", "n": 2**63 + 1}, id="e-1")

    text = r"a\r\nb\u2028c\u2029d\u0085é"  # what str.splitlines takes for line ends too
    assert encoded == f'{{"type":"note","id":"e-1","data":{{"text":"{text}","n":9223372036854775809}}}}'.encode()
    assert len(encoded.decode().splitlines()) == 1


@pytest.mark.parametrize("text", ["\\\u2028", "\\\\\x85", "\u2028" * 3, '"\u2029"', "\ud83d\u2028", "\u2027\u202a\x84"])
def test_escaped_line_ends_read_as_they_were(text: str) -> None:
    shown = text.replace("\ud83d", "\\ud83d")

    assert json.loads(encode("note", {"text": text, text: 1}))["data"] == {"text": shown, shown: 1}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (ToolStatus, {"status": "running", "tool_name": "rm"}),
        (ToolStatus, {"status": "executing"}),
        (ToolStatus, {"status": "executing", "tool_name": ""}),
        (ToolStatus, {"status": "executing", "tool_name": "x" * 257}),
        (ToolStatus, {"status": "executing", "tool_name": "a\ud800"}),
        (ToolStatus, {"status": "executing", "tool_name": "rm", "tool_call_id": ""}),
        (ToolStatus, {"status": "executing", "tool_name": "rm", "timestamp": NOON.replace(tzinfo=None)}),
        (ToolStatus, {"status": "executing", "tool_name": "rm", "timestamp": "yesterday"}),
        (ToolStatus, {"status": "executing", "tool_name": "rm", "details": [1]}),
        (ToolStatus, {"status": "executing", "tool_name": "rm", "extra": 1}),
        (ToolProgress, {"tool_name": "rm", "progress": 1}),
        (ToolProgress, {"tool_name": "rm", "tool_call_id": "c", "progress": float("nan")}),
        (ToolProgress, {"tool_name": "rm", "tool_call_id": "c", "progress": float("inf")}),
        (ToolProgress, {"tool_name": "rm", "tool_call_id": "c", "progress": "1"}),
        (ToolProgress, {"tool_name": "rm", "tool_call_id": "c", "progress": 1, "message": "x" * 4097}),
        (ToolResult, {"tool_name": "rm", "success": 1}),
        (ToolResult, {"tool_name": "rm", "success": "true"}),
        (ToolResult, {"tool_name": "rm"}),
        (ToolResult, {"tool_name": "rm", "success": True, "duration_ms": -1}),
        (ToolResult, {"tool_name": "rm", "success": True, "truncated": False}),
        (ToolResult, {"tool_name": "rm", "success": True, "result_bytes": -1}),
    ],
    ids=lambda value: None if isinstance(value, type) else ascii(value)[:60],
)
def test_data_of_another_shape_is_refused(model: type[EventData], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**fields)


def test_producer_may_give_the_time_as_text() -> None:
    status = ToolStatus.model_validate(
        {"status": "executing", "tool_name": "rm", "timestamp": "2026-01-02T13:00:00.123456+01:00"}
    )

    assert json.loads(dump(status))["timestamp"] == NOON_TEXT


def test_event_data_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        STATUS.tool_name = "ls"


# what a producer may publish


@pytest.mark.parametrize("event_type", sorted(RESERVED))
def test_type_of_the_service_itself_is_refused(event_type: str) -> None:
    with pytest.raises(InvalidInput, match=f"^only the service itself publishes {event_type}$"):
        checked_event(event_type, {})


def test_every_type_of_the_contract_is_either_produced_or_reserved() -> None:
    assert set(PRODUCED) == {"tool_status", "tool_progress", "tool_result"}
    assert set(RESERVED) == {
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
    }


@pytest.mark.parametrize(
    "event_type",
    ["", "A", "1a", "_a", ".a", "a-b", "a b", "a\n", "a\r\ndata: x", "é", "a" * 65, "tool_status ", "\u0430"],
    ids=ascii,
)
def test_type_that_is_no_type_is_refused_without_being_repeated(event_type: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_event(event_type, {})

    assert caught.value.message == "an event type matches [a-z][a-z0-9_.]{0,63}"


@pytest.mark.parametrize("event_type", ["a", "my.type_2", "a" * 64])
@pytest.mark.parametrize("data", [None, {}, {"anything": [1, None]}])
def test_own_type_is_taken_as_it_is(event_type: str, data: dict[str, Any] | None) -> None:
    assert checked_event(event_type, data) is data


def test_known_type_becomes_its_model() -> None:
    assert checked_event("tool_status", STATUS_ON_THE_WIRE) == ToolStatus.model_validate(STATUS_ON_THE_WIRE)
    assert isinstance(
        checked_event("tool_progress", {"tool_name": "a", "tool_call_id": "b", "progress": 1}), ToolProgress
    )
    assert isinstance(checked_event("tool_result", {"tool_name": "a", "success": True}), ToolResult)


def test_known_type_without_data_is_refused_by_the_names_of_what_is_missing() -> None:
    with pytest.raises(ValidationError) as caught:
        checked_event("tool_result", None)

    assert [error["loc"] for error in caught.value.errors()] == [("tool_name",), ("success",)]


# the encoder


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([float("nan"), float("inf"), float("-inf")], b'["NaN","Infinity","-Infinity"]'),
        (b"\xff\x00", b'"_wA="'),
        ({1}, b"[1]"),
        (Row("a"), b'{"name":"a"}'),
        (NOON, b'"2026-01-02T12:00:00.123456Z"'),
        (10**4299, b"1" + b"0" * 4299),
        ("\x00\x1f\x7f", b'"\\u0000\\u001f\x7f"'),
        ("half \ud83d", b'"half \\\\ud83d"'),
        (
            {"\udfff": ("\ud800", {"\udc00": b"a"}), "ok": 1.5},
            b'{"\\\\udfff":["\\\\ud800",{"\\\\udc00":"YQ=="}],"ok":1.5}',
        ),
        ([{"\ud800"}, frozenset(["\ud800"]), float("nan")], b'[["\\\\ud800"],["\\\\ud800"],"NaN"]'),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_value_that_json_cannot_say_is_written_as_text(value: Any, text: bytes) -> None:
    assert dump(value) == text


def test_half_a_surrogate_pair_in_a_model_does_not_break_its_shape() -> None:
    result = ToolResult(tool_name="ls", result=["file\udcff"], success=True, timestamp=NOON)

    assert json.loads(encode("tool_result", result, id="e-1")) == {
        "type": "tool_result",
        "id": "e-1",
        "data": {"tool_name": "ls", "result": ["file\\udcff"], "success": True, "timestamp": NOON_TEXT},
    }


@pytest.mark.parametrize(
    "value",
    [object(), {"a": lambda: None}, circle(), circle(a="x")["again"], nested(300), nested(100_000)],
    ids=["object", "function", "circle", "circle with text", "deep", "very deep"],
)
def test_value_without_any_text_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^not to be shown as JSON: .{1,200}$"):
        encode("note", {"value": value})


@pytest.mark.parametrize(
    ("value", "text"),
    [(Path("a\udcff"), b'"a\\\\udcff"'), (Row("\ud800"), b'{"name":"\\\\ud800"}')],
    ids=["path", "dataclass"],
)
def test_half_a_surrogate_pair_is_escaped_wherever_it_hides(value: Any, text: bytes) -> None:
    assert dump([value]) == b"[" + text + b"]"


def test_circle_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidInput):
        dump(circle(name="\ud800"))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda item: st.lists(item) | st.dictionaries(st.text(), item),
    )
)
def test_json_value_comes_back_as_it_went(value: Any) -> None:
    assert parse_json(dump(value)) == value


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_can_be_encoded_on_one_line(text: str) -> None:
    encoded = encode("note", {"text": text, text: 1})

    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert json.loads(encoded)["type"] == "note"


@pytest.mark.parametrize("data", [None, {"n": 1}], ids=str)
def test_trace_of_an_event_stands_beside_its_id(data: dict[str, int] | None) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = EventLog(epoch="e").append("note", data, traceparent=trace)

    expected = {"type": "note", "id": "e-1", "traceparent": trace, "data": data}
    assert json.loads(event.json) == {key: value for key, value in expected.items() if value is not None}


# what comes in


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":[1,2.5,null,true]}', {"a": [1, 2.5, None, True]}),
        (b" 9007199254740993 ", 2**53 + 1),
        (b"1" * 4000, int("1" * 4000)),
        (b"1e308", 1e308),
        (b'{"a":1e300,"b":[1e+100]}', {"a": 1e300, "b": [1e100]}),
        (b'"e999"', "e999"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[" * 200 + b"]" * 200, nested(199, [])),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_json_is_read(text: bytes, value: Any) -> None:
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"secret",
        b'{"secret":1} secret',
        b"{'secret':1}",
        b'{"secret":1,}',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":NaN}',
        b'"secret\xff"',
        b'"secret\\ud800"',
        b'"secret\n"',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 201 + b"1" + b"}" * 201,
        b"\xef\xbb\xbf{}",
        b"\x00",
        "{}".encode("utf-16"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_broken_json_is_refused_with_its_place_and_never_repeated(text: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^no valid JSON: .* at line \d+ column \d+$") as caught:
        parse_json(text)

    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    "text",
    [b"1e999", b"-1e999", b'{"a":[1,{"b":1E+400}]}', b"[1,1e0309]", b"1" * 310 + b".0", b'{"a":"1e999","b":1e999}'],
    ids=lambda text: ascii(text)[:30],
)
def test_number_too_large_for_a_float_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^no valid JSON: a number is too large$"):
        parse_json(text)


DOUBLED = [
    b'{"a": 1, "a": 2}',
    b'{"a": 1, "a": 1}',
    b'{"a":{},"b":[[{"c":1,"d":2,"c":3}]]}',
    b'{"a": 1, "\\u0061": 2}',
    b'{"": 1, "": 2}',
    b'{"\\/": 1, "/": 2}',
    '{"é": 1, "\\u00E9": 2}'.encode(),
    b'{"a" :1,"b" :{"x"\n:1,"x"\t:2}}',
    b"{" + b",".join(b'"%d":0' % n for n in range(500)) + b',"7":0}',
    b'{"a":' * 100 + b'{"x":1,"x":2}' + b"}" * 100,
]


@pytest.mark.parametrize("text", DOUBLED, ids=lambda text: ascii(text)[:40])
def test_key_that_is_there_twice_is_refused_where_it_must_have_one_reading(text: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^an object has the same key twice, so that it can be read in two ways$"):
        parse_json(text, unique_keys=True)
    parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}',
        b'{"a": 1, "A": 2, "a ": 3, "\\u0430": 4}',
        b'{"x": "\\"a\\": 1, \\"a\\": 2"}',
        b'["a:a:a"]',
        b'"a:b, c:d"',
        b'{"n": %b, "m": 1.5e300}' % (b"9" * 250),
        b"[" * 190 + b'{"a": 1, "b": 2}' + b"]" * 190,
    ],
)
def test_key_that_is_there_once_is_taken(text: bytes) -> None:
    assert parse_json(text, unique_keys=True) == parse_json(text)


@pytest.mark.parametrize("text", [b"9" * 299 + b"e10", b"[" + b"1" * 250 + b".5e+99]"], ids=["e10", "e99"])
def test_number_too_large_by_its_digits_and_its_exponent_together_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'["cut \ud83d"]', [r"cut \ud83d"]),
        (rb'["\uDE00 rest"]', [r"\uDE00 rest"]),
        (rb'["\ud83d\ude00\ud83d"]', ["\U0001f600\\ud83d"]),
        (rb'["\\\ud83d and \n"]', ["\\\\ud83d and \n"]),
        (rb'{"\ud83d": 1}', {r"\ud83d": 1}),
    ],
    ids=ascii,
)
def test_half_a_character_is_taken_as_its_escape_where_halves_are_and_refused_elsewhere(
    text: bytes, value: Any
) -> None:
    assert parse_json(text, takes_halves=True) == value
    with pytest.raises(InvalidInput, match="half a character"):
        parse_json(text)


def test_what_is_broken_besides_is_refused_where_halves_are_taken() -> None:
    for text in (rb'["\ud83d"', rb'["\x"]'):
        with pytest.raises(InvalidInput, match="no valid JSON"):
            parse_json(text, takes_halves=True)


def test_brackets_in_texts_are_not_those_of_the_structure() -> None:
    code = {"content": 'if (a[0] === "\\"") { b = [{}]; }\n' * 50_000}

    is_same = parse_json(dump(code)) == code
    assert is_same
    with pytest.raises(TooLarge):
        parse_json(b'["' + b'[","' * 10 + b'",' + b"[]," * 100_001 + b"1]")


# many at once


OBJECTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("~"),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
        max_leaves=8,
    ),
    max_size=4,
)


@given(st.lists(OBJECTS.map(json.dumps), min_size=1, max_size=3))
def test_many_are_read_and_written_as_each_by_itself(texts: list[str]) -> None:
    values = parse_each([text.encode() for text in texts])
    if values is None:  # half a surrogate pair, or Infinity, which is no JSON
        assert "\\ud" in "".join(texts) or "Infinity" in "".join(texts)
        return
    assert values == [parse_json(text.encode(), takes_infinity=True) for text in texts]

    written = dump_each([value for value in values if isinstance(value, dict)])

    if written is not None:
        assert written == [dump(value) for value in values]
        for text, value in zip(texts, values, strict=True):
            require_finite(text.encode(), value)


@pytest.mark.parametrize(
    "values",
    [[{"a": float("inf")}], [{"a": "Infinity"}], [{"a": [1, "~", 2]}, {}], [{"a": "\ud83d"}, {}]],
)
def test_what_cannot_be_written_together_is_left_to_be_written_singly(values: list[dict[str, Any]]) -> None:
    assert dump_each(values) is None


def test_what_looks_like_the_cut_in_a_text_is_none() -> None:
    values = [{"a": ',"~",'}, {',"~",': "\u2028"}]

    assert dump_each(values) == [dump(value) for value in values]


@pytest.mark.parametrize(
    ("value", "is_plain"),
    [
        ({"a": [1.5, {"b": "\u2028é"}]}, True),
        ({}, True),
        ({"a": float("inf")}, False),
        ({"a": "Infinity"}, False),
        ({"a": "\ud83d"}, False),
    ],
    ids=["nested", "empty", "infinite", "says-so", "half"],
)
def test_one_is_written_as_many_are(value: dict[str, Any], is_plain: bool) -> None:
    assert dump_plain(value) == (dump(value) if is_plain else None)
    assert dump_each([value]) == ([dump(value)] if is_plain else None)


def test_many_are_not_read_together_where_one_is_very_long() -> None:
    assert parse_each([b"{}", b'"%b"' % (b"x" * 100_000)]) is None
    assert parse_each([]) == []


def test_number_that_is_too_large_is_told_where_it_was_left_to_the_caller() -> None:
    value = parse_json(b'{"n":1e999}', takes_infinity=True)

    with pytest.raises(InvalidInput, match="a number is too large"):
        require_finite(b'{"n":1e999}', value)


@pytest.mark.parametrize(
    ("event_type", "is_own"),
    [("note", True), ("a.b_9", True), ("tool_status", False), ("hello", False), ("No", False), ("", False)],
)
def test_type_of_a_producers_own_is_known(event_type: str, is_own: bool) -> None:
    assert is_own_type(event_type) is is_own


def test_what_was_written_here_is_read_however_much_stands_around_what_came_in() -> None:
    text = b"[" * 198 + b"1" + b"]" * 198
    came = parse_json(b'{"data":%b}' % text)

    told = dump({"of": [{"all": came}]})

    with pytest.raises(InvalidInput, match="recursion limit"):
        parse_json(told)
    assert parse_own(told) == {"of": [{"all": came}]}


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"{", "property name"), (b"\xff", "codec can't decode"), (b"[" * 100_000, "deeper than")],
    ids=["cut", "no UTF-8", "deep"],
)
def test_what_was_not_written_here_is_not_read(text: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_own(text)
