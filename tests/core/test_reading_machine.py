"""What a reader ends up knowing is what happened, in order, once: shown over every interleaving that Hypothesis finds.

The machine publishes, asks, decides and restarts, while readers connect, drop, resume and fall behind a log of three
events. The readers here do what every transport does: `open_at`, the state if it is told, then `read_after`.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from notifier_service.core.errors import CursorLost
from notifier_service.core.events import ToolResult, ToolStatus, encode
from notifier_service.core.limits import Limits
from notifier_service.core.question import Decision, Question
from notifier_service.core.reader import Opening
from notifier_service.core.session import Session

TOOLS = st.sampled_from(["read", "write", "run"])


def as_wire(event_type: str, data: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(encode(event_type, data))["data"]
    return found


class Reader:
    """What a client keeps: a cursor, and the state that events and snapshots add up to."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.seen: list[str] = []
        self.pending: dict[str, Any] = {}
        self.running: dict[str, Any] = {}
        self.result: Any = None
        self.session: Session | None = None
        self.seq = 0
        #: With `earliest` and a log that has dropped its beginning, older calls and results stay unknown.
        self.began_in_the_middle = False
        #: After a restart the log follows a state that is newer: it tells the end of what that no longer shows.
        self.follows_the_state = False

    def connect(self, session: Session, cursor: str | None) -> None:
        self.session = session
        opening = session.open_at(cursor)
        hello = as_wire("hello", session.hello(opening))
        assert hello["resumed"] == ("none" if cursor is None else "partial" if opening.gap else "full")
        if cursor == "earliest":
            self.forget()
            self.began_in_the_middle = opening.seq > 0
        self.tell_state(opening)
        # What was promised as full is there.
        assert opening.gap is not None or self.session.log.read_after(self.seq) is not None

    def forget(self) -> None:
        self.seen, self.pending, self.running, self.result = [], {}, {}, None

    def tell_state(self, opening: Opening) -> None:
        assert self.session is not None
        self.seq = opening.seq
        self.cursor = self.session.log.id_of(opening.seq)
        if opening.resumed != "full":
            snapshot = as_wire("snapshot", self.session.snapshot(opening.seq))
            assert snapshot["last_event_id"] == self.cursor
            self.forget()
            self.began_in_the_middle = False
            self.follows_the_state = opening.seq < self.session.log.last_seq
            self.pending = {record["request_id"]: record for record in snapshot["permission_requests"]}
            self.running = {call["tool_call_id"]: call["status"] for call in snapshot["running"]}
            self.result = snapshot["tool_result"]
        for record in opening.replay:
            self.pending[record.request_id] = as_wire("permission_request", record)

    def read(self, max_bytes: int | None) -> None:
        assert self.session is not None
        try:
            events = self.session.log.read_after(self.seq, max_bytes=max_bytes)
        except CursorLost as lost:
            self.tell_state(self.session.reopen(lost))
            return
        for event in events:
            assert event.seq == self.seq + 1
            self.seq, self.cursor = event.seq, event.id
            self.learn(json.loads(event.json))

    def learn(self, event: dict[str, Any]) -> None:
        assert event["id"] not in self.seen
        self.seen.append(event["id"])
        data = event["data"]
        match event["type"]:
            case "tool_status":
                self.running.pop(data["tool_call_id"], None)
                if data["status"] in ("executing", "waiting_permission"):
                    self.running[data["tool_call_id"]] = data["status"]
            case "tool_result":
                self.result = data
            case "result_cleared":
                self.result = None
            case "permission_request":
                self.pending[data["request_id"]] = data
            case "permission_cleared":
                known = self.pending.pop(data["request_id"], None)
                assert known is not None or self.began_in_the_middle or self.follows_the_state


