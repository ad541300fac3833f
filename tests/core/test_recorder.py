"""What takes effect waits until it is on record, and is undone when it cannot be."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from notifier_service.core.audit import NO_AUDIT, Entry
from notifier_service.core.broker import Broker
from notifier_service.core.errors import AlreadyDecided, NotRecorded, RequestCancelled, RequestNotFound
from notifier_service.core.events import CallDetails, ToolStatus
from notifier_service.core.limits import Limits
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.learned import LearnedRules
from notifier_service.core.question import Decision, Question
from notifier_service.core.recording import Recording


class Ledger:
    """Keeps lines when the test says so."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.error: str | None = None
        self.at_once = at_once
        self.entries: list[Entry] = []
        self.waiting: list[Future[None]] = []

    def commit(self, *entries: Entry) -> Future[None]:
        self.entries += entries
        future: Future[None] = Future()
        self.waiting.append(future)
        if self.at_once:
            self._settle()
        return future

    def note(self, *entries: Entry) -> None:
        self.entries += entries

    async def keep(self) -> None:
        self._settle()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def fail(self) -> None:
        for future in self.waiting:
            future.set_exception(NotRecorded("The disk is full."))
        self.waiting.clear()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _settle(self) -> None:
        for future in self.waiting:
            future.set_result(None)
        self.waiting.clear()

    @property
    def kinds(self) -> list[str]:
        return [entry["kind"] for entry in self.entries]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def audited(ledger: Ledger) -> Broker:
    return Broker(audit=ledger)


def ask(broker: Broker, **more: Any) -> PermissionRequest:
    return broker.ask("s1", **{"tool_name": "rm", "parameters": {"path": "x"}, **more})


async def asked(broker: Broker, ledger: Ledger, **more: Any) -> PermissionRequest:
    request = ask(broker, **more)
    await ledger.keep()
    return request


def deciding(broker: Broker, request: PermissionRequest, **decision: Any) -> asyncio.Task[Any]:
    body = Decision(request_id=request.request_id, **{"approved": True, **decision})
    return asyncio.ensure_future(broker.answer("s1", body, decided_by="ana", through="page", right="approve"))


def test_nobody_keeps_anything_without_a_log() -> None:
    assert NO_AUDIT.commit({}) is None
    NO_AUDIT.note({})
    assert NO_AUDIT.error is None
    recorder = Broker().recorder
    assert not recorder.is_on
    recorder.policy_loaded("file", 1, None)
    recorder.rule("rule_learned", "s1", {})
    recorder.device("device_paired", {})


async def test_a_request_is_seen_by_nobody_before_it_is_on_record(audited: Broker, ledger: Ledger) -> None:
    request = ask(audited, announce_status=True)
    desk = audited.look("s1").desk
    assert (desk.pending, desk.pending_count, audited.look("s1").log.last_seq) == ((), 1, 0)
    assert desk.find(request.request_id) is request

    await ledger.keep()

    assert desk.pending == (request,)
    await request.recorded()
    assert ledger.kinds == ["asked"]


async def test_a_request_that_cannot_be_recorded_is_withdrawn(audited: Broker, ledger: Ledger) -> None:
    request = ask(audited)
    waiting = asyncio.ensure_future(request.recorded())
    await asyncio.sleep(0)
    await ledger.fail()

    with pytest.raises(NotRecorded, match="The disk is full"):
        await waiting
    assert (request.record.status, request.record.reason) == ("cancelled", "it cannot be put on record")


async def test_a_decision_takes_effect_when_it_is_on_record(audited: Broker, ledger: Ledger) -> None:
    request = await asked(audited, ledger)
    first = deciding(audited, request, reason="fine")
    await asyncio.sleep(0)
    same, other = deciding(audited, request), deciding(audited, request, approved=False)
    await asyncio.sleep(0)
    assert request.pending

    await ledger.keep()

    assert (await first).status == (await same).status == "approved"
    with pytest.raises(AlreadyDecided):
        await other
    decided = ledger.entries[1]
    assert (decided["kind"], decided["decided_by"], decided["via"], decided["right"]) == (
        "decided",
        "ana",
        "page",
        "approve",
    )
    assert ledger.kinds == ["asked", "decided"]


