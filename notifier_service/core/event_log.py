"""The bounded, append-only list of a session's events; every way of reading is a cursor into it."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple, final

from .errors import CursorLost, GapReason, SessionClosed, TooLarge
from .events import EventData, dump, enveloped, enveloped_each, envelopes_bytes
from .log_space import Held
from .newest import Newest

__all__ = ["Batch", "Event", "EventLog", "LogStatistics", "Record", "event_of"]

#: What people were asked, and how it ended.
_TRAIL = frozenset({"permission_request", "permission_response_result", "permission_cleared"})

#: As long as there are no more events than this, they are kept in what is small for few.
_FEW = 8

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CURSOR = re.compile(r"([0-9a-z]{1,24})-([0-9a-z]{1,24})")


class Event(NamedTuple):
    """One event of a log: encoded once, shared by every reader."""

    seq: int
    id: str
    type: str
    json: bytes


#: ``_new(Event, …)`` makes one without the detour through Python that its own constructor takes.
_new = tuple.__new__
_as_event = partial(_new, Event)

#: An event as a bare tuple: made in a third of the time, and left alone by the garbage collector, which visits each
#: ``Event`` in every round. What nobody reads stays that.
Record = tuple[int, str, str, bytes]


@final
class Batch:
    """Events that were appended together, with places in a row; what nobody reads of them is never made.

    ``number`` is that in the first one's id, behind ``id_start``.
    """

    __slots__ = ("_data_jsons", "_first", "_id_start", "_number", "_records", "_traceparent", "_types", "size_bytes")

    def __init__(
        self, first: int, id_start: str, number: int, types: Sequence[str], data_jsons: Sequence[bytes],
        traceparent: str | None,
    ) -> None:  # fmt: skip
        self._first, self._id_start, self._number = first, id_start, number
        self._types, self._data_jsons, self._traceparent = types, data_jsons, traceparent
        self._records: Sequence[Record] | None = None
        #: Bytes of all of them, encoded.
        self.size_bytes = self._ids_bytes() + envelopes_bytes(types, traceparent) + sum(map(len, data_jsons))

    def ids(self, between: str) -> str:
        """The ids of all, in order, with this between each two."""
        ids: list[str] = []
        number, end = self._number, self._number + len(self._types)
        while number < end:  # 36 in a row have all but the last digit in common
            head, low = _id_head(self._id_start, number // 36), number % 36
            ids.append(head + (between + head).join(_DIGITS[low : low + end - number]))
            number += 36 - low
        return between.join(ids)

    def _ids_bytes(self) -> int:
        """Bytes of all ids; they are made only where they are not all equally long."""
        count = len(self._types)
        digits = len(base36(self._number + count - 1))
        if self._number >= 36 ** (digits - 1):
            return count * (len(self._id_start) + digits)
        return len(self.ids(""))

    @property
    def records(self) -> Sequence[Record]:
        """The events; made when they are asked for first."""
        if self._records is None:
            self._records = list(self._made())
            self._data_jsons = ()
        return self._records

    @property
    def events(self) -> list[Event]:
        """The same for readers."""
        return [*map(_as_event, self._made() if self._records is None else self._records)]

    def _made(self) -> Iterator[Record]:
        # A pass over all that Python makes by itself costs a fraction of a step of a loop of ours.
        ids, places = self.ids(" ").split(" "), range(self._first, self._first + len(self))
        encoded = enveloped_each(self._types, ids, self._data_jsons, self._traceparent)
        return zip(places, ids, self._types, encoded, strict=True)

    @property
    def is_of_trail(self) -> bool:
        """Whether one of them stays longer than the rest."""
        return not _TRAIL.isdisjoint(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


class LogStatistics(NamedTuple):
    """A log at one moment; bytes are those of the encoded events."""

    events: int
    bytes: int
    capacity: int
    capacity_bytes: int
    appended: int
    evicted: int
    last_event_id: str
    closed: bool


class EventLog:
    """Events numbered from 1, of which the newest ``capacity`` and at most ``capacity_bytes`` are kept.

    The newest event always stays. What people were asked and how it ended stays longer than the rest (``trail``), in
    half as much room besides, of which nobody's flood takes what belongs to others. A reader's place is the ``seq`` of
    the last event it has seen; outside the process it is the event id ``<epoch>-<seq>`` in base36, which ``locate``
    turns into a place again.
    """

    __slots__ = (
        "__weakref__",
        "_bytes",
        "_events",
        "_id_head",
        "_id_high",
        "_id_start",
        "_leaps",
        "_listeners",
        "_made",
        "_most_events",
        "_owners",
        "_read",
        "_trail",
        "_unmade_until",
        "appended_bytes",
        "capacity",
        "capacity_bytes",
        "closed",
        "evicted",
        "held",
        "last_seq",
        "max_event_bytes",
    )

    def __init__(
        self,
        *,
        capacity: int = 1000,
        capacity_bytes: int = 1024 * 1024,
        max_event_bytes: int = 256 * 1024,
        epoch: str | None = None,
        held: Held | None = None,
    ) -> None:
        #: Where its bytes are counted, beside those of others.
        self.held = Held() if held is None else held
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.max_event_bytes = max_event_bytes
        self.closed = False
        self.last_seq = 0
        #: How many events were dropped again.
        self.evicted = 0
        #: Bytes of all events that were ever appended.
        self.appended_bytes = 0
        # A deque has room for many from the start: as long as there are few, a list holds them.
        self._events: deque[Record | Batch] | list[Record | Batch] = []
        #: Up to this place they may be records, and many together; behind it, all are events.
        self._unmade_until = 0
        self._most_events = min(_FEW, capacity)
        self._bytes = 0
        self._id_start = f"{new_epoch() if epoch is None else epoch}-"
        self._id_high, self._id_head = 0, self._id_start
        #: Behind which places the numbers in the ids are how much higher, the newest last.
        self._leaps: Sequence[tuple[int, int]] = ()
        self._listeners: set[Callable[[], None]] | None = None
        #: Who asked what the log's own permission events are about.
        self._owners: dict[int, str] | None = None
        self._trail: Newest[Record] | None = None
        #: What was read last, by place and bytes; good until the next append.
        self._read: tuple[int, int | None, Sequence[Event]] | None = None
        self._made: dict[Hashable, tuple[Sequence[Event], bytes]] | None = None

    @property
    def epoch(self) -> str:
        """What all ids of this log, and of no other, begin with."""
        return self._id_start[:-1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the events that the log holds."""
        return self._bytes

    @property
    def held_bytes(self) -> int:
        """Bytes of all that is kept, the trail too."""
        return self._bytes + (0 if self._trail is None else self._trail.size_bytes)

    @property
    def first_seq(self) -> int:
        """The oldest event that is still here; ``last_seq + 1`` when there is none."""
        return self.evicted + 1

    @property
    def trail(self) -> Sequence[Event]:
        """The permission events that were dropped from the log and are kept, oldest first; all before ``first_seq``."""
        return () if self._trail is None else tuple(map(event_of, self._trail))

    @property
    def last_event_id(self) -> str:
        return self.id_of(self.last_seq)

    def go_on_behind(self, events: Sequence[Event], last_seq: int, leaps: Sequence[tuple[int, int]] = ()) -> None:
        """Begin with these events of an earlier run; nothing was appended yet.

        The last of all events had the place ``last_seq``. Behind the places in ``leaps`` the numbers in the ids are so
        much higher, because readers may have been told others in between that were lost.
        """
        self.last_seq, self._leaps = last_seq, tuple(leaps)
        held = self._as_deque()
        for event in events:
            held.append(event)
            self._bytes += len(event.json)
        while len(held) > self.capacity or (self._bytes > self.capacity_bytes and len(held) > 1):
            self._bytes -= len(self._pop_oldest()[3])
        self.evicted = last_seq - len(self._events)
        self.held.log_bytes += self._bytes

    def _number(self, seq: int) -> int:
        """The number in the id of the event at this place."""
        for place, leapt in reversed(self._leaps):
            if seq > place:
                return seq + leapt
        return seq

    def _place(self, number: int) -> int:
        """The place of the newest event that is not behind this number."""
        for place, leapt in reversed(self._leaps):
            if number > place + leapt:
                return number - leapt
            if number > self._number(place):
                return place
        return number

    def id_of(self, seq: int) -> str:
        if self._leaps:
            seq = self._number(seq)
        high = seq // 36
        if high != self._id_high:  # 36 in a row have all but the last digit in common
            self._id_high, self._id_head = high, _id_head(self._id_start, high)
        return self._id_head + _DIGITS[seq % 36]

    def append(
        self,
        event_type: str,
        data: EventData | Mapping[str, Any] | None = None,
        *,
        data_json: bytes | None = None,
        encoded: bytes | None = None,
        owner: str = "",
        traceparent: str | None = None,
    ) -> Event:
        """Encode an event, keep it, wake who waits. Never waits.

        What is encoded already is taken as it is: the data as ``data_json``, or the whole event as ``encoded``, in
        which its id need not stand. ``owner`` is who asked, for a permission event.
        ``traceparent`` is the trace that it belongs to (W3C Trace Context).

        Raises ``TooLarge`` for an event beyond ``max_event_bytes``, ``SessionClosed`` after ``close``; nothing is kept
        then.
        """
        if self.closed:
            raise SessionClosed("This session has ended.")
        seq = self.last_seq + 1
        event_id = self.id_of(seq)
        if encoded is None:
            if data_json is None and data is not None:
                data_json = dump(data)
            encoded = enveloped(event_type, event_id, data_json, traceparent)
        size = len(encoded)
        if size > self.max_event_bytes:
            raise self._too_large(size)
        if owner:
            if self._owners is None:
                self._owners = {}
            self._owners[seq] = owner
        event = _new(Event, (seq, event_id, event_type, encoded))
        self._events.append(event)
        self._grown(seq, size)
        return event

    def extend(self, types: Sequence[str], data_jsons: Sequence[bytes], *, traceparent: str | None = None) -> Batch:
        """``append`` events of these types with this data, in this order, one at least, and wake who waits once.

        Raises the same; nothing of them all is kept then.
        """
        if self.closed:
            raise SessionClosed("This session has ended.")
        first, last = self.last_seq + 1, self.last_seq + len(types)
        number = self._number(first) if self._leaps else first
        batch = Batch(first, self._id_start, number, types, data_jsons, traceparent)
        if batch.size_bytes > self.max_event_bytes:  # or none is
            for record in batch:
                if len(record[3]) > self.max_event_bytes:
                    raise self._too_large(len(record[3]))
        if isinstance(self._events, list) and last - self.evicted <= self._most_events:
            self._events.extend(batch)
        else:
            self._as_deque().append(batch)
        self._unmade_until = last
        self._grown(last, batch.size_bytes)
        return batch

    def _grown(self, last_seq: int, size: int) -> None:
        """Drop what is too much, and wake who waits: events of this size were kept."""
        self.last_seq = last_seq
        self._read = None
        self.appended_bytes += size
        left, kept = self._bytes + size, last_seq - self.evicted
        if kept > self._most_events or (left > self.capacity_bytes and kept > 1):
            events, before = self._as_deque(), left
            capacity, capacity_bytes = self.capacity, self.capacity_bytes
            while kept > capacity or (left > capacity_bytes and kept > 1):
                dropped = events.popleft()
                if type(dropped) is Batch:
                    # All of them go where even the last one has to.
                    is_whole = kept - len(dropped) >= capacity or left - dropped.size_bytes >= capacity_bytes
                    if is_whole and kept > len(dropped) and not dropped.is_of_trail:
                        left -= dropped.size_bytes
                        kept -= len(dropped)
                    else:
                        events.extendleft(reversed(dropped.records))
                    continue
                left -= len(dropped[3])
                kept -= 1
                if dropped[2] in _TRAIL:
                    self._keep_in_trail(dropped)
            self.evicted = last_seq - kept
            size -= before - left
        self._bytes = left
        self.held.log_bytes += size
        if self._listeners:
            self._wake()

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(
            f"An event of {size} bytes is over the limit of {self.max_event_bytes}.", limit="max_event_bytes"
        )

    def shrink(self, to_bytes: int) -> None:
        """Drop the oldest events until what is kept takes no more than this; the newest one goes only for 0 bytes."""
        self._read = None
        events = self._as_deque()
        while events and self.held_bytes > to_bytes and (self.last_seq - self.evicted > 1 or to_bytes == 0):
            dropped = self._pop_oldest()
            self._bytes -= len(dropped[3])
            self.held.log_bytes -= len(dropped[3])
            self.evicted += 1
            if dropped[2] in _TRAIL:
                self._keep_in_trail(dropped)
        if not events:
            self._events, self._most_events = [], min(_FEW, self.capacity)
        if self._trail is not None:
            before = self._trail.size_bytes
            self._trail.shrink(max(0, to_bytes - self._bytes))
            self.held.log_bytes -= before - self._trail.size_bytes

    def _pop_oldest(self) -> Record:
        events = self._as_deque()
        oldest = events.popleft()
        if type(oldest) is not Batch:
            return oldest
        first, *rest = oldest.records
        events.extendleft(reversed(rest))
        return first

    def _as_deque(self) -> deque[Record | Batch]:
        if isinstance(self._events, list):
            self._events, self._most_events = deque(self._events), self.capacity
        return self._events

    def _keep_in_trail(self, dropped: Record) -> None:
        trail = self._trail
        if trail is None:
            trail = self._trail = Newest(self.capacity // 2, self.capacity_bytes // 2, itemgetter(3))
        owner = "" if self._owners is None else self._owners.pop(dropped[0], "")
        before = trail.size_bytes
        trail.keep(dropped[0], dropped, owner)
        self.held.log_bytes += trail.size_bytes - before

    def locate(self, cursor: str) -> int:
        """Turn an event id into a place, or raise ``CursorLost``; ``earliest`` is before the oldest event."""
        if cursor == "earliest":
            return self.first_seq - 1
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise self._lost("unknown", cursor)
        epoch, seq = found[1], self._place(int(found[2], 36))
        if int(epoch, 36) != int(self.epoch, 36):
            raise self._lost("epoch", cursor)
        if seq > self.last_seq:
            raise self._lost("unknown", cursor)
        if seq < self.first_seq - 1:
            raise self._lost("evicted", cursor)
        return seq

    def read_after(self, seq: int, *, max_bytes: int | None = None) -> Sequence[Event]:
        """Return the events behind place ``seq``, oldest first, at least one if there is one. Never waits.

        ``max_bytes`` ends the answer at the event that passes it. Raises ``CursorLost`` with reason ``slow`` when
        the log has dropped what comes next.
        """
        missing = self.last_seq - seq
        if missing <= 0:
            return ()
        if missing > self.last_seq - self.evicted:
            raise self._lost("slow", self.id_of(seq))
        if seq < self._unmade_until:
            self._make_events(seq, missing)
        if missing == 1:
            newest: Any = self._events[-1]  # an event by now
            return (newest,)
        read = self._read
        if read is not None and read[0] == seq and read[1] == max_bytes:
            return read[2]
        # Readers stand near the end, so the way there is counted from the right.
        events: list[Any] = list(islice(reversed(self._events), missing))
        events.reverse()
        if max_bytes is not None:
            total = 0
            for position, event in enumerate(events):
                total += len(event.json)
                if total > max_bytes:
                    del events[position + 1 :]
                    break
        self._read = seq, max_bytes, events
        return events

    def _make_events(self, seq: int, count: int) -> None:
        """Have events instead of records behind this place, so many as there are, for all who read them."""
        events, made = self._events, list[Event]()
        while len(made) < count:
            newest = events.pop()
            made += reversed(newest.events) if type(newest) is Batch else (event_of(newest),)
        events.extend(reversed(made))
        self._unmade_until = seq + count - len(made)

    def shared(self, form: Hashable, events: Sequence[Event], make: Callable[[Sequence[Event]], bytes]) -> bytes:
        """``make(events)`` in this form: made once for all who read the same events at about the same time."""
        if self._made is None:
            self._made = {}
        made = self._made.get(form)
        if made is not None and (made[0] is events or (made[0][0] is events[0] and made[0][-1] is events[-1])):
            return made[1]
        piece = make(events)
        self._made[form] = events, piece
        return piece

    def forget_shared(self) -> None:
        """Let go of what was kept for ``shared`` and for readers at one place."""
        self._read = None
        if self._made:
            self._made.clear()

    async def wait_after(
        self, seq: int, *, timeout_seconds: float | None = None, max_bytes: int | None = None
    ) -> Sequence[Event]:
        """Wait until there is something behind place ``seq``, and return it, up to ``max_bytes`` as ``read_after``.

        Empty when the time is over or the log is closed. Raises ``CursorLost`` as ``read_after`` does.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_seconds is None else loop.time() + timeout_seconds
        while not (events := self.read_after(seq, max_bytes=max_bytes)) and not self.closed:
            waiter: asyncio.Future[None] = loop.create_future()

            def wake(waiter: asyncio.Future[None] = waiter) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            self.listen(wake)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiter
            except TimeoutError:
                return self.read_after(
                    seq, max_bytes=max_bytes
                )  # what came in the very turn in which the time was over
            finally:
                self.unlisten(wake)
        return events

    def listen(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` at every append and at close; it must neither wait nor raise."""
        if self._listeners is None:
            self._listeners = set()
        self._listeners.add(callback)

    def unlisten(self, callback: Callable[[], None]) -> None:
        if self._listeners is not None:
            self._listeners.discard(callback)

    def close(self) -> None:
        """End the log: what it holds can still be read, nothing more is appended."""
        self.closed = True
        self._wake()

    def statistics(self) -> LogStatistics:
        return LogStatistics(
            events=self.last_seq - self.evicted,
            bytes=self._bytes,
            capacity=self.capacity,
            capacity_bytes=self.capacity_bytes,
            appended=self.last_seq,
            evicted=self.evicted,
            last_event_id=self.last_event_id,
            closed=self.closed,
        )

    def _wake(self) -> None:
        for callback in list(self._listeners or ()):
            callback()

    def _lost(self, reason: GapReason, requested: str) -> CursorLost:
        return CursorLost(
            requested=requested[:64],
            oldest=self.id_of(min(self.first_seq, self.last_seq)),
            newest=self.last_event_id,
            reason=reason,
        )


def event_of(record: Record) -> Event:
    """The event that this is."""
    return record if type(record) is Event else _new(Event, record)


def _id_head(start: str, high: int) -> str:
    """What the ids of 36 places in a row have in common."""
    return start + (base36(high) if high else "")


def new_epoch() -> str:
    """A number no earlier log of this id had: milliseconds since 1970, then 20 random bits."""
    return base36((time.time_ns() // 1_000_000 << 20) | secrets.randbits(20))


def base36(number: int) -> str:
    """A number from 0 in lower-case base36."""
    text, number = "", max(0, number)
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"
