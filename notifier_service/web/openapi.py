"""The API as OpenAPI 3.1 and AsyncAPI 3, made from the table of routes and the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ..core.events import FileRule, Rule
from ..version import __version__
from .answers import codes_by_status
from .models import RecordToCaller, RedactedRecord, RuleToCaller, SuggestionToCaller
from .produce import PublishedEvent
from .routes import ROUTES, Route
from .schema import EVENT_DATA, INBOX_DATA, event_name, wire_schema

__all__ = ["EXAMPLES", "asyncapi", "openapi", "path_of"]

_Json = dict[str, Any]

_TEXT: _Json = {"type": "string"}
_WHOLE: _Json = {"type": "integer", "minimum": 0}
_ANY_OBJECT: _Json = {"type": "object"}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: _Json) -> _Json:
    return {"type": "array", "items": items}


def _or_null(schema: _Json) -> _Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(**properties: _Json) -> _Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _data(schema: _Json, **beside: _Json) -> _Json:
    """An answer of the one shape that holds this, as JSON."""
    return {"application/json": _object(success={"const": True}, data=schema, **beside)}


def _page(items: _Json) -> _Json:
    """An answer that holds a part of a list; ``next`` is the cursor of the rest, where there is one."""
    answer = _data(_list(items))
    answer["application/json"]["properties"]["next"] = _TEXT
    return answer


_RECORD, _EVENT_STREAM = _ref("PermissionRecord"), {"text/event-stream": _TEXT}
_RULE, _RULES = _ref("Rule"), _list({"anyOf": [_ref("FileRule"), _ref("RuleToCaller")]})
_IDS = _data({"anyOf": [_object(ids=_list(_TEXT)), _object(count=_WHOLE, last_event_ids=_ANY_OBJECT)]})
_MCP: Mapping[str, Any] = {"application/json": {}, "text/event-stream": _TEXT}
_LIVE = _data({"type": "object", "properties": {"status": {"const": "live"}}, "required": ["status"]})
_DEVICE = _object(
    id=_TEXT,
    label=_or_null(_TEXT),
    subject=_TEXT,
    device_id=_or_null(_TEXT),
    sessions=_list(_TEXT),
    language={"enum": ["en", "zh"]},
    service=_TEXT,
    created_at=_TEXT,
    last_result=_or_null(_TEXT),
    last_at=_or_null(_TEXT),
)
_PAIRED = _object(
    id=_TEXT,
    label=_TEXT,
    subject=_TEXT,
    rights=_list({"enum": ["view", "approve"]}),
    sessions=_list(_TEXT),
    created_at=_TEXT,
    last_used_at=_or_null(_TEXT),
    expires_at=_TEXT,
    ended={"enum": [None, "expired", "revoked"]},
    is_own={"type": "boolean"},
)
_GIVES = _object(label=_or_null(_TEXT), subject=_TEXT, rights=_list(_TEXT), sessions=_list(_TEXT), expires_at=_TEXT)
_PAIRING = _object(
    pairing_id=_TEXT, status={"enum": ["waiting", "used", "expired", "withdrawn"]}, device_id=_or_null(_TEXT)
)
_DECIDE = {200: _data(_RECORD)}

#: What each route answers when all is well, by status; None is no body. A route that is not here has no description.
_ANSWERS: Mapping[str, Mapping[int, Any]] = {
    "GET /api/sse/events/{session_id}": {200: _EVENT_STREAM, 204: None},
    "POST /api/sse/permission-response/{session_id}": _DECIDE,
    "POST /api/polling/permission-response/{session_id}": _DECIDE,
    "GET /api/polling/session-info/{session_id}": {200: _data(_ref("PresentState")), 304: None},
    "GET /api/polling/tool-status/{session_id}": {200: _data(_or_null(_ref("ToolStatus"))), 304: None},
    "GET /api/polling/permission-request/{session_id}": {200: _data(_or_null(_ref("RecordToCaller"))), 304: None},
    "GET /api/polling/tool-result/{session_id}": {200: _data(_or_null(_ref("ToolResult"))), 304: None},
    "POST /api/polling/clear-result/{session_id}": {
        200: _data(_object(tool_result={"type": "null"}, last_event_id=_TEXT))
    },
    "GET /api/long-poll/{session_id}": {200: _data(_ref("StateAndEvents"))},
    "GET /ws/{session_id}": {101: None},
    "GET /ws/chat": {101: None},
    "GET /agent_chat_stream": {200: _EVENT_STREAM, 204: None},
    "POST /api/ai-sdk/{session_id}": {200: _EVENT_STREAM},
    "GET /api/ai-sdk/{session_id}/stream": {200: _EVENT_STREAM, 204: None},
    "DELETE /api/ai-sdk/{session_id}/stream": {200: _data(_object(aborted={"const": True}))},
    "POST /api/ag-ui/{session_id}": {200: _EVENT_STREAM},
    "POST /api/sse/ticket/{session_id}": {
        201: _data(_object(ticket=_TEXT, expires_at=_TEXT, expires_in={"type": "number"}))
    },
    "POST /api/sse/ticket": {201: _data(_object(ticket=_TEXT, expires_at=_TEXT, expires_in={"type": "number"}))},
    "GET /api/inbox": {200: _data(_ref("InboxSnapshot")), 304: None},
    "GET /api/sse/inbox": {200: _EVENT_STREAM},
    "POST /api/permissions/decide": {
        200: _data(
            _list(
                {
                    **_object(session_id=_TEXT, request_id=_TEXT, status={"enum": [200, 403, 404, 409, 410, 503]}),
                    "oneOf": [_object(record=_RECORD), _object(error=_ref("ErrorDetails"))],
                }
            )
        )
    },
    "POST /api/links": {201: _data(_object(url=_TEXT, path=_TEXT, expires_at=_or_null(_TEXT)))},
    "GET /api/links/{link}": {200: {"text/html": _TEXT}},
    "POST /api/links/{link}": {200: {**_data(_RECORD), "text/html": _TEXT}},
    "GET /api/push/key": {200: _data(_object(key=_TEXT))},
    "GET /api/push/subscriptions": {200: _data(_list(_DEVICE))},
    "POST /api/push/subscriptions": {201: _data(_DEVICE)},
    "DELETE /api/push/subscriptions/{device_id}": {200: _data(_object(id=_TEXT, status={"const": "forgotten"}))},
    "POST /api/pairings": {
        201: _data(
            {
                "anyOf": [
                    _object(
                        needs_token={"const": True},
                        pairing_id=_TEXT,
                        url=_TEXT,
                        svg=_TEXT,
                        expires_at=_TEXT,
                        expires_in={"type": "number"},
                        gives=_GIVES,
                    ),
                    _object(needs_token={"const": False}, url=_TEXT, svg=_TEXT),
                ]
            }
        )
    },
    "GET /api/pairings/{pairing_id}": {200: _data(_PAIRING)},
    "DELETE /api/pairings/{pairing_id}": {200: _data(_PAIRING)},
    "GET /api/pair": {200: _data(_object(gives=_GIVES, expires_in={"type": "number"}))},
    "POST /api/pair": {201: _data(_object(token=_TEXT, device=_PAIRED))},
    "GET /api/devices": {200: _data(_object(devices=_list(_PAIRED), subscriptions=_list(_DEVICE)))},
    "DELETE /api/devices/{device_id}": {200: _data(_object(id=_TEXT, status={"const": "removed"}))},
    "GET /api/presence": {200: _data(_object(away={"type": "boolean"}))},
    "POST /api/presence": {
        200: _data(_object(visible={"type": "boolean"}, away={"type": "boolean"}, expires_in={"type": "number"}))
    },
    "POST /api/sessions/{session_id}": {200: _data(_ref("SessionRow"))},
    "GET /api/sse/health/{session_id}": {200: _data(_ref("SessionHealth"))},
    "POST /api/events/{session_id}": {201: _IDS},
    "POST /api/events": {201: _IDS},
    "POST /api/permissions/{session_id}": {200: _data(_RECORD), 201: _data(_RECORD)},
    "GET /api/permissions/{session_id}": {200: _data(_list(_RECORD))},
    "GET /api/permissions/{session_id}/{request_id}": {200: _data({"anyOf": [_RECORD, _ref("RedactedRecord")]})},
    "DELETE /api/permissions/{session_id}/{request_id}": {200: _data(_RECORD)},
    "POST /api/permissions/{session_id}/{request_id}/claim": {200: _data(_RECORD)},
    "GET /api/rules": {200: _data(_RULES)},
    "DELETE /api/rules/{rule_id}": {200: _data(_RULE)},
    "GET /api/rules/{session_id}": {200: _data(_RULES, suggestions=_list(_ref("SuggestionToCaller")))},
    "POST /api/rules/{session_id}": {201: _data(_RULE)},
    "DELETE /api/rules/{session_id}/{rule_id}": {200: _data(_RULE)},
    "POST /mcp/gateway/{name}": {200: _MCP, 202: None},
    "GET /mcp/gateway/{name}": {200: _EVENT_STREAM},
    "DELETE /mcp/gateway/{name}": {200: None, 204: None},
    "POST /mcp/{session_id}": {200: _MCP, 202: None},
    "POST /hooks/claude-code": {200: {"application/json": _ANY_OBJECT}, 202: {"application/json": {}}},
    "DELETE /api/sessions/{session_id}": {200: _data(_object(session_id=_TEXT, status={"const": "closed"}))},
    "GET /api/sessions": {200: _page(_ref("SessionRow"))},
    "GET /api/history": {200: _data(_ref("HistoryRecords"))},
    "GET /api/policy": {200: _data(_ref("PolicyState"))},
    "GET /api/keys": {200: _data(_object(keys=_list(_ANY_OBJECT)))},
    "GET /api/openapi.json": {200: {"application/json": _ANY_OBJECT}},
    "GET /api/asyncapi.json": {200: {"application/json": _ANY_OBJECT}},
    "GET /healthz/live": {200: _LIVE},
    "GET /healthz/ready": {200: _data({"type": "object", "required": ["status"]})},
    "GET /metrics": {200: {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}},
}

#: The statuses of errors that a route has besides those that all of its kind have.
_ERRORS: Mapping[str, Sequence[int]] = {
    "POST /api/sse/permission-response/{session_id}": (404, 409, 410),
    "POST /api/polling/permission-response/{session_id}": (404, 409, 410),
    "GET /agent_chat_stream": (404, 409),
    "POST /api/ai-sdk/{session_id}": (404, 409, 410),
    "DELETE /api/ai-sdk/{session_id}/stream": (404,),
    "POST /api/events/{session_id}": (409, 413, 415),
    "POST /api/events": (409, 413, 415),
    "POST /api/permissions/{session_id}": (409,),
    "POST /api/links": (404,),
    "GET /api/links/{link}": (404, 410),
    "POST /api/links/{link}": (404, 409, 410, 413, 415),
    "GET /api/push/key": (404,),
    "GET /api/push/subscriptions": (404,),
    "POST /api/push/subscriptions": (404, 409),
    "DELETE /api/push/subscriptions/{device_id}": (404,),
    "GET /api/pairings/{pairing_id}": (404,),
    "DELETE /api/pairings/{pairing_id}": (404,),
    "GET /api/pair": (401, 404, 410, 429),
    "POST /api/pair": (401, 404, 410, 429),
    "DELETE /api/devices/{device_id}": (404,),
    "GET /api/permissions/{session_id}/{request_id}": (404,),
    "DELETE /api/permissions/{session_id}/{request_id}": (404,),
    "POST /api/permissions/{session_id}/{request_id}/claim": (404, 409, 410),
    "DELETE /api/rules/{rule_id}": (404, 409),
    "POST /api/rules/{session_id}": (404,),
    "DELETE /api/rules/{session_id}/{rule_id}": (404, 409),
    "POST /mcp/gateway/{name}": (400, 404, 405, 406, 413, 415, 502, 504),
    "GET /mcp/gateway/{name}": (400, 404, 405, 406, 502, 504),
    "DELETE /mcp/gateway/{name}": (400, 404, 405, 502, 504),
    "POST /mcp/{session_id}": (400, 404, 406, 413, 415),
    "DELETE /api/sessions/{session_id}": (404,),
    "GET /metrics": (404,),
}

#: Paths that differ in the name of what stands in them, which are one path.
_ONE_PATH: Mapping[str, str] = {
    "/api/rules/{session_id}": "/api/rules/{id}",
    "/api/rules/{rule_id}": "/api/rules/{id}",
}

_HEADERS: Mapping[str, Sequence[tuple[str, str]]] = {
    "GET /api/sse/events/{session_id}": (
        ("Last-Event-ID", "Resume behind this event; wins over the query."),
        ("Prefer", "replay=0: as in the query."),
    ),
    "GET /api/sse/inbox": (("Last-Event-ID", "Resume behind this event; wins over the query."),),
    "GET /api/inbox": (("If-None-Match", "304 where nothing has changed."),),
    "GET /agent_chat_stream": (("Last-Event-ID", "Resume an answer behind this piece."),),
    "POST /api/events/{session_id}": (("Idempotency-Key", "A repeated request gets the first answer."),),
    "POST /api/events": (("Idempotency-Key", "A repeated request gets the first answer."),),
    "POST /api/permissions/{session_id}": (("Idempotency-Key", "Come back, and join what was asked before."),),
    "POST /hooks/claude-code": (("Idempotency-Key", "Come back to the same hook, with wait."),),
    "GET /healthz/live": (("X-Notifier-Challenge", "Who listens proves to be the service."),),
    **{
        f"GET /api/polling/{part}/{{session_id}}": (("If-None-Match", "304 where nothing has changed."),)
        for part in ("session-info", "tool-status", "permission-request", "tool-result")
    },
}

#: What a header is that is not any text.
_HEADER_PATTERNS: Mapping[str, str] = {
    "Idempotency-Key": "^[ -~]{1,255}$",
    "X-Notifier-Challenge": "^[A-Za-z0-9_-]{16,128}$",
}

_TRACED = frozenset({"POST /api/events/{session_id}", "POST /api/events", "POST /api/permissions/{session_id}"})

#: What may be sent to each route that takes a body.
EXAMPLES: Mapping[str, Any] = {
    "Decision": {"approved": True, "reason": "go on"},
    "AiSdkBody": {"id": "s1", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Tidy up."}]}]},
    "AgUiBody": {
        "threadId": "s1",
        "runId": "r1",
        "messages": [{"id": "m1", "role": "user", "content": "Tidy up."}],
    },
    "AskBody": {
        "tool_name": "delete_file",
        "parameters": {"path": "/srv/app/draft.txt"},
        "risk_level": "high",
        "description": "The draft is not needed any more.",
    },
    "DecideBody": {
        "decisions": [
            {
                "session_id": "run-1",
                "request_id": "pr_0123456789abcdef",
                "parameters_sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "approved": True,
                "reason": "go on",
            }
        ]
    },
    "PresenceBody": {"visible": True, "page": "tab-1", "session_id": "run-1"},
    "LinkBody": {"session_id": "run-1", "request_id": "pr_0123456789abcdef"},
    "SubscribeBody": {
        "endpoint": "https://push.example/v1/abc",
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
        "label": "my phone",
    },
    "PairingBody": {
        "label": "my phone",
        "rights": ["approve"],
        "sessions": ["run-*"],
        "expires_in": 604800,
        "url": "https://desk.example",
    },
    "PairBody": {"label": "Android"},
    "LabelBody": {"title": "Tidy the drafts", "agent": "claude-code"},
    "ClaimBody": {"run_id": "run-1.call-7"},
    "TakeOverBody": {"suggestion_id": "sug_1", "scope": "session"},
    "HookBody": {"session_id": "run-1", "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_use_id": "t1"},
    "PublishedEvent": {
        "type": "tool_status",
        "data": {"status": "executing", "tool_name": "read_file", "tool_call_id": "c1", "details": {}},
    },
    "PublishedEventOfSession": {"session_id": "run-1", "type": "note", "data": {"text": "half of it is done"}},
    "McpMessage": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
}

_SESSION_ID = r"^(?!\.{1,2}$)[A-Za-z0-9._:~-]{1,128}$"
_EVENT_TYPE = "^[a-z][a-z0-9_.]{0,63}$"

_PATH_PARAMETERS: Mapping[str, _Json] = {
    "session_id": {"type": "string", "pattern": _SESSION_ID, "example": "run-1"},
    "request_id": {"type": "string", "example": "pr_0123456789abcdef"},
    "rule_id": {"type": "string"},
    "device_id": {"type": "string"},
    "pairing_id": {"type": "string"},
    "link": {"type": "string"},
    "name": {"type": "string", "description": "An MCP server of the setting mcp_upstreams."},
}


def openapi(prefix: str = "/agent_backend") -> _Json:
    """Every route, with its parameters, bodies, answers and errors. Raises ``LookupError`` for one not described."""
    paths: dict[str, _Json] = {}
    for route in ROUTES:
        place = paths.setdefault(path_of(route, prefix), {})
        if route.method.lower() not in place:
            operation = _operation(route, prefix)
            place[route.method.lower()] = operation
            if route.method == "GET" and not route.rights:
                place["head"] = {
                    **operation,
                    "operationId": f"head_{operation['operationId']}",
                    "responses": {
                        status: {"description": "As GET, without the body."} for status in operation["responses"]
                    },
                }
    return {
        "openapi": "3.1.0",
        "info": _info(
            "What is asked of the service, and what it answers. AsyncAPI tells what streams and sockets say."
        ),
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {
                **{f"E{status}": _error(status, codes) for status, codes in sorted(_codes().items())},
                "Mcp": {
                    "description": "What MCP says, an error of JSON-RPC, or the error shape.",
                    "content": {"application/json": {"schema": {}}},
                },
            },
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "query", "name": "token"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
                "pairing": {"type": "http", "scheme": "bearer", "description": "The secret of a link."},
            },
        },
    }


def path_of(route: Route, prefix: str) -> str:
    """Where a route stands in the description."""
    return route.full_path(prefix).removesuffix(route.path) + _ONE_PATH.get(route.path, route.path)


def _operation(route: Route, prefix: str) -> _Json:
    key = f"{route.method} {route.path}"
    if key not in _ANSWERS:
        raise LookupError(f"{key} has no answers in {__name__}")
    where = "" if route.prefixed or not prefix else "root_"
    named = re.sub(r"\W+", "_", f"{route.method.lower()}_{where}{route.path}").strip("_").replace("__", "_")
    operation: _Json = {
        "operationId": named,
        "summary": route.summary,
        "description": cleandoc(route.handler.__doc__ or route.summary),  # Python 3.13 does so by itself
        "tags": [_tag(route.path)],
        "parameters": list(_parameters(route, key)),
        "responses": {str(status): _answer(content) for status, content in _ANSWERS[key].items()},
        "x-rights": sorted(route.rights),
        "security": [],
    }
    if route.rights:
        ways = ("bearer", "token", "ticket") if route.is_stream else ("bearer",)
        operation["security"] = [{way: []} for way in ways]
        operation["security"].append({})  # with auth=none on loopback
    elif route.path == "/api/pair":
        operation["security"] = [{"pairing": []}]
    if (body := _body(route)) is not None:
        operation["requestBody"] = body
    for status in sorted({*_common_errors(route), *_ERRORS.get(key, ())}):
        # What is no request of MCP is told as MCP does.
        is_of_mcp = route.path.startswith("/mcp/") and status not in (401, 403, 429, 500)
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{'Mcp' if is_of_mcp else f'E{status}'}"}
    return operation


def _tag(path: str) -> str:
    first = path.removeprefix("/api").split("/")[1]
    return {"agent_chat_stream": "chat", "ai-sdk": "chat", "ag-ui": "chat", "ws": "streams", "sse": "streams"}.get(
        first, first
    )


def _parameters(route: Route, key: str) -> Iterator[_Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        schema = dict(_PATH_PARAMETERS[name])
        described = {"description": schema.pop("description")} if "description" in schema else {}
        example = {"example": schema.pop("example")} if "example" in schema else {}
        if route.path in _ONE_PATH:
            described, name = {"description": f"A {name}."}, "id"
        yield {"name": name, "in": "path", "required": True, **described, **example, "schema": schema}
    query = route.query.model_json_schema(mode="validation")
    for name, schema in query.get("properties", {}).items():
        if name in ("token", "ticket"):
            continue  # how one says who one is: securitySchemes
        kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
        schema = {
            **{part: value for part, value in schema.items() if part not in ("title", "anyOf", "default")},
            **(kinds[0] if kinds else {}),
            **({"default": schema["default"]} if schema.get("default") is not None else {}),
            **({"pattern": _SESSION_ID} if name == "session_id" else {}),
        }
        yield {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
    traced = (("traceparent", "W3C Trace Context."),) if key in _TRACED else ()
    for name, text in (*_HEADERS.get(key, ()), *traced):
        kind = {**_TEXT, "pattern": _HEADER_PATTERNS[name]} if name in _HEADER_PATTERNS else _TEXT
        yield {"name": name, "in": "header", "required": False, "description": text, "schema": kind}


def _body(route: Route) -> _Json | None:
    if route.body is not None:
        return _json_body(route.body.__name__)
    if route.method != "POST" or route.path.startswith(("/api/polling/clear", "/api/sse/ticket")):
        return None
    if route.path.startswith("/mcp/"):
        return _json_body("McpMessage")
    if route.path.startswith("/api/links/"):
        answer = {
            "type": "object",
            "properties": {"approved": {"type": "boolean"}, "reason": _TEXT, "parameters_sha256": _TEXT},
            "required": ["approved"],
        }
        forms = {
            "application/json": {"approved": True, "reason": "go on"},
            "application/x-www-form-urlencoded": "approved=true&reason=go+on",
        }
        content = {form: {"schema": answer, "example": example} for form, example in forms.items()}
        return {"required": True, "content": content}
    event = "PublishedEvent" if "{session_id}" in route.path else "PublishedEventOfSession"
    one_or_many = {"anyOf": [_ref(event), {**_list(_ref(event)), "minItems": 1}]}
    line = json.dumps(EXAMPLES[event], separators=(",", ":"))
    return {
        "required": True,
        "content": {
            "application/json": {"schema": one_or_many, "example": EXAMPLES[event]},
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "One event a line, each taken as it arrives."},
                "example": f"{line}\n{line}\n",
            },
        },
    }


def _json_body(name: str) -> _Json:
    if name not in EXAMPLES:
        raise LookupError(f"{name} has no example in {__name__}")
    return {"required": True, "content": {"application/json": {"schema": _ref(name), "example": EXAMPLES[name]}}}


def _answer(content: Mapping[str, Any] | None) -> _Json:
    if content is None:
        return {"description": "Without a body."}
    return {"description": "As asked.", "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _common_errors(route: Route) -> set[int]:
    """What may be answered to anybody, to who has no right, and for what cannot be read."""
    found = {400, 403, 422, 500, 503}
    if route.rights:
        found |= {401, 429}
    if route.body is not None:
        found |= {413, 415}
    if route.failed is not None:
        found |= {404, 409, 410}
    return found


def _codes() -> dict[int, list[str]]:
    """The codes of errors by status."""
    found = codes_by_status()
    found.setdefault(400, []).append("invalid")
    found.setdefault(500, []).append("internal")
    return found


def _error(status: int, codes: Sequence[str]) -> _Json:
    details = {**_object(code={"enum": sorted(set(codes))}, message=_TEXT), "additionalProperties": True}
    shape = _object(success={"const": False}, error=details, message=_TEXT)
    answer: _Json = {
        "description": ", ".join(sorted(set(codes))),
        "content": {"application/json": {"schema": shape}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": _TEXT}}
    return answer


def _schemas() -> _Json:
    bodies: dict[type[BaseModel], None] = dict.fromkeys([route.body for route in ROUTES if route.body is not None])
    written = wire_schema(
        answers=(Rule, RuleToCaller, FileRule, SuggestionToCaller, RecordToCaller, RedactedRecord),
        bodies=sorted(bodies, key=lambda body: body.__name__),
    )["$defs"]
    event = TypeAdapter(PublishedEvent).json_schema(mode="validation")
    for part in event["properties"].values():
        part.pop("title", None)
    event.pop("title", None)
    written["PublishedEvent"] = event
    event["properties"]["type"]["pattern"] = _EVENT_TYPE
    of_session = {**event["properties"], "session_id": {"type": "string", "pattern": _SESSION_ID}}
    written["PublishedEventOfSession"] = {
        **event,
        "properties": of_session,
        "required": [*event["required"], "session_id"],
    }
    written["AskBody"]["properties"]["allowed_decisions"]["allOf"] = [
        {"contains": {"const": kind}} for kind in ("approve", "reject")
    ]
    written["McpMessage"] = {
        "type": "object",
        "description": "A JSON-RPC message of MCP.",
        "properties": {"jsonrpc": {"const": "2.0"}, "method": _TEXT},
        "required": ["jsonrpc"],
    }
    # What pydantic's validator says, as JSON Schema says it.
    nothing: _Json = {"type": "null"}
    written["Decision"]["if"] = {"properties": {"approved": {"const": True}}, "required": ["approved"]}
    written["Decision"]["then"] = {"properties": {"response": nothing}}
    written["Decision"]["else"] = {
        "properties": {"parameters": nothing},
        "anyOf": [{"properties": {"scope": {"enum": ["once", None]}}}, {"properties": {"response": nothing}}],
    }
    schemas: _Json = json.loads(json.dumps(written).replace('"#/$defs/', '"#/components/schemas/'))
    return dict(sorted(schemas.items()))


def _info(text: str) -> _Json:
    return {"title": "notifier_service", "version": __version__, "description": text, "license": {"name": "MIT"}}


#: What a client may say on a socket, and what it is answered besides events.
_SAID: Mapping[str, _Json] = {
    "resume": {"type": "resume", "after": "1kqv3v0i0ow5-2s"},
    "permission_response": {"type": "permission_response", "approved": True},
    "ping": {"type": "ping"},
    "auth": {"type": "auth", "token": "…"},
}
_ANSWERED: Mapping[str, _Json] = {"pong": {"type": "pong"}}
_ASKED: Mapping[str, _Json] = {"query": {"query": "hello", "session_id": "run-1"}, "cancel": {"type": "cancel"}}
_CHAT: Mapping[str, _Json] = {
    "content": {"type": "content", "content": "The answer"},
    "done": {"type": "done"},
}


def asyncapi(prefix: str = "/agent_backend") -> _Json:
    """What every stream and socket of the table tells, and what may be said on the sockets."""
    events = [event_name(event_type) for event_type in EVENT_DATA] + ["HeartbeatEvent", "ErrorEvent", "OwnEvent"]
    of_inbox = [event_name(event_type, of_inbox=True) for event_type in INBOX_DATA] + ["HeartbeatEvent", "ErrorEvent"]
    messages: dict[str, _Json] = {name: {"name": name, "payload": _ref(name)} for name in [*events, *of_inbox]}
    for kind, said in (("Said", _SAID), ("Answered", _ANSWERED), ("Asked", _ASKED), ("Chat", _CHAT)):
        for name, example in said.items():
            payload = _said(name, example)
            messages[f"{kind}_{name}"] = {"name": name, "payload": payload, "examples": [{"payload": example}]}
    channels: dict[str, _Json] = {}
    operations: dict[str, _Json] = {}
    for route in (route for route in ROUTES if route.is_stream):
        name = re.sub(r"\W+", "_", route.path).strip("_").replace("_session_id", "")
        is_chat = "chat" in route.path
        told = ["Chat_content", "Chat_done", "ErrorEvent"] if is_chat else events
        if route.path.endswith("/inbox"):
            told = of_inbox
        heard = [f"Asked_{name}" for name in _ASKED] if is_chat else [f"Said_{name}" for name in _SAID]
        if route.is_socket and not is_chat:
            told = [*told, "Answered_pong"]
        of_channel = [*told, *(heard if route.is_socket else ())]
        channels[name] = {
            "address": route.full_path(prefix),
            "description": route.summary,
            "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in of_channel},
            "bindings": {"ws": {"method": "GET"}} if route.is_socket else {"http": {}},
        }
        if "{session_id}" in route.path:
            channels[name]["parameters"] = {"session_id": {"description": "It matches [A-Za-z0-9._:~-]{1,128}."}}
        operations[f"told_{name}"] = _of_channel("send", name, told, route)
        if route.is_socket:
            operations[f"said_{name}"] = _of_channel("receive", name, heard, route)
    schemas = _schemas()
    schemas["OwnEvent"] = {
        "type": "object",
        "description": "Of a type that a producer has made up.",
        "properties": {
            "type": {"type": "string", "pattern": _EVENT_TYPE},
            "id": _TEXT,
            "data": _ANY_OBJECT,
        },
        "required": ["type", "id"],
    }
    return {
        "asyncapi": "3.0.0",
        "info": _info("What streams and sockets of the service tell, and what may be said on the sockets."),
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _of_channel(action: str, channel: str, messages: Sequence[str], route: Route) -> _Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": route.summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
    }


def _said(name: str, example: Mapping[str, Any]) -> _Json:
    if name == "permission_response":
        decision = {"type": "object", "properties": {"type": {"const": name}, "approved": {"type": "boolean"}}}
        return {**decision, "required": ["type", "approved"], "description": "Beside type as Decision."}
    properties: _Json = {key: {"const": value} if key == "type" else _TEXT for key, value in example.items()}
    required = [key for key in properties if key != "session_id"]
    return {"type": "object", "properties": properties, "required": required}
