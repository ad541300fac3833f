"""The descriptions of the API say what is really asked, answered and told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from notifier_service import Broker
from notifier_service.cli import main
from notifier_service.core.question import Question
from notifier_service.web import openapi as web_openapi
from notifier_service.web.openapi import EXAMPLES, asyncapi, openapi, path_of
from notifier_service.web.routes import ROUTES, Route

from .conftest import API, Client, MakeClient, bearer

DOCS = Path(__file__).parents[2] / "docs"
OPENAPI: dict[str, Any] = json.loads(json.dumps(openapi()))
ASYNCAPI: dict[str, Any] = json.loads(json.dumps(asyncapi()))


def valid(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any] = OPENAPI) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def operation_of(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = OPENAPI["paths"][path][method.lower()]
    return found


def answer_of(operation: Mapping[str, Any], status: int) -> dict[str, Any]:
    """What is described of an answer of this status, which must be."""
    assert str(status) in operation["responses"], f"{operation['operationId']} may not answer {status}"
    answer: dict[str, Any] = operation["responses"][str(status)]
    if "$ref" in answer:
        answer = OPENAPI["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return answer


async def call(client: Client, method: str, path: str, values: Mapping[str, str], **request: Any) -> int:
    """Call what stands at a path of the description, and hold the answer to that."""
    operation = operation_of(method, path)
    async with client.request(method, path.format(**values), **request) as response:
        answer = answer_of(operation, response.status)
        if "content" not in answer or method == "HEAD":
            assert await response.read() == b""
            return response.status
        assert response.content_type in answer["content"], (operation["operationId"], response.content_type)
        if response.content_type == "application/json":
            valid(await response.json(), answer["content"]["application/json"]["schema"])
        return response.status


VALUES = {
    "session_id": "team-1", "request_id": "pr_none", "rule_id": "rule_none", "device_id": "dev_none",
    "pairing_id": "pairing_none", "link": "none",
    "name": "files", "id": "team-1",
}  # fmt: skip


def _id(route: Route) -> str:
    return f"{route.method} {route.full_path('/agent_backend')}"


EACH_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=_id)


def test_it_is_openapi() -> None:
    validator = pytest.importorskip("openapi_spec_validator")

    assert validator.OpenAPIV31SpecValidator(OPENAPI).is_valid()


@EACH_ROUTE
def test_each_route_is_described_with_all_that_it_takes(route: Route) -> None:
    path = path_of(route, "/agent_backend")
    operation = operation_of(route.method, path)

    parameters = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
    assert {name for place, name in parameters if place == "path"} == set(re.findall(r"{(\w+)}", path))
    ways = {"token", "ticket"}
    assert {name for place, name in parameters if place == "query"} == set(route.query.model_fields) - ways
    assert operation["x-rights"] == sorted(route.rights)
    assert (route.body is None) or "requestBody" in operation
    assert operation["summary"] == route.summary


def test_a_route_that_nobody_has_described_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Route("GET", "/api/new", ROUTES[0].handler, frozenset(), "New.")
    monkeypatch.setattr(web_openapi, "ROUTES", (*ROUTES, new))

    with pytest.raises(LookupError, match="GET /api/new has no answers"):
        openapi()


def test_names_of_operations_are_each_there_once() -> None:
    names = [operation["operationId"] for path in OPENAPI["paths"].values() for operation in path.values()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("prefix", ["", "/x"])
def test_paths_stand_behind_the_prefix_of_the_settings(prefix: str) -> None:
    paths = openapi(prefix)["paths"]

    assert f"{prefix}/api/events/{{session_id}}" in paths
    assert "/metrics" in paths
    assert any(channel["address"] == f"{prefix}/ws/{{session_id}}" for channel in asyncapi(prefix)["channels"].values())


@pytest.mark.parametrize(("flag", "document"), [("--openapi", OPENAPI), ("--asyncapi", ASYNCAPI)])
def test_what_is_committed_is_what_the_command_prints(
    flag: str, document: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", flag]) == 0
    printed = capsys.readouterr().out

    assert json.loads(printed) == document
    assert (DOCS / f"{flag.removeprefix('--')}.json").read_text() == printed, "run make descriptions"


@pytest.mark.parametrize(("path", "document"), [("openapi", OPENAPI), ("asyncapi", ASYNCAPI)])
async def test_the_service_gives_its_description_to_everybody(guarded: Client, path: str, document: Any) -> None:
    response = await guarded.get(f"{API}/{path}.json")

    assert await response.json() == document


@EACH_ROUTE
async def test_errors_are_as_described(guarded: Client, route: Route) -> None:
    path = path_of(route, "/agent_backend")
    for headers in ({}, bearer("nobody"), bearer("view"), bearer("produce"), bearer("admin")):
        for more in ({"params": {"unknown": "1"}}, {"data": b"{"}, {"json": {"nonsense": 1}}):
            if "long-poll" in path and "params" not in more:
                more = {**more, "params": {"timeout": "0"}}
            if not (route.is_stream and headers in (bearer("admin"), bearer("view"))):  # which would go on
                await call(guarded, route.method, path, VALUES, headers=headers, **more)
    for session_id in ("private-1", "a b"):
        values = {**VALUES, "session_id": session_id}
        await call(guarded, route.method, path, values, headers=bearer("produce"), json={})


async def test_answers_are_as_described(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker)
    base = "/agent_backend/api"
    asked = [broker.ask("team-1", Question("write", {"n": number}, tool_call_id="c")) for number in range(3)]
    in_session = {**VALUES, "request_id": asked[0].request_id}
    event = {"type": "tool_status", "data": {"status": "executing", "tool_name": "read", "details": {}}}
    result = {"type": "tool_result", "data": {"tool_name": "read", "success": True, "result": [1]}}
    decision = {"approved": True, "request_id": asked[0].request_id, "scope": "session"}
    calls: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", f"{base}/permissions/{{session_id}}", {}),
        (200, "GET", f"{base}/permissions/{{session_id}}/{{request_id}}", {}),
        (409, "POST", f"{base}/sse/permission-response/{{session_id}}", {"json": {"approved": True}}),
        (200, "POST", f"{base}/sse/permission-response/{{session_id}}", {"json": decision}),
        (409, "POST", f"{base}/polling/permission-response/{{session_id}}", {"json": {**decision, "approved": False}}),
        (201, "POST", f"{base}/events/{{session_id}}", {"json": [event, result]}),
        (201, "POST", f"{base}/events", {"json": {"session_id": "team-2", "type": "note"}}),
        (415, "POST", f"{base}/events", {"data": "x"}),
        (200, "GET", f"{base}/polling/session-info/{{session_id}}", {}),
        (304, "GET", f"{base}/polling/session-info/{{session_id}}", {"headers": {"If-None-Match": "*"}}),
        (200, "GET", f"{base}/polling/tool-status/{{session_id}}", {}),
        (200, "GET", f"{base}/polling/permission-request/{{session_id}}", {}),
        (200, "GET", f"{base}/polling/tool-result/{{session_id}}", {}),
        (200, "POST", f"{base}/polling/clear-result/{{session_id}}", {}),
        (200, "GET", f"{base}/long-poll/{{session_id}}", {"params": {"after": "earliest", "timeout": "0"}}),
        (200, "GET", "/api/long-poll/{session_id}", {"params": {"after": "nonsense", "timeout": "0"}}),
        (201, "POST", f"{base}/sse/ticket/{{session_id}}", {}),
        (200, "GET", f"{base}/sse/health/{{session_id}}", {}),
        (200, "GET", f"{base}/rules/{{id}}", {}),
        (200, "GET", f"{base}/rules", {}),
        (404, "DELETE", f"{base}/rules/{{session_id}}/{{rule_id}}", {}),
        (200, "GET", f"{base}/sessions", {}),
        (200, "GET", f"{base}/history", {}),
        (200, "GET", f"{base}/policy", {}),
        (200, "GET", f"{base}/keys", {}),
        (200, "GET", "/healthz/live", {}),
        (200, "HEAD", "/healthz/live", {}),
        (200, "GET", "/healthz/ready", {}),
        (422, "GET", "/ws/chat", {}),
        (204, "GET", f"{base}/sse/events/{{session_id}}", {"headers": {"Last-Event-ID": "x-1"}}),
        (200, "DELETE", f"{base}/sessions/{{session_id}}", {}),
    ]
    calls.insert(-1, calls.pop())  # a session that was ended answers who comes back to it
    for status, method, path, request in calls:
        assert await call(client, method, path, in_session, **request) == status, (method, path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_its_schema_says(name: str) -> None:
    valid(EXAMPLES[name], {"$ref": f"#/components/schemas/{name}"})


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method == "POST" and not route.path.startswith("/mcp/gateway")],
    ids=_id,
)
async def test_an_example_is_taken_by_the_service(client: Client, broker: Broker, route: Route) -> None:
    path = path_of(route, "/agent_backend")
    body = operation_of("POST", path).get("requestBody", {"content": {"": {"example": None}}})
    broker.ask("run-1", Question("write", {}))
    for kind, described in body["content"].items():
        example = described["example"]
        data = example if isinstance(example, str) else json.dumps(example)
        headers = {"Content-Type": kind, "Accept": "application/json, text/event-stream"} if kind else {}
        values = {**VALUES, "session_id": "run-1"}
        status = await call(client, "POST", path, values, data=data if kind else None, headers=headers)

        is_of_nothing = "{link}" in path or (
            route.body is not None and route.body.__name__ in ("ClaimBody", "LinkBody", "TakeOverBody")
        )
        if path.endswith("/api/pair"):
            assert status == 401  # without the secret of a link
        else:
            assert status in ((404,) if is_of_nothing else (200, 201))  # what they name is not there


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_what_is_referred_to_is_there(document: Any) -> None:
    references = set(_references(document))

    assert references
    for reference in references:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def test_each_stream_and_socket_is_a_channel_and_each_message_is_as_its_example() -> None:
    addresses = [channel["address"] for channel in ASYNCAPI["channels"].values()]
    expected = [route.full_path("/agent_backend") for route in ROUTES if route.is_stream]

    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert sorted(addresses) == sorted(expected)
    for message in ASYNCAPI["components"]["messages"].values():
        for example in message.get("examples", ()):
            valid(example["payload"], message["payload"], ASYNCAPI)
    for schema in ASYNCAPI["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_what_a_socket_says_and_hears_is_as_described(client: Client, broker: Broker) -> None:
    broker.ask("run-1", Question("write", {}))
    channel = ASYNCAPI["channels"]["ws"]
    operations = ASYNCAPI["operations"]

    def of(operation: str) -> list[dict[str, Any]]:
        names = [message["$ref"].rpartition("/")[2] for message in operations[operation]["messages"]]
        return [ASYNCAPI["components"]["messages"][name] for name in names]

    async with client.ws_connect(channel["address"].format(session_id="run-1")) as socket:
        told = [await socket.receive_json(timeout=5) for _ in range(3)]
        for message in of("said_ws"):
            for example in message["examples"]:
                await socket.send_json(example["payload"])
        while told[-1].get("type") != "pong":
            told.append(await socket.receive_json(timeout=5))

    schemas = {"anyOf": [message["payload"] for message in of("told_ws")]}
    assert {"hello", "snapshot", "pong"} <= {event["type"] for event in told}
    for event in told:
        if event["type"] != "permission_response":
            valid(event, schemas, ASYNCAPI)
