"""A service that is killed under load has kept what it acknowledged: events, questions and answers, each once.

``KILL_ROUNDS=1000`` does it so often.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from tests.service_process import service_process

ROUNDS = int(os.environ.get("KILL_ROUNDS", "8"))
SESSIONS = ("a", "b", "c")
FLAGS = ("--log-events", "1000000", "--log-bytes", str(1 << 30), "--max-sessions", "10")


class Load:
    """Producers of a service that may be killed at any moment, and what they were told."""

    def __init__(self, http: ClientSession, port: int, number: int) -> None:
        self.http = http
        self.api = f"http://127.0.0.1:{port}/agent_backend/api"
        self.number = number
        #: By session: which event was acknowledged under which id.
        self.acknowledged: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
        self.sent = 0
        #: Requests that were asked, and of which somebody was told that they are approved.
        self.asked: dict[str, bool] = {}

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
        """Ask and decide, one after the other, until nobody answers any more."""
        with suppress(ClientError, OSError):
            while True:
                self.sent += 1
                call = {"tool_name": "write", "parameters": {"n": self.sent}}
                async with self.http.post(f"{self.api}/permissions/q", json=call) as answer:
                    assert answer.status == 201
                    request_id = (await answer.json())["data"]["request_id"]
                self.asked[request_id] = False
                decision = {"approved": True, "request_id": request_id}
                async with self.http.post(f"{self.api}/sse/permission-response/q", json=decision) as answer:
                    assert answer.status == 200
                self.asked[request_id] = True

    async def decide_the_rest(self, before: Mapping[str, bool]) -> None:
        """See that what was asked and decided before is so, and decide what waits still."""
        for request_id, was_approved in before.items():
            async with self.http.get(f"{self.api}/permissions/q/{request_id}") as answer:
                assert answer.status == 200
                status = (await answer.json())["data"]["status"]
            assert status == "approved" or (status == "pending" and not was_approved)
            decision = {"approved": True, "request_id": request_id}
            async with self.http.post(f"{self.api}/sse/permission-response/q", json=decision) as answer:
                assert answer.status == 200
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
                data = (await answer.json())["data"]
            after = data["last_event_id"]
            if not data["events"]:
                return steps, after
            steps.update((event["data"]["request_id"], event["type"]) for event in data["events"])

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
    half = ROUNDS // 2
    totals = await asyncio.gather(
        killed_again_and_again(tmp_path / "full", "full", half),
        killed_again_and_again(tmp_path / "normal", "normal", ROUNDS - half),
    )

    assert sum(totals) >= ROUNDS * len(SESSIONS)


async def killed_again_and_again(journal: Path, sync: str, rounds: int) -> int:
    """Kill one service after the other that goes on with the same journal; how many events were acknowledged."""
    ends = dict.fromkeys(SESSIONS, "earliest")
    followed: str | None = None
    told: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
    before: dict[str, dict[str, str]] = {session_id: {} for session_id in SESSIONS}
    total = 0
    asked: Mapping[str, bool] = {}
    steps: Counter[tuple[str, str]] = Counter()
    told_until = "earliest"
    for number in range(rounds + 1):
        async with (
            service_process("--journal", str(journal), "--journal-sync", sync, *FLAGS) as (process, port),
            ClientSession(connector=TCPConnector(limit=0)) as http,
        ):
            load = Load(http, port, number)
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
                total += len(before[session_id])
                ends[session_id] = new[-1][0] if new else ends[session_id]
            history = await load.history()
            assert all(history[request_id] == "approved" for request_id, was_approved in asked.items() if was_approved)
            await load.decide_the_rest(asked)
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
            while not (all(load.acknowledged.values()) and load.asked):  # noqa: ASYNC110  # what producers are told wakes nobody else
                await asyncio.sleep(0.001)
            await asyncio.sleep(random.random() * 0.1)
            process.kill()
            await asyncio.gather(*producers)
            followed = None if follower is None else await follower
            before, asked = load.acknowledged, load.asked
    return total


def _place(event_id: str) -> int:
    return int(event_id.partition("-")[2], 36)
