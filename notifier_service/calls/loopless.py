"""A coroutine method that is called where no loop runs, and says what to do instead."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

__all__ = ["ToldWithoutALoop"]


class ToldWithoutALoop:
    """A coroutine method whose call, where no loop runs in the thread, prints as advice (``str``, ``repr``, warning).

    It can be awaited, and given to ``asyncio.run``, all the same. To ``inspect`` the method is what it was.
    """

    def __init__(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Coroutine[Any, Any, Any]]:
        return self._method if instance is None else _Bound(self._method, instance)


class _Bound:
    """A bound method, like a function to ``inspect.iscoroutinefunction``, by which frameworks know what to await."""

    def __init__(self, method: Any, instance: Any) -> None:
        self.__func__, self.__self__ = method, instance
        self.__name__, self.__qualname__, self.__doc__ = method.__name__, method.__qualname__, method.__doc__
        self.__annotations__ = method.__annotations__
        self.__code__ = method.__code__
        self.__defaults__, self.__kwdefaults__ = method.__defaults__, method.__kwdefaults__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__func__.__get__(self.__self__))

    def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        coroutine: Coroutine[Any, Any, Any] = self.__func__(self.__self__, *args, **kwargs)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _Told(coroutine)
        return coroutine


class _Told(Coroutine[Any, Any, Any]):
    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._began = False

    def __repr__(self) -> str:
        if self._began:
            return repr(self._coroutine)
        return (
            "<this call did not run: await it, give it to asyncio.run(), or, in a program without asyncio, use "
            "notifier_service.sync.approved in the place of ToolWrapper>"
        )

    def __await__(self) -> Generator[Any, Any, Any]:
        self._began = True
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        self._began = True
        return self._coroutine.send(value)

    def throw(self, kind: Any, value: BaseException | object = None, traceback: TracebackType | None = None) -> Any:
        self._began = True
        return self._coroutine.throw(kind if value is None else value)  # type: ignore[arg-type]

    def close(self) -> None:
        self._began = True
        self._coroutine.close()

    def __del__(self) -> None:
        if not self._began:
            self._coroutine.close()
            warnings.warn(repr(self).strip("<>").replace("this call", "a call of a ToolWrapper"), RuntimeWarning, 2)
