"""For programs without a loop: ask, a decorator that asks, and the service itself in a thread.

Plain scripts, thread pools, notebooks, Flask, Django and the plain functions of FastAPI call these and wait, whether or
not a loop runs in their thread.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar

from .calls import asking
from .calls.tool_wrapper import RUNNING_CALL, Risk, ToolWrapper
from .client import DEFAULT_URL, Client
from .core.broker import Broker
from .core.errors import ToolDenied

if TYPE_CHECKING:
    from .chat import Agent
    from .settings import Settings

__all__ = ["Service", "approved", "ask", "serve_in_thread"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: What it may take to withdraw a request, or to stop, before the program goes on.
_FAREWELL_SECONDS = 3.0

_Errand = Callable[[], None]
_Do = Callable[[Callable[[], Any]], Awaitable[Any]]


def ask(
    session_id: str,
    tool_name: str,
    parameters: Mapping[str, Any],
    *,
    service: str | Service | None = None,
    token: str | None = None,
    until: Future[None] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Wait for the answer, and return the parameters with which the call may run: a copy, or a person's edit.

    ``service`` is the URL of a running service, with its prefix or without, or what ``serve_in_thread`` gave. Without
    one it is the service that runs in a thread of this process, or else the one at ``NOTIFIER_URL``, asked with
    ``NOTIFIER_TOKEN``. ``more`` are the other arguments of ``notifier_service.ask``: ``risk_level``, ``description``,
    ``timeout_seconds``, ``tool_call_id``, ``server``, ``may_edit``, ``input_schema``. When another thread ends
    ``until``, a ``concurrent.futures.Future``, the request is withdrawn.

    Raises ``ToolDenied``, whose text says who or what denied it, also when the service is away or the program ends
    meanwhile. Ctrl-C withdraws the request. Raises ``RuntimeError`` in the thread of the service itself.
    """
    way = _way(service, token, tool_name)

    async def asked(_: _Do) -> dict[str, Any]:
        async with way.service() as reached:
            answer = asyncio.ensure_future(asking.ask(session_id, tool_name, parameters, service=reached, **more))
            if until is not None:
                loop = asyncio.get_running_loop()
                until.add_done_callback(lambda _: loop.call_soon_threadsafe(answer.cancel))
            return await answer

    try:
        return way.loop.wait(asked, tool_name)
    except ToolDenied as denial:
        if denial.outcome == "cancelled" and until is not None and until.done():
            raise ToolDenied(f"{tool_name} did not run: the request was withdrawn.", outcome="cancelled") from None
        raise


