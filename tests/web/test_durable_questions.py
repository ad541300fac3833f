"""With a journal, what was asked and decided is there again after a restart, once (contract section 15)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import ClientSession

from notifier_service import Broker, Settings
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.client import Client
from notifier_service.core.question import Question
from notifier_service.storage.journal import JournalFile
from notifier_service.storage.journal_tables import number_of
from notifier_service.web import serve
from tests.service_process import service_process

CALL = {
    "tool_name": "write",
    "parameters": {"path": "/tmp/é", "big": 2**70},
    "tool_call_id": "c1",
    "timeout_seconds": 300,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


class Service:
    """What a producer and a person do to a service."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self.http = http
        self.api = f"{url}/api"

    async def ask(self, call: Any = CALL, *, key: str | None = None, wait: float = 0) -> tuple[int, Any]:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self._told("POST", f"permissions/s?wait={wait}", call, headers)

    async def request(self, request_id: str, wait: float = 0) -> tuple[int, Any]:
        return await self._told("GET", f"permissions/s/{request_id}?wait={wait}")

    async def decide(self, request_id: str, approved: bool = True, **more: Any) -> tuple[int, Any]:
        body = {"approved": approved, "request_id": request_id, **more}
        return await self._told("POST", "sse/permission-response/s", body)

    async def claim(self, request_id: str, run_id: str) -> tuple[int, Any]:
        return await self._told("POST", f"permissions/s/{request_id}/claim", {"run_id": run_id})

    async def pending(self) -> Any:
        return (await self._told("GET", "permissions/s"))[1]

    async def history(self, **query: Any) -> Any:
        return (await self._told("GET", f"history?{urlencode(query)}"))[1]

    async def until_pending(self) -> Any:
        while not (pending := await self.pending()):  # noqa: ASYNC110  # a poll tells nobody
            await asyncio.sleep(0.01)
        return pending

    async def rules(self) -> Any:
        return (await self._told("GET", "rules/s"))[1]

    async def take_back(self, rule_id: str) -> Any:
        status, _ = await self._told("DELETE", f"rules/s/{rule_id}")
        assert status == 200

    async def sessions(self) -> Any:
        return (await self._told("GET", "sessions"))[1]

    async def events(self, after: str = "earliest") -> list[Any]:
        return list((await self._told("GET", f"long-poll/s?after={after}&timeout=0"))[1]["events"])

    async def types(self) -> list[str]:
        return [event["type"] for event in await self.events()]

    async def _told(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.api}/{path}", json=body, headers=headers) as answer:
            told = await answer.json()
            return answer.status, told.get("data", told)


@asynccontextmanager
async def running(
    path: Path, http: ClientSession, broker: Broker | None = None, **settings: Any
) -> AsyncIterator[Service]:
    settings = {"port": 0, "journal": None if broker else path, **settings}
    async with serve(broker or Broker(Settings(**settings)), Settings(**settings)) as site:
        yield Service(http, f"{site.url}{site.settings.prefix}")


@asynccontextmanager
async def killed_at_the_end(path: Path, http: ClientSession) -> AsyncIterator[Service]:
    async with service_process("--journal", str(path)) as (process, port):
        yield Service(http, f"http://127.0.0.1:{port}/agent_backend")
        process.kill()


async def test_question_outlives_a_kill_with_what_is_left_of_its_time(path: Path, http: ClientSession) -> None:
    async with killed_at_the_end(path, http) as service:
        status, asked = await service.ask()
        before = await service.events()

    async with killed_at_the_end(path, http) as service:
        [pending] = await service.pending()
        read = (await service.request(asked["request_id"]))[1]
        events = await service.events()
        decided = await service.decide(asked["request_id"], parameters_sha256=asked["parameters_sha256"])
        kept = await service.events()

    async with killed_at_the_end(path, http) as service:
        collected = await service.request(asked["request_id"], wait=5)
        again = await service.decide(asked["request_id"])
        last = await service.events()

    assert status == 201
    assert events == before
    assert pending == read
    for name in ("request_id", "parameters", "parameters_sha256", "action_sha256", "timestamp", "tool_call_id"):
        assert pending[name] == asked[name]
    assert pending["expires_at"] > asked["expires_at"]
    assert decided[0] == collected[0] == again[0] == 200
    assert collected[1] == decided[1] == again[1]
    assert collected[1]["parameters"] == CALL["parameters"]
    assert last == kept
    assert [event["type"] for event in kept] == [
        "permission_request",
        "permission_response_result",
        "permission_cleared",
    ]


