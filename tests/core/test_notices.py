"""When people who do not look are called: at once where nobody looks, later where nobody answers, and once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from notifier_service import Broker, Decision
from notifier_service.core.label import Label
from notifier_service.core.limits import Limits
from notifier_service.core.notices import NOTICE_KIND, Escalation, Notice, QuietHours
from notifier_service.core.permission_request import PermissionRequest
from tests.clock import Clock

from .memory_journal import MemoryJournal


class Phone:
    """A channel that remembers what it was told."""

    name = "phone"
    is_on = True
    is_failing = False

    def __init__(self, reaches: tuple[str, ...] = ("mine",)) -> None:
        self.reaches = reaches
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> tuple[str, ...]:
        self.told.append(notice)
        return self.reaches

    @property
    def steps(self) -> list[str]:
        return [notice.step or notice.kind for notice in self.told]


class Audit:
    """Keeps its lines in memory."""

    error = None

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def commit(self, *entries: Any) -> None:
        self.lines += entries

    def note(self, *entries: Any) -> None:
        self.lines += entries


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
def broker(clock: Clock, phone: Phone) -> Broker:
    return made(clock, phone)


def made(clock: Clock, phone: Phone, **more: Any) -> Broker:
    broker = Broker(Limits(notify_after_seconds=30), clock=clock)
    broker.notices.channels.append(phone)
    for name, value in more.items():
        setattr(broker.notices, name, value)
    return broker


def asked(broker: Broker, **more: Any) -> PermissionRequest:
    return broker.ask("s1", **{"tool_name": "rm", "parameters": {"path": "/srv"}, "timeout_seconds": 300, **more})


def look(broker: Broker, *, visible: bool = True) -> None:
    broker.presence.tell("alice", "p", is_visible=visible, sees=lambda session_id: True)


def pass_seconds(broker: Broker, clock: Clock, seconds: float, *, looked_at: bool = False) -> None:
    """Let time go by, in the steps in which the sweeper comes by."""
    for _ in range(int(seconds)):
        clock.now += 1
        if looked_at:
            look(broker)
        broker.sweep()


def decide(broker: Broker, request: PermissionRequest) -> None:
    broker.decide("s1", Decision(approved=True, request_id=request.request_id), decided_by="alice")


def test_request_that_nobody_sees_is_told_at_once_again_at_half_its_time_and_withdrawn(
    broker: Broker, phone: Phone, clock: Clock
) -> None:
    request = asked(broker)
    assert phone.steps == ["unseen"]
    pass_seconds(broker, clock, 149)
    assert phone.steps == ["unseen"]
    pass_seconds(broker, clock, 1)
    assert phone.steps == ["unseen", "half"]
    assert [notice.seconds_left for notice in phone.told] == [300, 150]
    decide(broker, request)
    pass_seconds(broker, clock, 300)

    assert phone.steps == ["unseen", "half", "settled"]
    assert phone.told[-1].record is not None
    assert phone.told[-1].record.status == "approved"
    assert {notice.session_id for notice in phone.told} == {"s1"}


def test_request_that_somebody_sees_and_nobody_answers_is_told_after_a_while(
    broker: Broker, phone: Phone, clock: Clock
) -> None:
    look(broker)
    asked(broker)
    pass_seconds(broker, clock, 29, looked_at=True)
    assert phone.steps == []
    pass_seconds(broker, clock, 1, looked_at=True)

    assert phone.steps == ["waiting"]
    assert phone.told[0].lookers == {"alice"}


def test_request_that_is_answered_in_time_calls_nobody(broker: Broker, phone: Phone, clock: Clock) -> None:
    look(broker)
    request = asked(broker)
    pass_seconds(broker, clock, 20, looked_at=True)
    decide(broker, request)
    pass_seconds(broker, clock, 300)

    assert phone.steps == []


def test_request_whose_page_is_left_is_told_after_a_moment_in_which_it_may_come_back(
    broker: Broker, phone: Phone, clock: Clock
) -> None:
    look(broker)
    asked(broker)
    look(broker, visible=False)
    pass_seconds(broker, clock, 4)
    look(broker)
    pass_seconds(broker, clock, 3, looked_at=True)
    assert phone.steps == []
    look(broker, visible=False)
    pass_seconds(broker, clock, 7)

    assert phone.steps == ["unseen"]


def test_who_is_away_is_called_though_a_page_is_open(broker: Broker, phone: Phone) -> None:
    look(broker)
    broker.presence.set_away("alice", is_away=True)
    asked(broker)

    assert phone.steps == ["unseen"]


def test_first_word_later_than_half_the_time_is_the_only_one(broker: Broker, phone: Phone, clock: Clock) -> None:
    look(broker)
    asked(broker, timeout_seconds=40)
    pass_seconds(broker, clock, 35, looked_at=True)

    assert phone.steps == ["waiting"]


def test_request_without_an_end_has_no_half(broker: Broker, phone: Phone, clock: Clock) -> None:
    asked(broker, timeout_seconds=0)
    pass_seconds(broker, clock, 600)

    assert [(notice.step, notice.seconds_left) for notice in phone.told] == [("unseen", None)]


@pytest.mark.parametrize(
    ("begin", "end", "now", "quiet"),
    [
        ("22:00", "07:00", "23:30", True),
        ("22:00", "07:00", "06:59", True),
        ("22:00", "07:00", "07:00", False),
        ("09:00", "17:00", "12:00", True),
        ("09:00", "17:00", "17:00", False),
        ("09:00", "09:00", "09:00", False),
    ],
)
def test_quiet_hours_hold_from_their_begin_past_midnight_too(begin: str, end: str, now: str, quiet: bool) -> None:
    hours = QuietHours(time.fromisoformat(begin), time.fromisoformat(end), UTC)

    assert hours.holds(datetime.fromisoformat(f"2026-11-29T{now}Z")) is quiet


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-01-10T20:59Z", False),
        ("2026-01-10T21:00Z", True),
        ("2026-01-11T05:59Z", True),
        ("2026-01-11T06:00Z", False),
        # Clocks go from two to three, and half a year later from three to two.
        ("2026-03-29T04:59Z", True),
        ("2026-03-29T05:00Z", False),
        ("2026-10-25T05:59Z", True),
        ("2026-10-25T06:00Z", False),
    ],
)
def test_quiet_hours_of_a_zone_follow_its_clocks(moment: str, quiet: bool) -> None:
    hours = QuietHours(time(22), time(7), ZoneInfo("Europe/Berlin"))
    there = datetime.fromisoformat(moment)

    assert hours.holds(there) is quiet
    assert hours.holds(there.astimezone(timezone(timedelta(hours=9)))) is quiet


def test_nobody_is_called_in_quiet_hours_but_by_escalation(clock: Clock, phone: Phone) -> None:
    now = [datetime(2026, 11, 29, 23, tzinfo=UTC)]
    broker = made(
        clock,
        phone,
        quiet=QuietHours(time(22), time(7), UTC),
        now=lambda: now[0],
        escalate=[Escalation(60, "oncall")],
    )
    asked(broker)
    pass_seconds(broker, clock, 160)
    assert [(notice.step, notice.to) for notice in phone.told] == [("escalated", "oncall")]
    now[0] = datetime(2026, 11, 30, 8, tzinfo=UTC)
    pass_seconds(broker, clock, 1)

    assert phone.steps == ["escalated", "waiting"]


def test_second_word_that_falls_into_quiet_hours_is_not_said(clock: Clock, phone: Phone) -> None:
    now = [datetime(2026, 11, 29, 21, tzinfo=UTC)]
    broker = made(clock, phone, quiet=QuietHours(time(22), time(7), UTC), now=lambda: now[0])
    asked(broker)
    now[0] = datetime(2026, 11, 29, 22, tzinfo=UTC)
    pass_seconds(broker, clock, 200)

    assert phone.steps == ["unseen"]


def test_others_are_called_when_nobody_has_answered_for_so_long(clock: Clock, phone: Phone) -> None:
    broker = made(clock, phone, escalate=[Escalation(60, "oncall"), Escalation(120, "boss")])
    answered = asked(broker)
    asked(broker)
    pass_seconds(broker, clock, 60)
    decide(broker, answered)
    pass_seconds(broker, clock, 60)

    escalated = [(notice.record.request_id, notice.to) for notice in phone.told if notice.record and notice.to]
    assert [to for _, to in escalated] == ["oncall", "oncall", "boss"]
    assert escalated[-1][0] != answered.request_id


def test_one_who_did_not_answer_is_called_again_by_another_step(clock: Clock, phone: Phone) -> None:
    broker = made(clock, phone, escalate=[Escalation(60, "oncall"), Escalation(90, "oncall")])
    asked(broker)
    pass_seconds(broker, clock, 100)

    assert [notice.to for notice in phone.told if notice.step == "escalated"] == ["oncall", "oncall"]


def test_who_hears_that_a_request_is_settled_is_who_heard_of_it(clock: Clock) -> None:
    class Silent(Phone):
        name = "silent"

    phone, silent = Phone(("one",)), Silent(())
    broker = made(clock, phone, escalate=[Escalation(60, "oncall")])
    broker.notices.channels.append(silent)
    request = asked(broker)
    phone.reaches = ("oncall's",)
    pass_seconds(broker, clock, 60)
    decide(broker, request)

    assert phone.told[-1].told == {"one", "oncall's"}
    assert silent.steps == ["unseen", "escalated"]


def test_session_that_ends_is_told_with_its_name(broker: Broker, phone: Phone) -> None:
    asked(broker)
    broker.label("s1", Label("mine", None))
    broker.end_session("s1")

    assert phone.steps == ["unseen", "settled", "session_ended"]
    assert phone.told[-1].label.title == "mine"


def test_where_nobody_is_to_be_called_nothing_is_kept(clock: Clock) -> None:
    journal = MemoryJournal()
    broker = Broker(journal=journal, clock=clock)
    asked(broker, outlives=True)
    broker.sweep()

    assert journal.kept(NOTICE_KIND) == []


def test_request_of_before_anybody_could_be_called_is_withdrawn_from_nobody(broker: Broker, phone: Phone) -> None:
    broker.notices.channels.clear()
    request = asked(broker)
    broker.notices.channels.append(phone)
    decide(broker, request)

    assert phone.steps == []


def test_channel_that_fails_holds_up_no_other(broker: Broker, phone: Phone, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        name = "broken"
        is_on = True
        is_failing = False

        def tell(self, notice: Notice) -> tuple[str, ...]:
            raise OSError("no line")

    broker.notices.channels.insert(0, Broken())
    asked(broker)

    assert phone.steps == ["unseen"]
    assert "over broken" in caplog.text


def test_each_step_goes_on_record_with_how_many_were_told_and_an_escalation_that_reached_nobody_too(
    clock: Clock, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    broker = made(clock, phone, escalate=[Escalation(60, "oncall"), Escalation(120, "boss")])
    audit = Audit()
    broker.recorder.audit = audit
    request = asked(broker)
    pass_seconds(broker, clock, 60)
    phone.reaches = ()
    pass_seconds(broker, clock, 100)

    lines = [line for line in audit.lines if line["kind"] == "notified"]
    assert [(line["step"], line.get("to"), line["channels"]) for line in lines] == [
        ("unseen", None, {"phone": 1}),
        ("escalated", "oncall", {"phone": 1}),
        ("escalated", "boss", {}),
    ]
    assert {line["request_id"] for line in lines} == {request.request_id}
    assert all("parameters" not in line for line in lines)
    assert "should be told to boss, whom no webhook and no device reaches" in caplog.text


def test_who_was_told_nothing_is_withdrawn_nothing(clock: Clock) -> None:
    phone = Phone(reaches=())
    broker = made(clock, phone)
    decide(broker, asked(broker))

    assert phone.steps == ["unseen"]


# Over a restart


def restarted(journal: MemoryJournal, clock: Clock, phone: Phone) -> Broker:
    broker = made(clock, phone)
    broker.keep_in(journal.again())
    return broker


def kept(journal: MemoryJournal) -> Sequence[Any]:
    return [(change.name, change.body) for change in journal.kept(NOTICE_KIND)]


def test_nobody_is_told_twice_because_the_service_was_restarted(clock: Clock, phone: Phone) -> None:
    journal = MemoryJournal()
    before = made(clock, phone)
    before.keep_in(journal)
    request = asked(before, outlives=True)
    assert kept(journal) == [(request.request_id, b'{"steps":["unseen"],"told":{"phone":["mine"]}}')]
    after_phone = Phone()
    after = restarted(journal, clock, after_phone)
    pass_seconds(after, clock, 60)
    assert after_phone.steps == []
    after.end_session("s1")

    assert after_phone.steps == ["settled", "session_ended"]
    assert after_phone.told[0].told == {"mine"}
    assert kept(after.journal) == []  # type: ignore[arg-type]


def test_request_of_before_of_which_nobody_was_told_gives_pages_a_moment_to_come_back(clock: Clock) -> None:
    journal = MemoryJournal()
    before = made(clock, Phone())
    before.keep_in(journal)
    look(before)
    asked(before, outlives=True)
    phone = Phone()
    after = restarted(journal, clock, phone)
    pass_seconds(after, clock, 4)
    assert phone.steps == []
    pass_seconds(after, clock, 2)

    assert phone.steps == ["unseen"]


def test_what_is_kept_and_cannot_be_read_or_is_of_nobody_is_forgotten(clock: Clock, phone: Phone) -> None:
    journal = MemoryJournal()
    journal.named[NOTICE_KIND, "pr_gone"] = b'{"steps":["unseen"],"told":{}}'
    for number, body in enumerate((b"{", b"[]", b'{"steps":1}', b'{"steps":[],"told":[]}', b"7")):
        journal.named[NOTICE_KIND, f"pr_broken_{number}"] = body
    after = made(clock, phone)
    after.keep_in(journal)

    assert kept(journal) == []
    assert phone.steps == []


def test_requests_of_before_call_nobody_where_nobody_is_to_be_called(clock: Clock) -> None:
    journal = MemoryJournal()
    before = made(clock, Phone())
    before.keep_in(journal)
    asked(before, outlives=True)
    after = Broker(clock=clock, journal=journal.again())
    phone = Phone()
    after.notices.channels.append(phone)
    pass_seconds(after, clock, 60)

    assert phone.steps == []


def test_request_that_waits_its_turn_is_told_when_it_is_announced(clock: Clock, phone: Phone) -> None:
    broker = Broker(Limits(one_request_at_a_time=True), clock=clock)
    broker.notices.channels.append(phone)
    first = asked(broker)
    asked(broker)
    assert phone.steps == ["unseen"]
    decide(broker, first)

    assert phone.steps == ["unseen", "settled", "unseen"]


def test_request_that_waits_already_goes_on_once(broker: Broker, phone: Phone, clock: Clock) -> None:
    asked(broker)
    broker.notices.go_on("s1", broker.get("s1").desk.pending, {})
    pass_seconds(broker, clock, 60)

    assert phone.steps == ["unseen"]


def test_nothing_is_forgotten_where_nothing_is_kept(broker: Broker) -> None:
    broker.notices.forget(["pr_1"])

    assert broker.notices.taken_before() == {}


def test_request_that_is_settled_when_nobody_is_left_to_be_called_is_forgotten(clock: Clock, phone: Phone) -> None:
    journal = MemoryJournal()
    broker = made(clock, phone)
    broker.keep_in(journal)
    request = asked(broker, outlives=True)
    broker.notices.channels.clear()
    decide(broker, request)

    assert kept(journal) == []


def test_request_that_waits_its_turn_over_a_restart_is_told_when_it_is_announced(clock: Clock) -> None:
    journal = MemoryJournal()
    limits = Limits(one_request_at_a_time=True)
    before = Broker(limits, clock=clock, journal=journal)
    first, second = asked(before, outlives=True), asked(before, outlives=True)
    phone = Phone()
    after = Broker(limits, clock=clock)
    after.notices.channels.append(phone)
    after.keep_in(journal.again())
    pass_seconds(after, clock, 6)
    assert [notice.record.request_id for notice in phone.told if notice.record] == [first.request_id]
    after.decide("s1", Decision(approved=True, request_id=first.request_id), decided_by="alice")

    assert phone.steps == ["unseen", "settled", "unseen"]
    assert phone.told[-1].record is not None
    assert phone.told[-1].record.request_id == second.request_id
