"""The server that the scenarios of the MCP conformance suite call for, with the SDK 2.x. Its argument is a port."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": base64.b64encode(b"RIFF").decode(), "mimeType": "audio/wav"}
#: A state that was given away comes back as it was.
KEY = b"whoever knows it may run this test"

Result = dict[str, Any]
Tool = Callable[[Any, types.CallToolRequestParams], Awaitable[Result]]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def resource(uri: str, mime_type: str, said: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": said}}


CONTENTS: dict[str, list[dict[str, Any]]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [AUDIO],
    "test_embedded_resource": [
        resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        IMAGE,
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
    "json_schema_2020_12_tool": [text("done")],
    "test_x_mcp_header": [text("done")],
}

# What is asked of the client


def elicitation(message: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sampling(prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text(prompt)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": 100}}


NAME = elicitation("What is your name?", name={"type": "string"})
CONFIRM = elicitation("Please confirm", ok={"type": "boolean"})
ROOTS = {"method": "roots/list", "params": {}}
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
TITLED = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
ENUMS = {
    "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}


def content(*blocks: dict[str, Any], **more: Any) -> Result:
    return {"content": list(blocks), **more}


def more_input(state: str | None = None, **requests: Any) -> Result:
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}


def sealed(state: str) -> str:
    return f"{state}.{hmac.new(KEY, state.encode(), hashlib.sha256).hexdigest()}"


def opened(params: types.CallToolRequestParams) -> str:
    """The state that comes back, if it is one that was given away."""
    state = (params.request_state or "").rpartition(".")[0]
    if params.request_state is not None and not hmac.compare_digest(sealed(state), params.request_state):
        raise MCPError(types.INVALID_PARAMS, "That state was never given away.")
    return state


def answers(params: Any) -> dict[str, Any]:
    return {
        key: answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        for key, answer in (params.input_responses or {}).items()
    }


# The tools that do something


async def log(ctx: Any, params: types.CallToolRequestParams) -> Result:
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", said, related_request_id=ctx.request_id)
        await asyncio.sleep(0.05)
    return content(text("logged"))


async def progress(ctx: Any, params: types.CallToolRequestParams) -> Result:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return content(text("done"))


async def fail(ctx: Any, params: types.CallToolRequestParams) -> Result:
    return content(text("This tool intentionally returns an error for testing"), isError=True)


async def ask_client(ctx: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Ask over the stream that the call's answer will come on."""
    kinds: dict[str, Any] = {
        "elicitation/create": (types.ElicitRequest, types.ElicitResult),
        "sampling/createMessage": (types.CreateMessageRequest, types.CreateMessageResult),
    }
    asked, answered = kinds[request["method"]]
    metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
    result = await ctx.session.send_request(asked.model_validate(request), answered, metadata=metadata)
    told: dict[str, Any] = result.model_dump(by_alias=True, exclude_none=True)
    return told


def asking(request: Callable[[dict[str, Any]], dict[str, Any]], said: str) -> Tool:
    async def ask(ctx: Any, params: types.CallToolRequestParams) -> Result:
        answer = await ask_client(ctx, request(params.arguments or {}))
        return content(text(f"{said}: {json.dumps(answer)}"))

    return ask


async def reconnect(ctx: Any, params: types.CallToolRequestParams) -> Result:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(0.2)
    return content(text("still there"))


async def need_sampling(ctx: Any, params: types.CallToolRequestParams) -> Result:
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", {"requiredCapabilities": {"sampling": {}}}
        )
    return content(text("done"))


def gathering(**requests: Any) -> Tool:
    """Asks for all of these at once, and is content when all are answered."""

    async def gather(ctx: Any, params: types.CallToolRequestParams) -> Result:
        opened(params)
        given = answers(params)
        if not requests.keys() <= given.keys():
            return more_input(sealed("asked"), **requests)
        return content(text(f"Got {json.dumps(given)}"))

    return gather


async def only_what_is_known(ctx: Any, params: types.CallToolRequestParams) -> Result:
    capabilities = ctx.session.client_capabilities
    known = {"sampling": ("sample", sampling("Say hello")), "elicitation": ("ask", NAME)}
    asked = [request for name, request in known.items() if getattr(capabilities, name, None) is not None]
    return more_input(sealed("asked"), **dict(asked))


async def rounds(ctx: Any, params: types.CallToolRequestParams) -> Result:
    state = json.loads(opened(params) or "[]")
    steps = {
        "step1": elicitation("Step 1: What is your name?", name={"type": "string"}),
        "step2": elicitation("Step 2: What is your favorite color?", color={"type": "string"}),
    }
    given = {**dict(state), **answers(params)}
    for step, request in steps.items():
        if step not in given:
            return more_input(sealed(json.dumps(list(given.items()))), **{step: request})
    return content(text(f"Got {json.dumps(given)}"))


BUS = InMemorySubscriptionBus()


def announcing(event: Any) -> Tool:
    async def announce(ctx: Any, params: types.CallToolRequestParams) -> Result:
        await BUS.publish(event)
        return content(text("told"))

    return announce