async def test_question_outlives_an_orderly_stop_and_who_held_it_is_told_that_it_waits(
    path: Path, http: ClientSession
) -> None:
    async with running(path, http) as service:
        held = asyncio.ensure_future(service.ask(key="k", wait=30))
        pending = await service.until_pending()
        reading = asyncio.ensure_future(service.request(pending[0]["request_id"], wait=30))
        await asyncio.sleep(0.05)

    async with running(path, http) as service:
        again = await service.pending()
        types = await service.types()

    assert (await held)[0] == 201
    assert (await held)[1]["status"] == (await reading)[1]["status"] == "pending"
    assert [each["request_id"] for each in again] == [pending[0]["request_id"]]
    assert types == ["permission_request"]


async def test_asker_joins_under_its_key(path: Path, http: ClientSession) -> None:
    call = {**CALL, "tool_call_id": None}
    async with running(path, http) as service:
        _, asked = await service.ask(call, key="k")

    async with running(path, http) as service:
        other = await service.ask({**call, "tool_name": "delete"}, key="k")
        joined = await service.ask(call, key="k")
        unlike = await service.ask(call, key="l")
        await service.decide(asked["request_id"], approved=False, reason="no")

    async with running(path, http) as service:
        collected = [await service.ask(call, key="k", wait=5) for _ in range(2)]

    assert other[0] == 409
    assert joined[1]["request_id"] == asked["request_id"] != unlike[1]["request_id"]
    assert [each[0] for each in collected] == [200, 200]
    assert {each[1]["request_id"] for each in collected} == {asked["request_id"]}
    assert collected[0][1]["reason"] == "no"