async def test_a_decision_that_cannot_be_recorded_leaves_the_request_pending(audited: Broker, ledger: Ledger) -> None:
    request = await asked(audited, ledger)
    first = deciding(audited, request, scope="session")
    await asyncio.sleep(0)
    second = deciding(audited, request, approved=False)
    await asyncio.sleep(0)
    await ledger.fail()

    with pytest.raises(NotRecorded):
        await first
    assert request.pending
    assert audited.look("s1").desk.grants.rules == ()

    await ledger.keep()
    assert (await second).status == "rejected"


async def test_an_edit_that_cannot_be_recorded_takes_no_room(ledger: Ledger) -> None:
    broker = Broker(Limits(max_event_bytes=16 * 1024, log_bytes=16 * 1024), audit=ledger)
    request = await asked(broker, ledger)
    edit = deciding(broker, request, parameters={"path": "y" * 20_000})
    await asyncio.sleep(0)
    assert request.kept_bytes > 0
    await ledger.fail()

    with pytest.raises(NotRecorded):
        await edit
    assert (request.kept_bytes, request.record.parameters) == (0, {"path": "x"})


async def test_a_rule_for_always_that_cannot_be_recorded_is_taken_back(ledger: Ledger, tmp_path: Path) -> None:
    learned = LearnedRules(tmp_path / "learned.toml")
    broker = Broker(audit=ledger, learned=learned)
    request = await asked(broker, ledger)
    always = deciding(broker, request, scope="always")
    await asyncio.sleep(0)
    assert len(learned.rules) == 1
    await ledger.fail()

    with pytest.raises(NotRecorded):
        await always
    assert len(learned.rules) == 0

    again = deciding(broker, request, scope="always")
    await asyncio.sleep(0)
    await ledger.keep()
    assert (await again).scope == "always"
    assert ledger.kinds[-1] == "rule_learned"
    broker.close()


async def test_what_is_decided_in_time_does_not_expire_unless_it_cannot_be_recorded(
    audited: Broker, ledger: Ledger
) -> None:
    request = await asked(audited, ledger, timeout_seconds=0.1)
    desk = audited.look("s1").desk
    first = deciding(audited, request)
    await asyncio.sleep(0)
    await asyncio.sleep(0.11)
    assert (desk.expire_due(), desk.next_deadline) == (0, None)
    await ledger.fail()
    with pytest.raises(NotRecorded):
        await first

    assert (desk.expire_due(), request.record.status) == (1, "expired")
    assert ledger.kinds == ["asked", "decided", "expired"]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_was_withdrawn_meanwhile_is_not_decided(audited: Broker, ledger: Ledger, is_kept: bool) -> None:
    request = await asked(audited, ledger)
    decision = deciding(audited, request)
    await asyncio.sleep(0)
    request.cancel()
    await (ledger.keep() if is_kept else ledger.fail())

    with pytest.raises(RequestCancelled if is_kept else NotRecorded):
        await decision
    assert request.record.status == "cancelled"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_ends_before_it_is_on_record_is_never_shown(audited: Broker, ledger: Ledger, is_kept: bool) -> None:
    request = ask(audited)
    audited.look("s1").close("session_closed")
    assert request.record.status == "cancelled"

    await (ledger.keep() if is_kept else ledger.fail())

    assert request.record.status == "cancelled"
    assert audited.look("s1").desk.pending == ()


