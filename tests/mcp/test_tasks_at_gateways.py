"""Both gateways: a call that waits for a person longer than a while is a task for a client that takes tasks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker
from tests.mcp.asked_session import AskedSession
from tests.mcp.http_wiring import HttpWiring
from tests.mcp.task_client import TAKES, polled
from tests.mcp.wiring import Wiring


class Gateway(AskedSession):
    """What a client does at a gateway of either kind, and what its server has been sent."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._count = 100

    async def start(self, **options: Any) -> None:
        """Run it; a call is a task at once if nothing else is said."""
        raise NotImplementedError

    async def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def ran(self) -> list[dict[str, Any]]:
        """The params of the calls that have reached the server."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def call(self, name: str, arguments: Any = None, meta: Any = TAKES, **params: Any) -> dict[str, Any]:
        given = {"name": name, "arguments": arguments or {}, "_meta": meta, **params}
        answer = await self.exchange({"jsonrpc": "2.0", "id": self._next(), "method": "tools/call", "params": given})
        result: dict[str, Any] = answer["result"]
        return result

    async def ask(self, method: str, task_id: str, **params: Any) -> dict[str, Any]:
        """The answer to a request about a task."""
        given = {"taskId": task_id, "_meta": TAKES, **params}
        return await self.exchange({"jsonrpc": "2.0", "id": self._next(), "method": method, "params": given})

    async def got(self, task_id: str) -> dict[str, Any]:
        result: dict[str, Any] = (await self.ask("tasks/get", task_id))["result"]
        return result

    async def over(self, task_id: str, status: str = "") -> dict[str, Any]:
        """Poll until the task is no longer working, or has that status."""

        def is_over(got: dict[str, Any]) -> bool:
            return got["status"] == status if status else got["status"] != "working"

        return await polled(lambda: self.got(task_id), is_over)

    def standing(self) -> list[tuple[str, str]]:
        """How the calls stand, as the session was told."""
        return [(data["tool_name"], data["status"]) for data in self.events("tool_status")]

    def _next(self) -> int:
        self._count += 1
        return self._count


class StdioGateway(Gateway):
    def __init__(self, broker: Broker, folder: Path) -> None:
        super().__init__(broker)
        self.wiring = Wiring(broker, folder / "reached.jsonl")

    async def start(self, **options: Any) -> None:
        self.wiring.start(**{"task_seconds": 0, **options})

    async def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        return await self.wiring.client.ask(message)

    def ran(self) -> list[dict[str, Any]]:
        return self.wiring.ran()

    async def close(self) -> None:
        await self.wiring.close()


class HttpGateway(Gateway):
    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self.wiring = HttpWiring(broker)
        self.wiring.stub.knows_discover = True

    async def start(self, **options: Any) -> None:
        await self.wiring.start(**{"task_seconds": 0, **options})

    async def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        params = message["params"]
        name = {"Mcp_Name": params.get("taskId", params.get("name"))}
        headers = {"Mcp_Method": message["method"], "MCP_Protocol_Version": "2026-07-28", **name}
        data = json.dumps(message).encode()
        usual = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}
        headers = {name: value for name, value in headers.items() if value is not None}
        return (await self.wiring.request("POST", data, **usual, **headers)).message

    def ran(self) -> list[dict[str, Any]]:
        return self.wiring.stub.ran()

    async def close(self) -> None:
        await self.wiring.close()


@pytest.fixture(params=["stdio", "http"])
async def gateway(request: pytest.FixtureRequest, broker: Broker, tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = StdioGateway(broker, tmp_path) if request.param == "stdio" else HttpGateway(broker)
    yield gateway
    await gateway.close()


async def test_call_that_a_person_lets_run_runs_once_as_it_was_shown(gateway: Gateway) -> None:
    await gateway.start()

    created = await gateway.call("write", {"path": "a"}, task={"ttl": 10**18})  # of the older tasks: nothing here
    asked = await gateway.got(created["taskId"])
    nothing_ran = gateway.ran() == []
    await gateway.decide(approved=True)
    ended = await gateway.over(created["taskId"])

    assert (created["resultType"], created["status"], created["ttlMs"]) == ("task", "working", None)
    assert created["statusMessage"] == asked["statusMessage"] == "write waits for a person to decide."
    assert not created.keys() & {"result", "error", "inputRequests"}
    assert nothing_ran
    assert (ended["status"], ended["resultType"]) == ("completed", "complete")
    assert ended["result"]["content"][0]["text"] == 'write ran with {"path": "a"}'
    [ran] = gateway.ran()
    assert (ran["name"], ran["arguments"]) == ("write", {"path": "a"})
    assert await gateway.got(created["taskId"]) == ended
    assert gateway.standing() == [("write", "waiting_permission"), ("write", "executing"), ("write", "completed")]


@pytest.mark.parametrize(
    ("decision", "text", "is_error"),
    [
        ({"approved": False, "reason": "not there"}, "write did not run: rejected by ada: not there", True),
        ({"approved": False, "response": "done by hand"}, "done by hand", None),
    ],
)
async def test_denial_and_response_are_what_the_task_gives(
    gateway: Gateway, decision: dict[str, Any], text: str, is_error: bool | None
) -> None:
    await gateway.start()
    created = await gateway.call("write")

    await gateway.decide(**decision)
    ended = await gateway.over(created["taskId"])

    assert (ended["status"], ended["result"]["content"][0]["text"]) == ("completed", text)
    assert ended["result"].get("isError") is is_error
    assert gateway.ran() == []


async def test_edit_runs_in_place_of_the_arguments(gateway: Gateway) -> None:
    await gateway.start()
    created = await gateway.call("write", {"path": "a"})

    await gateway.decide(approved=True, parameters={"path": "b"})
    content = (await gateway.over(created["taskId"]))["result"]["content"]

    assert [ran["arguments"] for ran in gateway.ran()] == [{"path": "b"}]
    assert content[0]["text"] == 'write ran with {"path": "b"}'
    assert "ada" in content[1]["text"]


async def test_nobody_answers_in_time(gateway: Gateway) -> None:
    await gateway.start(approval_seconds=0.05)

    ended = await gateway.over((await gateway.call("write"))["taskId"])

    assert ended["status"] == "completed"
    assert ended["result"]["isError"] is True
    assert "nobody answered within 0.05 s" in ended["result"]["content"][0]["text"]
    assert gateway.ran() == []


async def test_result_with_half_a_character_is_given_as_it_came(gateway: Gateway) -> None:
    await gateway.start()
    created = await gateway.call("half")

    await gateway.decide(approved=True)

    assert (await gateway.over(created["taskId"]))["result"] == {"content": [], "n": 1.1, "half": "\ud800"}


async def test_error_of_the_server_is_a_failure(gateway: Gateway) -> None:
    await gateway.start()
    created = await gateway.call("broken")

    await gateway.decide(approved=True)
    ended = await gateway.over(created["taskId"])

    assert (ended["status"], ended["error"]) == ("failed", {"code": 7, "message": "no", "data": {"x": 1}})
    assert ("broken", "failed") in gateway.standing()


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"io.modelcontextprotocol/clientCapabilities": TAKES["io.modelcontextprotocol/clientCapabilities"]},
        TAKES | {"io.modelcontextprotocol/clientCapabilities": {}},
    ],
)
async def test_client_that_does_not_take_tasks_never_gets_one(gateway: Gateway, meta: dict[str, Any]) -> None:
    await gateway.start()

    answer = asyncio.create_task(gateway.call("write", meta=meta, task={"ttl": 1}))
    await gateway.decide(approved=True)

    assert "resultType" not in await answer
    assert [ran["name"] for ran in gateway.ran()] == ["write"]


async def test_call_that_is_soon_decided_is_no_task(gateway: Gateway) -> None:
    await gateway.start(task_seconds=20)

    read = await gateway.call("read")
    written = asyncio.create_task(gateway.call("write"))
    await gateway.decide(approved=True)

    assert read["content"][0]["text"] == "read ran with {}"
    assert (await written)["content"][0]["text"] == "write ran with {}"


async def test_cancel_withdraws_what_is_asked(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("write"))["taskId"]
    await gateway.until(lambda: gateway.broker.open("s").desk.pending)

    first, second = [await gateway.ask("tasks/cancel", task_id) for _ in range(2)]
    await gateway.until(lambda: not gateway.broker.open("s").desk.pending)

    assert first["result"] == second["result"] == {"resultType": "complete"}
    assert (await gateway.got(task_id))["status"] == "cancelled"
    assert gateway.ran() == []
    await gateway.until(lambda: ("write", "cancelled") in gateway.standing())


async def test_cancel_while_it_runs_reaches_the_server(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("hang"))["taskId"]
    await gateway.decide(approved=True)
    await gateway.until(lambda: ("hang", "executing") in gateway.standing())

    running = await gateway.got(task_id)
    await gateway.ask("tasks/cancel", task_id)

    assert (running["status"], running["statusMessage"]) == ("working", "hang runs.")
    assert (await gateway.got(task_id))["status"] == "cancelled"
    await gateway.until(lambda: ("hang", "cancelled") in gateway.standing())
    if isinstance(gateway, HttpGateway):
        async with asyncio.timeout(15):
            await gateway.wiring.stub.left.wait()
    else:
        assert isinstance(gateway, StdioGateway)
        await gateway.call("read")
        [cancelled] = map(json.loads, gateway.wiring.reached("notifications/cancelled"))
        [called, _] = map(json.loads, gateway.wiring.reached("tools/call"))
        assert cancelled["params"] == {"requestId": called["id"]}


async def test_what_the_server_says_of_its_progress_is_how_the_task_is(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("slow", meta=TAKES | {"progressToken": "mine"}))["taskId"]
    await gateway.decide(approved=True)

    got = await polled(lambda: gateway.got(task_id), lambda got: got["statusMessage"] == "slow runs: half")

    assert got["status"] == "working"
    assert gateway.ran()[0]["_meta"]["progressToken"] != "mine"  # which means nothing to the client any more


async def test_id_of_the_call_is_free_as_soon_as_it_is_a_task(gateway: Gateway) -> None:
    await gateway.start()
    params = {"name": "write", "arguments": {}, "_meta": TAKES}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

    tasks = [(await gateway.exchange(message))["result"]["taskId"] for _ in range(2)]
    for _ in tasks:
        await gateway.decide(approved=True)
    ended = [await gateway.over(task_id) for task_id in tasks]

    assert [one["status"] for one in ended] == ["completed", "completed"]
    assert len(gateway.ran()) == 2


async def test_what_the_tool_needs_is_asked_of_the_client_and_the_person_is_asked_once(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("needs", {"path": "a"}))["taskId"]
    await gateway.decide(approved=True, parameters={"path": "b"})

    needed = await gateway.over(task_id, "input_required")
    await gateway.ask("tasks/update", task_id, inputResponses={"who": {"action": "accept"}})
    half = await gateway.got(task_id)
    await gateway.ask("tasks/update", task_id, inputResponses={"where": {"action": "decline"}, "odd": {}})
    ended = await gateway.over(task_id)

    assert needed["inputRequests"].keys() == {"who", "where"}
    assert "requestState" not in needed
    assert (half["status"], half["inputRequests"].keys()) == ("input_required", {"where"})
    assert json.loads(ended["result"]["content"][0]["text"]) == {
        "inputResponses": {"who": {"action": "accept"}, "where": {"action": "decline"}},
        "requestState": "kept",
    }
    assert [ran["arguments"] for ran in gateway.ran()] == [{"path": "b"}] * 2
    assert [status for _, status in gateway.standing()].count("waiting_permission") == 1


async def test_server_that_wants_more_without_end_is_not_called_without_end(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("rounds", {"rounds": 1000}))["taskId"]

    await gateway.decide(approved=True)
    ended = await gateway.over(task_id)

    assert (ended["status"], len(gateway.ran())) == ("failed", 100)


async def test_task_that_the_server_makes_of_the_call_is_reached_by_the_id_of_here(gateway: Gateway) -> None:
    await gateway.start()
    task_id = (await gateway.call("task"))["taskId"]
    await gateway.decide(approved=True)

    got = await polled(lambda: gateway.got(task_id), lambda got: "echo" in got)
    cancelled = await gateway.ask("tasks/cancel", task_id)

    assert (got["taskId"], got["status"]) == (task_id, "completed")
    assert got["echo"]["params"] == {"taskId": "theirs", "_meta": TAKES}
    assert cancelled["result"]["echo"]["method"] == "tasks/cancel"


async def test_task_of_the_servers_own_passes_unchanged(gateway: Gateway) -> None:
    await gateway.start()

    got = await gateway.got("theirs")

    assert got["echo"]["params"] == {"taskId": "theirs", "_meta": TAKES}


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_unknown_task_is_said_to_be_none_though_the_server_knows_no_tasks(gateway: Gateway, method: str) -> None:
    await gateway.start()

    unknown = await gateway.ask(method, "x" * 32)
    untold = await gateway.exchange(
        {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"taskId": "x" * 32, "_meta": {}}}
    )

    assert unknown["error"]["code"] == -32602
    assert untold["error"]["code"] == -32021


async def test_client_is_told_that_there_are_tasks(gateway: Gateway) -> None:
    await gateway.start()

    answer = await gateway.exchange({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {}})

    assert answer["result"]["capabilities"]["extensions"] == {"io.modelcontextprotocol/tasks": {}}
    assert answer["result"]["supportedVersions"] == ["2026-07-28"]


async def test_client_with_too_many_tasks_is_denied_more(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.mcp.tasks.Tasks._has_room", lambda *_: False)
    await gateway.start()

    answer = await gateway.call("write")

    assert answer["isError"] is True
    assert answer["resultType"] == "complete"
    assert "too many calls of this client are tasks already" in answer["content"][0]["text"]
    assert not gateway.broker.open("s").desk.pending


async def test_gateway_that_ends_withdraws_its_tasks(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.call("write")
    await gateway.until(lambda: gateway.broker.open("s").desk.pending)

    await gateway.close()

    assert not gateway.broker.open("s").desk.pending
    assert gateway.ran() == []
