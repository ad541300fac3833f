"""All sessions at once: one bounded log of what people are asked everywhere, and each reader's part of it.

Contract section 13. It is read as a session is: the same cursors, ``hello``, ``snapshot``, ``gap`` and ``bye``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from .errors import CursorLost, SessionClosed
from .event_log import Event, EventLog
from .events import Gap, InboxHello, InboxRecord, InboxSnapshot, PermissionRecord, SessionRow, dump
from .fan_out import Audience, Delivery
from .journal import Head
from .label import Label
from .limits import Limits
from .metrics import Counters
from .parameters import beginning
from .reader import Opening, Peer, Reader
from .readers import Readers, Seats
from .session import Session
from .turns import Work, at_once, in_turns

__all__ = ["Inbox", "InboxReader", "InboxView"]

#: Says whether somebody may see a session.
Sees = Callable[[str], bool]

_DATA = b'"data":{'
_SESSION = b'"data":{"session_id":"'
#: What ``session_id`` adds to an event that may be as large as any.
_SESSION_BYTES = 256
#: Requests of one snapshot that are told whole, together; of those behind only the beginning is.
_WHOLE_BYTES = 8 * 1024 * 1024
_BEGINNING_BYTES = 1024
#: Sessions of one snapshot: those in which something waits, then the busiest.
_MOST_SESSIONS = 1000
#: So many sessions are looked at, or sessions and requests described, in one turn of the loop, below a millisecond.
_LOOKS_A_TURN = 100
_TOLD_A_TURN = 25


class Inbox:
    """What people are asked and answer in all sessions, and which sessions there are.

    ``everyone`` gives those that are open and those that nobody has come back to, of which ``dormant_row`` gives the
    row; who goes through them lets others have their turn.
    """

    def __init__(
        self,
        everyone: Callable[[], Iterable[Session | Head]],
        dormant_row: Callable[[Head], SessionRow],
        *,
        limits: Limits,
        counters: Counters,
        delivery: Delivery,
        seats: Seats,
        clock: Any,
    ) -> None:
        self.limits = limits
        self.counters = counters
        self.clock = clock
        self.log = EventLog(
            capacity=limits.log_events,
            capacity_bytes=limits.log_bytes + _SESSION_BYTES,
            max_event_bytes=limits.max_event_bytes + _SESSION_BYTES,
        )
        self.readers = Readers(self.log, delivery, seats, at_most=limits.max_connections)
        self._everyone = everyone
        self._dormant_row = dormant_row

    # What happens

    def tell_asked(self, session_id: str, told: Sequence[tuple[Event, str]]) -> None:
        """Tell here, too, what a session has told of what people are asked, each event with its owner.

        Whoever ends all ends the sessions first.
        """
        begin = b'{"session_id":"%b",' % session_id.encode()
        for event, owner in told:
            fields = event.json[event.json.index(_DATA) + len(_DATA) : -1]
            self.log.append(event.type, data_json=begin + fields, owner=owner)
        self.readers.touch()

    def tell_opened(self, session_id: str, label: Label) -> None:
        """A session is there, or is called otherwise now."""
        self._append("session_opened", dump(label.of(session_id)))

    def tell_closed(self, session_id: str, label: Label) -> None:
        """A session is there no longer."""
        self._append("session_closed", dump(label.of(session_id)))

    def _append(self, event_type: str, data_json: bytes) -> None:
        if not self.log.closed:
            self.log.append(event_type, data_json=data_json)
            self.readers.touch()

    def close(self) -> None:
        """End it: readers get the rest and ``bye``."""
        self.log.close()
        self.readers.touch()
        for reader in self.readers:
            reader.end("shutdown")

    # Who reads

    def join(
        self,
        transport: str,
        peer: Peer,
        cursor: str | None,
        sees: Sees,
        *,
        account: str | None = None,
        address: str = "",
        may_approve: bool = True,
        view: InboxView | None = None,
    ) -> InboxReader:
        """Let a live reader in behind its cursor, who ``sees`` some of the sessions. Raises as a session does.

        A ``view`` of the same that was prepared spares it to look at all of them in this turn.
        """
        if self.log.closed:
            raise SessionClosed("The service is shutting down.")
        self.readers.require_place(account, address=address, may_approve=may_approve)
        reader = InboxReader(InboxView(self, sees) if view is None else view, transport, peer, account, address)
        self.readers.add(reader)
        reader.begin(cursor, may_approve=may_approve)
        return reader

    def count_viewers(self, session_id: str) -> int:
        """How many readers would see what is asked in a session now."""
        return len([reader for reader in self.readers_of(session_id) if reader.may_be_seen]) if self.readers else 0

    def readers_of(self, session_id: str) -> Iterator[Reader]:
        """Those who are told what is asked in a session."""
        return (reader for reader in self.readers if isinstance(reader, InboxReader) and reader.sees(session_id))

    def rows(self, sees: Sees, at_most: int = _MOST_SESSIONS) -> list[SessionRow]:
        """The sessions that somebody ``sees``: those in which something waits first, then the busiest."""
        return at_once(self.gather_rows(sees, at_most))

    def gather_rows(self, sees: Sees, at_most: int = _MOST_SESSIONS) -> Work[list[SessionRow]]:
        """The same, in turns."""
        found: list[tuple[bool, float, int, Session]] = []
        dormant: list[Head] = []
        for number, one in enumerate(self._everyone(), 1):
            if sees(one.session_id):
                if isinstance(one, Session):
                    found.append((*_by_need(one), number, one))
                elif len(dormant) < at_most:
                    dormant.append(one)
            if number % _LOOKS_A_TURN == 0:
                found.sort()
                del found[at_most:]
                yield
        found.sort()
        del found[at_most:]
        del dormant[at_most - len(found) :]
        rows = []
        for row in chain((session.row for *_, session in found), map(self._dormant_row, dormant)):
            rows.append(row)
            if len(rows) % _TOLD_A_TURN == 0:
                yield
        return rows

    def waiting(self, sees: Sees) -> list[InboxRecord]:
        """What waits in the sessions that somebody ``sees``, the oldest first."""
        return at_once(self.gather_waiting(sees))

    def gather_waiting(self, sees: Sees) -> Work[list[InboxRecord]]:
        """The same, in turns."""
        found: list[tuple[PermissionRecord, int, str]] = []
        for number, one in enumerate(self._everyone(), 1):
            if isinstance(one, Session) and one.pending_count and sees(one.session_id):
                found += [(request.shown, request.size, one.session_id) for request in one.pending]
            if number % _LOOKS_A_TURN == 0:
                yield
        found.sort(key=lambda one: one[0].timestamp)
        records, told = [], 0
        for record, size, session_id in found:
            told += size
            if told > _WHOLE_BYTES and not record.parameters_truncated:
                record = _shortened(record)
            records.append(InboxRecord.of(record, session_id))
            if len(records) % _TOLD_A_TURN == 0:
                yield
        return records


class InboxView:
    """The inbox as somebody sees it who ``sees`` some of the sessions: what a reader reads."""

    def __init__(self, inbox: Inbox, sees: Sees) -> None:
        self.inbox = inbox
        self.sees = sees
        self.log = inbox.log
        self.limits = inbox.limits
        self.counters = inbox.counters
        self.clock = inbox.clock
        #: The state behind a place, until somebody is told of it.
        self._prepared: tuple[int, InboxSnapshot] | None = None

    async def prepare(self, *, may_approve: bool = True) -> InboxSnapshot:
        """Gather the state behind the place where the log ends now, as ``snapshot`` does, in turns.

        Who reads on from there is told again what has happened meanwhile.
        """
        seq = self.log.last_seq
        waiting = await in_turns(self.inbox.gather_waiting(self.sees))
        rows = await in_turns(self.inbox.gather_rows(self.sees))
        snapshot = self._snapshot(seq, waiting, rows, may_approve=may_approve)
        self._prepared = seq, snapshot
        return snapshot

    @property
    def readers(self) -> Audience[Reader]:
        return self.inbox.readers

    def open_at(self, cursor: str | None) -> Opening:
        """Say where a reader with this cursor begins, as a session does; the snapshot alone says what waits."""
        if cursor is None:
            return Opening("none", self.log.last_seq if self._prepared is None else self._prepared[0], None, ())
        try:
            return Opening("full", self.log.locate(cursor), None, ())
        except CursorLost as lost:
            # All of a log that began anew is newer than its reader.
            seq = self.log.first_seq - 1 if lost.reason == "epoch" else self.log.last_seq
            return Opening("partial", seq, self._gap(lost), ())

    def reopen(self, lost: CursorLost) -> Opening:
        """Say where a live reader goes on that fell behind the log."""
        return Opening("partial", self.log.last_seq, self._gap(lost), ())

    def hello(self, opening: Opening, *, may_approve: bool = True) -> InboxHello:
        return InboxHello(
            epoch=self.log.epoch,
            last_event_id=self.log.last_event_id,
            resumed=opening.resumed,
            heartbeat_seconds=self.limits.heartbeat_seconds,
            viewers=len(self.readers),
            may_approve=None if may_approve else False,
        )

    def snapshot(self, behind: int | None = None, *, may_approve: bool = True) -> InboxSnapshot:
        """The present state, for a reader who goes on behind this place; events from there on lead to it again."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] == behind:
            return prepared[1]
        seq = self.log.last_seq if behind is None else behind
        return self._snapshot(seq, self.inbox.waiting(self.sees), self.inbox.rows(self.sees), may_approve=may_approve)

    def _snapshot(
        self, seq: int, waiting: Sequence[InboxRecord], rows: Sequence[SessionRow], *, may_approve: bool
    ) -> InboxSnapshot:
        return InboxSnapshot.model_construct(
            last_event_id=self.log.id_of(seq),
            permission_requests=tuple(waiting),
            sessions=tuple(rows),
            may_approve=None if may_approve else False,
        )

    def forget(self, reader: Reader) -> None:
        """Let a reader go, once."""
        self.readers.discard(reader)

    def _gap(self, lost: CursorLost) -> Gap:
        self.counters.gaps[lost.reason] += 1
        return Gap(requested=lost.requested, oldest=lost.oldest, newest=lost.newest, reason=lost.reason)


