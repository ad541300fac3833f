"""The HTTP gateway: a task is one caller's, and its requests say in their headers what they are about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notifier_service import Broker, Decision, ToolDenied
from notifier_service.calls.asker import BrokerAsker, Permission
from notifier_service.core.question import Question
from tests.mcp.http_stub import HttpStub
from tests.mcp.http_wiring import STATELESS, Answered, HttpWiring, stateless
from tests.mcp.task_client import TAKES, polled

from ..conftest import Client, MakeClient, WriteTokens, until


@pytest.fixture
async def wiring(broker: Broker) -> AsyncIterator[HttpWiring]:
    wiring = HttpWiring(broker)
    yield wiring
    await wiring.close()


def about(task_id: str, method: str = "tasks/get", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 9, "method": method, "params": {"taskId": task_id, "_meta": TAKES, **params}}


async def ask(wiring: HttpWiring, task_id: str, method: str = "tasks/get", **headers: str) -> Answered:
    return await wiring.post(about(task_id, method), **{"Mcp_Name": task_id, **headers})


async def created(wiring: HttpWiring, name: str = "write", **headers: str) -> str:
    answered = await wiring.post(stateless(1, name, _meta=TAKES), **headers)
    assert answered.message["result"]["resultType"] == "task"
    task_id: str = answered.message["result"]["taskId"]
    return task_id


async def over(wiring: HttpWiring, task_id: str, **headers: str) -> dict[str, Any]:
    async def got() -> dict[str, Any]:
        result: dict[str, Any] = (await ask(wiring, task_id, **headers)).message["result"]
        return result

    return await polled(got)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Mcp_Name": "another"},
        {"Mcp_Name": ""},
        {"Mcp_Method": "tasks/cancel"},
        {"MCP_Protocol_Version": "2025-11-25"},
    ],
)
async def test_headers_that_tell_of_another_task_are_refused(wiring: HttpWiring, wrong: dict[str, str]) -> None:
    await wiring.start(task_seconds=0)
    task_id = await created(wiring)

    refused = await wiring.post(about(task_id, "tasks/cancel" if "Mcp_Method" not in wrong else "tasks/get"), **{
        "Mcp_Name": task_id, **wrong,
    })  # fmt: skip

    assert (refused.status, refused.message["error"]["code"]) == (400, -32020)
    assert (await ask(wiring, task_id)).message["result"]["status"] == "working"


async def test_other_credentials_have_other_tasks(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0)
    task_id = await created(wiring, Authorization="Bearer ada")

    theirs = await ask(wiring, task_id, "tasks/cancel", Authorization="Bearer eve")
    none = await ask(wiring, task_id, "tasks/cancel")
    mine = await ask(wiring, task_id, Authorization="Bearer ada")

    assert (theirs.status, theirs.message["error"]["code"]) == (none.status, none.message["error"]["code"])
    assert (theirs.status, theirs.message["error"]["code"]) == (400, -32602)
    assert mine.message["result"]["status"] == "working"


async def test_key_of_one_request_is_no_credential(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0)
    task_id = await created(wiring, Idempotency_Key="1")

    assert (await ask(wiring, task_id, Idempotency_Key="2")).message["result"]["status"] == "working"


async def test_task_runs_with_the_credentials_of_its_call(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0)
    task_id = await created(wiring, Authorization="Bearer ada")

    await wiring.decide(approved=True)
    await over(wiring, task_id, Authorization="Bearer ada")

    [ran] = [received for received in wiring.stub.received if b"tools/call" in received.body]
    assert ran.headers["Authorization"] == "Bearer ada"
    assert ran.headers["Mcp-Name"] == "write"


async def test_unknown_task_is_no_missing_page(wiring: HttpWiring) -> None:
    await wiring.start()

    answered = await ask(wiring, "x" * 32)

    assert (answered.status, answered.message["error"]["code"]) == (400, -32602)


async def test_task_of_the_server_behind_a_task_of_here_is_named_in_the_headers(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0)
    task_id = await created(wiring, "task")
    await wiring.decide(approved=True)
    await over(wiring, task_id)

    [asked] = [received for received in wiring.stub.received if b"tasks/get" in received.body]
    assert asked.headers["Mcp-Name"] == "theirs"


async def test_client_that_leaves_before_it_hears_of_its_task_has_none(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=5)
    answer = wiring.posting(stateless(1, "write", _meta=TAKES))
    await wiring.asked()

    answer.cancel()
    await wiring.nothing_pending()

    assert wiring.stub.ran() == []


async def test_client_that_hears_in_a_stream_that_it_waits_hears_of_the_task_there(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0.06, heartbeat_seconds=0.01)

    answered = await wiring.post(stateless(1, "write", _meta=TAKES | {"progressToken": "t"}))

    assert answered.messages[0]["params"]["progressToken"] == "t"
    assert answered.message["result"]["resultType"] == "task"


@pytest.mark.parametrize("name", ["break", "garbage", "none"])
async def test_server_that_does_not_answer_is_a_failure(wiring: HttpWiring, name: str) -> None:
    wiring.stub.tools = []
    await wiring.start(task_seconds=0)
    task_id = await created(wiring, name)

    await wiring.decide(approved=True)
    ended = await over(wiring, task_id)

    assert (ended["status"], ended["error"]["code"]) == ("failed", -32603)
    assert (await wiring.told("failed"))["tool_name"] == name


async def test_server_that_is_gone_is_a_failure(wiring: HttpWiring) -> None:
    await wiring.start(task_seconds=0, upstream="http://127.0.0.1:9/mcp")
    task_id = await created(wiring)

    await wiring.decide(approved=True)
    ended = await over(wiring, task_id)

    assert ended["error"] == {"code": -32603, "message": "The MCP server cannot be reached."}


class Away(BrokerAsker):
    """A service that goes away while it is asked."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker, "s")
        self.goes = asyncio.Event()

    async def ask(self, question: Question) -> Permission:
        await self.goes.wait()
        raise ToolDenied("write did not run: the service is away.", outcome="unavailable")