class ReadingMachine(RuleBasedStateMachine):
    connected = Bundle("connected")
    dropped = Bundle("dropped")

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(log_events=3)
        self.now = 0.0
        self.calls = 0
        self.readers: list[Reader] = []
        self.restart_service()

    def restart_service(self) -> None:
        self.session = Session("s", limits=self.limits, clock=lambda: self.now)
        self.running: dict[str, str] = {}

    @rule(tool=TOOLS, status=st.sampled_from(["executing", "completed", "failed"]), again=st.booleans())
    def publish_status(self, tool: str, status: Any, again: bool) -> None:
        self.calls += not again
        call = f"c{self.calls}"
        self.session.publish("tool_status", ToolStatus(status=status, tool_name=tool, tool_call_id=call))
        self.running.pop(call, None)
        if status == "executing":
            self.running[call] = status

    @rule(tool=TOOLS, value=st.integers())
    def publish_result(self, tool: str, value: int) -> None:
        self.session.publish("tool_result", ToolResult(tool_name=tool, success=True, result=value))

    @rule()
    def clear_result(self) -> None:
        self.session.clear_result()

    @rule(tool=TOOLS)
    def ask(self, tool: str) -> None:
        self.session.ask(Question(tool_name=tool, parameters={}, by_policy=False))

    @rule(which=st.integers(0, 5), approved=st.booleans())
    def decide(self, which: int, approved: bool) -> None:
        if pending := self.session.desk.pending:
            request_id = pending[which % len(pending)].request_id
            self.session.decide(Decision(approved=approved, request_id=request_id), decided_by="p")

    @rule(seconds=st.sampled_from([1.0, 200.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.session.desk.expire_due()

    @rule(
        target=connected,
        cursor=st.sampled_from([None, "earliest", "earliest", "garbage", "zzz-1", "\r\nid: 1"]),
        reads_at_once=st.booleans(),
    )
    def connect(self, cursor: str | None, reads_at_once: bool) -> Reader:
        reader = Reader()
        reader.connect(self.session, cursor)
        if reads_at_once:
            reader.read(None)
        self.readers.append(reader)
        return reader

    @rule(reader=connected, max_bytes=st.sampled_from([None, 1, 300]))
    def read(self, reader: Reader, max_bytes: int | None) -> None:
        if reader.session is self.session:
            reader.read(max_bytes)

    @rule(target=dropped, reader=consumes(connected))
    def drop(self, reader: Reader) -> Reader:
        reader.session = None
        return reader

    @rule(target=connected, reader=consumes(dropped))
    def resume(self, reader: Reader) -> Reader:
        reader.connect(self.session, reader.cursor)
        return reader

    @rule(reader=connected, cursor=st.sampled_from([None, "earliest", "garbage"]))
    def resume_without_dropping(self, reader: Reader, cursor: str | None) -> None:
        """As a WebSocket may: behind what it has, or from elsewhere."""
        if reader.session is self.session:
            reader.connect(self.session, cursor or reader.cursor)

    @rule(target=connected, reader=consumes(dropped))
    def reload_the_page(self, reader: Reader) -> Reader:
        reader.connect(self.session, None)
        return reader

    @rule()
    def restart(self) -> None:
        self.restart_service()
        for reader in self.readers:
            if reader.session is not None:
                reader.connect(self.session, reader.cursor)

    @invariant()
    def who_has_read_all_knows_all(self) -> None:
        for reader in self.readers:
            if reader.session is self.session and reader.seq == self.session.log.last_seq:
                snapshot = as_wire("snapshot", self.session.snapshot())
                assert sorted(reader.pending) == sorted(
                    record["request_id"] for record in snapshot["permission_requests"]
                )
                if not reader.began_in_the_middle:
                    # Of more calls than the log has places the snapshot forgets the oldest; nobody is told lies.
                    shown = {call["tool_call_id"]: call["status"] for call in snapshot["running"]}
                    assert shown.items() <= reader.running.items() <= self.running.items()
                    assert reader.result == snapshot["tool_result"]


ReadingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
test_reading_machine = ReadingMachine.TestCase