async def test_what_the_policy_allows_waits_for_the_record_and_what_it_denies_does_not(
    audited: Broker, ledger: Ledger
) -> None:
    allowed = ask(audited, risk_level="low")
    lost = ask(audited, risk_level="low", tool_name="lost")
    assert allowed.pending
    ended = ask(audited, risk_level="low")
    ended.cancel()
    await ledger.keep()
    assert (allowed.record.decided_by, ended.record.status) == ("policy", "cancelled")
    assert lost.record.approved

    failed = ask(audited, risk_level="low")
    await ledger.fail()
    assert failed.record.status == "cancelled"

    request = await asked(audited, ledger)
    decision = deciding(audited, request, approved=False, scope="session")
    await asyncio.sleep(0)
    await ledger.keep()
    await decision
    denied = ask(audited)
    assert (denied.record.status, denied.record.decided_by) == ("rejected", "policy")
    assert ledger.kinds[-1] == "denied"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_the_twin_of_a_call_that_is_allowed_for_the_session_is_settled_on_record(
    audited: Broker, ledger: Ledger, is_kept: bool
) -> None:
    request, twin, other = ask(audited), ask(audited), ask(audited)
    await ledger.keep()
    decision = deciding(audited, request, scope="session")
    await asyncio.sleep(0)
    await ledger.keep()
    await decision
    assert twin.pending
    other.cancel()

    await (ledger.keep() if is_kept else ledger.fail())

    assert twin.pending is not is_kept
    assert other.record.status == "cancelled"


async def test_what_needs_nobody_is_let_run_when_that_is_on_record(audited: Broker, ledger: Ledger) -> None:
    session = audited.open("s1")
    question = Question("ls", {"path": "x"}, "low")
    assert not session.admits(question)
    admitted = asyncio.ensure_future(session.admit(question))
    await asyncio.sleep(0)
    assert not admitted.done()
    await ledger.keep()
    assert await admitted
    assert not await session.admit(Question("rm", {}, "high"))

    refused = asyncio.ensure_future(session.admit(question))
    await asyncio.sleep(0)
    await ledger.fail()
    with pytest.raises(NotRecorded):
        await refused

    unwritable = asyncio.ensure_future(session.admit(Question("ls", {"path": float("nan")}, "low")))
    await asyncio.sleep(0)
    await ledger.keep()
    assert await unwritable
    assert "parameters" not in ledger.entries[-1]
    assert "cannot be shown" in ledger.entries[-1]["parameters_unwritten"]


async def test_what_goes_on_is_noted_and_does_not_go_on_while_nothing_can_be_written(
    audited: Broker, ledger: Ledger
) -> None:
    session = audited.open("s1")
    assert session.admits(Question("rm", {}, "high"), goes_on=True)
    assert (ledger.kinds, ledger.entries[0]["continues"]) == (["allowed"], True)
    ledger.error = "The disk is full."
    assert not session.admits(Question("rm", {}, "high"), goes_on=True)


async def test_without_a_log_the_same_is_let_run_and_goes_on() -> None:
    session = Broker().open("s1")

    assert session.admits(Question("ls", {}, "low"))
    assert await session.admit(Question("ls", {}, "low"))
    assert not session.admits(Question("rm", {}, "high"))
    assert session.admits(Question("rm", {}, "high"), goes_on=True)


def test_a_program_without_a_loop_waits_itself() -> None:
    ledger = Ledger(at_once=True)
    broker = Broker(audit=ledger)
    request = ask(broker)
    record = broker.decide("s1", Decision(approved=True, request_id=request.request_id), decided_by="me")

    assert record.approved
    assert ledger.kinds == ["asked", "decided"]


async def test_a_program_decides_behind_what_is_not_on_record_yet(audited: Broker, ledger: Ledger) -> None:
    request = ask(audited)

    def keep_all() -> None:
        for _ in range(1000):
            while ledger.waiting:
                ledger.waiting.pop(0).set_result(None)
            if decided.wait(0.005):
                return

    decided = threading.Event()
    disk = threading.Thread(target=keep_all)
    disk.start()
    record = audited.decide("s1", Decision(approved=False, request_id=request.request_id), decided_by="me")
    decided.set()
    disk.join()
    await asyncio.sleep(0)

    assert record.status == "rejected"


async def test_a_program_that_decides_what_cannot_be_recorded_is_told(audited: Broker, ledger: Ledger) -> None:
    request = ask(audited)
    ledger.waiting.pop().set_exception(NotRecorded("The disk is full."))

    with pytest.raises((NotRecorded, RequestCancelled, RequestNotFound)):
        audited.decide("s1", Decision(approved=True, request_id=request.request_id), decided_by="me")