async def test_service_that_is_away_is_a_denial(wiring: HttpWiring, broker: Broker) -> None:
    asker = Away(broker)
    await wiring.start(task_seconds=0.05, asker=asker)
    task_id = await created(wiring)

    asker.goes.set()
    ended = await over(wiring, task_id)

    assert (ended["status"], ended["result"]["isError"]) == ("completed", True)
    assert ended["result"]["content"][0]["text"] == "write did not run: the service is away."
    assert wiring.stub.ran() == []


# In the service


def headers(token: str, method: str, name: str) -> dict[str, str]:
    return {
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {token}",
        "MCP-Protocol-Version": STATELESS,
        "Mcp-Method": method,
        "Mcp-Name": name,
    }


async def posted(client: Client, token: str, message: dict[str, Any]) -> dict[str, Any]:
    params = message["params"]
    sent = headers(token, message["method"], params.get("taskId") or params["name"])
    async with client.post("/mcp/gateway/files", json=message, headers=sent) as response:
        answer: dict[str, Any] = await response.json()
        return answer


async def waiting(client: Client, broker: Broker, token: str) -> str:
    """A task of whose call a person is asked."""
    task_id: str = (await posted(client, token, stateless(1, "write", _meta=TAKES)))["result"]["taskId"]
    await until(lambda: broker.open("mcp-files").desk.pending)
    return task_id


def approve(broker: Broker) -> None:
    [request] = broker.open("mcp-files").desk.pending
    decision = Decision(request_id=request.request_id, approved=True)
    broker.decide("mcp-files", decision, decided_by="person", decided_with="another")


async def test_task_is_one_callers_whichever_of_his_tokens_he_has(
    make_client: MakeClient, broker: Broker, stub: HttpStub, write_tokens: WriteTokens
) -> None:
    rights = {"rights": ["produce"], "sessions": ["*"]}
    subjects = {"first": "ada", "second": "ada", "other": "eve"}
    tokens = write_tokens([{"token": token, "subject": subject, **rights} for token, subject in subjects.items()])
    upstreams = {"files": stub.url}
    client = await make_client(broker, mcp_upstreams=upstreams, mcp_task_seconds=0, auth="tokens", tokens_file=tokens)
    task_id = await waiting(client, broker, "first")

    theirs = await posted(client, "other", about(task_id, "tasks/cancel"))
    mine = await posted(client, "second", about(task_id))

    assert theirs["error"]["code"] == -32602
    assert mine["result"]["status"] == "working"


async def test_approved_task_does_not_run_for_a_token_that_was_revoked(
    make_client: MakeClient, broker: Broker, stub: HttpStub, write_tokens: WriteTokens
) -> None:
    entries = [
        {"token": token, "subject": "ada", "rights": ["produce"], "sessions": ["*"]} for token in ("first", "second")
    ]
    tokens = write_tokens(entries)
    upstreams = {"files": stub.url}
    client = await make_client(broker, mcp_upstreams=upstreams, mcp_task_seconds=0, auth="tokens", tokens_file=tokens)
    task_id = await waiting(client, broker, "first")

    write_tokens(entries[1:])
    await polled(lambda: posted(client, "first", about(task_id)), lambda got: "result" not in got)
    approve(broker)
    got = await polled(
        lambda: posted(client, "second", about(task_id)), lambda got: got["result"]["status"] != "working"
    )

    assert got["result"]["result"]["isError"] is True
    assert "no longer good" in got["result"]["result"]["content"][0]["text"]
    assert stub.ran() == []
