"""What one live reader is told, in order: the same for every transport, which only puts its frame around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import CursorLost
from .event_log import Event
from .events import encode
from .session import Opening, Viewer

__all__ = ["Reading"]

#: What one turn takes from the log: it bounds what a stalled reader can make this process hold.
_SLICE_BYTES = 64 * 1024


class Reading:
    """A viewer's place in its session's log.

    ``next`` never waits: it returns what there is to tell now, ``hello`` and the state first, then the log, a heartbeat
    when one is due. The transport writes it, asks again, and waits (``Viewer.wait``) when there is nothing. Events that
    are not the log's have ``seq`` 0 and, but for ``hello``, no id: they move no cursor.
    """

    def __init__(self, viewer: Viewer, cursor: str | None) -> None:
        self.viewer = viewer
        self._session = viewer.session
        self._log = viewer.session.log
        opening = self._session.open_at(cursor)
        self._seq = opening.seq
        # Where the stream goes on is said with hello: whoever drops before the missed events came loses none.
        begin = opening.trail[0].seq - 1 if opening.trail else opening.seq
        hello = Event(0, self._log.id_of(begin), "hello", encode("hello", self._session.hello(opening)))
        self._beside = [hello, *self._state(opening)]

    def resume(self, cursor: str) -> None:
        """Go on behind another cursor: what was missed comes next, or a gap and the state."""
        opening = self._session.open_at(cursor)
        self._seq = opening.seq
        self._beside = [*(event for event in self._beside if event.type == "hello"), *self._state(opening)]

    def greet(self) -> Event:
        """Return ``hello``, for a transport that writes it apart from what follows; call it first."""
        return self._beside.pop(0)

    def next(self) -> Sequence[Event]:
        """Return what to tell now, and take it as told; nothing when there is nothing."""
        if self._beside:
            beside, self._beside = _slice(self._beside)
            return beside
        try:
            events = self._log.read_after(self._seq, max_bytes=_SLICE_BYTES)
        except CursorLost as lost:
            opening = self._session.reopen(lost)
            self._seq = opening.seq
            return self._state(opening)
        if events:
            self._seq = events[-1].seq
            return events
        if self.viewer.heartbeat is not None and self.viewer.ending is None:
            return (Event(0, "", "heartbeat", self.viewer.heartbeat),)
        return ()

    def framed(self, form: str, events: Sequence[Event], make: Callable[[Sequence[Event]], bytes]) -> bytes:
        """What ``next`` gave, as ``make`` puts it into frames of this form; readers at one place share the bytes."""
        # What is told beside the log is each reader's own, and one alone shares with nobody.
        is_of_log = events[0].seq >= self._log.first_seq
        if is_of_log and len(self._session.viewers) > 1:
            return self._log.shared(form, events, make)
        return make(events)

    @property
    def is_told_all(self) -> bool:
        """Whether ``next`` has nothing from the log: asking it again in the same turn can be spared."""
        return not self._beside and self._seq == self._log.last_seq

    @property
    def over(self) -> bool:
        """Whether nothing more is told, even if there is more: the reader has left, or takes nothing."""
        viewer = self.viewer
        return viewer.gone or (viewer.ending is not None and viewer.ending.code == "slow")

    def _state(self, opening: Opening) -> Sequence[Event]:
        """What a reader is told beside the log: the gap, the snapshot, and pending requests it knows nothing of."""
        told = []
        if opening.gap is not None:
            told.append(Event(0, "", "gap", encode("gap", opening.gap)))
        if opening.resumed != "full":
            told.append(Event(0, "", "snapshot", encode("snapshot", self._session.snapshot(opening.seq))))
        for record in opening.replay:
            replayed = record.model_copy(update={"replayed": True})
            told.append(Event(0, "", "permission_request", encode("permission_request", replayed)))
        return [*told, *opening.trail]


def _slice(events: list[Event]) -> tuple[list[Event], list[Event]]:
    """What goes out at once, and the rest: a trail may be longer than one write should be."""
    size = 0
    for place, event in enumerate(events, 1):
        size += len(event.json)
        if size > _SLICE_BYTES and event.seq > 0:
            return events[:place], events[place:]
    return events, []
