"""Who asks for a call cannot approve it, whichever way it asks and whichever way it decides."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.core.errors import SelfApproval
from tests.signer import Signer

from .conftest import API, Client, MakeClient, WriteTokens, answer, error_of, until

ASK = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}}
APPROVE: Mapping[str, Any] = {"approved": True}
EVERYTHING = {"sessions": ["*"], "rights": ["approve", "produce"]}
DECIDE = f"{API}/sse/permission-response/s1"
REFUSED = (403, "self_approval")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


TOKENS = [
    {"token": "agent-token", "subject": "agent", **EVERYTHING},
    {"token": "agents-other-token", "subject": "agent", "rights": ["approve"], "sessions": ["*"]},
    {"token": "admin-token", "subject": "root", "rights": ["admin"], "sessions": ["*"]},
    {"token": "local-token", "subject": "local", **EVERYTHING},
    {"token": "nameless-token", **EVERYTHING},
    {"token": "person-token", "subject": "person", "rights": ["approve"], "sessions": ["*"]},
]


@pytest.fixture
async def client(make_client: MakeClient, write_tokens: WriteTokens, broker: Broker) -> Client:
    return await make_client(broker, auth="tokens", tokens_file=write_tokens(TOKENS))


async def asked(client: Client, token: str) -> str:
    response = await client.post(f"{API}/permissions/s1", json=ASK, headers=bearer(token))
    request_id: str = (await answer(response))[1]["data"]["request_id"]
    return request_id


async def decided(client: Client, token: str, decision: Mapping[str, Any] = APPROVE, path: str = DECIDE) -> Any:
    response = await client.post(path, json=decision, headers=bearer(token))
    return response.status if response.status == 200 else await error_of(response)


@pytest.mark.parametrize(
    ("asker", "approver"),
    [
        ("agent-token", "agent-token"),
        ("agent-token", "agents-other-token"),
        ("admin-token", "admin-token"),
        ("local-token", "local-token"),
        ("nameless-token", "nameless-token"),
    ],
)
async def test_token_or_subject_that_asked_cannot_approve(
    client: Client, broker: Broker, asker: str, approver: str
) -> None:
    await asked(client, asker)

    assert await decided(client, approver) == REFUSED
    [request] = broker.open("s1").desk.pending
    assert request.pending
    assert await decided(client, "person-token") == 200


@pytest.mark.parametrize(
    "decision",
    [
        {"approved": True},
        {"approved": True, "scope": "session"},
        {"approved": True, "parameters": {"path": "/tmp/y"}},
        {"approved": False, "response": "a person says that all is well"},
    ],
)
@pytest.mark.parametrize("path", [DECIDE, f"{API}/polling/permission-response/s1"])
async def test_nothing_that_lets_it_go_on_is_taken_from_who_asked(
    client: Client, decision: Mapping[str, Any], path: str
) -> None:
    request_id = await asked(client, "agent-token")

    assert await decided(client, "agent-token", {**decision, "request_id": request_id}, path) == REFUSED


async def test_who_asked_may_say_no(client: Client) -> None:
    await asked(client, "agent-token")

    assert await decided(client, "agent-token", {"approved": False, "reason": "a mistake"}) == 200


async def test_socket_that_a_ticket_or_a_token_opened_is_the_same_caller(client: Client) -> None:
    request_id = await asked(client, "agent-token")
    issued = await answer(await client.post(f"{API}/sse/ticket/s1", headers=bearer("agents-other-token")))

    for way in ({"ticket": issued[1]["data"]["ticket"]}, {"token": "agent-token"}):
        async with client.ws_connect("/agent_backend/ws/s1", params=way) as socket:
            await socket.send_json({"type": "permission_response", "approved": True, "request_id": request_id})
            while (message := await socket.receive_json(timeout=5))["type"] not in ("error", "permission_response"):
                pass
            assert message["code"] == "self_approval"


async def test_token_that_gets_another_subject_is_the_same_token(client: Client, write_tokens: WriteTokens) -> None:
    await asked(client, "agent-token")
    write_tokens([{**TOKENS[0], "subject": "somebody else"}])

    assert await decided(client, "agent-token") == REFUSED


async def test_token_of_the_same_subject_that_was_signed_anew_is_the_same_caller(
    make_client: MakeClient, tmp_path: Path
) -> None:
    signer, keys = Signer.new(), tmp_path / "key"
    keys.write_bytes(signer.verifying)
    client = await make_client(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    await asked(client, signer.token(sub="ann", rights=["produce"]))

    assert await decided(client, signer.token(sub="ann", rights=["approve"])) == REFUSED
    assert await decided(client, signer.token(sub="bob", rights=["approve"])) == 200


async def test_hook_and_prompt_tool_ask_in_the_name_of_their_token(client: Client, broker: Broker) -> None:
    hook = {
        "session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "rm x"},
        "tool_use_id": "t1", "cwd": "/", "transcript_path": "/t", "permission_mode": "default",
    }  # fmt: skip
    call = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "ask_human", "arguments": {"question": "May I?"}},
    }  # fmt: skip
    for path, body in (("/hooks/claude-code?session_id=s1", hook), ("/mcp/s1", call)):
        asking = asyncio.ensure_future(client.post(path, json=body, headers=bearer("agent-token")))
        await until(lambda: broker.open("s1").desk.pending)
        request_id = broker.open("s1").desk.pending[0].request_id

        assert await decided(client, "agent-token", {"approved": True, "request_id": request_id}) == REFUSED
        assert await decided(client, "person-token", {"approved": True, "request_id": request_id}) == 200
        assert (await asking).status == 200


async def test_program_of_this_process_cannot_approve_in_the_name_of_who_asked(client: Client, broker: Broker) -> None:
    await asked(client, "agent-token")

    with pytest.raises(SelfApproval):
        broker.decide("s1", Decision(approved=True), decided_by="agent")
    assert broker.decide("s1", Decision(approved=True), decided_by="a person").approved is True


async def test_without_tokens_everybody_is_the_same_and_may_approve(make_client: MakeClient) -> None:
    client = await make_client()
    await asked(client, "ignored")

    assert await decided(client, "ignored") == 200


async def test_what_a_program_of_this_process_asks_is_nobodys_own(client: Client, broker: Broker) -> None:
    broker.ask("s1", tool_name="rm", parameters={})

    assert await decided(client, "agent-token") == 200
