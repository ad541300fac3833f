"""Work that is too long for one turn of the loop: a generator, which lets others have theirs wherever it yields."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

__all__ = ["Work", "at_once", "in_turns"]

Result = TypeVar("Result")
Work = Generator[None, None, Result]


def at_once(work: Work[Result]) -> Result:
    """Do all of it in this turn."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result


async def in_turns(work: Work[Result]) -> Result:
    """Do it in as many turns as it takes."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result
        await asyncio.sleep(0)
