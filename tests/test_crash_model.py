"""Whatever crashes, and whichever answer gets lost: a call runs once, what was acknowledged holds, nobody asks twice.

A service with a journal, an agent and a person play one call through. The service crashes at one point of it, the
agent at one, and one answer gets lost: all of that in every combination, with the desk, the client and the asker of
the gateways as they are. Time passes as soon as nobody has anything to do.

What keeps each promise is left out once, to see that the model finds that.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import pytest

from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.client import Client
from notifier_service.core.broker import Broker
from notifier_service.core.errors import NotifierError, ServiceRefused, ServiceUnavailable, ToolDenied
from notifier_service.core.events import ToolStatus
from notifier_service.core.journal import Change
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision, Question
from tests.core.memory_journal import MemoryJournal

POINTS = ("asked", "decided", "committed", "told", "claimed", "run", "reported")
ANSWERS = ("ask", "decide", "wait", "claim", "report")
AWAY_SECONDS, THINKING_SECONDS = 1.0, 2.0
DONE = {"status": "completed", "tool_name": "write", "tool_call_id": "c1"}
CALL: dict[str, Any] = {"tool_name": "write", "parameters": {"path": "/tmp/x"}}


class Schedule(NamedTuple):
    """Where the service and the agent crash, and whose answer gets lost, if any."""

    service: str | None
    agent: str | None
    lost: str | None


class Findings(NamedTuple):
    """How often each promise was broken; ``hung`` are calls of which nothing came any more."""

    ran_twice: int = 0
    lost: int = 0
    asked_again: int = 0
    hung: int = 0


SCHEDULES = [Schedule(*each) for each in itertools.product((None, *POINTS), (None, *POINTS), (None, *ANSWERS))]
WITHOUT_LOSS = [schedule for schedule in SCHEDULES if schedule.lost is None]


class HurriedLoop(asyncio.SelectorEventLoop):
    """Its time passes as soon as nobody has anything to do."""

    def __init__(self) -> None:
        super().__init__()
        self._passed = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def hurried(timeout: float | None = None) -> Any:
            assert timeout is not None, "nobody waits for anything but each other"
            self._passed += timeout
            return select(0)

        self._selector.select = hurried  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._passed


class Crash(BaseException):
    """The process of the agent is gone, whatever it would still do."""


class WatchedJournal(MemoryJournal):
    """Tells which step of the call is kept, before anybody else hears of it."""

    def __init__(self, alive_at: float = 0.0) -> None:
        super().__init__(alive_at)
        self.heard: Callable[[str, str], None] = lambda point, request_id: None

    def commit(self, *changes: Change) -> Future[None]:
        kept = super().commit(*changes)
        if not self.is_held:
            self.tell(changes)
        return kept

    def tell(self, changes: Sequence[Change]) -> None:
        for kind, name, body in changes:
            if kind != "request" or body is None:
                continue
            kept = json.loads(body)
            if kept["run_id"] is not None:
                self.heard("claimed", name)
            elif kept["record"]["status"] == "pending":
                self.heard("asked", name)
            elif kept["record"]["approved"]:
                self.heard("committed", name)


class HastyJournal(WatchedJournal):
    """A journal that says that something is kept a second before it is."""

    def give(self, write: Callable[[], None], future: Future[None] | None = None) -> None:
        asyncio.get_running_loop().call_later(1.0, super().give, write)
        if future is not None:
            future.set_result(None)


class World:
    """One call, all who take part in it, and what became of it."""

    def __init__(self, schedule: Schedule, journal: WatchedJournal) -> None:
        self.service_crashes, self.agent_crashes, self.loses = schedule
        self.journal = journal
        self.broker: Broker | None = None
        #: What the service has answered under which key since it was started.
        self.keys: dict[str, PermissionRequest] = {}
        self.agent_has_crashed = self.is_reported = False
        self.service_gone = self.agent_gone = asyncio.get_running_loop().create_future()
        #: The questions that people saw, the approvals that they were told are taken, and what came of these.
        self.seen: list[str] = []
        self.acknowledged: set[str] = set()
        self.claims: set[str] = set()
        self.runs = self.lost = self.asked_again = 0
        self.answering: list[asyncio.Future[Any]] = []
        self.start_agent()
        self.start_service()

    def start_service(self) -> None:
        """It is there, with what the run before has kept."""
        loop = asyncio.get_running_loop()
        self.journal.heard = partial(self._heard, self.journal)
        self.keys = {}
        self.service_gone = loop.create_future()
        self.broker = Broker(journal=self.journal, clock=loop.time)

    def start_agent(self) -> None:
        self.agent_gone = asyncio.get_running_loop().create_future()

    def reach(self, point: str) -> None:
        """Whoever is to crash at this point does."""
        self.reach_agent(point)
        if self.service_crashes == point:
            self._crash_service()

    def reach_agent(self, point: str) -> None:
        if self.agent_crashes == point:
            self.agent_crashes, self.agent_has_crashed = None, True
            self.agent_gone.set_result(None)

    def run(self) -> None:
        """The agent has run the call."""
        self.runs += 1
        self.reach("run")
        if self.agent_gone.done():
            raise Crash

    def see(self, request_id: str) -> None:
        """A person sees this question."""
        self.lost += request_id in self.acknowledged
        if request_id not in self.seen:
            self.seen.append(request_id)
            self.asked_again += bool(self.acknowledged and not self.claims)

    def findings(self, *, hung: bool) -> Findings:
        lost = self.lost + (0 if self.claims or self.runs else len(self.acknowledged))
        return Findings(ran_twice=max(0, self.runs - 1), lost=lost, asked_again=self.asked_again, hung=int(hung))

    def end(self) -> None:
        for answering in self.answering:
            answering.cancel()
        if self.broker is not None:
            self.broker.close()

    def _heard(self, journal: WatchedJournal, point: str, request_id: str) -> None:
        if journal is self.journal:  # and not that of a service that is gone
            if point == "claimed":
                self.claims.add(request_id)
            self.reach(point)

    def _crash_service(self) -> None:
        broker, self.broker, self.service_crashes = self.broker, None, None
        assert broker is not None  # it crashes once
        self.journal = self.journal.again()
        self.service_gone.set_result(None)
        loop = asyncio.get_running_loop()
        loop.call_soon(broker.close)  # its timers; nobody hears of it any more
        loop.call_later(AWAY_SECONDS, self.start_service)


class Wire(Client):
    """The client, whose requests reach the broker of the moment, if any; an agent's is gone with the agent."""

    def __init__(self, world: World, *, is_agents: bool = False) -> None:
        super().__init__("http://service", away_seconds=60)
        self._world = world
        self._is_agents = is_agents

    async def _call(self, method: str, path: str, *, is_safe: bool = False, **how: Any) -> Any:
        for _ in range(1 + is_safe):
            with suppress(ConnectionResetError):
                return await self._once(method, path.removeprefix("/api/").split("/"), **how)
        raise ServiceUnavailable("The connection was lost.")

    async def _once(
        self,
        method: str,
        path: list[str],
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,  # what says how an answer is read
    ) -> Any:
        world = self._world
        await self._look(None)
        name, act = self._route(method, path, body, query or {}, headers or {})
        if self._is_agents and name == "claim":
            world.reach_agent("told")
        await self._look(None)
        if world.broker is None:
            raise ServiceUnavailable("Nobody listens.")
        gone = world.service_gone
        if name == "decide" and world.service_crashes == "decided":
            world.journal.is_held = True
            asyncio.get_running_loop().call_later(0.01, world.reach, "decided")
        elif name == "decide":
            world.reach_agent("decided")
        acting = asyncio.ensure_future(act(world.broker))
        world.answering.append(acting)
        await self._look(acting, gone)
        if gone.done():
            acting.cancel()
            raise ConnectionResetError
        try:
            answer = acting.result()
        except NotifierError as error:
            raise ServiceRefused(409, error.code, error.message) from None
        if name == "report":
            world.is_reported = True
            world.reach("reported")
            if gone.done():
                raise ConnectionResetError
        if world.loses == name:
            world.loses = None
            raise ConnectionResetError
        if self._is_agents and name == "claim":
            world.reach_agent("claimed")
        await self._look(None)
        return answer

    async def _look(self, acting: asyncio.Future[Any] | None, gone: asyncio.Future[None] | None = None) -> None:
        """Wait for an answer, or until somebody has crashed."""
        mine = [self._world.agent_gone] if self._is_agents else []
        if acting is not None:
            await asyncio.wait([acting, *mine, *([gone] if gone else [])], return_when=asyncio.FIRST_COMPLETED)
        if self._is_agents and self._world.agent_gone.done():
            raise Crash

    def _route(
        self, method: str, path: list[str], body: Any, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[str, Callable[[Broker], Awaitable[Any]]]:
        match method, path:
            case "POST", ["permissions", _]:
                return "ask", partial(self._ask, body, headers["Idempotency-Key"])
            case "GET", ["permissions", _]:
                return "pending", self._pending
            case "GET", ["permissions", _, request_id]:
                return "wait", partial(self._wait, request_id, float(query.get("wait", 0)))
            case "POST", ["permissions", _, request_id, "claim"]:
                return "claim", partial(self._claim, request_id, body)
            case "POST", ["events", _]:
                is_end = any(event["data"].get("status") == "completed" for event in body)
                return ("report" if is_end else "tell"), partial(self._publish, body)
            case "POST", ["sse", "permission-response", _]:
                return "decide", partial(self._decide, body)
        raise AssertionError((method, path))

    # As the service has them, for one session and without people who may not

    async def _ask(self, body: Mapping[str, Any], key: str, broker: Broker) -> Any:
        request = self._world.keys.get(key)
        if request is None:
            fields = {**body, "parameters": dict(body["parameters"])}
            question = Question(**fields, rated_by="producer", asked_by="agent", outlives=True, key=(key, "digest"))
            request = self._world.keys[key] = broker.ask("s", question)
        await request.recorded()
        await broker.all_kept()
        request.collect()
        return dict(request.record)

    async def _pending(self, broker: Broker) -> Any:
        return [dict(request.shown) for request in broker.look("s").desk.pending]

    async def _wait(self, request_id: str, seconds: float, broker: Broker) -> Any:
        request = broker.look("s").desk.find(request_id)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await request.decision()
        request.collect()
        return dict(request.record)

    async def _claim(self, request_id: str, body: Mapping[str, Any], broker: Broker) -> Any:
        desk = broker.look("s").desk
        return dict(await desk.claim(desk.find(request_id), **body))

    async def _publish(self, body: Any, broker: Broker) -> Any:
        for event in body:
            await broker.publish("s", event["type"], ToolStatus.model_validate(event["data"]))
        return {"ids": []}

    async def _decide(self, body: Any, broker: Broker) -> Any:
        return dict(await broker.answer("s", Decision.model_validate(body), decided_by="ann"))


# Who takes part


async def person(world: World) -> None:
    """Approves what nobody knows to have run, and goes on until that is acknowledged."""
    client = Wire(world)
    while True:
        await asyncio.sleep(0.5)
        with suppress(ServiceUnavailable):
            for request in await client.pending("s"):
                world.see(request["request_id"])
                await asyncio.sleep(THINKING_SECONDS)
                await decide(world, client, request["request_id"], approved=not world.claims)


async def decide(world: World, client: Client, request_id: str, *, approved: bool) -> None:
    while True:
        try:
            await client.decide("s", {"request_id": request_id, "approved": approved})
        except ServiceUnavailable:
            await asyncio.sleep(1)
        except ServiceRefused:
            return  # it was withdrawn meanwhile
        else:
            break
    if approved:
        world.acknowledged.add(request_id)
        world.reach("told")


async def report(client: Client) -> None:
    while True:
        with suppress(ServiceUnavailable):
            await client.publish("s", [{"type": "tool_status", "data": DONE}])
            return
        await asyncio.sleep(1)


async def script(world: World, *, claims: bool = True, keeps_key: bool = True) -> None:
    """An agent that comes back under its key: it asks, waits, claims, runs and reports."""
    keys = (f"key-{number}" for number in itertools.count())
    key = next(keys)
    while True:
        try:
            async with Wire(world, is_agents=True) as client:
                while True:
                    try:
                        if not keeps_key:
                            key = secrets.token_hex()
                        record = await client.ask("s", **CALL, wait_seconds=math.inf, idempotency_key=key)
                        if not record["approved"]:
                            return
                        if claims:
                            await client.claim("s", record["request_id"], secrets.token_hex())
                        break
                    except ServiceRefused:
                        key = next(keys)  # already claimed: nobody knows whether it ran, and a person is asked anew
                    except ServiceUnavailable:
                        await asyncio.sleep(1)
                world.run()
                await report(client)
                return
        except Crash:
            if not await comes_back(world):
                return


async def gateway(world: World) -> None:
    """The asker of the gateways; whoever calls it calls again after a crash, with the same call."""
    question = Question(**CALL, tool_call_id="c1", announce_status=True)
    while True:
        client = Wire(world, is_agents=True)
        try:
            async with ServiceAsker(client, "s") as asker:
                while True:
                    try:
                        await asker.ask(question)
                        break
                    except ToolDenied as denial:
                        if denial.outcome != "unavailable":
                            return
                world.run()
                asker.tell("tool_status", ToolStatus.model_validate(DONE))
            return
        except Crash:
            if not await comes_back(world):
                return


async def comes_back(world: World) -> bool:
    """Whether an agent that has crashed has still something to do."""
    await asyncio.sleep(AWAY_SECONDS * 2)
    world.start_agent()
    return not world.is_reported


Agent = Callable[[World], Awaitable[None]]


async def played(schedule: Schedule, agent: Agent, journal: type[WatchedJournal] = WatchedJournal) -> Findings:
    world = World(schedule, journal())
    people = asyncio.ensure_future(person(world))
    calling = asyncio.ensure_future(agent(world))
    done, _ = await asyncio.wait([calling], timeout=600)
    people.cancel()
    calling.cancel()
    await asyncio.gather(people, calling, return_exceptions=True)
    world.end()
    if done:
        calling.result()
    findings = world.findings(hung=not done)
    if agent is gateway and world.agent_has_crashed:
        findings = findings._replace(asked_again=0)  # the call went with the agent, and this is another one
    return findings


def found(
    agent: Agent, schedules: Sequence[Schedule] = SCHEDULES, journal: type[WatchedJournal] = WatchedJournal
) -> Mapping[Schedule, Findings]:
    """What is found, by schedule."""
    with asyncio.Runner(loop_factory=HurriedLoop) as runner:

        async def all_of_them() -> Mapping[Schedule, Findings]:
            each = {schedule: await played(schedule, agent, journal) for schedule in schedules}
            return {schedule: findings for schedule, findings in each.items() if any(findings)}

        return runner.run(all_of_them())


@pytest.mark.parametrize("agent", [script, gateway])
def test_whatever_crashes_a_call_runs_once_and_what_was_acknowledged_holds(agent: Agent) -> None:
    assert len(SCHEDULES) * 2 >= 640
    assert found(agent) == {}


def test_without_a_claim_a_call_would_run_twice() -> None:
    findings = found(partial(script, claims=False), WITHOUT_LOSS)

    assert any(each.ran_twice for each in findings.values())


def test_without_its_own_key_an_agent_would_ask_again_what_was_decided() -> None:
    findings = found(partial(script, keeps_key=False), WITHOUT_LOSS)

    assert any(each.asked_again for each in findings.values())


def test_without_waiting_for_the_disk_a_decision_would_be_lost() -> None:
    findings = found(script, WITHOUT_LOSS, HastyJournal)

    assert any(each.lost for each in findings.values())
