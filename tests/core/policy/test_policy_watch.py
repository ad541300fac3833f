"""A policy file is read again beside the loop, and what comes of it is told once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Settings
from notifier_service.core.errors import InvalidInput
from notifier_service.core.metrics import Counters
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.policy.policy_watch import PolicyWatch
from notifier_service.core.question import Question
from tests.clock import Clock
from tests.policies import a_policy_file, rules_text


class Watched(PolicyFile):
    """A file of which a test says what comes of looking at it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.looks: list[int] = []
        self.may_look = threading.Event()
        self.may_look.set()
        self.comes: Callable[[], bool] = lambda: False

    def refresh(self) -> bool:
        self.looks.append(threading.get_ident())
        assert self.may_look.wait(10)
        return self.comes()


@pytest.fixture
def file(tmp_path: Path) -> Watched:
    path = tmp_path / "policy.toml"
    path.write_text(rules_text(deny="rm"))
    return Watched(path)


class Now(Executor):
    """Runs at once what a thread would run."""

    def submit(self, work: Any, /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **named))
        return done


def test_file_is_looked_at_once_a_second(file: Watched) -> None:
    watch = PolicyWatch(file, Counters(), thread=Now())
    for now in (100.0, 100.5, 100.9, 101.0):
        watch.look(now)

    assert len(file.looks) == 2


def test_look_that_takes_long_holds_nobody_and_is_not_begun_again(file: Watched) -> None:
    watch = PolicyWatch(file, Counters())
    file.may_look.clear()
    for now in range(100, 110):
        watch.look(float(now), at_once=True)
    file.may_look.set()
    watch.close()

    assert len(file.looks) <= 1
    assert threading.get_ident() not in file.looks


def test_what_came_of_a_look_is_logged_and_counted_once(file: Watched, caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    watch = PolicyWatch(file, counters, thread=Now())

    def refused() -> bool:
        file.error = f"{file.path}:3: no such effect"
        return True

    def loaded() -> bool:
        file.error = None
        return True

    with caplog.at_level(logging.INFO, "notifier_service.policy"):
        for comes in (refused, lambda: False, loaded, lambda: False):
            file.comes = comes
            watch.look(0.0, at_once=True)
            watch.look(0.0)

    assert caplog.messages == [
        f"{file.path}:3: no such effect; the rules that were read before stay in force",
        f"{file.path} was read again; rules in force: {len(file.policy.rules)}",
    ]
    assert counters.policies_read == {"refused": 1, "loaded": 1}


async def test_broker_without_a_session_looks_at_its_file_all_the_same(file: Watched) -> None:
    broker = Broker(policy=file)
    broker.watch()
    async with asyncio.timeout(10):
        while not file.looks:  # noqa: ASYNC110  # it is a thread that looks
            await asyncio.sleep(0.01)
    assert broker.policy is file

    broker.close()


def test_broker_that_follows_another_file_looks_at_that_one(file: Watched, tmp_path: Path, clock: Clock) -> None:
    broker = Broker(policy=file, clock=clock)
    broker.follow(a_policy_file(tmp_path / "other.toml", allow="rm"))

    assert broker.open("s").judge(Question("rm", {}, "high")).effect == "allow"
    assert broker.sweep() is not None
    assert file.looks == []
    broker.close()


def test_broker_looks_at_its_file_at_once_where_it_is_told_to(file: Watched, clock: Clock) -> None:
    broker = Broker(policy=file, clock=clock)
    broker.read_again()
    broker.close()

    assert len(file.looks) <= 1


def test_broker_without_a_file_reads_nothing_again(clock: Clock) -> None:
    broker = Broker(clock=clock)
    broker.read_again()

    assert broker.policy is None
    assert broker.sweep() is None
    broker.close()


def test_settings_that_name_a_policy_are_not_done_without_it(tmp_path: Path) -> None:
    file = a_policy_file(tmp_path / "policy.toml", deny="rm")
    named = Broker(Settings(policy_file=file.path))
    given = Broker(Settings(policy_file=file.path), policy=file)

    assert named.open("s").judge(Question("rm", {}, "low")).effect == "deny"
    assert given.policy is file
    with pytest.raises(InvalidInput, match=r"none\.toml:1: "):
        Broker(Settings(policy_file=tmp_path / "none.toml"))
    for broker in (named, given):
        broker.close()
