"""Programs without a loop ask, have their functions asked about, and run the service in a thread."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from notifier_service import Broker, Decision, Settings, ToolDenied, ToolWrapper, report_progress, sync
from notifier_service.client import Client
from notifier_service.core.permission_request import PermissionRequest


@pytest.fixture(scope="module")
def service() -> Iterator[sync.Service]:
    with sync.serve_in_thread(Settings(port=0)) as service:
        yield service


@pytest.fixture(params=["the service of this process", "a service elsewhere"])
def way(request: pytest.FixtureRequest, service: sync.Service) -> sync.Service | str:
    return service if request.param == "the service of this process" else service.url


@pytest.fixture
def session_id(request: pytest.FixtureRequest) -> str:
    return "s-" + str(abs(hash(request.node.nodeid)))


async def request_of(service: sync.Service, session_id: str) -> PermissionRequest:
    session = service.broker.open(session_id)
    async with asyncio.timeout(10):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


def there(service: sync.Service, work: Callable[[], Any]) -> Any:
    """What a coroutine gives that runs in the thread of the service."""
    return service.loop.wait(lambda _: work(), "a test")


@contextmanager
def person(service: sync.Service, session_id: str, *, times: int = 1, **decision: Any) -> Iterator[None]:
    """Somebody who answers what the session asks."""

    async def decide() -> None:
        for _ in range(times):
            request = await request_of(service, session_id)
            service.broker.decide(session_id, Decision(request_id=request.request_id, **decision), decided_by="ada")
            await request.decision()

    with ThreadPoolExecutor(1) as pool:
        answered = pool.submit(there, service, decide)
        yield
        answered.result(10)


def events(service: sync.Service, session_id: str) -> list[Any]:
    async def read() -> list[Any]:
        return [json.loads(event.json) for event in service.broker.open(session_id).log.read_after(0)]

    return list(there(service, read))


def statuses(service: sync.Service, session_id: str) -> list[str]:
    told = [event["data"]["status"] for event in events(service, session_id) if event["type"] == "tool_status"]
    return [status for status in told if status != "waiting_permission"]


def test_asked_and_approved_gives_a_copy(way: sync.Service | str, service: sync.Service, session_id: str) -> None:
    parameters = {"path": ["a"]}
    with person(service, session_id, approved=True):
        given = sync.ask(session_id, "rm", parameters, service=way)
    assert given == parameters
    assert given is not parameters


def test_rejected_says_who_and_why(way: sync.Service | str, service: sync.Service, session_id: str) -> None:
    with (
        person(service, session_id, approved=False, reason="not now"),
        pytest.raises(ToolDenied, match=r"^rm did not run: rejected by ada: not now$"),
    ):
        sync.ask(session_id, "rm", {}, service=way)


def test_question_is_withdrawn_when_another_thread_says_so(
    way: sync.Service | str, service: sync.Service, session_id: str
) -> None:
    until: Future[None] = Future()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(sync.ask, session_id, "rm", {}, service=way, until=until)
        request = there(service, lambda: request_of(service, session_id))
        until.set_result(None)
        with pytest.raises(ToolDenied, match=r"^rm did not run: the request was withdrawn\.$") as denied:
            asking.result(10)

    assert denied.value.outcome == "cancelled"
    assert there(service, request.decision).status == "cancelled"


def test_function_runs_in_the_thread_that_called_it(
    way: sync.Service | str, service: sync.Service, session_id: str
) -> None:
    context: ContextVar[str] = ContextVar("context")
    context.set("of the caller")

    @sync.approved(session_id, service=way)
    def remove(path: str, *, force: bool = False) -> list[Any]:
        report_progress(1, 2, "half")
        return [threading.current_thread(), context.get(), path, force]

    with person(service, session_id, approved=True):
        result = remove("a", force=True)

    assert result == [threading.current_thread(), "of the caller", "a", True]
    assert inspect.signature(remove) == inspect.signature(remove.__wrapped__)  # type: ignore[attr-defined]
    types = [event["type"] for event in events(service, session_id)]
    assert types.index("tool_progress") < types.index("tool_result")
    assert statuses(service, session_id)[-2:] == ["executing", "completed"]


def test_function_runs_with_what_a_person_made_of_it(service: sync.Service, session_id: str) -> None:
    told: list[str] = []

    @sync.approved(session_id, service=service, on_edit=told.append)
    def remove(path: str) -> str:
        return path

    with person(service, session_id, approved=True, parameters={"path": "b"}):
        assert remove("a") == "b"
    assert "ada" in told[0]


def test_method_shows_its_arguments_without_the_object(service: sync.Service, session_id: str) -> None:
    class Files:
        root = "/srv/"

        @sync.approved(session_id, service=service)
        def remove(self, path: str) -> str:
            return self.root + path

        @staticmethod
        @sync.approved(session_id, service=service)
        def count(path: str) -> int:
            return len(path)

    with person(service, session_id, times=2, approved=True):
        assert Files().remove("a") == "/srv/a"
        assert Files.count("abc") == 3
    asked = [event["data"] for event in events(service, session_id) if event["type"] == "permission_request"]
    assert [one["parameters"] for one in asked] == [{"path": "a"}, {"path": "abc"}]


@pytest.mark.parametrize(
    "error", [ValueError("no such file"), StopIteration("end"), KeyboardInterrupt(), SystemExit(3)]
)
def test_what_the_function_raises_comes_out_unchanged(
    error: BaseException, service: sync.Service, session_id: str
) -> None:
    @sync.approved(session_id, service=service)
    def remove() -> None:
        raise error

    with person(service, session_id, approved=True), pytest.raises(type(error)) as raised:
        remove()

    assert raised.value is error
    assert statuses(service, session_id)[-1] == "failed"


def test_denied_function_does_not_run(way: sync.Service | str, service: sync.Service, session_id: str) -> None:
    runs: list[str] = []
    remove = sync.approved(session_id, service=way, tool_name="remove")(runs.append)

    with person(service, session_id, approved=False), pytest.raises(ToolDenied, match="remove did not run"):
        remove("a")
    assert runs == []


def test_function_may_call_another_one(service: sync.Service, session_id: str) -> None:
    @sync.approved(session_id, service=service)
    def inner(n: int) -> int:
        return n + 1

    @sync.approved(lambda: session_id, service=service)
    def outer(n: int) -> int:
        return inner(n) * 10

    with person(service, session_id, times=2, approved=True):
        assert outer(1) == 20


def test_threads_of_a_pool_ask_side_by_side(way: sync.Service | str, service: sync.Service, session_id: str) -> None:
    @sync.approved(session_id, service=way)
    def double(n: int) -> int:
        return 2 * n

    with person(service, session_id, times=8, approved=True), ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(double, range(8))) == [0, 2, 4, 6, 8, 10, 12, 14]


async def test_waits_though_a_loop_runs_in_the_thread(service: sync.Service, session_id: str) -> None:
    with person(service, session_id, approved=True):  # as in a cell of a notebook
        assert sync.ask(session_id, "rm", {"path": "a"}, service=service) == {"path": "a"}


def test_thread_of_the_service_cannot_wait_for_itself(service: sync.Service, session_id: str) -> None:
    async def ask_there() -> None:
        sync.ask(session_id, "rm", {}, service=service)

    with pytest.raises(RuntimeError, match=r"Await notifier_service\.ask there"):
        there(service, ask_there)


def test_service_that_is_away_denies(session_id: str) -> None:
    runs: list[str] = []

    @sync.approved(session_id, service="http://127.0.0.1:9/agent_backend", risk_level="low")
    def remove() -> None:
        runs.append("ran")

    with pytest.raises(ToolDenied) as denied:
        remove()
    assert denied.value.outcome == "unavailable"
    assert runs == []


def test_service_that_was_stopped_denies(session_id: str) -> None:
    service = sync.serve_in_thread(port=0)
    assert service.is_running
    service.stop()
    service.stop()

    assert not service.is_running
    with pytest.raises(ToolDenied, match="rm did not run: the service was stopped"):
        sync.ask(session_id, "rm", {}, service=service)


def test_stop_lets_those_go_on_that_wait(session_id: str) -> None:
    service = sync.serve_in_thread(port=0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sync.ask, session_id, "rm", {}, service=service)
        there(service, lambda: request_of(service, session_id))
        began = time.monotonic()
        service.stop()
        with pytest.raises(ToolDenied, match="rm did not run"):
            waiting.result(10)
    assert time.monotonic() - began < 10


def test_address_that_is_taken_is_said_in_the_thread_that_called(service: sync.Service) -> None:
    port = int(service.url.rsplit(":", 1)[1].partition("/")[0])
    with pytest.raises(OSError, match="in use"):
        sync.serve_in_thread(port=port)


@pytest.mark.parametrize(
    ("decorated", "says"),
    [
        (lambda: sync.approved("s")(_coroutine), "use notifier_service.ToolWrapper"),
        (lambda: sync.approved(_plain), "write @approved"),
        (lambda: sync.approved("s")("text"), "decorates a function"),  # type: ignore[arg-type]
        (lambda: sync.ask("s", "rm", {}, service=Client()), "a URL, or what serve_in_thread"),  # type: ignore[arg-type]
        (lambda: sync.ask("s", "rm", {}, service="http://127.0.0.1:9", riks="low"), "riks"),
        (lambda: sync.approved("s")(partial(_one_argument, 1)), "_one_argument is a coroutine function"),
        (lambda: sync.approved("s")(_AsynchronousObject()), "the tool is a coroutine function"),
    ],
)
def test_what_is_written_wrong_is_said(decorated: Callable[[], object], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        decorated()


async def _coroutine() -> None: ...


async def _one_argument(n: int) -> None: ...


class _AsynchronousObject:
    async def __call__(self) -> None: ...


def test_function_that_gives_a_coroutine_is_told_that_nobody_awaits_it(
    way: sync.Service | str, service: sync.Service, session_id: str
) -> None:
    function = sync.approved(session_id, service=way, tool_name="later")(lambda: _coroutine())
    with person(service, session_id, approved=True), pytest.raises(TypeError, match=r"^later gave a coroutine"):
        function()
    assert statuses(service, session_id)[-1] == "failed"


def _plain(n: Any) -> Any:
    return n


PROGRAM = """
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from notifier_service import sync
@sync.approved("s", service=sys.argv[1])
def remove(path):
    print("it ran", flush=True)
