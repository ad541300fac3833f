"""Asking and deciding over HTTP (contract sections 4 and 5)."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from notifier_service import Broker, Limits
from notifier_service.core.permission_request import PermissionRequest
from tests.policies import a_policy_file

from .conftest import API, Client, MakeClient, Service, answer, error_of, serving, until

if TYPE_CHECKING:
    from conftest import Clock

ASK: dict[str, Any] = {"tool_name": "rm", "parameters": {"path": "/tmp/x", "force": True}}
ASK_PATH = f"{API}/permissions/s1"

BOTH_PATHS = pytest.mark.parametrize("path", [f"{API}/sse/permission-response", f"{API}/polling/permission-response"])


def pending(broker: Broker, session_id: str = "s1", **more: Any) -> PermissionRequest:
    return broker.ask(session_id, **{**ASK, **more})


async def decide(client: Client, path: str = f"{API}/sse/permission-response", **body: Any) -> tuple[int, Any]:
    return await answer(await client.post(f"{path}/s1", json=body))


async def refused(client: Client, path: str = f"{API}/sse/permission-response", **body: Any) -> tuple[int, str]:
    return await error_of(await client.post(f"{path}/s1", json=body))


# Deciding


@BOTH_PATHS
async def test_a_request_that_is_approved_now_comes_back_with_its_record(
    client: Client, broker: Broker, path: str
) -> None:
    request = pending(broker, tool_call_id="c1", description="clean up")

    status, body = await decide(client, path, approved=True, reason="fine", request_id=request.request_id)

    record = body.pop("data")
    assert (status, body) == (200, {"success": True})
    assert {key: record.pop(key) for key in ("timestamp", "expires_at", "decided_at")}.keys()
    canonical = b'{"force":true,"path":"/tmp/x"}'
    deletes = 'deletes ("/tmp/x"); this cannot be taken back'
    assert record == {
        "request_id": request.request_id,
        "tool_name": "rm",
        "parameters": ASK["parameters"],
        "risk_level": "high",
        "rated_by": "service",
        "status": "approved",
        "parameters_sha256": hashlib.sha256(canonical).hexdigest(),
        "action_sha256": hashlib.sha256(
            b'{"parameters":%b,"server":null,"session_id":"s1","tool_name":"rm"}' % canonical
        ).hexdigest(),
        "timeout_seconds": 300.0,
        "risk_reasons": [f"it {deletes}"],
        "reasons": [{"code": "deeds", "text": f"it {deletes}", "what": deletes}],
        "deeds": {"does": ["deletes"], "where": [], "paths": ["/tmp/x"], "reversible": False},
        "allowed_decisions": ["approve", "edit", "reject", "respond"],
        "scopes": ["once", "session"],
        "suggested_rule": 'every call of "rm", asked by this program, at risk high or less',
        "suggested_policy_rule": {
            "name": 'allow every call of "rm", asked by this program, at risk high or less',
            "effect": "allow",
            "tool": "rm",
            "risk": ["low", "medium", "high"],
        },
        "description": "clean up",
        "viewers": 0,
        "tool_call_id": "c1",
        "decision": "approve",
        "approved": True,
        "reason": "fine",
        "response": None,
        "scope": "once",
        "decided_by": "local",
    }


@BOTH_PATHS
@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"approved": True}, ("approved", "approve", True)),
        ({"approved": True, "parameters": {"path": "/tmp/y"}}, ("approved", "edit", True)),
        ({"approved": False}, ("rejected", "reject", False)),
        ({"approved": False, "response": "use trash"}, ("rejected", "respond", False)),
        ({"approved": True, "parameters": ASK["parameters"]}, ("approved", "approve", True)),
    ],
)
async def test_there_are_four_decisions(
    client: Client, broker: Broker, path: str, body: dict[str, Any], outcome: tuple[str, str, bool]
) -> None:
    request = pending(broker)

    status, got = await decide(client, path, **body)

    record = got["data"]
    assert (status, record["request_id"]) == (200, request.request_id)
    assert (record["status"], record["decision"], record["approved"]) == outcome
    assert record["parameters"] == body.get("parameters", ASK["parameters"])
    assert record["response"] == body.get("response")


@BOTH_PATHS
@pytest.mark.parametrize(
    "body",
    [
        {"approved": True},
        {"approved": False},
        {"approved": True, "parameters": {"path": "/tmp/y"}},
        {"approved": False, "response": "use trash"},
    ],
)
async def test_the_same_decision_again_gives_the_same_record(
    client: Client, broker: Broker, path: str, body: dict[str, Any]
) -> None:
    request = pending(broker)
    first = await decide(client, path, request_id=request.request_id, reason="one", **body)

    again = await decide(client, path, request_id=request.request_id, reason="two", **body)

    assert again == first
    assert first[0] == 200


async def test_another_scope_makes_no_other_decision(client: Client, broker: Broker) -> None:
    request = pending(broker)
    first = await decide(client, request_id=request.request_id, approved=True)

    again = await decide(client, request_id=request.request_id, approved=True, scope="session")

    assert again == first
    assert again[1]["data"]["scope"] == "once"


@BOTH_PATHS
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"approved": True}, {"approved": False}),
        ({"approved": False}, {"approved": True}),
        ({"approved": True}, {"approved": True, "parameters": {"path": "/"}}),
        ({"approved": True, "parameters": {"path": "/a"}}, {"approved": True, "parameters": {"path": "/b"}}),
        ({"approved": True, "parameters": {"path": "/a"}}, {"approved": True}),
        ({"approved": False}, {"approved": False, "response": "x"}),
        ({"approved": False, "response": "x"}, {"approved": False, "response": "y"}),
        ({"approved": False, "response": "x"}, {"approved": False}),
    ],
)
async def test_who_decides_otherwise_gets_the_record_that_won(
    client: Client, broker: Broker, path: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    request = pending(broker)
    won = (await decide(client, path, request_id=request.request_id, **first))[1]["data"]

    response = await client.post(f"{path}/s1", json={"request_id": request.request_id, **second})

    assert await error_of(response) == (409, "already_decided")
    assert (await response.json())["error"]["record"] == won


@BOTH_PATHS
async def test_without_an_id_the_only_pending_request_is_meant(client: Client, broker: Broker, path: str) -> None:
    pending(broker, "s2").cancel()
    request = pending(broker)
    pending(broker, "s2")

    status, body = await decide(client, path, approved=False)

    assert (status, body["data"]["request_id"], body["data"]["status"]) == (200, request.request_id, "rejected")


@BOTH_PATHS
@pytest.mark.parametrize("approved", [True, False])
async def test_without_an_id_nothing_is_decided_right_after_another_request_was_withdrawn(
    client: Client, broker: Broker, path: str, approved: bool
) -> None:
    shown = pending(broker, tool_name="ls")
    await client.delete(f"{ASK_PATH}/{shown.request_id}")
    request = pending(broker)

    response = await client.post(f"{path}/s1", json={"approved": approved})

    assert await error_of(response) == (409, "ambiguous_request")
    assert [record["request_id"] for record in (await response.json())["error"]["pending"]] == [request.request_id]
    assert request.pending


@BOTH_PATHS
async def test_without_an_id_nothing_is_decided_right_after_the_session_began_anew(
    client: Client, broker: Broker, path: str
) -> None:
    pending(broker, tool_name="ls")
    await client.delete(f"{API}/sessions/s1")
    request = pending(broker)

    assert await refused(client, path, approved=True) == (409, "ambiguous_request")
    assert request.pending


async def test_an_answer_without_an_id_is_refused_where_one_is_required(make_client: MakeClient) -> None:
    client = await make_client(require_request_id=True)
    record = (await answer(await client.post(ASK_PATH, json=ASK)))[1]["data"]

    assert await refused(client, approved=True) == (422, "invalid")
    assert (await decide(client, approved=True, request_id=record["request_id"]))[0] == 200


@BOTH_PATHS
async def test_a_decision_for_another_action_is_refused(client: Client, broker: Broker, path: str) -> None:
    shown, request = pending(broker, tool_name="ls"), pending(broker)
    given = {"request_id": request.request_id, "parameters_sha256": request.record.parameters_sha256}

    wrong = await refused(client, path, approved=True, **given, action_sha256=shown.record.action_sha256)
    right, _ = await decide(client, path, approved=True, **given, action_sha256=request.record.action_sha256)

    assert wrong == (409, "parameters_changed")
    assert right == 200


@BOTH_PATHS
async def test_without_an_id_several_pending_requests_are_ambiguous(client: Client, broker: Broker, path: str) -> None:
    asked = [pending(broker).request_id, pending(broker).request_id]

    response = await client.post(f"{path}/s1", json={"approved": True})

    assert await error_of(response) == (409, "ambiguous_request")
    assert [record["request_id"] for record in (await response.json())["error"]["pending"]] == asked
    assert len(broker.get("s1").desk.pending) == 2


@BOTH_PATHS
async def test_what_is_not_pending_in_this_session_is_not_found(client: Client, broker: Broker, path: str) -> None:
    others = pending(broker, "s2")

    assert await refused(client, path, approved=True) == (404, "request_not_found")
    assert await refused(client, path, approved=True, request_id="pr_unknown") == (404, "request_not_found")
    assert await refused(client, path, approved=True, request_id=others.request_id) == (404, "request_not_found")
    broker.open("s1")
    assert await refused(client, path, approved=True) == (404, "request_not_found")
    assert await refused(client, path, approved=True, request_id=others.request_id) == (404, "request_not_found")
    assert others.pending


@BOTH_PATHS
async def test_what_has_expired_is_gone(make_client: MakeClient, clock: Clock, path: str) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)
    request = pending(broker, timeout_seconds=5)
    clock.advance(5)

    response = await client.post(f"{path}/s1", json={"approved": True, "request_id": request.request_id})

    assert await error_of(response) == (410, "request_expired")
    assert (await response.json())["error"]["record"]["status"] == "expired"


@BOTH_PATHS
async def test_what_was_cancelled_is_gone(client: Client, broker: Broker, path: str) -> None:
    request = pending(broker)
    request.cancel()

    response = await client.post(f"{path}/s1", json={"approved": True, "request_id": request.request_id})

    assert await error_of(response) == (410, "request_cancelled")
    assert (await response.json())["error"]["record"]["status"] == "cancelled"


@BOTH_PATHS
async def test_other_parameters_than_the_pending_ones_are_refused_and_it_stays_pending(
    client: Client, broker: Broker, path: str
) -> None:
    request = pending(broker)
    right = request.record.parameters_sha256

    response = await client.post(f"{path}/s1", json={"approved": True, "parameters_sha256": "0" * 64})

    assert await error_of(response) == (409, "parameters_changed")
    assert (await response.json())["error"]["record"]["parameters_sha256"] == right
    assert request.pending
    assert (await decide(client, path, approved=True, parameters_sha256=right))[0] == 200


async def test_existence_is_checked_before_the_state_and_the_state_before_the_hash(
    client: Client, broker: Broker
) -> None:
    request = pending(broker)
    wrong = "0" * 64

    assert await refused(client, approved=True, request_id="pr_x", parameters_sha256=wrong) == (
        404,
        "request_not_found",
    )
    await decide(client, approved=True)
    assert await refused(client, approved=False, request_id=request.request_id, parameters_sha256=wrong) == (
        409,
        "already_decided",
    )
    assert (await decide(client, approved=True, request_id=request.request_id, parameters_sha256=wrong))[0] == 200


async def test_the_body_is_checked_before_existence(client: Client) -> None:
    assert await refused(client, approved="yes", request_id="pr_x") == (422, "invalid")


@BOTH_PATHS
@pytest.mark.parametrize("approved", ["true", "True", 1, 0, 1.0, None, "yes", [], {}, [True], ""])
async def test_approved_is_a_strict_boolean(client: Client, broker: Broker, path: str, approved: Any) -> None:
    request = pending(broker)

    response = await client.post(f"{path}/s1", json={"approved": approved})

    assert await response.json() == {
        "success": False,
        "error": {
            "code": "invalid",
            "message": "approved: Input should be a valid boolean",
            "problems": [{"where": "approved", "why": "Input should be a valid boolean"}],
        },
        "message": "approved: Input should be a valid boolean",
    }
    assert response.status == 422
    assert request.pending


@BOTH_PATHS
@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "approved"),
        ({"approved": True, "extra": 1}, "extra"),
        ({"approved": True, "Approved": True}, "Approved"),
        ({"approved": True, "reason": 1}, "reason"),
        ({"approved": True, "reason": "x" * 10_001}, "reason"),
        ({"approved": True, "request_id": 1}, "request_id"),
        ({"approved": True, "request_id": "x" * 257}, "request_id"),
        ({"approved": True, "parameters": []}, "parameters"),
        ({"approved": True, "parameters": "{}"}, "parameters"),
        ({"approved": False, "parameters": {}}, ""),
        ({"approved": True, "response": "x"}, ""),
        ({"approved": True, "response": ""}, ""),
        ({"approved": False, "response": 1}, "response"),
        ({"approved": True, "scope": "forever"}, "scope"),
        ({"approved": False, "response": "no", "scope": "session"}, ""),
        ({"approved": True, "parameters_sha256": 1}, "parameters_sha256"),
        ([], ""),
        ([{"approved": True}], ""),
        (True, ""),
        ("approved", ""),
    ],
)
async def test_a_decision_that_is_none_is_invalid_and_decides_nothing(
    client: Client, broker: Broker, path: str, body: Any, where: str
) -> None:
    request = pending(broker)

    response = await client.post(f"{path}/s1", json=body)

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["error"]["problems"][0]["where"] == where
    assert request.pending


DOUBLED = [
    b'{"approved": false, "approved": true}',
    b'{"approved": true, "request_id": "pr_other", "request_id": "ID"}',
    b'{"approved": true, "request_id": "ID", "parameters": {"path": "/tmp/y", "path": "/"}}',
    b'{"approved": true, "request_id": "ID", "parameters": {"a": [{"b": 1, "\\u0062": 2}]}}',
]


@BOTH_PATHS
@pytest.mark.parametrize("sent", DOUBLED)
async def test_a_decision_with_a_key_twice_is_invalid_and_decides_nothing(
    client: Client, broker: Broker, path: str, sent: bytes
) -> None:
    request = pending(broker)
    body = sent.replace(b"ID", request.request_id.encode())

    response = await client.post(f"{path}/s1", data=body, headers={"Content-Type": "application/json"})

    assert await error_of(response) == (422, "invalid")
    assert "the same key twice" in (await response.json())["message"]
    assert request.pending


@pytest.mark.parametrize(
    "sent",
    [
        b'{"tool_name": "ls", "parameters": {}, "tool_name": "rm"}',
        b'{"tool_name": "rm", "parameters": {"path": "a", "path": "/"}}',
        b'{"tool_name": "rm", "parameters": {"x": {"y": [{"path": "a", "path": "/"}]}}}',
        b'{"tool_name": "rm", "parameters": {}, "risk_level": "high", "risk_level": "low"}',
    ],
)
async def test_an_ask_with_a_key_twice_is_invalid_and_registers_nothing(
    client: Client, broker: Broker, sent: bytes
) -> None:
    response = await client.post(ASK_PATH, data=sent, headers={"Content-Type": "application/json"})

    assert await error_of(response) == (422, "invalid")
    assert broker.sessions == ()


async def test_a_scope_that_is_not_offered_is_refused(client: Client, broker: Broker) -> None:
    request = pending(broker)

    assert await refused(client, approved=True, scope="always") == (422, "decision_not_offered")
    assert request.pending


async def test_a_tool_allowed_for_the_session_is_not_asked_again_there(client: Client, broker: Broker) -> None:
    await client.post(ASK_PATH, json=ASK)
    await decide(client, approved=True, scope="session")

    again = await answer(await client.post(ASK_PATH, json=ASK))
    elsewhere = await answer(await client.post(f"{API}/permissions/s2", json=ASK))

    assert (again[0], again[1]["data"]["status"], again[1]["data"]["decided_by"]) == (200, "approved", "policy")
    assert (elsewhere[0], elsewhere[1]["data"]["status"]) == (201, "pending")


async def test_an_edit_tells_which_parameters_were_asked_and_which_run(client: Client, broker: Broker) -> None:
    asked = pending(broker).record.parameters_sha256

    record = (await decide(client, approved=True, parameters={}))[1]["data"]

    assert record["parameters"] == {}
    assert record["asked_parameters_sha256"] == asked
    assert record["parameters_sha256"] == hashlib.sha256(b"{}").hexdigest()


async def test_a_request_that_waits_unannounced_cannot_be_decided_yet(make_client: MakeClient) -> None:
    broker = Broker(Limits(one_request_at_a_time=True))
    client = await make_client(broker)
    first, second = pending(broker), pending(broker)

    early = await refused(client, approved=True, request_id=second.request_id)
    one = await decide(client, approved=True)
    two = await decide(client, approved=True, request_id=second.request_id)

    assert early == (404, "request_not_found")
    assert [body["data"]["request_id"] for _, body in (one, two)] == [first.request_id, second.request_id]


@pytest.mark.parametrize("number", [2**53 + 1, -(2**70), 1e300, 0.1, -0.0])
async def test_parameters_are_shown_as_they_are(client: Client, number: float) -> None:
    parameters = {"n": number, "text": "\r\n\0\x7f", "last": "x" * 100_000}

    record = (await answer(await client.post(ASK_PATH, json={"tool_name": "rm", "parameters": parameters})))[1]["data"]

    assert record["parameters"] == parameters


# Asking


async def test_an_ask_that_must_be_decided_comes_back_pending(client: Client) -> None:
    body = {**ASK, "tool_call_id": "c1", "timeout_seconds": 7.5, "description": "clean up", "risk_level": "medium"}
    body |= {"server": "files", "definition_sha256": "0a" * 32}

    status, got = await answer(await client.post(ASK_PATH, json=body))

    record = got["data"]
    assert status == 201
    assert {name: record[name] for name in body} == body
    assert (record["status"], record["decision"], record["approved"]) == ("pending", None, None)
    assert (record["decided_by"], record["decided_at"], record["scope"]) == (None, None, None)
    assert record["expires_at"] > record["timestamp"]
    assert len(record["request_id"]) >= 3 + 128 / 6


async def test_an_ask_without_a_risk_level_is_of_high_risk(client: Client) -> None:
    response = await client.post(ASK_PATH, json=ASK)

    assert (await response.json())["data"]["risk_level"] == "high"


async def test_a_request_that_never_expires_says_so(client: Client) -> None:
    record = (await answer(await client.post(ASK_PATH, json={**ASK, "timeout_seconds": 0})))[1]["data"]

    assert (record["expires_at"], record["timeout_seconds"]) == (None, 0.0)


async def test_an_ask_that_the_policy_settles_comes_back_decided(client: Client) -> None:
    status, got = await answer(await client.post(ASK_PATH, json={**ASK, "risk_level": "low"}))

    assert (status, got["data"]["status"], got["data"]["decided_by"]) == (200, "approved", "policy")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"tool_name": None}, "tool_name"),
        ({"tool_name": ""}, "tool_name"),
        ({"tool_name": "x" * 257}, "tool_name"),
        ({"tool_name": 1}, "tool_name"),
        ({"parameters": None}, "parameters"),
        ({"parameters": []}, "parameters"),
        ({"parameters": "rm -rf"}, "parameters"),
        ({"risk_level": "extreme"}, "risk_level"),
        ({"risk_level": None}, "risk_level"),
        ({"tool_call_id": ""}, "tool_call_id"),
        ({"tool_call_id": 7}, "tool_call_id"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": "5"}, "timeout_seconds"),
        ({"timeout_seconds": 1e9}, "timeout_seconds"),
        ({"timeout_seconds": True}, "timeout_seconds"),
        ({"description": 5}, "description"),
        ({"description": "x" * 10_001}, "description"),
        ({"server": ""}, "server"),
        ({"server": "x" * 257}, "server"),
        ({"definition_sha256": "0A" * 32}, "definition_sha256"),
        ({"definition_sha256": "0a" * 31}, "definition_sha256"),
        ({"request_id": "mine"}, "request_id"),
        ({"asked_by": "somebody"}, "asked_by"),
    ],
)
async def test_an_ask_that_is_none_is_invalid_and_registers_nothing(
    client: Client, broker: Broker, change: dict[str, Any], where: str
) -> None:
    response = await client.post(ASK_PATH, json={**ASK, **change})

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["error"]["problems"][0]["where"] == where
    assert broker.statistics().pending_permissions == 0


@pytest.mark.parametrize("missing", ["tool_name", "parameters"])
async def test_an_ask_without_what_is_required_is_invalid(client: Client, missing: str) -> None:
    response = await client.post(ASK_PATH, json={key: ASK[key] for key in ASK if key != missing})

    assert (await response.json())["message"] == f"{missing}: Field required"


async def test_parameters_beyond_their_limit_are_too_large(make_client: MakeClient) -> None:
    client = await make_client(max_parameters_bytes=16 * 1024)

    response = await client.post(ASK_PATH, json={"tool_name": "rm", "parameters": {"x": "y" * 17_000}})

    assert await error_of(response) == (413, "too_large")
    error = (await response.json())["error"]
    assert (error["limit"], error["parameters_bytes"]) == ("max_parameters_bytes", 17_008)


async def test_more_than_may_be_pending_are_denied_and_not_registered(make_client: MakeClient) -> None:
    client = await make_client(max_pending_per_session=2)
    for _ in range(2):
        assert (await client.post(ASK_PATH, json=ASK)).status == 201

    response = await client.post(ASK_PATH, json=ASK, params={"wait": "60"})
    listed = await client.get(ASK_PATH)

    assert await error_of(response) == (429, "limit_reached")
    assert response.headers["Retry-After"] == "1"
    assert (await response.json())["error"]["limit"] == "max_pending_per_session"
    assert len((await listed.json())["data"]) == 2
    assert (await client.post(f"{API}/permissions/s2", json=ASK)).status == 201


@pytest.mark.parametrize("wait", ["-1", "-0.001", "nan", "inf", "-inf", "1e9", "3600.1", "soon", "", "1,5", "0x10"])
async def test_a_wait_that_is_none_is_invalid(client: Client, broker: Broker, wait: str) -> None:
    for method, path, body in (("POST", ASK_PATH, ASK), ("GET", f"{ASK_PATH}/pr_x", None)):
        response = await client.request(method, path, params={"wait": wait}, json=body)

        assert await error_of(response) == (422, "invalid")
        assert (await response.json())["error"]["problems"][0]["where"] == "wait"
    assert broker.sessions == ()


async def test_a_wait_given_twice_is_invalid(client: Client, broker: Broker) -> None:
    response = await client.post(ASK_PATH, params=[("wait", "1"), ("wait", "2")], json=ASK)

    assert (await response.json())["message"] == "wait: given twice"
    assert broker.sessions == ()


# Waiting for the decision


@asynccontextmanager
async def asking(client: Any, broker: Broker, **request: Any) -> Any:
    """An ask that is held, and the request it asked."""
    task = asyncio.ensure_future(client.post(ASK_PATH, json=ASK, **{"params": {"wait": "60"}, **request}))
    await until(lambda: broker.statistics().pending_permissions)
    yield task, broker.get("s1").desk.pending[0]
    task.cancel()


async def test_an_ask_decided_while_held_comes_back_with_the_answer(client: Client, broker: Broker) -> None:
    async with asking(client, broker) as (held, request):
        await decide(client, approved=True, reason="fine")
        status, body = await answer(await held)

    assert status == 200
    assert (body["data"]["request_id"], body["data"]["status"]) == (request.request_id, "approved")
    assert body["data"]["reason"] == "fine"


async def test_an_ask_whose_wait_runs_out_comes_back_pending(client: Client, broker: Broker) -> None:
    status, body = await answer(await client.post(ASK_PATH, json=ASK, params={"wait": "0.01"}))

    assert (status, body["data"]["status"]) == (201, "pending")
    assert broker.statistics().pending_permissions == 1


async def test_an_ask_that_expires_while_held_comes_back_expired(make_client: MakeClient, clock: Clock) -> None:
    broker = Broker(clock=clock)
    client = await make_client(broker)

    async with asking(client, broker) as (held, _):
        clock.advance(301)
        broker.sweep()
        status, body = await answer(await held)

    assert (status, body["data"]["status"], body["data"]["approved"]) == (200, "expired", False)
    assert body["data"]["reason"] == "nobody answered within 300 s"


@pytest.mark.parametrize("way", ["withdrawn", "session"])
async def test_an_ask_that_is_cancelled_while_held_comes_back_cancelled(
    client: Client, broker: Broker, way: str
) -> None:
    async with asking(client, broker) as (held, request):
        path = f"{ASK_PATH}/{request.request_id}" if way == "withdrawn" else f"{API}/sessions/s1"
        await client.delete(path)
        status, body = await answer(await held)

    assert (status, body["data"]["status"], body["data"]["approved"]) == (200, "cancelled", False)


@pytest.mark.parametrize("wait", [{}, {"wait": "0"}, {"wait": "0.01"}])
async def test_a_pending_request_is_read_as_it_is(client: Client, broker: Broker, wait: dict[str, str]) -> None:
    request = pending(broker)

    status, body = await answer(await client.get(f"{ASK_PATH}/{request.request_id}", params=wait))

    assert (status, body["data"]["status"]) == (200, "pending")


async def test_a_read_is_held_until_the_decision(client: Client, broker: Broker) -> None:
    request = pending(broker)
    read = asyncio.ensure_future(client.get(f"{ASK_PATH}/{request.request_id}", params={"wait": "60"}))

    await decide(client, approved=False, reason="no")
    status, body = await answer(await read)

    assert (status, body["data"]["status"], body["data"]["reason"]) == (200, "rejected", "no")


async def test_a_settled_request_is_read_at_once(client: Client, broker: Broker) -> None:
    request = pending(broker)
    decided = await decide(client, approved=True)

    read = await answer(await client.get(f"{ASK_PATH}/{request.request_id}", params={"wait": "3600"}))

    assert read == decided


async def test_the_pending_requests_are_listed_oldest_first(client: Client, broker: Broker) -> None:
    asked = [pending(broker).request_id for _ in range(3)]
    await decide(client, approved=True, request_id=asked[1])

    status, body = await answer(await client.get(ASK_PATH))

    assert (status, [record["request_id"] for record in body["data"]]) == (200, [asked[0], asked[2]])


async def test_a_withdrawn_request_comes_back_cancelled_however_often(client: Client, broker: Broker) -> None:
    request = pending(broker)

    first = await answer(await client.delete(f"{ASK_PATH}/{request.request_id}"))
    again = await answer(await client.delete(f"{ASK_PATH}/{request.request_id}"))

    assert first == again
    assert (first[0], first[1]["data"]["status"], first[1]["data"]["approved"]) == (200, "cancelled", False)
    assert first[1]["data"]["reason"] == "the agent withdrew it"


async def test_a_decided_request_cannot_be_withdrawn_any_more(client: Client, broker: Broker) -> None:
    request = pending(broker)
    decided = await decide(client, approved=True)

    assert await answer(await client.delete(f"{ASK_PATH}/{request.request_id}")) == decided


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("request_id", ["pr_none", "%00", "%0d%0a", "x" * 5000, "%F0%9F%92%A5"])
async def test_a_request_that_nobody_asked_is_not_found(client: Client, method: str, request_id: str) -> None:
    response = await client.request(method, URL(f"{ASK_PATH}/{request_id}", encoded=True))

    assert await error_of(response) == (404, "request_not_found")


# Connections that drop


async def drop(asked: asyncio.Task[Any]) -> None:
    """Leave in the middle of a request: the connection is closed."""
    asked.cancel()
    await asyncio.wait({asked})


async def test_an_ask_whose_connection_drops_is_cancelled(service: Service) -> None:
    broker = service.site.broker
    async with asking(service.http, broker) as (held, request):
        await drop(held)
        record = await request.decision()

    assert (record.status, record.approved) == ("cancelled", False)
    assert record.reason == "the connection of the asker dropped"


async def test_an_ask_whose_connection_drops_is_cancelled_where_handlers_are_not(
    embedded: aiohttp.ClientSession, broker: Broker
) -> None:
    async with asking(embedded, broker) as (held, request):
        await drop(held)
        record = await request.decision()

    assert (record.status, record.reason) == ("cancelled", "the connection of the asker dropped")


async def test_an_asker_who_leaves_is_no_error_in_the_log(
    embedded: aiohttp.ClientSession, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(embedded, broker) as (held, request):
        await drop(held)
        await request.decision()
    for _ in range(20):
        await asyncio.sleep(0)

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_ask_with_a_key_outlives_its_connection_and_can_be_joined(service: Service) -> None:
    broker, key = service.site.broker, {"Idempotency-Key": "k1"}
    async with asking(service.http, broker, headers=key) as (held, request):
        await drop(held)
        joined = asyncio.ensure_future(service.http.post(ASK_PATH, json=ASK, params={"wait": "60"}, headers=key))
        await service.http.post(f"{API}/sse/permission-response/s1", json={"approved": True})
        status, body = await answer(await joined)

    assert (status, body["data"]["request_id"], body["data"]["status"]) == (200, request.request_id, "approved")
    assert broker.get("s1").log.last_seq == 3  # asked, answered, cleared: once each


async def test_a_read_whose_connection_drops_cancels_nothing(service: Service) -> None:
    broker = service.site.broker
    request = pending(broker)
    reader, writer = await service.connect()
    writer.write(f"GET {ASK_PATH}/{request.request_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    listed = await service.http.get(ASK_PATH)  # the read came before this one
    writer.transport.abort()
    await reader.read()

    again = await service.http.get(ASK_PATH)

    for response in (listed, again):
        assert [record["status"] for record in (await response.json())["data"]] == ["pending"]
    assert request.pending


@pytest.mark.parametrize("joined", [1, 5])
async def test_one_who_joins_and_drops_takes_nothing_from_the_others(joined: int) -> None:
    async with serving() as service:
        broker, key = service.site.broker, {"Idempotency-Key": "k1"}
        async with asking(service.http, broker, headers=key) as (first, request):
            others = [
                asyncio.ensure_future(service.http.post(ASK_PATH, json=ASK, params={"wait": "60"}, headers=key))
                for _ in range(joined)
            ]
            await drop(first)
            request.cancel("over")
            bodies = [await (await other).json() for other in others]

    assert [body["data"]["request_id"] for body in bodies] == [request.request_id] * joined


# Parameters that no event can hold

LARGE: dict[str, Any] = {"tool_name": "Write", "parameters": {"file_path": "/srv/a", "content": "a line\n" * 100_000}}


async def test_a_file_of_700_kb_is_asked_read_and_approved(client: Client) -> None:
    status, asked = await answer(await client.post(ASK_PATH, json=LARGE))
    request_id = asked["data"]["request_id"]
    [listed] = (await answer(await client.get(ASK_PATH)))[1]["data"]

    unread = await refused(client, approved=True)
    waited = await answer(await client.get(f"{ASK_PATH}/{request_id}", params={"wait": "0.01"}))
    still_unread = await refused(client, approved=True)
    read = await answer(await client.get(f"{ASK_PATH}/{request_id}"))
    approved = await decide(client, approved=True)

    assert status == 201
    assert (listed["parameters_truncated"], list(listed["parameters"])) == (True, ["beginning"])
    assert unread == still_unread == (409, "parameters_unread")
    assert waited[1]["data"]["parameters"] == read[1]["data"]["parameters"] == LARGE["parameters"]
    assert (approved[0], approved[1]["data"]["parameters_truncated"]) == (200, True)


async def test_an_asker_that_holds_gets_a_large_edit_whole(client: Client, broker: Broker) -> None:
    edited = {**LARGE["parameters"], "file_path": "/tmp/a"}
    asking = asyncio.create_task(client.post(ASK_PATH, json=LARGE, params={"wait": "60"}))
    await until(lambda: broker.open("s1").desk.pending)
    [request] = broker.open("s1").desk.pending
    await client.get(f"{ASK_PATH}/{request.request_id}")

    await decide(client, approved=True, parameters=edited)

    assert (await answer(await asking))[1]["data"]["parameters"] == edited


# An edit, and what the tool takes

TAKES = {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": False}


async def test_edit_that_escapes_the_schema_says_where_and_leaves_the_request_pending(
    client: Client, broker: Broker
) -> None:
    asked = {"tool_name": "rm", "parameters": {"path": "a"}, "input_schema": TAKES}
    await client.post(f"{API}/permissions/s1", json=asked)
    status, told = await answer(
        await client.post(f"{API}/sse/permission-response/s1", json={"approved": True, "parameters": {"path": 5}})
    )

    assert status == 422
    assert (told["error"]["code"], told["error"]["pointer"]) == ("invalid", "/path")
    assert told["message"] == "parameters/path: it is not of type 'string'"
    assert len(broker.open("s1").desk.pending) == 1


async def test_schema_of_more_than_its_bound_is_refused(client: Client, broker: Broker) -> None:
    asked = {"tool_name": "rm", "parameters": {}, "input_schema": {"enum": ["x" * 131_072]}}
    status, told = await answer(await client.post(f"{API}/permissions/s1", json=asked))

    assert status == 422
    assert told["message"].startswith("input_schema: it has 1310")
    assert broker.sessions == ()


async def test_call_that_a_rule_denies_is_settled_with_the_rule_and_its_justification(
    client: Client, broker: Broker, tmp_path: Path
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="rm", ask="pay"))
    answers = [
        await answer(
            await client.post(f"{API}/permissions/s1", json={"tool_name": tool, "parameters": {}, "risk_level": "low"})
        )
        for tool in ("rm", "pay")
    ]

    [(_, denied), (_, asked)] = answers
    assert denied["data"]["status"] == "rejected"
    assert asked["data"]["status"] == "pending"
    assert [told["data"]["rule"] for _, told in answers] == ["no rm", "ask pay"]
    assert [told["data"]["justification"] for _, told in answers] == ["because of rm", "because of pay"]
    assert asked["data"]["scopes"] == ["once"]
