"""The works that are measured: their names, sizes and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .peers.aiohttp_sse import AiohttpSse
from .peers.bare_aiohttp import BareAiohttp
from .peers.better_sse import BetterSse
from .peers.nchan import Nchan
from .peers.notifier import Notifier
from .peers.peer import Peer
from .peers.starlette_redis import StarletteRedis

__all__ = ["PEERS", "WORKS", "Figure", "Work"]

#: The first is the one that the others are compared with.
PEERS: Sequence[Peer] = (Notifier(), Nchan(), BetterSse(), AiohttpSse(), StarletteRedis(), BareAiohttp())


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a work gives."""

    name: str
    title: str
    unit: str
    more_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do with every peer that can. ``sizes`` by name, as the load generator takes them."""

    name: str
    title: str
    sizes: Mapping[str, int]
    figures: Sequence[Figure]
    #: The peers it makes sense with; the others are left out without a word.
    peers: Sequence[str] = ()
    #: Which of the sizes a slow peer gets less of, and what it gets at least.
    shared: Mapping[str, int] = field(default_factory=dict)

    def sizes_for(self, peer: Peer) -> dict[str, int]:
        """The sizes, less of them for a slow peer: it is measured about as long as a fast one."""
        return {
            name: max(self.shared[name], round(size * peer.share)) if name in self.shared else size
            for name, size in self.sizes.items()
        }


_RATE = (Figure("rate", "events delivered", "/s", more_is_better=True),)
_PUBLISHED = (Figure("rate", "events published", "/s", more_is_better=True),)
_DELAY = (Figure("p50", "delay, p50", "µs"), Figure("p99", "delay, p99", "µs"))
_STREAMS = ("notifier", "nchan", "better-sse", "aiohttp-sse", "starlette-redis")
_PUBLISHERS = (*_STREAMS, "bare-aiohttp")

WORKS: Sequence[Work] = (
    Work(
        "fanout", "fan-out, 1 session × 1,000 readers, published in process",
        {"readers": 1000, "events": 500}, _RATE, _STREAMS, {"events": 50},
    ),
    Work(
        "fanout-post", "the same, published by POST, one under way",
        {"readers": 1000, "events": 300}, _RATE, _STREAMS, {"events": 50},
    ),
    Work(
        "sessions-1", "1,000 sessions × 1 reader, publisher yields after every event",
        {"sessions": 1000, "events": 40, "yield_every": 1}, _RATE, _STREAMS, {"events": 4},
    ),
    Work(
        "sessions-100", "the same, publisher yields after every hundred",
        {"sessions": 1000, "events": 40, "yield_every": 100}, _RATE, _STREAMS, {"events": 4},
    ),
    Work(
        "paced", "2,000 events/s over 1,000 sessions",
        {"sessions": 1000, "per_second": 2000, "seconds": 4}, _DELAY, _STREAMS,
    ),
    Work(
        "idle", "10,000 idle streams, a session each",
        {"connections": 10_000}, (Figure("kib", "memory per stream", "KiB"),), _STREAMS,
    ),
    Work(
        "publish", "publish over HTTP, one event per POST, 8 connections",
        {"events": 16_000}, _PUBLISHED, _PUBLISHERS, {"events": 4000},
    ),
    Work(
        "publish-array", "publish over HTTP, arrays of 100, against single POSTs",
        {"events": 80_000}, _PUBLISHED, ("notifier", "nchan"),
    ),
    Work(
        "publish-varied", "the same arrays, no two events in a row alike",
        {"events": 80_000}, _PUBLISHED, ("notifier", "nchan"),
    ),
    Work(
        "publish-stream", "publish over HTTP, an NDJSON stream, against single POSTs",
        {"events": 80_000}, _PUBLISHED, ("notifier", "nchan"),
    ),
    Work(
        "permission", "permission round trip, against an empty POST",
        {"times": 500},
        (Figure("whole", "asked to answered, p50", "µs"), Figure("answer", "decided to answered, p50", "µs")),
        ("notifier", "bare-aiohttp"),
    ),
    Work(
        "stalled", "1 session × 200 readers, 50 events/s, then a tenth stops reading",
        {"readers": 200, "per_second": 50, "seconds": 4, "pad": 1024},
        (Figure("p99", "healthy readers' delay, p99", "µs"), Figure("times", "the same, next to before", "×")),
        _STREAMS,
    ),
    Work(
        "storm", "1,000 readers drop, miss 200 events, come back at once",
        {"readers": 1000, "events": 200}, (Figure("seconds", "until all have all", "s"),), _STREAMS,
    ),
    Work(
        "websocket", "fan-out as above, over WebSocket",
        {"readers": 1000, "events": 500}, _RATE, _STREAMS, {"events": 50},
    ),
    Work(
        "long-poll", "fan-out as above, by long-polling, an answer per event at worst",
        {"readers": 1000, "events": 30}, _RATE, _STREAMS,
    ),
)  # fmt: skip