try:
    if sys.argv[2] == "pool":
        pool = ThreadPoolExecutor(1)
        waiting = [pool.submit(remove, "a") for _ in range(3)]
        waiting[0].result()
    else:
        remove("a")
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("where", ["main", "pool"])
def test_ctrl_c_withdraws(where: str, service: sync.Service) -> None:
    async def nothing_waits() -> None:
        session = service.broker.open("s")
        async with asyncio.timeout(10):
            while session.desk.pending:
                await session.log.wait_after(session.log.last_seq)

    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, service.url, where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        there(service, lambda: request_of(service, "s"))
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=20)

    assert (program.returncode, out) == (0, "interrupted\n"), err
    assert "Traceback" not in err
    there(service, nothing_waits)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_child_of_a_fork_asks_on_its_own(service: sync.Service, session_id: str) -> None:
    sync.approved(session_id, service="http://127.0.0.1:9")  # the parent's loop may run or not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads and fork, which is what is tried here
        with person(service, session_id, approved=True):
            pid = os.fork()
            if not pid:
                try:
                    os._exit(0 if sync.ask(session_id, "rm", {"a": 1}, service=service.url) == {"a": 1} else 1)
                finally:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_wrapper_without_a_loop_says_what_to_do() -> None:
    wrapper = ToolWrapper(_plain, session_id="s")

    with pytest.warns(RuntimeWarning, match=r"a call of a ToolWrapper did not run: .*notifier_service\.sync\.approved"):
        assert "did not run" in str(wrapper(1))
    assert inspect.iscoroutinefunction(wrapper.__call__)
    assert inspect.iscoroutinefunction(type(wrapper).__call__)


def test_wrapper_runs_where_a_loop_is_made_for_it(service: sync.Service, session_id: str) -> None:
    async def remove(path: str) -> Any:
        async with Client(service.url) as client:
            return await ToolWrapper(_plain, session_id=session_id, service=client)(path)

    with person(service, session_id, approved=True):
        assert asyncio.run(remove("a")) == "a"
    broker = Broker(Settings(ask_from_risk="high"))
    assert asyncio.run(ToolWrapper(_plain, session_id="s", broker=broker, risk_level="low")(3)) == 3
    with pytest.raises(TypeError, match="a broker or a service"):
        ToolWrapper(_plain, session_id="s", broker=broker, service=Client())
