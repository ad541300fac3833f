"""A live reader of a session: what it is told, in order, and who ends it.

The same for every transport, which only puts its frame around what there is to tell.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from .errors import CursorLost
from .event_log import Event, EventLog
from .events import Bye, EventData, Gap, InboxSnapshot, PermissionRecord, Snapshot, beside, encode
from .fan_out import Audience
from .limits import Limits
from .metrics import Counters
from .presence import Page

__all__ = ["Opening", "Peer", "Reader", "Source", "heartbeat", "retry_ms"]

#: What one turn takes from the log: it bounds what a stalled reader can make this process hold.
_SLICE_BYTES = 64 * 1024


class Peer(Protocol):
    """The other end of a stream, as a transport sees it."""

    def handed_bytes(self) -> int:
        """Bytes that were handed to the connection so far, framing included."""

    def unsent_bytes(self) -> int:
        """How many of those wait in this process, because the peer has not taken them."""

    def is_gone(self) -> bool:
        """Whether the connection is over."""


class Opening(NamedTuple):
    """Where a reader begins: the place behind which it reads on, and what it is told before."""

    resumed: Literal["full", "partial", "none"]
    seq: int
    gap: Gap | None
    #: Pending requests to show again, because nothing the reader has or gets announces them.
    replay: Sequence[PermissionRecord]
    #: Events from before the log that are told first.
    trail: Sequence[Event] = ()


class Source(Protocol):
    """What is read: a session, as its readers know it."""

    log: EventLog
    #: Seconds, monotonic.
    clock: Any

    @property
    def limits(self) -> Limits: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def readers(self) -> Audience[Reader]: ...

    def open_at(self, cursor: str | None) -> Opening:
        """Say where a reader with this cursor begins."""

    def reopen(self, lost: CursorLost) -> Opening:
        """Say where a reader goes on that fell behind the log."""

    def hello(self, opening: Opening, *, may_approve: bool = True) -> EventData: ...

    def snapshot(self, behind: int | None = None) -> Snapshot | InboxSnapshot: ...

    def forget(self, reader: Reader) -> None:
        """Let a reader go that has left."""


class Reader:
    """A live reader and its place in the log: it waits, reads on, and is ended by whoever has a reason.

    ``next`` never waits: it returns what there is to tell now, ``hello`` and the state first, then the log, a heartbeat
    when one is due. A transport writes it within ``writing()``, asks again, and waits (``wait``) when there is nothing,
    until ``ending`` or ``gone`` is set. The broker's sweeper looks after heartbeat, stall and disappearance of all
    readers. Events that are not the log's have ``seq`` 0 and, but for ``hello``, no id: they move no cursor.
    """

    __slots__ = (
        "_attend",
        "_beside",
        "_delivered",
        "_expires_at",
        "_farewell",
        "_held_since",
        "_log",
        "_push",
        "_read_from",
        "_replays",
        "_sent_at",
        "_seq",
        "_still_may",
        "_stuck_since",
        "_taken",
        "_told_bytes",
        "_waiter",
        "_woken",
        "_write_timeout",
        "account",
        "address",
        "ending",
        "gone",
        "heartbeat",
        "page",
        "peer",
        "session",
        "transport",
    )

    def __init__(
        self,
        session: Source,
        transport: str,
        peer: Peer,
        account: str | None,
        address: str = "",
        *,
        replays: bool = True,
    ) -> None:
        self.session = session
        #: Whether it is shown again what waits behind a snapshot, which tells the same to who knows it.
        self._replays = replays
        #: Who reads, and from where, for whose places it counts.
        self.account = account
        self.address = address
        self.transport = transport
        self.peer = peer
        #: Set when the service ends the stream: the last event to send.
        self.ending: Bye | None = None
        #: Set when the peer has left.
        self.gone = False
        #: The page that it is, of one that says whether somebody looks.
        self.page: Page | None = None
        #: The heartbeat event to send, if one is due.
        self.heartbeat: bytes | None = None
        self._log = session.log
        self._seq = self._read_from = session.log.last_seq
        self._delivered = self._told_bytes = 0
        #: When what is held back for this reader was published, if that is timed.
        self._held_since: float | None = None
        self._beside: Sequence[Event] = ()
        self._attend: Callable[[], None] | None = None
        self._push: Callable[[], bool] | None = None
        self._farewell: Callable[[], object] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._write_timeout: asyncio.Timeout | None = None
        self._sent_at = self._stuck_since = session.clock()
        #: On the session's clock: when the reader's right to read ends.
        self._expires_at: float | None = None
        self._still_may: Callable[[], bool] | None = None
        self._taken: int | None = None

    # What it is told

    def begin(self, cursor: str | None, *, may_approve: bool = True) -> None:
        """Take the place behind a cursor, None for a first connect: ``hello`` comes next, and what is told beside."""
        opening = self.session.open_at(cursor)
        if cursor is not None:
            self.session.counters.reconnects += 1
            self.session.counters.replays[opening.resumed] += 1
        self._go_on_at(opening.seq)
        # Where the stream goes on is said with hello: whoever drops before the missed events came loses none.
        begin = opening.trail[0].seq - 1 if opening.trail else opening.seq
        hello = Event(
            0, self._log.id_of(begin), "hello", encode("hello", self.session.hello(opening, may_approve=may_approve))
        )
        self._beside = [hello, *self._state(opening)]

    def resume(self, cursor: str) -> None:
        """Go on behind another cursor: what was missed comes next, or a gap and the state."""
        opening = self.session.open_at(cursor)
        self.session.counters.replays[opening.resumed] += 1
        self._go_on_at(opening.seq)
        self._beside = [*(event for event in self._beside if event.type == "hello"), *self._state(opening)]

    def greet(self) -> Event:
        """Return ``hello``, for a transport that writes it apart from what follows; call it first."""
        hello, *rest = self._beside
        self._beside = rest
        return hello

    def next(self) -> Sequence[Event]:
        """Return what to tell now, and take it as told; nothing when there is nothing."""
        if self._beside:
            beside, self._beside = _slice(self._beside)
            return beside
        try:
            events = self._log.read_after(self._seq, max_bytes=_SLICE_BYTES)
        except CursorLost as lost:
            opening = self.session.reopen(lost)
            self._go_on_at(opening.seq)
            return self._state(opening)
        if events:
            self._seq = events[-1].seq
            return events
        if self.heartbeat is not None and self.ending is None:
            return (Event(0, "", "heartbeat", self.heartbeat),)
        return ()

    def framed(self, form: str, events: Sequence[Event], make: Callable[[Sequence[Event]], bytes]) -> bytes:
        """What ``next`` gave, as ``make`` puts it into frames of this form; readers at one place share the bytes."""
        # One alone shares with nobody, and what is told beside the log is each reader's own.
        if len(self.session.readers) > 1 and events[0].seq >= self._log.first_seq:
            return self._log.shared(form, events, make)
        return make(events)

    def _go_on_at(self, seq: int) -> None:
        self._delivered += self._seq - self._read_from
        self._seq = self._read_from = seq

    def delivered(self) -> tuple[int, int]:
        """How many events of the log, and bytes in all, were given to the transport since this was asked last."""
        self._go_on_at(self._seq)
        events, self._delivered = self._delivered, 0
        told, self._told_bytes = self._told_bytes, self.peer.handed_bytes()
        return events, self._told_bytes - told

    @property
    def is_told_all(self) -> bool:
        """Whether ``next`` has nothing from the log: asking it again in the same turn can be spared."""
        return not self._beside and self._seq == self._log.last_seq

    @property
    def over(self) -> bool:
        """Whether nothing more is told, even if there is more: the reader has left, or takes nothing."""
        return self.gone or (self.ending is not None and self.ending.code == "slow")

    @property
    def may_be_seen(self) -> bool:
        """Whether somebody may look: of a page that says so, whether it is visible; nobody knows of any other."""
        return self.page is None or self.page.is_visible

    # What becomes of it

    def wake(self) -> None:
        if self._attend is not None:
            self._attend()
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(
        self, push: Callable[[], bool] | None = None, *, farewell: Callable[[], object] | None = None
    ) -> None:
        """Wait until there may be something to do.

        ``push`` sends what there is without waiting, and says whether it could; while it can, this goes on waiting.
        ``farewell`` is called in the turn in which the service ends the stream, however busy that one is.
        """
        if not self._woken:
            self._waiter = asyncio.get_running_loop().create_future()
            self._push, self._farewell = push, farewell
            try:
                await self._waiter
            finally:
                self._waiter = self._push = self._farewell = None
        self._woken = False

    def attend(self, push: Callable[[], None]) -> None:
        """From now on call ``push`` where a transport that waits would be woken."""
        self._attend = push
        push()

    def catch_up(self) -> None:
        """Have the transport send what there is."""
        if self._attend is not None:
            self._attend()
        elif self._push is None or self.ending is not None:
            self.hold_back()
            self.wake()
        elif not self._push():
            self.wake()

    def hold_back(self) -> None:
        """Tell that there may be something to tell, and the peer takes nothing now."""
        if self._held_since is None:
            self._held_since = self.session.readers.held_back()

    def caught_up(self) -> None:
        """Tell that the peer takes something again, and has been sent all there is."""
        if self._held_since is not None:
            self.session.readers.late(self._held_since)
            self._held_since = None

    def sent(self) -> None:
        """Tell that something was pushed: no heartbeat is needed soon."""
        self._sent_at = self.session.clock()
        self.heartbeat = None

    def writing(self) -> asyncio.Timeout:
        """A context for one write; it ends with ``TimeoutError`` when this reader is ended meanwhile."""
        self._sent_at = self.session.clock()
        self.heartbeat = None
        self._write_timeout = asyncio.timeout(0 if self.ending is not None else None)
        return self._write_timeout

    def end(self, code: Literal["shutdown", "token_expired", "session_closed", "slow"]) -> None:
        """End the stream from this side; the transport sends ``ending`` if the socket still takes it."""
        if self.ending is None:
            self.ending = Bye(code=code, reconnect=code != "session_closed", retry_ms=retry_ms(self.session.limits))
            if self._write_timeout is not None:
                self._interrupt_write(self._write_timeout)
            if self._farewell is not None:
                self._farewell()
            self.wake()

    def permit(self, seconds: float | None, still_may: Callable[[], bool] | None = None) -> None:
        """Say when the token that opened the stream expires (None for never), and who knows whether it is still good.

        The stream ends with ``token_expired`` when it is not.
        """
        self._expires_at = None if seconds is None else self.session.clock() + seconds
        self._still_may = still_may

    def ask_again(self) -> None:
        """End the stream if its token is no longer good for it."""
        if self._still_may is not None and not self._still_may():
            self.end("token_expired")

    def leave(self) -> None:
        """The transport is done with this reader. Always called, once."""
        self._write_timeout = None
        self.session.forget(self)

    def sweep(self, now: float, beat: bytes) -> None:
        """Look after this reader; ``now`` is on the session's clock, ``beat`` the heartbeat of this moment."""
        if self.peer.is_gone():
            self.gone = True
            self.wake()
            return
        if self._expires_at is not None and now >= self._expires_at:
            self.end("token_expired")
        unsent = self.peer.unsent_bytes()
        if unsent:
            taken = self.peer.handed_bytes() - unsent
            if taken != self._taken:
                self._taken, self._stuck_since = taken, now
            elif now - self._stuck_since >= self.session.limits.stalled_seconds:
                self.end("slow")
        else:
            self._taken = None
            if now - self._sent_at >= self.session.limits.heartbeat_seconds:
                self.heartbeat = beat
                self.session.readers.touch()

    @staticmethod
    def _interrupt_write(write: asyncio.Timeout) -> None:
        try:
            write.reschedule(asyncio.get_running_loop().time())
        except RuntimeError:
            # The context was left already: no write is under way.
            return

    def _state(self, opening: Opening) -> Sequence[Event]:
        """What a reader is told beside the log: the gap, the snapshot, and pending requests it knows nothing of."""
        told = []
        if opening.gap is not None:
            told.append(Event(0, "", "gap", encode("gap", opening.gap)))
        is_told = opening.resumed != "full"
        if is_told:
            snapshot = beside("snapshot", self.session.snapshot(opening.seq).encoded)
            told.append(Event(0, "", "snapshot", snapshot))
        for record in () if is_told and not self._replays else opening.replay:
            replayed = beside("permission_request", b'%b,"replayed":true}' % record.encoded[:-1])
            told.append(Event(0, "", "permission_request", replayed))
        return [*told, *opening.trail]


def _slice(events: Sequence[Event]) -> tuple[Sequence[Event], Sequence[Event]]:
    """What goes out at once, and the rest: a trail may be longer than one write should be."""
    size = 0
    for place, event in enumerate(events, 1):
        size += len(event.json)
        if size > _SLICE_BYTES and event.seq > 0:
            return events[:place], events[place:]
    return events, ()


def heartbeat() -> bytes:
    """The heartbeat event of this moment; its timestamp is epoch seconds (contract section 2)."""
    return encode("heartbeat", timestamp=round(time.time(), 3))


def retry_ms(limits: Limits) -> int:
    """How long a reader waits before it comes back: longer than a restart takes, jittered per connection."""
    lowest = max(3000, int(limits.shutdown_seconds * 1000) + 1000)
    return lowest + secrets.randbelow(2000)