class InboxReader(Reader):
    """A reader who is told of the sessions that it ``sees``, and of no other."""

    __slots__ = ("sees",)

    def __init__(self, view: InboxView, transport: str, peer: Peer, account: str | None, address: str) -> None:
        super().__init__(view, transport, peer, account, address)
        self.sees = view.sees

    def next(self) -> Sequence[Event]:
        """As of any reader; its place moves past what is not for it."""
        while events := super().next():
            told = [event for event in events if event.seq == 0 or self.sees(_session_of(event))]
            if told:
                return told
        return ()

    def framed(self, form: str, events: Sequence[Event], make: Callable[[Sequence[Event]], bytes]) -> bytes:
        """Nobody shares these bytes: what others are told between the same two events may be more."""
        return make(events)


def _session_of(event: Event) -> str:
    """Of which session an event of the inbox tells; its data begin with that."""
    begin = event.json.index(_SESSION) + len(_SESSION)
    return event.json[begin : event.json.index(b'"', begin)].decode()


def _shortened(record: PermissionRecord) -> PermissionRecord:
    text = dump(record.parameters)
    if len(text) <= _BEGINNING_BYTES:
        return record
    return record.altered(
        parameters={"beginning": beginning(text, max_bytes=_BEGINNING_BYTES)},
        parameters_truncated=True,
        parameters_bytes=len(text),
    )


def _by_need(session: Session) -> tuple[bool, float]:
    return not session.pending_count, -session.active_at
