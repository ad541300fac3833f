"""What sessions have from the process in which they are: the same for all of them, so that none carries it itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .event_log import Event
from .fan_out import Delivery
from .history import History
from .label import Label
from .large_parameters import LargeParameters
from .limits import Limits
from .log_space import LogSpace
from .metrics import Counters
from .permission_request import PermissionRequest
from .permissions import PendingPlaces
from .policy.rule_book import RuleBook
from .policy.verdict import AskedTool
from .readers import Seats
from .recorder import Recorder
from .request_keeper import RequestKeeper

__all__ = ["Surroundings", "TellAsked"]

#: Hears of what people are told of a request: in which session, and in which events, each with its owner.
TellAsked = Callable[[str, PermissionRequest, Sequence[tuple[Event, str]]], object]


@dataclass(slots=True, kw_only=True, eq=False)
class Surroundings:
    """What sessions share; what is not given is of its own, for a session that stands alone.

    ``clock`` gives seconds, monotonic. ``tell_asked`` hears of what people are asked and answer, with the owner of each
    event; ``tell_label`` how a session is called, ``count_others`` says how many see what is asked there from
    elsewhere, and ``is_seen`` whether somebody looks.
    """

    limits: Limits = field(default_factory=Limits)
    counters: Counters = field(default_factory=Counters)
    clock: Any = time.monotonic
    delivery: Delivery = field(default_factory=Delivery)
    seats: Seats = None  # type: ignore[assignment]  # those of these limits where none are given
    pending_places: PendingPlaces | None = None
    instance: str | None = None
    large_parameters: LargeParameters | None = None
    history: History | None = None
    rules: RuleBook = field(default_factory=RuleBook)
    tell_learned: Callable[[AskedTool], object] = lambda tool: None
    recorder: Recorder = field(default_factory=Recorder)
    keeper: RequestKeeper | None = None
    tell_asked: TellAsked = lambda session_id, request, told: None
    tell_label: Callable[[str, Label], object] = lambda session_id, label: None
    count_others: Callable[[str], int] = lambda session_id: 0
    is_seen: Callable[[str], bool] = lambda session_id: False
    #: Hears of each session that has a reader or a question.
    attend: Callable[[Any], object] = lambda session: None
    #: What all sessions hold together.
    space: LogSpace = field(default_factory=LogSpace)

    def __post_init__(self) -> None:
        if self.seats is None:
            self.seats = Seats(self.limits, self.counters)
