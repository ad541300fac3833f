"""Who reads a session: the places that they take, who waits for one answer beside them, and how streams ended."""

from __future__ import annotations

from collections import Counter

from .errors import LimitReached
from .event_log import EventLog
from .fan_out import Audience, Delivery
from .limits import Limits
from .metrics import Counters
from .reader import Reader
from .shares import Shares, is_roomy

__all__ = ["Readers", "Seats"]


class Seats:
    """The places for all that is held open in a process, by whose account it is, and from which address."""

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self._shares = Shares(
            "max_connections",
            limits.max_connections,
            "{} streams are open; no more are taken.",
            refused=counters.limits_reached,
            each=limits.max_connections_per_subject,
        )
        self.limits, self.counters = limits, counters
        self._each_address = limits.max_connections_per_address
        self._of_address: Counter[str] = Counter()

    @property
    def used(self) -> int:
        return self._shares.used

    def check(self, account: str | None, *, address: str = "", may_approve: bool = True) -> None:
        """Raise ``LimitReached`` unless there is a place; where the address is not known it is not asked for."""
        held = self._of_address.get(address, 0)
        if self._each_address is not None and address and held >= self._each_address:
            self.counters.limits_reached["max_connections_per_address"] += 1
            raise LimitReached(
                "max_connections_per_address", f"{held} streams are open from your address; no more are taken."
            )
        self._shares.check(account, may_approve=may_approve)

    def take(self, account: str | None, address: str = "") -> None:
        """Have a place, which ``check`` found free."""
        self._shares.take(account)
        if address:
            self._of_address[address] += 1

    def leave(self, account: str | None, address: str = "") -> None:
        """Give a place back."""
        self._shares.leave(account)
        if address:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]


class Readers(Audience[Reader]):
    """The live readers of a session. Each takes a place in the session and one of ``seats``, those of the process.

    ``at_most`` of them there may be, as the limits say without it.
    """

    __slots__ = ("_all_seats", "_at_most", "_disconnects", "_seats", "_waiting")

    def __init__(self, log: EventLog, delivery: Delivery, seats: Seats, *, at_most: int | None = None) -> None:
        super().__init__(log, delivery)
        self._waiting: Counter[str] | None = None
        self._disconnects: Counter[str] | None = None
        self._all_seats = seats
        self._at_most = seats.limits.max_connections_per_session if at_most is None else at_most
        self._seats: Shares | None = None

    @property
    def waiting(self) -> Counter[str]:
        """How many wait for one answer, by transport: they see what is asked; no limit of the session binds them."""
        if self._waiting is None:
            self._waiting = Counter()
        return self._waiting

    @property
    def waiting_count(self) -> int:
        return 0 if self._waiting is None else self._waiting.total()

    @property
    def disconnects(self) -> Counter[str]:
        """Streams that ended, by reason."""
        if self._disconnects is None:
            self._disconnects = Counter()
        return self._disconnects

    @property
    def _own_seats(self) -> Shares:
        """Who has the places of this session; nobody counts them while there are many more than readers."""
        if self._seats is None:
            self._seats = Shares(
                "max_connections_per_session",
                self._at_most,
                "This session has {} readers; no more are taken.",
                refused=self._all_seats.counters.limits_reached,
            )
            for reader in self:
                self._seats.take(reader.account)
        return self._seats

    def require_place(self, account: str | None, *, address: str = "", may_approve: bool = True) -> None:
        """Raise ``LimitReached`` when there is no place for another one of this account, from this address."""
        self._all_seats.check(account, address=address, may_approve=may_approve)
        if self._seats is not None or not is_roomy(self._at_most, len(self)):
            self._own_seats.check(account, may_approve=may_approve)

    def add(self, reader: Reader) -> None:
        super().add(reader)
        self._all_seats.take(reader.account, reader.address)
        if self._seats is not None:
            self._seats.take(reader.account)
        self._all_seats.counters.connections_opened += 1
        self._all_seats.counters.connections[reader.transport] += 1

    def discard(self, reader: Reader) -> None:
        if reader in self:
            super().discard(reader)
            if self._seats is not None:
                self._seats.leave(reader.account)
            self._all_seats.leave(reader.account, reader.address)
            self._all_seats.counters.connections[reader.transport] -= 1
            self._count(reader)
            reason = reader.ending.code if reader.ending is not None else "left"
            self.disconnects[reason] += 1
            self._all_seats.counters.disconnects[reason] += 1

    def count_delivered(self, reader: Reader) -> None:
        """Count what this one was sent so far; of who has left it is counted already."""
        if reader in self:
            self._count(reader)

    def _count(self, reader: Reader) -> None:
        events, size = reader.delivered()
        self._all_seats.counters.events_delivered[reader.transport] += events
        self._all_seats.counters.bytes_delivered += size

    @property
    def by_transport(self) -> dict[str, int]:
        """Who reads right now, and how."""
        return dict(Counter(reader.transport for reader in self) + self.waiting)

    @property
    def are_outrun(self) -> bool:
        """Whether the log may soon drop what those who keep up have not been sent yet."""
        if not self.is_due:
            return False
        (events, size), limits = self.lag, self._all_seats.limits
        return events > limits.log_events // 2 or size > limits.log_bytes // 2