async def test_asker_joins_with_its_call_once(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
        await service.decide(asked["request_id"])

    async with running(path, http) as service:
        unlike = await service.ask({**CALL, "parameters": {"path": "/etc"}})
        joined = await service.ask()
        anew = await service.ask()

    assert unlike[1]["status"] == "pending"
    assert (joined[0], joined[1]["status"], joined[1]["request_id"]) == (200, "approved", asked["request_id"])
    assert anew[0] == 201
    assert anew[1]["request_id"] != asked["request_id"]


async def test_decision_that_was_collected_is_nobodys_answer_to_another_call(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
        await service.decide(asked["request_id"])

    async with running(path, http) as service:
        await service.request(asked["request_id"])

    async with running(path, http) as service:
        anew = await service.ask()

    assert anew[1]["request_id"] != asked["request_id"]


async def test_call_that_was_claimed_is_asked_anew_and_not_run_again(path: Path, http: ClientSession) -> None:
    async with killed_at_the_end(path, http) as service:
        _, asked = await service.ask()
        await service.decide(asked["request_id"])
        await service.claim(asked["request_id"], "run-1")

    async with running(path, http) as service:
        anew = await service.ask()
        same_run = await service.claim(asked["request_id"], "run-1")

    assert anew[0] == 201
    assert anew[1]["request_id"] != asked["request_id"]
    assert same_run[0] == 200


async def test_question_expires_although_the_service_was_away(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask({**CALL, "timeout_seconds": 0.2})

    async with running(path, http) as service:
        _, record = await service.request(asked["request_id"], wait=5)

    async with running(path, http) as service:
        _, again = await service.request(asked["request_id"])
        types = await service.types()

    assert record["status"] == again["status"] == "expired"
    assert types == ["permission_request", "permission_cleared"]


async def test_who_waited_in_the_process_that_died_is_cancelled_as_restarted(path: Path, http: ClientSession) -> None:
    journal = JournalFile(path)
    broker = Broker(journal=journal)
    request = broker.ask("s", Question("run", {"x": 1}))
    await broker.all_kept()
    async with service_of_before(path, journal) as left, running(left, http) as service:
        _, record = await service.request(request.request_id)
        types = await service.types()
        pending = await service.pending()
    broker.close()

    assert (record["status"], record["code"]) == ("cancelled", "restarted")
    assert types == ["permission_request", "permission_cleared"]
    assert pending == []


@asynccontextmanager
async def service_of_before(path: Path, journal: JournalFile) -> AsyncIterator[Path]:
    """The journal as a process that is killed now leaves it."""
    left = path.with_name("left")
    for suffix in ("", "-wal", "-lock"):
        left.with_name(f"left{suffix}").write_bytes(path.with_name(f"{path.name}{suffix}").read_bytes())
    connection = sqlite3.connect(left)
    connection.execute("UPDATE run SET inode = ?", (left.stat().st_ino,))
    connection.commit()
    connection.close()
    yield left
    journal.close()


@pytest.mark.parametrize("told", [1, 2])
async def test_decision_of_which_nobody_heard_all_is_told_after_a_restart_once(
    told: int, path: Path, http: ClientSession
) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
        await service.decide(asked["request_id"])
    connection = sqlite3.connect(path)  # as if it had been killed behind the commit, or among the events
    kept = connection.execute("SELECT key, events FROM batches ORDER BY key").fetchall()
    events = b"\n".join(text for _, text in kept).split(b"\n")
    connection.execute("DELETE FROM batches WHERE key > ?", (kept[0][0],))
    connection.execute(
        "UPDATE batches SET events = ?, last = ?", (b"\n".join(events[:told]), number_of(kept[0][0])[1] + told - 1)
    )
    connection.commit()
    connection.close()

    async with running(path, http) as service:
        types = await service.types()
        collected = await service.request(asked["request_id"])

    assert types == ["permission_request", "permission_response_result", "permission_cleared"]
    assert collected[1]["status"] == "approved"


async def test_history_outlives_a_kill_and_its_pages_go_on(path: Path, http: ClientSession) -> None:
    async with killed_at_the_end(path, http) as service:
        asked = []
        for _ in range(3):
            _, request = await service.ask()
            await service.decide(request["request_id"])
            asked.append(request["request_id"])
        first = await service.history(limit=1)

    async with running(path, http) as service:
        whole, rest = await service.history(), await service.history(before=first["next"])

    assert [record["request_id"] for record in whole["requests"]] == asked[::-1]
    assert whole["requests"] == first["requests"] + rest["requests"]


async def test_question_that_nobody_saw_is_announced_after_a_restart(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
    connection = sqlite3.connect(path)  # as if it had been killed behind the commit
    connection.execute("DELETE FROM batches")
    connection.execute("DELETE FROM sessions")
    connection.commit()
    connection.close()

    async with running(path, http) as service:
        [event] = await service.events()
        decided = await service.decide(asked["request_id"])

    assert (event["type"], event["data"]["request_id"]) == ("permission_request", asked["request_id"])
    assert decided[0] == 200


async def test_what_was_changed_in_the_file_is_denied(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE kept SET body = replace(CAST(body AS TEXT), '/tmp/', '/etc/')")
    connection.commit()
    connection.close()

    async with running(path, http) as service:
        pending = await service.pending()
        _, record = await service.request(asked["request_id"])

    assert pending == []
    assert record["status"] == "cancelled"


async def test_what_was_decided_for_the_session_holds_after_a_restart(path: Path, http: ClientSession) -> None:
    def command(text: str) -> dict[str, Any]:
        return {"tool_name": "Bash", "parameters": {"command": text}}

    async with running(path, http) as service:
        _, asked = await service.ask(command("git status -s"))
        await service.decide(asked["request_id"], scope="session")
        _, denied = await service.ask({"tool_name": "delete", "parameters": {}})
        await service.decide(denied["request_id"], approved=False, scope="session")
        before = await service.rules()

    async with running(path, http) as service:
        after = await service.rules()
        alike = await service.ask(command("git status -s src"))
        other = await service.ask(command("git push"))
        denied_again = await service.ask({"tool_name": "delete", "parameters": {"x": 1}})
        await service.take_back(after[0]["rule_id"])

    async with running(path, http) as service:
        left = await service.rules()
        asked_again = await service.ask(command("git status -s"))
        async with http.delete(f"{service.api}/sessions/s") as ended:
            assert ended.status == 200

    async with running(path, http) as service:
        await service.ask({"tool_name": "delete", "parameters": {}})
        at_last = await service.rules()

    assert len(before) == 2
    assert after == before
    assert alike[1]["status"] == "approved"
    assert (other[0], asked_again[0]) == (201, 201)
    assert denied_again[1]["status"] == "rejected"
    assert [rule["rule_id"] for rule in left] == [after[1]["rule_id"]]
    assert at_last == []


async def test_run_is_claimed_once_and_over_a_restart(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        _, asked = await service.ask()
        early = await service.claim(asked["request_id"], "run-1")
        await service.decide(asked["request_id"])
        claimed = await service.claim(asked["request_id"], "run-1")

    async with running(path, http) as service:
        same = await service.claim(asked["request_id"], "run-1")
        other = await service.claim(asked["request_id"], "run-2")
        nobody = await service.claim("pr_" + "0" * 32, "run-2")
        empty = await service.claim(asked["request_id"], "")

    assert (early[0], early[1]["error"]["code"]) == (409, "not_approved")
    assert claimed[0] == same[0] == 200
    assert claimed[1]["parameters"] == CALL["parameters"]
    assert (other[0], other[1]["error"]["code"]) == (409, "already_claimed")
    assert nobody[0] == 404
    assert empty[0] == 422


async def test_decision_is_kept_for_its_time_and_keeps_its_session(path: Path, http: ClientSession) -> None:
    settings = {"session_idle_seconds": 0.05, "decision_keep_seconds": 0.4}
    async with running(path, http, **settings) as service:
        _, asked = await service.ask()
        await service.decide(asked["request_id"])
        await asyncio.sleep(0.2)
        kept = await service.sessions()
        while await service.sessions():  # noqa: ASYNC110  # no event tells that one has expired
            await asyncio.sleep(0.02)

    async with running(path, http) as service:
        status, _ = await service.request(asked["request_id"])

    assert len(kept) == 1
    assert status == 404


async def test_nothing_is_asked_or_decided_while_it_cannot_be_kept(path: Path, http: ClientSession) -> None:
    is_full = False

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
            if is_full and sql == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *more)

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(*arguments, factory=Connection, **options)

    journal = JournalFile(path, connect=connect)
    async with running(path, http, Broker(journal=journal)) as service:
        _, asked = await service.ask()
        is_full = True
        refused = await service.ask({**CALL, "tool_call_id": "c2"})
        undecided = await service.decide(asked["request_id"])
        pending = await service.pending()
        is_full = False
        decided = await service.decide(asked["request_id"])
    journal.close()

    async with running(path, http) as service:
        _, record = await service.request(asked["request_id"])
        left = await service.pending()

    for status, body in (refused, undecided):
        assert (status, body["error"]["code"]) == (503, "not_durable")
    assert [each["request_id"] for each in pending] == [asked["request_id"]]
    assert decided[0] == 200
    assert record["status"] == "approved"
    assert left == []


async def test_gateway_rides_over_a_kill_while_a_person_thinks(path: Path, http: ClientSession) -> None:
    async with service_process("--journal", str(path)) as (process, port):
        url = f"http://127.0.0.1:{port}/agent_backend"
        client = await Client(url).__aenter__()
        asker = await ServiceAsker(client, "s").__aenter__()
        asking = asyncio.ensure_future(asker.ask(Question("write", {"path": "/tmp/x"}, tool_call_id="c1")))
        service = Service(http, url)
        pending = await service.until_pending()
        process.kill()
        await process.wait()
    async with service_process("--journal", str(path), "--port", str(port)) as (process, _):
        await service.decide(pending[0]["request_id"])
        permission = await asking
        types = await service.types()
        await asker.__aexit__(None, None, None)
        await client.__aexit__(None, None, None)

    assert permission.decided_by is not None
    assert types.count("permission_request") == 1
    assert types.count("permission_cleared") == 1


async def test_client_rides_over_an_orderly_restart_while_a_person_thinks(path: Path, http: ClientSession) -> None:
    async with running(path, http) as service:
        url = service.api.removesuffix("/api")
        async with asyncio.timeout(20):
            client = await Client(url).__aenter__()
            asking = asyncio.ensure_future(client.ask("s", "write", {"path": "/tmp/x"}, wait_seconds=20))
            [pending] = await service.until_pending()
    async with running(path, http, port=int(url.rsplit(":", 1)[1].partition("/")[0])) as service:
        await service.decide(pending["request_id"])
        record = await asking
        types = await service.types()
        await client.__aexit__(None, None, None)

    assert (record["request_id"], record["status"]) == (pending["request_id"], "approved")
    assert types.count("permission_request") == types.count("permission_cleared") == 1
