"""One session: its present state, its readers, and what ends them."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from notifier_service.core.errors import (
    CursorLost,
    DecisionNotOffered,
    InvalidInput,
    InvalidSessionId,
    LimitReached,
    RequestNotFound,
    SessionClosed,
    TooLarge,
)
from notifier_service.core.events import ToolProgress, ToolResult, ToolStatus, dump, encode
from notifier_service.core.limits import Limits
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.policy.reasons import Reason
from notifier_service.core.policy.rule_book import RuleBook
from notifier_service.core.question import Decision, Question
from notifier_service.core.reader import Opening, Reader
from notifier_service.core.session import Session, check_session_id
from tests.core.peer import Peer
from tests.policies import a_policy_file

if TYPE_CHECKING:
    from conftest import Clock

BEAT = b'{"type":"heartbeat"}'


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session("s", clock=clock, epoch="e")


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def reader(session: Session, peer: Peer) -> Reader:
    return session.join("sse", peer)


def limited(clock: Clock, **limits: Any) -> Session:
    return Session("s", limits=Limits(**limits), clock=clock, epoch="e")


def ask(session: Session, tool_name: str = "write", **call: Any) -> PermissionRequest:
    return session.ask(Question(tool_name, **{"parameters": {}, **call}))


def status(state: Any, call: str | None = None, tool: str = "rm", **details: Any) -> ToolStatus:
    return ToolStatus(status=state, tool_name=tool, tool_call_id=call, details=details)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def types(session: Session) -> list[str]:
    return [event.type for event in session.log.read_after(session.log.first_seq - 1)]


def running(session: Session) -> list[tuple[str, str | None, float | None]]:
    return [
        (call.status, call.tool_call_id, call.progress.progress if call.progress else None)
        for call in session.snapshot().running
    ]


async def turns() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


# Ids


@pytest.mark.parametrize("session_id", ["a", "A-z.0_9:~", "." * 128, "...", "-"])
def test_session_id_of_the_contract_is_taken(session_id: str) -> None:
    assert check_session_id(session_id) == Session(session_id).session_id == session_id


@pytest.mark.parametrize("session_id", [".", ".."])
def test_step_in_a_path_is_no_session_id(session_id: str) -> None:
    with pytest.raises(InvalidSessionId):
        check_session_id(session_id)


@pytest.mark.parametrize(
    "session_id",
    ["", "a" * 129, "a b", "a/b", "a\n", "\na", "a%2F", "é", "\u0663", "a?b", "a#b", "a\0", "*", None, 5, b"a", ["a"]],
    ids=ascii,
)
def test_other_session_id_is_refused_without_being_repeated(session_id: Any) -> None:
    with pytest.raises(InvalidSessionId) as caught:
        check_session_id(session_id)

    assert caught.value.message == "A session id matches [A-Za-z0-9._:~-]{1,128}."
    with pytest.raises(InvalidSessionId):
        Session(session_id)


def test_session_that_is_new_holds_nothing() -> None:
    before = datetime.now(UTC)
    session = Session("s")

    assert session.snapshot().model_dump() == {
        "last_event_id": f"{session.log.epoch}-0",
        "tool_status": None,
        "permission_request": None,
        "permission_requests": (),
        "tool_result": None,
        "running": (),
    }
    assert abs((session.created_at - before).total_seconds()) < 5
    assert 0 <= session.idle_seconds < 5
    assert Session("s").log.epoch != session.log.epoch


def test_bounds_of_the_log_are_those_of_the_limits(clock: Clock) -> None:
    log = limited(clock, log_events=7, log_bytes=20_000, max_event_bytes=17_000).log

    assert (log.capacity, log.capacity_bytes, log.max_event_bytes) == (7, 20_000, 17_000)


# What happens


def test_published_event_is_appended_and_counted(clock: Clock) -> None:
    session = limited(clock, log_events=2)
    events = [session.publish("note", {"n": n}) for n in range(3)]

    assert [event.id for event in events] == ["e-1", "e-2", "e-3"]
    assert (session.counters.events_published, session.counters.events_evicted) == (3, 1)


def test_state_is_the_newest_status_and_result(session: Session) -> None:
    first, newest = status("executing", "c1"), status("executing", "c2")
    result = ToolResult(tool_name="rm", success=True, result=[1])
    for data in (first, newest):
        session.publish("tool_status", data)
    session.publish("tool_result", result)

    assert (session.snapshot().tool_status, session.snapshot().tool_result) == (newest, result)
    assert session.snapshot().last_event_id == "e-3"


def test_own_event_changes_no_state(session: Session) -> None:
    session.publish("note", {"status": "executing"})
    session.publish("note")

    assert (session.snapshot().tool_status, running(session)) == (None, [])


@pytest.mark.parametrize(
    ("result", "error"), [("x" * 300_000, TooLarge), (object(), InvalidInput)], ids=["too large", "no text"]
)
def test_event_that_is_refused_has_not_happened(session: Session, result: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        session.publish("tool_result", ToolResult(tool_name="rm", success=True, result=result))

    assert (session.state.tool_result, session.log.last_seq, session.counters.events_published) == (None, 0, 0)


def test_calls_side_by_side_are_told_in_the_order_of_their_last_status(session: Session) -> None:
    for state, call in [("executing", "c1"), ("waiting_permission", "c2"), ("executing", "c3"), ("executing", "c1")]:
        session.publish("tool_status", status(state, call))

    assert running(session) == [
        ("waiting_permission", "c2", None),
        ("executing", "c3", None),
        ("executing", "c1", None),
    ]


@pytest.mark.parametrize("state", ["completed", "failed", "denied", "cancelled"])
def test_call_that_is_over_does_not_run(session: Session, state: str) -> None:
    session.publish("tool_status", status("executing", "c1"))
    session.publish("tool_status", status(state, "c1"))
    session.publish("tool_status", status(state, "never began"))

    assert running(session) == []


def test_call_without_an_id_goes_by_the_name_of_its_tool(session: Session) -> None:
    session.publish("tool_status", status("executing", tool="rm"))
    session.publish("tool_status", status("executing", tool="ls"))
    session.publish("tool_status", status("completed", tool="rm"))

    assert [call.tool_name for call in session.snapshot().running] == ["ls"]


def test_progress_stays_with_its_call(session: Session) -> None:
    session.publish("tool_status", status("executing", "c1"))
    for call, progress in [("c1", 0.25), ("c1", 0.5), ("unknown", 1)]:
        session.publish("tool_progress", ToolProgress(tool_name="rm", tool_call_id=call, progress=progress))
    session.publish("tool_status", status("executing", "c1", note="again"))

    assert running(session) == [("executing", "c1", 0.5)]
    assert session.snapshot().running[0].details == {"note": "again"}


def test_number_of_running_calls_is_bounded_like_the_log(clock: Clock) -> None:
    session = limited(clock, log_events=2)
    for call in ("c1", "c2", "c3"):
        session.publish("tool_status", status("executing", call))

    assert [call for _, call, _ in running(session)] == ["c2", "c3"]


def test_bytes_of_running_calls_are_bounded_like_the_log(clock: Clock) -> None:
    session = limited(clock, log_bytes=32 * 1024, max_event_bytes=16 * 1024)
    for number in range(9):
        session.publish("tool_status", status("executing", f"c{number % 4}", text="x" * 9_000))

    assert [call for _, call, _ in running(session)] == ["c2", "c3", "c0"]


def test_cleared_result_is_forgotten_and_told_once(session: Session) -> None:
    session.publish("tool_result", ToolResult(tool_name="rm", success=True))
    session.clear_result()
    session.clear_result()

    assert session.state.tool_result is None
    assert types(session) == ["tool_result", "result_cleared"]
    assert json.loads(session.log.read_after(1)[0].json)["data"]["tool_name"] == "rm"


# What is asked


def test_request_is_announced_with_the_reasons_of_the_policy(session: Session) -> None:
    request = ask(session)
    told = json.loads(session.log.read_after(0)[0].json)["data"]

    assert types(session) == ["permission_request"]
    assert (told["request_id"], told["risk_reasons"]) == (request.request_id, ["it writes"])


def test_own_reasons_stand_before_those_of_the_policy(session: Session) -> None:
    assert ask(session, risk_reasons=["it deletes"]).record.risk_reasons == ("it deletes", "it writes")


def test_risk_is_high_unless_it_is_told(session: Session) -> None:
    assert session.ask(Question(tool_name="t", parameters={})).record.risk_level == "high"


def test_low_risk_is_settled_by_the_policy(session: Session) -> None:
    request = ask(session, risk_level="low", announce_status=True)

    assert (request.record.status, request.record.decided_by) == ("approved", "policy")
    assert types(session) == ["permission_response_result"]


def rated_by_a_person(tmp_path: Path) -> Session:
    file = tmp_path / "policy.toml"
    file.write_text('[risk.files]\n"read" = "low"\n"get_*" = "high"\n')
    return Session("s", rules=RuleBook(PolicyFile(file)))


@pytest.mark.parametrize("name", ["read", "mcp__files__read"])
def test_person_rates_a_tool_down_in_the_policy_file(name: str, tmp_path: Path) -> None:
    session = rated_by_a_person(tmp_path)
    question = Question(name, {}, "high", (Reason("hints_missing"),), server="files", rated_by="producer")

    assert session.admits(question)
    assert not session.admits(question._replace(server="others"))
    assert session.ask(question).record.risk_reasons[0] == "the policy file rates it low"


def test_person_rates_a_tool_up_in_the_policy_file(tmp_path: Path) -> None:
    session = rated_by_a_person(tmp_path)

    record = session.ask(Question("get_all", {}, "low", server="files", rated_by="producer")).record

    assert (record.status, record.risk_level, record.rated_by) == ("pending", "high", "service")
    assert record.risk_reasons == ("the policy file rates it high", "it reads")


@pytest.mark.parametrize(
    "reason", [Reason("definition_changed", parts="annotations"), Reason("reads_secret_file", path='".env"'),
               Reason.by_asker("the server lists it twice")]
)  # fmt: skip
def test_rating_in_the_policy_file_does_not_hide_that_a_call_is_another(reason: Reason, tmp_path: Path) -> None:
    session = rated_by_a_person(tmp_path)

    record = session.ask(Question("read", {}, "high", (reason,), server="files", rated_by="producer")).record

    assert (record.status, record.risk_level) == ("pending", "high")


def test_a_call_that_is_riskier_than_its_tool_leaves_the_tool_as_it_is(session: Session) -> None:
    reason = Reason("reads_secret_file", path='".env"')

    assert ask(session, "read", risk_level="medium", risk_reasons=(reason,), rated_by="producer").pending
    assert session.admits(Question("read", {}, "low", rated_by="producer"))


def test_record_says_what_the_call_does_where_nobody_lets_it_run(session: Session) -> None:
    deeds = ask(session, "delete_file", parameters={"path": "/srv/app/a"}, workspace="/srv/app").record.deeds

    assert deeds is not None
    assert (deeds.does, deeds.where, deeds.reversible) == (("deletes",), ("workspace",), False)
    assert ask(session, "read", risk_level="low").record.deeds is None


def test_record_of_an_edited_call_says_what_the_edited_one_does(session: Session) -> None:
    request = ask(session, "Bash", parameters={"command": "rm a"})
    session.decide(Decision(approved=True, parameters={"command": "ls"}), decided_by="ana")

    assert request.record.deeds is not None
    assert (request.record.deeds.does, request.record.deeds.reversible) == (("reads",), True)


def test_record_says_what_a_command_runs_and_after_an_edit_what_the_edited_one_does(session: Session) -> None:
    request = ask(session, "Bash", parameters={"command": "timeout 5 rm a; ls $HOME"})
    other = ask(session, "Bash", parameters={"command": "timeout 5 rm a; ls"})

    assert request.record.command is not None
    assert request.record.command.not_understood is not None
    assert other.record.command is not None
    assert other.record.command.parts == (("timeout", "5", "rm", "a"), ("rm", "a"), ("ls",))

    decision = Decision(approved=True, parameters={"command": "ls -l"}, request_id=other.request_id)
    session.decide(decision, decided_by="ana")

    assert other.record.command is not None
    assert other.record.command.parts == (("ls", "-l"),)
    assert ask(session, "read", parameters={"path": "a"}).record.command is None
    assert ask(session, "Bash", parameters={"command": "ls"}, risk_level="low").record.command is None


def test_small_event_holds_the_command_beside_the_parameters() -> None:
    session = Session("s1", limits=Limits(max_event_bytes=16 * 1024))
    record = ask(session, "Bash", parameters={"command": "echo " + "'🚀🚀' " * 1300}).record

    assert record.command is not None
    assert len(dump(record.command)) < 2048


def test_person_may_be_asked_whatever_the_policy_says(session: Session) -> None:
    request = ask(session, risk_level="low", by_policy=False)

    assert request.pending
    assert request.record.risk_reasons == ()


def test_status_that_a_call_waits_comes_before_the_request(session: Session) -> None:
    request = ask(session, parameters={"a": 1}, tool_call_id="c1", announce_status=True)
    told = json.loads(session.log.read_after(0)[0].json)["data"]

    assert types(session) == ["tool_status", "permission_request"]
    assert (told["status"], told["tool_call_id"]) == ("waiting_permission", "c1")
    assert told["details"] == {
        "parameters": {"a": 1},
        "risk_level": "high",
        "reasons": [{"code": "deeds", "text": "it writes", "what": "writes"}],
        "request_id": request.request_id,
    }
    assert running(session) == [("waiting_permission", "c1", None)]


def test_tool_allowed_for_the_session_is_asked_no_more(session: Session) -> None:
    ask(session, "write")
    session.decide(Decision(approved=True, scope="session"), decided_by="ana")

    assert ask(session, "write").record.decided_by == "policy"
    assert ask(session, "Write").pending
    assert session.admits(Question("write", {}))
    assert [rule.used for rule in session.desk.grants.rules] == [2]
    assert not Session("other").admits(Question("write", {}))


def test_tool_denied_for_the_session_is_asked_no_more(session: Session) -> None:
    ask(session, "write")
    session.decide(Decision(approved=False, scope="session", reason="not here"), decided_by="ana")
    again = ask(session, "write", risk_level="low").record

    assert (again.status, again.decided_by) == ("rejected", "policy")
    assert again.reason == "ana denied this tool for the rest of the session: not here"


def test_tool_that_was_asked_about_is_not_talked_down_by_who_asks(session: Session) -> None:
    def rated(risk: Any, **more: Any) -> PermissionRequest:
        return ask(session, "write", risk_level=risk, rated_by="producer", **more)

    first, asked, other = rated("low"), rated("high"), rated("low", server="files")
    again, changed = rated("low"), rated("low", definition_sha256="0a" * 32)

    assert [request.pending for request in (first, asked, other, again, changed)] == [False, True, False, True, True]
    assert again.record.risk_reasons == ("who asks rates it low now, and it was asked about at risk high before",)
    assert ask(session, "write", risk_level="low").record.decided_by == "policy"  # the service's own word


def test_tool_that_a_person_allowed_at_a_high_risk_runs_at_a_low_one(session: Session) -> None:
    ask(session, "write", rated_by="producer")
    session.decide(Decision(approved=True, scope="session"), decided_by="ana")

    assert not ask(session, "write", risk_level="low", rated_by="producer").pending


def test_decision_for_the_session_holds_for_who_wants_a_person_whatever_the_risk(session: Session) -> None:
    question = ask(session, "write", by_policy=False, risk_level="low")
    session.decide(Decision(approved=True, scope="session"), decided_by="ana")

    assert question.record.approved
    assert not ask(session, "write", by_policy=False, risk_level="low").pending
    assert ask(session, "write", by_policy=False, risk_level="high").pending
    assert ask(session, "write", by_policy=False, risk_level="low", scopes=("once",)).pending


def test_edit_is_judged_by_the_policy_of_the_session(session: Session) -> None:
    ask(session)

    assert session.decide(Decision(approved=True, parameters={"a": 1}), decided_by="ana").decision == "edit"


def test_refused_request_is_counted(clock: Clock) -> None:
    session = limited(clock, max_pending_per_session=1)
    ask(session)
    with pytest.raises(LimitReached):
        ask(session)

    assert session.counters.limits_reached == {"max_pending_per_session": 1}


def test_requests_are_counted_by_how_they_ended(session: Session, clock: Clock) -> None:
    for approved in (True, True, False):
        ask(session)
        session.decide(Decision(approved=approved), decided_by="ana")
        clock.advance(1.5)
    ask(session).cancel()
    ask(session)
    clock.advance(300)
    session.desk.expire_due()

    assert session.counters.permissions == {"approved": 2, "rejected": 1, "cancelled": 1, "expired": 1}


def test_requests_are_in_the_state_of_whoever_comes(session: Session) -> None:
    first, second = ask(session, "one"), ask(session, "two")
    snapshot = session.snapshot()

    assert snapshot.permission_request == first.record
    assert list(snapshot.permission_requests) == [first.record, second.record]


@pytest.mark.parametrize("depth", [100, *range(196, 204), *range(246, 256)])
def test_request_of_any_depth_is_shown_whole_to_everybody_or_refused(session: Session, depth: int) -> None:
    try:
        request = ask(session, parameters={"a": nested(depth)}, announce_status=True)
    except InvalidInput:
        assert (session.desk.pending_count, session.log.last_seq) == (0, 0)
        return
    snapshot = json.loads(encode("snapshot", session.snapshot()))

    assert snapshot["data"]["permission_requests"][0]["parameters"] == {"a": nested(depth)}
    assert session.decide(Decision(approved=True, request_id=request.request_id), decided_by="ana").approved


@pytest.mark.parametrize(
    "depth",
    [
        *range(196, 204),
        *range(246, 253),
        253,
        254,
    ],
)
def test_edit_of_any_depth_is_told_to_everybody_or_refused(session: Session, depth: int) -> None:
    request = ask(session)
    try:
        session.decide(Decision(approved=True, parameters={"a": nested(depth)}), decided_by="ana")
    except InvalidInput:
        assert request.pending
        return

    assert types(session) == ["permission_request", "permission_response_result", "permission_cleared"]


@pytest.mark.parametrize(
    "length",
    [
        1_000,
        300_000,
    ],
)
def test_readers_are_told_of_a_cancelled_request_however_long_its_reason(session: Session, length: int) -> None:
    ask(session).cancel("x" * length)

    assert types(session) == ["permission_request", "permission_cleared"]


def test_end_of_a_request_that_is_too_large_to_be_remembered_is_told(clock: Clock) -> None:
    session = limited(clock, log_bytes=16 * 1024, max_event_bytes=16 * 1024)
    request = ask(session, parameters={"text": "x" * 12_000})
    request.cancel("\0" * 10_000)

    with pytest.raises(RequestNotFound):
        session.desk.find(request.request_id)
    assert request.record.status == "cancelled"
    assert types(session) == ["permission_cleared"]


# Who reads


def test_reader_is_counted_while_it_is_here(session: Session) -> None:
    first, second = session.join("sse", Peer()), session.join("ws", Peer())
    during = (len(session.readers), session.counters.connections.total(), session.counters.connections_opened)
    first.leave()
    first.leave()

    assert during == (2, 2, 2)
    assert (set(session.readers), session.counters.connections.total(), session.counters.connections_opened) == (
        {second},
        1,
        2,
    )
    assert session.readers.disconnects == session.counters.disconnects == {"left": 1}
    assert (second.transport, second.session) == ("ws", session)


def test_reader_that_leaves_twice_gives_back_one_place(session: Session, reader: Reader) -> None:
    session.join("ws", Peer())
    for _ in range(2):
        reader.leave()
        session.readers.discard(reader)

    assert (session.viewer_count, session.counters.connections.total()) == (1, 1)
    assert session.readers.disconnects == {"left": 1}


def test_more_readers_than_the_limit_are_not_taken(clock: Clock) -> None:
    session = limited(clock, max_connections_per_session=1)
    session.join("sse", Peer())
    with pytest.raises(LimitReached, match=r"^This session has 1 readers; no more are taken\.$") as caught:
        session.join("sse", Peer())

    assert caught.value.limit == "max_connections_per_session"
    assert session.counters.connections.total() == 1


def test_places_of_a_session_are_counted_from_when_few_are_left(clock: Clock) -> None:
    session = limited(clock, max_connections_per_session=10)
    readers = [session.join("sse", Peer(), account="ann") for _ in range(8)]

    with pytest.raises(LimitReached) as caught:
        session.join("sse", Peer(), account="ann")
    session.join("sse", Peer(), account="bob").leave()
    for reader in readers[:3]:
        reader.leave()
    session.join("sse", Peer(), account="ann")

    assert "8 of them are yours" in caught.value.message
    assert len(session.readers) == 6


def test_data_of_a_program_s_own_leaves_no_state(clock: Clock) -> None:
    session = limited(clock)
    session.publish("note", OrderedDict({"n": 1}))
    session.publish("note")

    assert (session.snapshot().tool_status, running(session), session.log.last_seq) == (None, [], 2)


def test_request_tells_how_many_could_see_it(session: Session) -> None:
    session.join("sse", Peer())
    session.join("ws", Peer())

    assert ask(session).record.viewers == 2


def test_reader_on_its_first_connect_begins_at_the_end_and_is_shown_what_is_pending(session: Session) -> None:
    session.publish("note")
    request = ask(session)

    assert session.open_at(None) == Opening("none", 2, None, [request.record])


def test_reader_that_resumes_goes_on_behind_its_cursor(session: Session) -> None:
    session.publish("note")
    ask(session)

    assert session.open_at("e-1") == Opening("full", 1, None, ())
    assert session.counters.gaps == {}


@pytest.mark.parametrize(
    ("cursor", "reason"), [("e-0", "evicted"), ("d-1", "epoch"), ("garbage", "unknown"), ("e-zz", "unknown")]
)
def test_reader_with_a_lost_cursor_gets_the_gap_and_the_state(clock: Clock, cursor: str, reason: str) -> None:
    session = limited(clock, log_events=2)
    request = ask(session)
    session.publish("note")
    session.publish("note")
    opening = session.open_at(cursor)

    # All that a log holds that began anew is newer than who comes from the one before.
    assert (opening.resumed, opening.seq, opening.replay) == (
        "partial",
        1 if reason == "epoch" else 3,
        [request.record],
    )
    assert opening.gap is not None
    assert opening.gap.model_dump() == {"requested": cursor, "oldest": "e-2", "newest": "e-3", "reason": reason}
    assert session.counters.gaps == {reason: 1}


def test_earliest_replays_all_that_the_log_holds(session: Session) -> None:
    ask(session)
    session.publish("note")

    assert session.open_at("earliest") == Opening("full", 0, None, ())


def test_earliest_shows_pending_requests_that_the_log_no_longer_tells(clock: Clock) -> None:
    session = limited(clock, log_events=2)
    request = ask(session)
    session.publish("note")
    session.publish("note")

    assert session.open_at("earliest") == Opening("full", 1, None, [request.record])


def test_reader_that_fell_behind_goes_on_from_the_end(clock: Clock) -> None:
    session = limited(clock, log_events=2)
    request = ask(session)
    for _ in range(3):
        session.publish("note")
    with pytest.raises(CursorLost) as caught:
        session.log.read_after(0)
    opening = session.reopen(caught.value)

    assert (opening.resumed, opening.seq, opening.replay) == ("partial", 4, [request.record])
    assert opening.gap is not None
    assert opening.gap.reason == "slow"
    assert session.counters.gaps == {"slow": 1}


def test_hello_tells_where_the_session_is(session: Session) -> None:
    session.join("sse", Peer())
    session.publish("note")

    assert session.hello(session.open_at("e-0")).model_dump() == {
        "session_id": "s",
        "epoch": "e",
        "last_event_id": "e-1",
        "resumed": "full",
        "heartbeat_seconds": 15.0,
        "viewers": 1,
    }


@pytest.mark.parametrize(
    ("limits", "events"),
    [({"log_events": 8}, 5), ({"log_bytes": 16384, "max_event_bytes": 16384}, 9), ({"log_events": 1}, 1)],
)
async def test_session_outruns_its_readers_when_half_a_log_was_published_without_them(
    clock: Clock, peer: Peer, limits: dict[str, int], events: int
) -> None:
    session = limited(clock, **limits)
    session.publish("note", {"text": "x" * 1000})
    assert not session.readers.are_outrun  # nobody reads
    session.join("sse", peer)
    published = 0
    while not session.readers.are_outrun:
        session.publish("note", {"text": "x" * 1000})
        published += 1
    assert published == events
    await turns()

    assert not session.readers.are_outrun


# Life


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.publish("note"),
        lambda session: session.clear_result(),
        lambda session: session.touch(),
        lambda session: ask(session, risk_level="low"),
        lambda session: session.join("sse", Peer()).leave(),
    ],
    ids=["publish", "clear", "touch", "ask", "leave"],
)
def test_use_of_a_session_keeps_it(session: Session, clock: Clock, use: Any) -> None:
    clock.advance(599)
    use(session)
    clock.advance(599)
    assert (session.idle_seconds, session.expired) == (599, False)
    clock.advance(1)

    assert (session.idle_seconds, session.expired) == (600, True)


def test_decision_keeps_the_session_even_if_it_finds_nothing(session: Session, clock: Clock) -> None:
    clock.advance(600)
    with pytest.raises(RequestNotFound):
        session.decide(Decision(approved=True), decided_by="ana")

    assert session.idle_seconds == 0


def test_session_with_a_reader_never_expires(session: Session, reader: Reader, clock: Clock) -> None:
    clock.advance(10**6)
    watched = session.expired
    reader.leave()

    assert (watched, session.expired) == (False, False)
    clock.advance(600)
    assert session.expired


def test_session_in_which_a_poll_is_held_does_not_expire(session: Session, clock: Clock) -> None:
    with session.holding("long-poll"):
        clock.advance(10**6)
        assert not session.expired
    just_after = session.expired
    clock.advance(600)

    assert (just_after, session.expired) == (False, True)


def test_session_with_a_pending_request_never_expires(session: Session, clock: Clock) -> None:
    request = ask(session, timeout_seconds=0)
    clock.advance(10**6)
    asked = session.expired
    request.cancel()
    clock.advance(600)

    assert (asked, session.expired) == (False, True)


def test_session_is_empty_until_there_is_something_that_somebody_would_miss(session: Session) -> None:
    told = [session.is_empty]
    reader = session.join("sse", Peer())
    told.append(session.is_empty)
    reader.leave()
    told.append(session.is_empty)
    with session.working():
        told.append(session.is_empty)
    session.has_more = True
    told.append(session.is_empty)
    session.has_more = False
    told.append(session.is_empty)
    session.publish("note")
    told.append(session.is_empty)

    assert told == [True, False, True, False, False, True, False]


def test_clock_that_steps_back_gives_no_negative_idle_time(session: Session, clock: Clock) -> None:
    clock.advance(-5)

    assert session.idle_seconds == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [("shutdown", "the service is shutting down"), ("session_closed", "the session has ended")],
)
def test_closed_session_cancels_what_is_pending_and_ends_its_readers(
    session: Session, reader: Reader, code: Literal["shutdown", "session_closed"], reason: str
) -> None:
    request = ask(session)
    session.close(code)

    assert reader.ending is not None
    assert reader.ending.code == code
    assert (request.record.status, request.record.reason) == ("cancelled", reason)
    assert request.record.decided_by == "service"
    assert types(session) == ["permission_request", "permission_cleared"]
    for use in (lambda: session.publish("note"), lambda: ask(session), lambda: session.join("sse", Peer())):
        with pytest.raises(SessionClosed):
            use()


def test_reader_that_fails_at_the_end_does_not_keep_the_others_from_being_ended(
    session: Session, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        if reader.ending is not None:
            raise RuntimeError("boom")

    reader.attend(fail)
    other = session.join("sse", Peer())
    session.close("shutdown")

    assert other.ending is not None
    assert [record.getMessage() for record in caplog.records] == ["a sse reader cannot be told of the end"]


def test_closing_twice_is_closing_once(session: Session, reader: Reader) -> None:
    session.close("session_closed")
    first = reader.ending
    session.close("shutdown")

    assert reader.ending is first
    assert session.log.closed


def test_risk_that_is_none_of_the_three_is_refused_and_nothing_is_asked() -> None:
    session = Session("s")

    with pytest.raises(InvalidInput, match="risk_level must be low, medium or high"):
        session.ask(Question(tool_name="t", parameters={}, risk_level="extreme"))  # type: ignore[arg-type]
    assert session.log.last_seq == 0


def test_reader_that_is_held_for_one_answer_counts_as_a_viewer_while_it_waits() -> None:
    session = Session("s")

    with session.holding("long-poll"):
        assert (session.viewer_count, session.readers.by_transport) == (1, {"long-poll": 1})
    assert (session.viewer_count, session.readers.by_transport) == (0, {})


def test_session_in_which_something_is_done_never_expires_and_its_idle_time_begins_after_that(
    session: Session, clock: Clock
) -> None:
    with session.working(), session.working():
        clock.now += 10_000
        busy = session.expired
    just_after = session.expired, session.idle_seconds
    clock.now += session.limits.session_idle_seconds

    assert (busy, just_after, session.expired) == (False, (False, 0), True)


# A policy file


def ruled(clock: Clock, tmp_path: Path, **policy: Any) -> Session:
    return Session("s1", clock=clock, rules=RuleBook(a_policy_file(tmp_path / "policy.toml", **policy)))


def test_rule_of_the_file_settles_a_call_with_its_name_and_justification(clock: Clock, tmp_path: Path) -> None:
    session = ruled(clock, tmp_path, allow="read", deny="rm")
    allowed, denied = ask(session, "read", risk_level="high").record, ask(session, "rm", risk_level="low").record

    assert (allowed.status, allowed.rule, allowed.decided_by) == ("approved", "let read", "policy")
    assert (denied.status, denied.rule, denied.decided_by) == ("rejected", "no rm", "policy")
    assert (denied.justification, denied.decision) == ("because of rm", "reject")


def test_person_is_told_which_rule_wants_a_call_asked_and_may_decide_about_that_one_only(
    clock: Clock, tmp_path: Path
) -> None:
    session = ruled(clock, tmp_path, ask="pay")
    record = ask(session, "pay", risk_level="low").record

    assert (record.status, record.rule, record.justification) == ("pending", "ask pay", "because of pay")
    assert (record.scopes, record.suggested_rule) == (("once",), None)
    with pytest.raises(DecisionNotOffered):
        session.decide(Decision(approved=True, scope="session"), decided_by="ana")
    session.decide(Decision(approved=True), decided_by="ana")
    assert ask(session, "pay", risk_level="low").pending


@pytest.mark.parametrize(
    ("default", "low", "high"), [("by-risk", "allow", "ask"), ("ask", "ask", "ask"), ("deny", "deny", "deny")]
)
def test_default_of_the_file_counts_where_no_rule_does(
    default: Any, low: str, high: str, clock: Clock, tmp_path: Path
) -> None:
    session = ruled(clock, tmp_path, default=default, deny="rm")
    effects = [session.judge(Question("write", {}, risk)).effect for risk in ("low", "high")]

    assert effects == [low, high]


@pytest.mark.parametrize(("tool", "status"), [("read", "approved"), ("rm", "rejected"), ("write", "pending")])
def test_who_wants_a_person_gets_one_unless_a_rule_decides(
    tool: str, status: str, clock: Clock, tmp_path: Path
) -> None:
    session = ruled(clock, tmp_path, default="deny", allow="read", deny="rm")

    assert ask(session, tool, by_policy=False, risk_level="low").record.status == status


@pytest.mark.parametrize(("tool", "status"), [("ask_human", "pending"), ("rm", "rejected")])
def test_what_only_a_person_can_answer_no_rule_allows(tool: str, status: str, clock: Clock, tmp_path: Path) -> None:
    session = ruled(clock, tmp_path, allow="ask_human", deny="rm")

    assert ask(session, tool, by_policy=False, scopes=("once",)).record.status == status


@pytest.mark.parametrize(
    ("tool", "more", "effect"),
    [
        ("write", {}, "allow"),
        ("pay", {}, "allow"),  # a person was asked
        ("rm", {}, "deny"),
        ("write", {"is_whole": False}, "ask"),
        ("write", {"approved_before": None}, "ask"),
    ],
)
def test_what_a_person_approved_where_its_agent_asked_is_not_asked_again(
    tool: str, more: dict[str, Any], effect: str, clock: Clock, tmp_path: Path
) -> None:
    session = ruled(clock, tmp_path, ask="pay", deny="rm")
    verdict = session.judge(Question(tool, {}, "high", **{"approved_before": "anna", **more}))

    assert verdict.effect == effect
    assert ("anna has approved" in " ".join(verdict.reasons)) is (effect == "allow")


def test_call_of_which_not_all_is_there_is_asked_at_any_risk(clock: Clock, tmp_path: Path) -> None:
    session = ruled(clock, tmp_path, allow="read", deny="rm")
    effects = [session.judge(Question(tool, {}, "low", is_whole=False)).effect for tool in ("write", "rm")]

    assert effects == ["ask", "deny"]


def test_use_of_a_rule_of_the_file_is_counted_whichever_way_it_settles(clock: Clock, tmp_path: Path) -> None:
    session = ruled(clock, tmp_path, allow="read", deny="rm", ask="pay")
    session.admits(Question("read", {}))
    session.admits(Question("rm", {}))
    ask(session, "rm")
    ask(session, "pay")

    assert session.rules.file is not None
    assert [count for count, _ in session.rules.file.uses.values()] == [1, 1, 1]
