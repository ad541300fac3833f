"""One JSON-RPC message: what it is, so that what was judged here is what the other side reads.

Two parsers may read one text differently. So a message with two keys of the same name is written anew, as is every
``tools/call``; and one whose keys only look like those of JSON-RPC (``Method``, which Go's decoder takes for
``method``) is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "PARSE_ERROR",
    "Message",
    "MessageId",
    "MessageRefused",
    "ToolCall",
    "denial_answer",
    "error_answer",
    "heartbeat",
    "name_of",
    "replacement_answer",
    "written",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

#: A message's own, and those of a call that decide what runs.
_ENVELOPE = {key.casefold(): key for key in ("jsonrpc", "id", "method", "params", "result", "error")}
_CALL = {key.casefold(): key for key in ("name", "arguments", "_meta", "task", "inputResponses", "requestState")}

_ERA = "io.modelcontextprotocol/"
_MAX_NAME = 256

MessageId = str | int


class MessageRefused(Exception):
    """What came in is no message that may pass; ``answer`` says so to whoever sent it."""

    def __init__(self, code: int, text: str, message_id: MessageId | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.answer: bytes = error_answer(message_id, code, text)


class Message:
    """One message. ``text`` is what passes it on: the bytes that came, where nobody can read them in two ways."""

    __slots__ = ("body", "text")

    def __init__(self, body: dict[str, Any], text: bytes) -> None:
        self.body = body
        self.text = text

    @classmethod
    def parse(cls, text: bytes) -> Message:
        """Read a message that a client sent. Raises ``MessageRefused``; NaN, batches and lone values are refused."""
        keys = _Keys()
        try:
            body = json.loads(str(text, "utf-8"), object_pairs_hook=keys.unique, parse_constant=_no_constant)
        except RecursionError:
            raise MessageRefused(PARSE_ERROR, "The message is too deep.") from None
        except ValueError:
            raise MessageRefused(PARSE_ERROR, "The message is no valid JSON.") from None
        if isinstance(body, list):
            raise MessageRefused(INVALID_REQUEST, "A batch is not taken: send its messages one by one.")
        if not isinstance(body, dict):
            raise MessageRefused(INVALID_REQUEST, "A message is a JSON object.")
        _refuse_look_alikes(body, _ENVELOPE)
        if "method" in body:
            if not isinstance(body["method"], str):
                raise MessageRefused(INVALID_REQUEST, "A method is a string.", _answerable(body.get("id")))
            if "result" in body or "error" in body:
                raise MessageRefused(
                    INVALID_REQUEST, "A message is a request or a response, not both.", _answerable(body.get("id"))
                )
        # A carriage return between two tokens is legal, and the end of a line to some who read lines.
        if keys.doubled or b"\r" in text or b"\n" in text or body.get("method") == "tools/call":
            text = _written_for(body)
        return cls(body, text)

    @property
    def method(self) -> str | None:
        method: str | None = self.body.get("method")
        return method

    @property
    def message_id(self) -> Any:
        """The id as it came: None where there is none, or no usable one."""
        return self.body.get("id")

    @property
    def is_response(self) -> bool:
        return "method" not in self.body and "id" in self.body

    @property
    def is_tool_call(self) -> bool:
        return self.body.get("method") == "tools/call"

    @property
    def params(self) -> Mapping[str, Any]:
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}


class ToolCall:
    """A ``tools/call`` request that can be judged and run."""

    __slots__ = ("_message", "arguments", "message_id", "meta", "name", "params")

    def __init__(self, message: Message) -> None:
        """Raises ``MessageRefused`` for a call that says in no one way what is to run."""
        body = message.body
        message_id = _answerable(body.get("id"))
        if message_id is None:
            raise MessageRefused(INVALID_REQUEST, "A tools/call needs an id that is a string or an integer.")
        params = body.get("params")
        if not isinstance(params, dict):
            raise MessageRefused(INVALID_PARAMS, "The params of a tools/call are an object.", message_id)
        _refuse_look_alikes(params, _CALL, message_id)
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME or not _is_unicode(name):
            raise MessageRefused(INVALID_PARAMS, f"A tool has a name of 1 to {_MAX_NAME} characters.", message_id)
        if not isinstance(arguments, dict | None):
            raise MessageRefused(INVALID_PARAMS, "The arguments of a tool are an object.", message_id)
        if not isinstance(meta, dict | None):
            raise MessageRefused(INVALID_PARAMS, "The _meta of a call is an object.", message_id)
        self.message_id: MessageId = message_id
        self.name = name
        self.arguments: dict[str, Any] = arguments or {}
        self.meta: dict[str, Any] = meta or {}
        self.params: dict[str, Any] = params
        self._message = message

    @property
    def progress_token(self) -> str | int | None:
        return _answerable(self.meta.get("progressToken"))

    @property
    def era(self) -> dict[str, Any]:
        """What each request of the stateless era says of itself and its client; empty in the one before."""
        return {key: value for key, value in self.meta.items() if key.startswith(_ERA)}

    @property
    def is_stateless(self) -> bool:
        """Whether it is of the era that began with protocol version 2026-07-28."""
        return f"{_ERA}protocolVersion" in self.meta

    @property
    def client_name(self) -> str | None:
        return name_of(self.meta.get(f"{_ERA}clientInfo"))

    @property
    def is_retry(self) -> bool:
        """Whether it goes on with a call that asked its client for more (``resultType: input_required``)."""
        return "requestState" in self.params or "inputResponses" in self.params

    def text(self, edited: Mapping[str, Any] | None = None) -> bytes:
        """What runs upstream, written anew, with a person's edit of the arguments if there is one."""
        if edited is None:
            return self._message.text
        return written(self._message.body | {"params": self.params | {"arguments": dict(edited)}})