TOOLS: dict[str, Tool] = {
    "test_tool_with_logging": log,
    "test_logging_tool": log,
    "test_tool_with_progress": progress,
    "test_error_handling": fail,
    "test_sampling": asking(lambda given: sampling(given["prompt"]), "LLM response"),
    "test_elicitation": asking(
        lambda given: elicitation(given["message"], username={"type": "string"}, email={"type": "string"}),
        "User response",
    ),
    "test_elicitation_sep1034_defaults": asking(lambda _: elicitation("Who are you?", **DEFAULTS), "Elicitation"),
    "test_elicitation_sep1330_enums": asking(lambda _: elicitation("Choose", **ENUMS), "Elicitation"),
    "test_reconnection": reconnect,
    "test_missing_capability": need_sampling,
    "test_input_required_result_elicitation": gathering(user_name=NAME),
    "test_streaming_elicitation": gathering(user_name=NAME),
    "test_input_required_result_sampling": gathering(capital_question=sampling("What is the capital of France?")),
    "test_input_required_result_list_roots": gathering(client_roots=ROOTS),
    "test_input_required_result_request_state": gathering(confirm=CONFIRM),
    "test_input_required_result_tampered_state": gathering(confirm=CONFIRM),
    "test_input_required_result_multiple_inputs": gathering(
        user_name=NAME, greeting=sampling("Greet"), client_roots=ROOTS
    ),
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_capabilities": only_what_is_known,
    "test_trigger_tool_change": announcing(ToolsListChanged()),
    "test_trigger_prompt_change": announcing(PromptsListChanged()),
}
SCHEMAS: dict[str, Any] = {
    "test_sampling": {"properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
    "test_elicitation": {"properties": {"message": {"type": "string"}}, "required": ["message"]},
    "test_x_mcp_header": {"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
}
RESOURCES: dict[str, dict[str, Any]] = {
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://static-binary": {"mimeType": "image/png", "blob": PNG},
    "test://watched-resource": {"mimeType": "text/plain", "text": "watched"},
}


def user(block: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": block}


PROMPTS: dict[str, Callable[[dict[str, str]], list[dict[str, Any]]]] = {
    "test_simple_prompt": lambda _: [user(text("This is a simple prompt for testing."))],
    "test_prompt_with_arguments": lambda given: [
        user(text(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'"))
    ],
    "test_prompt_with_embedded_resource": lambda given: [
        user(resource(given["resourceUri"], "text/plain", "Embedded resource content for testing.")),
        user(text("Please process the embedded resource above.")),
    ],
    "test_prompt_with_image": lambda _: [user(IMAGE), user(text("Please analyze the image above."))],
    "test_input_required_result_prompt": lambda _: [user(text("Thank you."))],
}
ARGUMENTS = {
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
}


# The endpoints


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    tools = [
        {"name": name, "description": "For a scenario.", "inputSchema": {"type": "object", **SCHEMAS.get(name, {})}}
        for name in (*CONTENTS, *TOOLS)
    ]
    return types.ListToolsResult.model_validate({"tools": tools})


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    if params.name in CONTENTS:
        result = content(*CONTENTS[params.name])
    elif params.name in TOOLS:
        result = await TOOLS[params.name](ctx, params)
    else:
        raise MCPError(types.INVALID_PARAMS, "There is no such tool.")
    if "inputRequests" in result:
        return types.InputRequiredResult.model_validate(result)
    return types.CallToolResult.model_validate(result)


async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
    resources = [
        {"uri": uri, "name": uri, "description": "For a scenario.", "mimeType": shown["mimeType"]}
        for uri, shown in RESOURCES.items()
    ]
    return types.ListResourcesResult.model_validate({"resources": resources})


async def list_templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
    template = {"uriTemplate": "test://template/{id}/data", "name": "template", "mimeType": "application/json"}
    return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": [template]})


async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    shown = RESOURCES.get(uri)
    if uri.startswith("test://template/") and uri.endswith("/data"):
        number = uri.split("/")[3]
        told = {"id": number, "templateTest": True, "data": f"Data for ID: {number}"}
        shown = {"mimeType": "application/json", "text": json.dumps(told)}
    if shown is None:
        raise MCPError(types.INVALID_PARAMS, "There is no such resource.", {"uri": uri})
    return types.ReadResourceResult.model_validate({"contents": [{"uri": uri, **shown}]})


async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
    prompts = [
        {
            "name": name,
            "description": "For a scenario.",
            "arguments": [
                {"name": argument, "description": "Anything.", "required": True} for argument in ARGUMENTS.get(name, ())
            ],
        }
        for name in PROMPTS
    ]
    return types.ListPromptsResult.model_validate({"prompts": prompts})


async def get_prompt(ctx: Any, params: Any) -> types.GetPromptResult | types.InputRequiredResult:
    if params.name == "test_input_required_result_prompt" and "user_context" not in answers(params):
        request = elicitation("What context should the prompt use?", context={"type": "string"})
        return types.InputRequiredResult.model_validate(more_input(None, user_context=request))
    return types.GetPromptResult.model_validate({"messages": PROMPTS[params.name](params.arguments or {})})


async def complete(ctx: Any, params: Any) -> types.CompleteResult:
    return types.CompleteResult.model_validate({"completion": {"values": [], "total": 0, "hasMore": False}})


async def nothing(ctx: Any, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


class Events(EventStore):
    """What was said on every stream, for those who come back."""

    def __init__(self) -> None:
        self._said: list[tuple[str, Any]] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self._said.append((stream_id, message))
        return str(len(self._said))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        seen = int(last_event_id)
        stream_id = self._said[seen - 1][0]
        for number, (said_on, message) in enumerate(list(self._said)[seen:], start=seen + 1):
            if said_on == stream_id and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream_id


def main() -> None:
    warnings.simplefilter("ignore")  # of what the newest protocol no longer has, and the older ones do
    server: Any = Server(
        "conformance",
        version="1",
        get_tool_input_schema=SCHEMAS.get,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=nothing,
        on_unsubscribe_resource=nothing,
        on_subscriptions_listen=ListenHandler(BUS),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=nothing,
    )
    app = server.streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