def approved(
    session_id: str | Callable[[], str],
    *,
    service: str | Service | None = None,
    token: str | None = None,
    tool_name: str | None = None,
    risk_level: Risk | None = None,
    description: str | None = None,
    timeout_seconds: float | None = None,
    server: str | None = None,
    on_edit: Callable[[str], object] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a plain function or method: each call is announced, asked about, run as it was shown, and reported.

    The function runs in the thread that called it, with a copy of its arguments or with a person's edit. A person may
    answer in its place: then the call returns that text. ``session_id`` may be a function, for programs that serve many
    sessions; the rest is as in ``ask`` and ``ToolWrapper``.

    A call that is denied raises ``ToolDenied``, and what the function raises comes out unchanged. Raises ``TypeError``
    for a coroutine function, which ``ToolWrapper`` is for.
    """
    how: dict[str, Any] = {"tool_name": tool_name, "risk_level": risk_level, "description": description}
    how |= {"timeout_seconds": timeout_seconds, "server": server, "on_edit": on_edit}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not callable(function):
            raise TypeError("approved() decorates a function: write @approved(SESSION_ID)")
        # An object may be one by its class.
        if any(map(_is_asynchronous, (function, type(function).__call__))):
            raise TypeError(f"{_name_of(function)} is a coroutine function: use notifier_service.ToolWrapper for it")
        return _Approved(function, session_id, service, token, how)

    if callable(session_id) and inspect.isfunction(session_id) and inspect.signature(session_id).parameters:
        raise TypeError("approved() needs the id of a session: write @approved(SESSION_ID)")
    return decorate


def serve_in_thread(settings: Settings | None = None, *, agent: Agent | None = None, **changed: Any) -> Service:
    """Run the service in a thread of this process, and return when it listens.

    ``changed`` are single settings, such as ``port=0``; without ``settings`` the others come from ``NOTIFIER_*``. It
    ends with the program, or by ``stop()``. Raises ``OSError`` when the address is taken, and what ``serve`` raises.
    """
    from .settings import Settings  # who only asks does without the service

    if settings is None:
        settings = Settings(**changed)
    elif changed:
        settings = Settings(**settings.model_dump(exclude_unset=True) | changed)
    return Service(settings, agent)


class Service:
    """A service that runs in a thread of this process and listens at ``url``; a context manager that stops it.

    Its ``broker`` belongs to that thread: from others it is reached with ``ask`` and ``approved``.
    """

    def __init__(self, settings: Settings, agent: Agent | None = None) -> None:
        self._settings = settings
        self._listens: Future[tuple[Broker, str]] = Future()
        self._ended = threading.Event()
        self._pid = os.getpid()
        self.loop = _Loop("notifier_service")
        self._over = self.loop.begin(self._run(agent))
        try:
            self.broker, self.url = self._listens.result()
        except BaseException:
            self.stop()
            raise
        _program.services.append(self)

    @property
    def is_running(self) -> bool:
        return self._pid == os.getpid() and not self._ended.is_set()

    def stop(self) -> None:
        """End every stream, cancel what waits, and return within ``shutdown_seconds``; again, it does nothing."""
        if self in _program.services:
            _program.services.remove(self)
        if self._pid != os.getpid():
            return  # it is the parent's
        self._over()
        seconds = self._settings.drain_seconds + self._settings.shutdown_seconds + _FAREWELL_SECONDS
        self._ended.wait(seconds)
        self.loop.close()

    async def _run(self, agent: Agent | None) -> None:
        from .web import serve  # who only asks does without the service

        try:
            async with serve(settings=self._settings, agent=agent) as site:
                is_unix = site.url.startswith("unix:")
                self._listens.set_result((site.broker, site.url if is_unix else site.url + self._settings.prefix))
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        except Exception as error:
            if self._listens.done():
                raise
            self._listens.set_exception(error)
        finally:
            self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Approved(Generic[P, R]):
    """A function whose calls are asked about; as a method too."""

    def __init__(
        self,
        function: Callable[P, R],
        session_id: str | Callable[[], str],
        service: str | Service | None,
        token: str | None,
        how: Mapping[str, Any],
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._session_id = session_id
        self._reached = service, token
        self._how = how

    def __get__(self, instance: Any, owner: type | None = None) -> _Approved[Any, R]:
        if instance is None:
            return self
        return _Approved(self._function.__get__(instance, owner), self._session_id, *self._reached, self._how)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        name: str = self._how["tool_name"] or _name_of(self._function)
        way = _way(*self._reached, name)
        session_id = self._session_id if isinstance(self._session_id, str) else self._session_id()
        raised: list[BaseException] = []

        async def called(do: _Do) -> Any:
            @functools.wraps(self._function)
            async def here(*args: Any, **kwargs: Any) -> Any:
                call = RUNNING_CALL.get()

                def run() -> Any:
                    token = RUNNING_CALL.set(call)
                    try:
                        return _not_to_be_awaited(self._function(*args, **kwargs), name)
                    except BaseException as error:
                        raised.append(error)
                        raise
                    finally:
                        RUNNING_CALL.reset(token)

                return await do(run)

            async with way.service() as reached:
                where = {"broker": reached} if isinstance(reached, Broker) else {"service": reached}
                return await ToolWrapper(here, session_id=session_id, **where, **self._how)(*args, **kwargs)

        try:
            result: R = way.loop.wait(called, name)
        except BaseException as error:
            if raised and error is not raised[0]:
                raise raised[0] from None  # what a loop cannot carry
            raise
        return result


def _is_asynchronous(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _name_of(function: Any) -> str:
    return str(getattr(getattr(function, "func", function), "__name__", "the tool"))


def _not_to_be_awaited(result: R, name: str) -> R:
    """The result of a function that has run. Raises ``TypeError`` for a coroutine, which nobody here would await."""
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{name} gave a coroutine, which did not run: use notifier_service.ToolWrapper for it")
    return result


class _Loop:
    """A loop in a thread of its own, which answers calls of threads that have none."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def begin(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Have it run there; what cancels it."""
        tasks: list[asyncio.Task[None]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(work))
            self._tasks.add(tasks[0])
            tasks[0].add_done_callback(self._tasks.discard)

        self._loop.call_soon_threadsafe(start)
        return lambda: self._soon(lambda: tasks[0].cancel())

    def wait(self, work: Callable[[_Do], Coroutine[Any, Any, T]], tool_name: str) -> T:
        """Have it run there, do here what it asks to be done in this thread, and return what it gives."""
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                f"{tool_name} did not run: this is the thread of the loop that would have to answer. Await "
                "notifier_service.ask there, or use ToolWrapper."
            )
        errands: SimpleQueue[_Errand | None] = SimpleQueue()
        outcome: Future[T] = Future()

        async def run() -> None:
            try:
                outcome.set_result(await work(lambda what: self._done_by(errands, what)))
            except asyncio.CancelledError:
                text = f"{tool_name} did not run: the request was cancelled because the program ends."
                outcome.set_exception(ToolDenied(text, outcome="cancelled"))
            except Exception as error:
                outcome.set_exception(error)
            finally:
                errands.put(None)

        cancel = self.begin(run())
        try:
            while (errand := errands.get()) is not None:
                errand()
        except BaseException:
            cancel()
            with suppress(BaseException):
                outcome.exception(_FAREWELL_SECONDS)
            raise
        return outcome.result()

    def _done_by(self, errands: SimpleQueue[_Errand | None], what: Callable[[], Any]) -> Awaitable[Any]:
        """Have the thread do it that waits for its errands."""
        done: asyncio.Future[Any] = self._loop.create_future()

        def tell(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            if not done.done():
                set_outcome(outcome)

        def errand() -> None:
            try:
                result = what()
            except BaseException as error:
                # The loop could not carry these; who called gets the exception itself.
                is_plain = isinstance(error, Exception) and not isinstance(error, StopIteration)
                told = error if is_plain else RuntimeError(f"{type(error).__name__}: {error}")
                self._soon(lambda: tell(done.set_exception, told))
            else:
                self._soon(lambda: tell(done.set_result, result))

        errands.put(errand)
        return done

    def close(self) -> None:
        """Cancel what is asked, so that the threads that wait go on, and end."""

        async def end() -> None:
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_FAREWELL_SECONDS)
            self._loop.stop()

        ending: list[asyncio.Task[None]] = []
        self._soon(lambda: ending.append(self._loop.create_task(end())))
        self._thread.join(2 * _FAREWELL_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _soon(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # it has been closed
            self._loop.call_soon_threadsafe(call)


class _Way:
    """Whom to ask, and the loop on which that is done."""

    def __init__(self, loop: _Loop, reached: Broker | str, token: str | None = None) -> None:
        self.loop = loop
        self._reached = reached
        self._token = token

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Broker | Client]:
        if isinstance(self._reached, Broker):
            yield self._reached
        else:
            async with Client(self._reached, token=self._token) as client:
                yield client


class _Program:
    """What this process has running; begun anew in a child, where threads of the parent do not run."""

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.is_ending = False
        self._asking: _Loop | None = None
        self._lock = threading.Lock()
        # Before the threads of pools are joined, which may wait for a person; atexit comes after that. The standard
        # library's own pools are ended this way, and there is no public one.
        getattr(threading, "_register_atexit", atexit.register)(self._end)

    def asking(self) -> _Loop:
        """The loop that asks services of other processes."""
        with self._lock:
            if self._asking is None:
                self._asking = _Loop("notifier_service asks")
            return self._asking

    def _end(self) -> None:
        if _program is not self:
            return  # the parent's
        self.is_ending = True
        for service in list(self.services):
            service.stop()
        if self._asking is not None:
            self._asking.close()


_program = _Program()


def _begin_anew() -> None:
    global _program
    _program = _Program()


os.register_at_fork(after_in_child=_begin_anew)


def _way(service: str | Service | None, token: str | None, tool_name: str) -> _Way:
    if service is None and _program.services:
        service = _program.services[-1]
    if _program.is_ending or (isinstance(service, Service) and not service.is_running):
        what = "the program ends" if _program.is_ending else "the service was stopped"
        raise ToolDenied(f"{tool_name} did not run: {what}.", outcome="unavailable")
    if isinstance(service, Service):
        return _Way(service.loop, service.broker)
    if service is not None and not isinstance(service, str):
        raise TypeError(
            "service is a URL, or what serve_in_thread() gave; who has a Client awaits notifier_service.ask"
        )
    url = service or os.environ.get("NOTIFIER_URL") or DEFAULT_URL
    return _Way(_program.asking(), url, token or os.environ.get("NOTIFIER_TOKEN"))
