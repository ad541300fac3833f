"""What a service does when it is ready already, so that it is ready sooner and no request waits for it either."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel

from ..core.events import EventData
from .pages import read_console
from .routes import ROUTES

__all__ = ["prepare"]


async def prepare() -> None:
    """Read the console, and build what is not built yet of all that comes in and goes out, one model a turn."""
    with suppress(OSError, RuntimeError):  # no descriptor or no thread is left: they are read when they are asked for
        await asyncio.to_thread(read_console)
    for model in _of_the_wire():
        model.model_rebuild()
        await asyncio.sleep(0)


def _of_the_wire() -> Iterator[type[BaseModel]]:
    for route in ROUTES:
        yield route.query
        if route.body is not None:
            yield route.body
    waiting: list[type[BaseModel]] = [EventData]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        yield model
