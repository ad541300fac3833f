"""A coroutine method that is called where no loop runs says what to do, and can be awaited all the same."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Awaitable

import pytest

from notifier_service.calls.loopless import ToldWithoutALoop

ADVICE = "did not run: await it, give it to asyncio.run(), or, in a program without asyncio, use notifier_service.sync"


class Tool:
    @ToldWithoutALoop
    async def remove(self, path: str, *, force: bool = False) -> str:
        """Remove a file."""
        await asyncio.sleep(0)
        if not path:
            raise ValueError("no path")
        return f"{path} {force}"


def test_call_without_a_loop_prints_as_advice_and_warns_when_it_is_thrown_away() -> None:
    calls = [Tool().remove("a")]
    said = str(calls[0])
    with pytest.warns(RuntimeWarning, match=r"^a call of a ToolWrapper did not run: await it"):
        calls.clear()

    assert said.startswith(f"<this call {ADVICE}")


def test_call_without_a_loop_is_awaited_where_one_is_made_for_it() -> None:
    async def result_of(call: Awaitable[str]) -> str:
        return await call

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call = Tool().remove("a", force=True)
        assert asyncio.run(result_of(call)) == "a True"
        assert "did not run" not in str(call)
        assert asyncio.run(Tool().remove("b")) == "b False"
        with pytest.raises(ValueError, match="no path"):
            asyncio.run(Tool().remove(""))
        del call
        gc.collect()


async def test_call_in_a_loop_is_the_coroutine_itself() -> None:
    call = Tool().remove("a")

    assert inspect.iscoroutine(call)
    assert await call == "a False"


def test_call_without_a_loop_can_be_cancelled_and_closed_as_a_coroutine() -> None:
    thrown, closed = Tool().remove("a"), Tool().remove("a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError):
            thrown.throw(KeyError("gone"))
        with pytest.raises(KeyError):
            Tool().remove("a").throw(KeyError, KeyError("gone"))
        closed.close()
        del thrown, closed
        gc.collect()


def test_method_is_to_inspect_what_it_was() -> None:
    bound = Tool().remove

    assert inspect.iscoroutinefunction(bound)
    assert inspect.iscoroutinefunction(Tool.remove)
    assert list(inspect.signature(bound).parameters) == ["path", "force"]
    assert (bound.__name__, bound.__doc__) == ("remove", "Remove a file.")
