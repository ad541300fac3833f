"""Orders to publish: how the load generator makes a server publish by itself, within its own process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["Order", "carry_out", "event"]


@dataclass(frozen=True, slots=True)
class Order:
    """Publish ``events`` events, in turn to the sessions ``b0``, ``b1``, …

    Numbers begin at ``first`` in each session. The publisher lets others run after every ``yield_every`` events; with
    ``per_second`` it keeps to that pace instead. ``pad`` is the length of a text in each event.
    """

    sessions: int
    events: int
    first: int = 1
    yield_every: int = 1
    per_second: float = 0
    pad: int = 64

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        return cls(**json.loads(text))


def event(number: int, pad: str) -> dict[str, Any]:
    """The data of one event; see ``sequence.NUMBER``."""
    return {"n": number, "t": time.monotonic_ns(), "pad": pad}


async def carry_out(
    order: Order,
    publish: Callable[[str, Mapping[str, Any]], None],
    breathe: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0),
) -> None:
    """Publish what is ordered; ``breathe`` lets others run, or sends what ``publish`` gathered."""
    sessions = [f"b{number}" for number in range(order.sessions)]
    pad = "x" * order.pad
    start = time.monotonic()
    for done in range(order.events):
        if order.per_second and (early := start + done / order.per_second - time.monotonic()) > 0:
            await asyncio.sleep(early)
        publish(sessions[done % order.sessions], event(order.first + done // order.sessions, pad))
        if order.per_second or (done + 1) % order.yield_every == 0:
            await breathe()
    await breathe()