async def test_what_a_call_tells_is_noted_whoever_tells_it(audited: Broker, ledger: Ledger) -> None:
    session = audited.open("s1")
    beginning = {"beginning": "{"}
    for details in (
        CallDetails(parameters={"path": "x"}, request_id="pr_1"),
        CallDetails(parameters=beginning, parameters_truncated=True, parameters_bytes=9, parameters_sha256="ab"),
        {"parameters": "no object"},
        {"parameters": {"a": "\ud800"}},
    ):
        session.publish("tool_status", ToolStatus.model_construct(status="executing", tool_name="rm", details=details))
    for ended in (CallDetails(duration_ms=1.6, error="no"), {"duration_ms": True, "reason": 1}, {}):
        session.publish("tool_status", ToolStatus(status="failed", tool_name="rm", details=ended))
    session.publish("tool_status", ToolStatus(status="waiting_permission", tool_name="rm"))
    session.publish("tool_status", {"status": "executing", "tool_name": "rm"})

    assert ledger.kinds == ["started"] * 4 + ["finished"] * 3
    assert ledger.entries[0]["request_id"] == "pr_1"
    assert ledger.entries[1]["parameters_sha256"] == "ab"
    assert "parameters" not in ledger.entries[2]
    assert (ledger.entries[4]["duration_ms"], ledger.entries[4]["reason"]) == (2, "no")
    assert "duration_ms" not in ledger.entries[5]


async def test_a_policy_that_is_loaded_is_on_record(audited: Broker, ledger: Ledger) -> None:
    audited.recorder.policy_loaded("policy.toml", 3, None)

    assert (ledger.entries[0]["file"], ledger.entries[0]["rules"]) == ("policy.toml", 3)


async def test_a_device_that_was_paired_and_on_which_somebody_decides_is_on_record(
    audited: Broker, ledger: Ledger
) -> None:
    audited.recorder.device("device_paired", {"device_id": "device_1", "device": "phone"})
    request = await asked(audited, ledger)
    body = Decision(request_id=request.request_id, approved=True)
    deciding = asyncio.ensure_future(audited.answer("s1", body, decided_by="ana", device="phone"))
    await asyncio.sleep(0)
    await ledger.keep()
    await deciding

    assert (ledger.entries[0]["kind"], ledger.entries[0]["device_id"]) == ("device_paired", "device_1")
    assert (ledger.entries[-1]["kind"], ledger.entries[-1]["device"]) == ("decided", "phone")


async def test_what_fails_when_it_takes_effect_is_told_to_who_waits() -> None:
    kept: Future[None] = Future()

    def fails() -> None:
        raise RuntimeError("no")

    recording = Recording(kept, fails, lambda: None)
    kept.set_result(None)

    with pytest.raises(RuntimeError, match="no"):
        recording.wait()
    with pytest.raises(RuntimeError, match="no"):
        await recording.over()


async def test_what_fails_keeps_nothing_else_from_taking_effect() -> None:
    first: Future[None] = Future()
    second: Future[None] = Future()
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["exception"]))

    def fails() -> None:
        raise RuntimeError("no")

    Recording(first, fails, lambda: None)
    other = Recording(second, lambda: None, lambda: None)
    first.set_result(None)
    second.set_result(None)
    await other.over()

    assert [str(problem) for problem in problems] == ["no"]


def test_a_loop_that_has_gone_is_nobody_who_waits() -> None:
    kept: Future[None] = Future()

    async def begin() -> Recording:
        return Recording(kept, lambda: None, lambda: None)

    recording = asyncio.run(begin())
    kept.set_result(None)

    recording.wait()
    assert recording.error is None


async def test_without_a_log_a_decision_is_answered_at_once() -> None:
    broker = Broker()
    request = ask(broker)

    record = await broker.answer("s1", Decision(approved=True, request_id=request.request_id), decided_by="ana")

    assert (record.status, request.recording) == ("approved", None)


def test_who_is_away_is_on_record_where_something_is() -> None:
    broker = Broker()
    broker.recorder.away("alice", is_away=True)
    broker.recorder.audit = ledger = Ledger()
    for is_away in (True, False):
        broker.recorder.away("alice", is_away=is_away)

    assert [(entry["kind"], entry["decided_by"]) for entry in ledger.entries] == [("away", "alice"), ("back", "alice")]