def name_of(client_info: Any) -> str | None:
    """The name in a client's ``clientInfo``."""
    name = client_info.get("name") if isinstance(client_info, dict) else None
    return name if isinstance(name, str) else None


def written(body: Mapping[str, Any]) -> bytes:
    """One message as one line of ASCII. Raises ``ValueError`` for what JSON has no form for (a number like 1e999)."""
    return _text(body).encode()


_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def error_answer(message_id: MessageId | None, code: int, text: str) -> bytes:
    return written({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}})


def denial_answer(call: ToolCall, text: str) -> bytes:
    """The result that a call gets which did not run."""
    return _result(call, {"content": [{"type": "text", "text": text}], "isError": True})


def replacement_answer(call: ToolCall, text: str, *, structured: bool = False) -> bytes:
    """The result that a person gave in the tool's place.

    A tool that promised ``structured`` content owes it: a text that is a JSON object is given as that too.
    """
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if structured:
        try:
            content = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict):
            result["structuredContent"] = content
    return _result(call, result)


def heartbeat(token: MessageId, count: int, text: str) -> bytes:
    """The ``count``-th progress of a call that waits: growing, and below whatever the tool itself will tell."""
    params = {"progressToken": token, "progress": -1 / count, "message": text}
    return written({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def _result(call: ToolCall, result: dict[str, Any]) -> bytes:
    if call.is_stateless:
        result["resultType"] = "complete"  # clients of that era refuse a result without it
    return written({"jsonrpc": "2.0", "id": call.message_id, "result": result})


class _Keys:
    """The keys of a message's objects: of two with the same name the last counts, as almost everywhere."""

    __slots__ = ("doubled",)

    def __init__(self) -> None:
        self.doubled = False

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self.doubled = True
        return value


def _written_for(body: dict[str, Any]) -> bytes:
    try:
        return written(body)
    except ValueError:
        raise MessageRefused(PARSE_ERROR, "A number is too large.", _answerable(body.get("id"))) from None


def _refuse_look_alikes(body: Mapping[str, Any], names: Mapping[str, str], message_id: MessageId | None = None) -> None:
    for key in body:
        if key == "__proto__":  # where objects are copied in JavaScript, what stands in it becomes part of them
            raise MessageRefused(INVALID_REQUEST, "No key may be __proto__.", message_id)
        name = names.get(key.casefold())
        if name is not None and name != key:
            raise MessageRefused(INVALID_REQUEST, f"A key looks like {name} and is not.", message_id)


def _answerable(value: Any) -> MessageId | None:
    return value if isinstance(value, str) or type(value) is int else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
