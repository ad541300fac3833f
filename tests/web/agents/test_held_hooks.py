"""A hook that was ended while a person is asked is joined by the one that comes about the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from notifier_service.web.agents.held_hooks import HeldHooks

CALL = ("ann", "s", "claude-code", "digest")


class Person:
    """Is asked, and answers when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.withdrawn = 0
        self.answer = asyncio.get_running_loop().create_future()

    def ask(self) -> Coroutine[Any, Any, dict[str, Any]]:
        self.asked += 1
        return self._decided()

    async def _decided(self) -> dict[str, Any]:
        try:
            return {"decided": await asyncio.shield(self.answer)}
        except asyncio.CancelledError:
            self.withdrawn += 1
            raise


async def begin(hooks: HeldHooks, person: Person, key: str, of_call: Any = CALL) -> None:
    """A hook that is ended as soon as its question has come."""
    async with hooks.joined((key,), b"digest", person.ask, of_call=of_call):
        await asyncio.sleep(0)


async def test_same_call_under_another_key_joins_the_hook_that_was_ended() -> None:
    hooks, person = HeldHooks(join_seconds=0.05), Person()
    await begin(hooks, person, "first")

    async with hooks.joined(("second",), b"digest", person.ask, of_call=CALL) as answering:
        await asyncio.sleep(0.1)  # longer than the first has to come back
        person.answer.set_result("yes")
        told = await answering

    assert told == {"decided": "yes"}
    assert (person.asked, person.withdrawn) == (1, 0)
    await hooks.close()


@pytest.mark.parametrize("other", [None, ("bob", *CALL[1:])])
async def test_another_call_is_a_question_of_its_own(other: Any) -> None:
    hooks, person = HeldHooks(join_seconds=0.05), Person()
    await begin(hooks, person, "first")
    await begin(hooks, person, "second", other)
    await asyncio.sleep(0.1)

    assert (person.asked, person.withdrawn) == (2, 2)
    await hooks.close()


async def test_hook_that_is_still_waited_for_is_its_own() -> None:
    hooks, person = HeldHooks(), Person()
    async with hooks.joined(("first",), b"digest", person.ask, of_call=CALL):
        await begin(hooks, person, "second")

    assert person.asked == 2
    await hooks.close()


async def test_answer_that_an_ended_hook_may_have_got_is_not_given_to_another() -> None:
    hooks, person = HeldHooks(), Person()
    person.answer.set_result("yes")
    async with hooks.joined(("first",), b"digest", person.ask, of_call=CALL) as answering:
        await answering
    await begin(hooks, person, "second")

    assert person.asked == 2
    await hooks.close()
