"""A service that is killed under load has kept what it acknowledged: events, questions, answers and claims, each once.

``KILL_ROUNDS=1000`` does it so often; with ``-s`` it says what was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from tests.service_process import in_time, service_process

ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
#: Services that are killed at the same time, each by itself, and how often that happens to one journal.
LINES = 2 if ROUNDS < 100 else 6
ROUNDS_A_JOURNAL = 40
SYNCS = ("full", "normal")
SESSIONS = ("a", "b", "c")
#: Questions of each round that nobody answers before the service is killed, and how long they may wait.
LEFT = 3
TIMEOUT_SECONDS = 600
#: By the clock on the wall: how exactly a service that was killed is known to have been there.
SECONDS = 3 * in_time()
FLAGS = (
    "--log-events",
    "1000000",
    "--log-bytes",
    str(1 << 30),
    "--max-total-log-bytes",
    str(2 << 30),
    "--max-sessions",
    "10",
)


@dataclass
class Asked:
    """A request, and what was acknowledged of it."""

    #: When it was about to be asked.
    at: float
    is_approved: bool = False
    is_claimed: bool = False

    @property
    def run_id(self) -> str:
        return f"run-{self.at}"


@dataclass
class Totals:
    """What was acknowledged in all rounds, and was there again after each of them."""

    rounds: int = 0
    events: int = 0
    asked: int = 0
    approved: int = 0
    claimed: int = 0
    waiting_again: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


class Load:
    """Producers of a service that may be killed at any moment, and what they were told."""

    def __init__(self, http: ClientSession, port: int, number: int, began_at: float) -> None:
        self.http = http
        self.api = f"http://127.0.0.1:{port}/agent_backend/api"
        self.number = number
        #: When the service was started, and when it was there.
        self.began_at, self.ready_at = began_at, time.time()
        #: By session: which event was acknowledged under which id.
        self.acknowledged: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
        self.sent = 0
        self.asked: dict[str, Asked] = {}

    def event(self) -> dict[str, Any]:
        self.sent += 1
        return {
            "type": "note",
            "data": {"mark": f"{self.number}.{self.sent}", "text": "é \u2028 " * random.randrange(50)},
        }

    async def produce(self, session_id: str, at_once: int) -> None:
        """Publish until nobody answers any more."""
        with suppress(ClientError, OSError):
            while True:
                events = [self.event() for _ in range(at_once)]
                async with self.http.post(f"{self.api}/events/{session_id}", json=events) as answer:
                    assert answer.status == 201
                    ids = (await answer.json())["data"]["ids"]
                marks = [event["data"]["mark"] for event in events]
                self.acknowledged[session_id].update(zip(ids, marks, strict=True))

    async def ask(self) -> None:
        """Ask, decide and claim, one after the other, until nobody answers any more; some are left to wait."""
        with suppress(ClientError, OSError):
            while True:
                self.sent += 1
                call = {"tool_name": "write", "parameters": {"n": self.sent}, "timeout_seconds": TIMEOUT_SECONDS}
                asking_at = time.time()
                async with self.http.post(f"{self.api}/permissions/q", json=call) as answer:
                    assert answer.status == 201
                    request_id = (await answer.json())["data"]["request_id"]
                asked = self.asked[request_id] = Asked(asking_at)
                if len(self.asked) <= LEFT:
                    continue
                assert (await self.decide(request_id, approved=True))[0] == 200
                asked.is_approved = True
                assert await self.claim(request_id, asked.run_id) == 200
                asked.is_claimed = True

    async def decide(self, request_id: str, *, approved: bool) -> tuple[int, Any]:
        decision = {"approved": approved, "request_id": request_id}
        async with self.http.post(f"{self.api}/sse/permission-response/q", json=decision) as answer:
            return answer.status, await answer.json()

    async def claim(self, request_id: str, run_id: str) -> int:
        url = f"{self.api}/permissions/q/{request_id}/claim"
        async with self.http.post(url, json={"run_id": run_id}) as answer:
            return answer.status

    async def settle_the_rest(self, before: Mapping[str, Asked], totals: Totals, killed_at: float) -> None:
        """See that what was asked, decided and claimed before is so, and decide what waits still."""
        for request_id, asked in before.items():
            async with self.http.get(f"{self.api}/permissions/q/{request_id}") as answer:
                assert answer.status == 200
                record = (await answer.json())["data"]
            assert record["status"] == "approved" or (record["status"] == "pending" and not asked.is_approved)
            if record["status"] == "pending":
                totals.waiting_again += 1
                expires_at = datetime.fromisoformat(record["expires_at"]).timestamp()
                left = TIMEOUT_SECONDS - (killed_at - asked.at)
                assert self.began_at + left - SECONDS < expires_at < self.ready_at + left + SECONDS
            assert (await self.decide(request_id, approved=True))[0] == 200
            assert await self.claim(request_id, asked.run_id) == 200
            assert await self.claim(request_id, "another run") == 409
            assert (await self.decide(request_id, approved=False))[0] == 409
            totals.asked += 1
            totals.approved += asked.is_approved
            totals.claimed += asked.is_claimed
        async with self.http.get(f"{self.api}/permissions/q") as answer:
            for request in (await answer.json())["data"]:  # asked, and its answer was lost
                assert request["request_id"] not in before
                await self.http.delete(f"{self.api}/permissions/q/{request['request_id']}")

    async def history(self) -> Mapping[str, str]:
        """How each request of which the history knows has ended; none of them stands there twice."""
        found: list[tuple[str, str]] = []
        before = ""
        while True:
            async with self.http.get(f"{self.api}/history?limit=200{before}") as answer:
                data = (await answer.json())["data"]
            found += [(record["request_id"], record["status"]) for record in data["requests"]]
            if data["next"] is None:
                assert len(dict(found)) == len(found)
                return dict(found)
            before = f"&before={data['next']}"

    async def steps(self, after: str) -> tuple[Counter[tuple[str, str]], str]:
        """How often each step of each request is told behind a cursor, and where that ends."""
        steps: Counter[tuple[str, str]] = Counter()
        while True:
            async with self.http.get(f"{self.api}/long-poll/q?after={after}&timeout=0") as answer:
                assert answer.status == 200, await answer.text()
                data = (await answer.json())["data"]
            after = data["last_event_id"]
            if not data["events"]:
                return steps, after
            for event in data["events"]:  # of a run that nobody told the end of, the request is in the details
                told = event["data"] if event["type"].startswith("permission_") else event["data"]["details"]
                steps[told["request_id"], event["type"]] += 1

    async def read(self, session_id: str, after: str) -> Sequence[tuple[str, str]]:
        """All events behind a cursor: their ids, and which they are."""
        found: list[tuple[str, str]] = []
        while True:
            url = f"{self.api}/long-poll/{session_id}?after={found[-1][0] if found else after}&timeout=0"
            async with self.http.get(url) as answer:
                data = (await answer.json())["data"]
            assert data["gap"] is None
            if not data["events"]:
                return found
            found += [(event["id"], event["data"]["mark"]) for event in data["events"]]

    async def follow(self, session_id: str, after: str) -> str:
        """Read as it comes until nobody answers any more; the last cursor."""
        with suppress(ClientError, OSError):
            while True:
                async with self.http.get(f"{self.api}/long-poll/{session_id}?after={after}&timeout=5") as answer:
                    data = (await answer.json())["data"]
                    assert data["gap"] is None
                    after = data["last_event_id"]
        return after


@pytest.mark.timeout(60 + 3 * ROUNDS)
async def test_killed_service_has_kept_what_it_acknowledged(tmp_path: Path) -> None:
    each = [ROUNDS // LINES + (number < ROUNDS % LINES) for number in range(LINES)]
    totals = await asyncio.gather(
        *[one_line(tmp_path / str(number), SYNCS[number % 2], rounds) for number, rounds in enumerate(each)]
    )

    # What was acknowledged, and of which nothing was lost, doubled or applied twice.
    for sync, of_sync in zip(SYNCS, (totals[::2], totals[1::2]), strict=True):
        print(sync, reduce(Totals.__add__, of_sync))
    in_all = reduce(Totals.__add__, totals)
    assert in_all.rounds == ROUNDS
    assert in_all.events >= ROUNDS * len(SESSIONS)
    assert in_all.waiting_again >= ROUNDS


async def one_line(folder: Path, sync: str, rounds: int) -> Totals:
    """So many rounds, one after the other; a journal that has seen many takes long to go through, and is left then."""
    folder.mkdir()
    totals = Totals()
    for first in range(0, rounds, ROUNDS_A_JOURNAL):
        some = min(ROUNDS_A_JOURNAL, rounds - first)
        totals += await killed_again_and_again(folder / f"journal-{first}", sync, some)
    return totals


async def killed_again_and_again(journal: Path, sync: str, rounds: int) -> Totals:
    """Kill one service after the other that goes on with the same journal."""
    ends = dict.fromkeys(SESSIONS, "earliest")
    followed: str | None = None
    told: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
    before: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
    totals = Totals(rounds)
    killed_at = 0.0
    asked: Mapping[str, Asked] = {}
    steps: Counter[tuple[str, str]] = Counter()
    told_until = "earliest"
    for number in range(rounds + 1):
        began_at = time.time()
        async with (
            service_process("--journal", str(journal), "--journal-sync", sync, *FLAGS) as (service, port),
            ClientSession(connector=TCPConnector(limit=0)) as http,
        ):
            load = Load(http, port, number, began_at)
            for session_id in SESSIONS:
                new = await load.read(session_id, ends[session_id])
                assert before[session_id].items() <= dict(new).items()
                assert len(dict(new)) == len({mark for _, mark in new}) == len(new)
                assert not told[session_id].keys() & dict(new).keys()
                if session_id == "a" and followed is not None:
                    # Who was told more than was kept goes on behind all that was.
                    assert await load.read("a", followed) == [
                        each for each in new if _place(each[0]) > _place(followed)
                    ]
                told[session_id].update(new)
                totals.events += len(before[session_id])
                ends[session_id] = new[-1][0] if new else ends[session_id]
            history = await load.history()
            assert all(history[request_id] == "approved" for request_id, one in asked.items() if one.is_approved)
            await load.settle_the_rest(asked, totals, killed_at)
            more, told_until = await load.steps(told_until)
            steps += more
            assert all(steps[request_id, "permission_cleared"] == 1 for request_id in asked)
            assert set(steps.values()) <= {1}
            if number == rounds:
                break
            producers = [
                asyncio.ensure_future(load.produce(session_id, at_once))
                for session_id in SESSIONS
                for at_once in (1, 1, 5)
            ]
            producers.append(asyncio.ensure_future(load.ask()))
            follower = None if ends["a"] == "earliest" else asyncio.ensure_future(load.follow("a", ends["a"]))
            while not (all(load.acknowledged.values()) and len(load.asked) > LEFT):  # noqa: ASYNC110  # what producers are told wakes nobody else
                await asyncio.sleep(0.001)
            await asyncio.sleep(random.random() * 0.1)
            killed_at = time.time()
            service.kill()
            await asyncio.gather(*producers)
            followed = None if follower is None else await follower
            before, asked = load.acknowledged, load.asked
    return totals


def _place(event_id: str) -> int:
    return int(event_id.partition("-")[2], 36)
