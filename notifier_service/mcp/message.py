"""One JSON-RPC message: what it is, so that what was judged here is what the other side reads.

Two parsers may read one text differently. So a message with two keys of the same name is written anew, as is every
``tools/call``; and one whose keys or method only look like those of JSON-RPC (``Method``, which Go's decoder takes for
``method``; ``tools/call`` and NUL, which C takes for ``tools/call``) is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from pydantic_core import from_json

from .readings import calls_tool, is_method_key, likeness, method_problem, one_line

__all__ = [
    "ERA",
    "HEADER_MISMATCH",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "MISSING_CAPABILITY",
    "PARSE_ERROR",
    "TASKS",
    "UNSUPPORTED_VERSION",
    "Message",
    "MessageId",
    "MessageRefused",
    "ToolCall",
    "answerable",
    "denial_answer",
    "envelope_problem",
    "error_answer",
    "heartbeat",
    "may_be_same",
    "name_of",
    "replacement_answer",
    "result_answer",
    "same_id",
    "takes_tasks",
    "unpacked",
    "written",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
#: What the stateless era answers when a header says something else than the message, to a client that does not say that
#: it can do what is needed, and to another version.
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

#: A message's own, and those of a call that decide what runs.
_ENVELOPE = ("jsonrpc", "id", "method", "params", "result", "error")
_CALL = ("name", "arguments", "_meta", "task", "inputResponses", "requestState")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_MAX_NAME = 256
_MAX_ID = 2**53 - 1

MessageId = str | int

#: Begins what each message of the stateless era says of itself.
ERA = "io.modelcontextprotocol/"

#: The extension whose clients take a task in place of an answer, and ask about it.
TASKS = f"{ERA}tasks"


class MessageRefused(Exception):
    """What came in is no message that may pass; ``answer`` says so to whoever waits for something.

    That is the other side if ``is_response``: it asked for what was refused.
    """

    def __init__(self, code: int, text: str, message_id: MessageId | None = None, *, is_response: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.message_id = message_id
        self.is_response = is_response
        self.answer: bytes = error_answer(message_id, code, text)


class Message:
    """One message. ``text`` is what passes it on: the bytes that came, where nobody can read them in two ways."""

    __slots__ = ("body", "has_one_reading", "text")

    def __init__(self, body: dict[str, Any], text: bytes, *, has_one_reading: bool = True) -> None:
        self.body = body
        self.text = text
        #: False for what came with a key twice in one object, of which another reader may take the first.
        self.has_one_reading = has_one_reading

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
        problem = envelope_problem(body)
        if problem is None and keys.odd:
            problem = "A key has a control character, which some readers take for its end."
        if problem is None and keys.calls and body.get("method") != "tools/call":
            problem = "Something in the message looks like a tools/call, and could be taken for one."
        if problem is not None:
            raise MessageRefused(INVALID_REQUEST, problem, _asked_with(body))
        if keys.doubled or _is_broken(text) or not _is_literal(body, text) or body.get("method") == "tools/call":
            text = _written_for(body)
        return cls(body, one_line(text), has_one_reading=not keys.doubled)

    @classmethod
    def of_server(cls, text: bytes) -> Message:
        """Read a message that a server sent. Raises ``MessageRefused``, and ``ValueError`` for what is no JSON.

        As what a client sends, but for what only a server of tools could misread: a result may have any keys.
        """
        keys = _Keys()
        body = json.loads(shown := str(text, "utf-8", "replace"), object_pairs_hook=keys.unique)
        if not isinstance(body, dict):
            raise MessageRefused(INVALID_REQUEST, "A message is a JSON object.")
        is_rewritten = keys.doubled or _is_broken(text) or "\ufffd" in shown or not _is_literal(body, text)
        if "method" in body and body["method"] is None:  # as some write a response
            del body["method"]
            is_rewritten = True
        problem = envelope_problem(body)
        if problem is None and body.get("method") == "tools/call":
            problem = "A server does not call the tools of its client through this gateway."
        if problem is None and is_rewritten:
            try:
                text = written(body)
            except ValueError:
                problem = "The message can be read in two ways, and has a number that JSON has no form for."
        if problem is not None:
            is_response = "method" not in body
            message_id = answerable(body.get("id"))
            raise MessageRefused(INTERNAL_ERROR, problem, message_id, is_response=is_response)
        return cls(body, one_line(text))

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
        message_id = answerable(body.get("id"))
        if message_id is None:
            raise MessageRefused(INVALID_REQUEST, "A tools/call needs an id that is a string or an integer.")
        if isinstance(message_id, int) and abs(message_id) > _MAX_ID:
            raise MessageRefused(INVALID_REQUEST, "An id beyond 2^53 is another number to most.", message_id)
        if isinstance(message_id, str) and not message_id.isprintable():
            raise MessageRefused(INVALID_REQUEST, "An id has no control characters.", message_id)
        params = body.get("params")
        if not isinstance(params, dict):
            raise MessageRefused(INVALID_PARAMS, "The params of a tools/call are an object.", message_id)
        problem = _key_problem(params, _CALL)
        if problem is not None:
            raise MessageRefused(INVALID_REQUEST, problem, message_id)
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME:
            raise MessageRefused(INVALID_PARAMS, f"A tool has a name of 1 to {_MAX_NAME} characters.", message_id)
        if not name.isprintable() or name != name.strip():
            raise MessageRefused(INVALID_PARAMS, "The name of a tool has only characters that are seen.", message_id)
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
    def has_one_reading(self) -> bool:
        """Whether the message that came can be read in one way only."""
        return self._message.has_one_reading

    @property
    def progress_token(self) -> str | int | None:
        return answerable(self.meta.get("progressToken"))

    @property
    def era(self) -> dict[str, Any]:
        """What each request of the stateless era says of itself and its client; empty in the one before."""
        return {key: value for key, value in self.meta.items() if key.startswith(ERA)}

    @property
    def is_stateless(self) -> bool:
        """Whether it is of the era that began with protocol version 2026-07-28."""
        return f"{ERA}protocolVersion" in self.meta

    @property
    def client_name(self) -> str | None:
        return name_of(self.meta.get(f"{ERA}clientInfo"))

    @property
    def is_retry(self) -> bool:
        """Whether it goes on with a call that asked its client for more (``resultType: input_required``)."""
        return "requestState" in self.params or "inputResponses" in self.params

    @property
    def takes_tasks(self) -> bool:
        """Whether its client takes a task in place of the answer."""
        return takes_tasks(self.meta)

    def renewed(self, message_id: str, **params: Any) -> ToolCall:
        """The same call under an id of the gateway's own, by which its progress is told too, with more params."""
        meta = self.meta if self.progress_token is None else self.meta | {"progressToken": message_id}
        given = {} if "_meta" not in self.params else {"_meta": meta}
        body = self._message.body | {"id": message_id, "params": self.params | given | params}
        return ToolCall(Message(body, written(body), has_one_reading=self.has_one_reading))

    def text(self, edited: Mapping[str, Any] | None = None) -> bytes:
        """What runs upstream, written anew, with a person's edit of the arguments if there is one."""
        if edited is None:
            return self._message.text
        return written(self._message.body | {"params": self.params | {"arguments": dict(edited)}})


def takes_tasks(meta: Any) -> bool:
    """Whether the ``_meta`` of a request says so, as the stateless era does; a task is nothing for any other client."""
    capabilities = meta.get(f"{ERA}clientCapabilities") if isinstance(meta, dict) else None
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    is_stateless = isinstance(meta, dict) and f"{ERA}protocolVersion" in meta
    return is_stateless and isinstance(extensions, dict) and isinstance(extensions.get(TASKS), dict)


def name_of(client_info: Any) -> str | None:
    """The name in a client's ``clientInfo``."""
    name = client_info.get("name") if isinstance(client_info, dict) else None
    return name if isinstance(name, str) else None


def same_id(one: Any, other: Any) -> bool:
    """Whether two ids or tokens are the same; 1 and "1" and true are not, 1 and 1.0 are."""
    kinds = {type(one), type(other)}
    return (len(kinds) == 1 or kinds == {int, float}) and one == other and one is not None


def may_be_same(one: Any, other: Any) -> bool:
    """Whether two ids are one to a reader who makes a number of a text."""
    return bool(_number(one) == _number(other))


def _number(message_id: Any) -> Any:
    if isinstance(message_id, str) and len(message_id) <= _MAX_NAME:
        try:
            return float(message_id)
        except ValueError:
            return message_id.strip()
    return message_id


def unpacked(text: bytes) -> list[bytes]:
    """The messages of a batch, of which each is judged for itself; or the text."""
    if text.lstrip()[:1] == b"[":
        with suppress(ValueError):
            return [_text(message).encode() for message in from_json(text)]
    return [text]


def written(body: Mapping[str, Any]) -> bytes:
    """One message as one line of ASCII. Raises ``ValueError`` for what JSON has no form for (a number like 1e999)."""
    return _text(body).encode()


_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def error_answer(message_id: MessageId | None, code: int, text: str, **more: Any) -> bytes:
    return written({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text, **more}})


def result_answer(message_id: MessageId, result: Mapping[str, Any]) -> bytes:
    return written({"jsonrpc": "2.0", "id": message_id, "result": result})


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
    return result_answer(call.message_id, result)


class _Keys:
    """The keys of a message's objects: of two with the same name the last counts, as almost everywhere."""

    __slots__ = ("_methods", "_seen", "calls", "doubled", "odd")

    def __init__(self) -> None:
        self.doubled = False
        #: Whether there is a key with a control character.
        self.odd = False
        #: Whether an object, however deep, looks like a call to who looks at every key.
        self.calls = False
        self._seen: set[str] = set()
        self._methods: set[str] = set()

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self.doubled = True
        for key in value.keys() - self._seen:
            self._seen.add(key)
            if _CONTROL.search(key):
                self.odd = True
            if is_method_key(key):
                self._methods.add(key)
        for key in self._methods:
            if key in value and calls_tool(value[key]):
                self.calls = True
        return value


def _written_for(body: dict[str, Any]) -> bytes:
    try:
        return written(body)
    except ValueError:
        raise MessageRefused(PARSE_ERROR, "A number is too large.", answerable(body.get("id"))) from None


def envelope_problem(body: Mapping[str, Any]) -> str | None:
    """Why a message may not pass, in words."""
    problem = _key_problem(body, _ENVELOPE)
    if problem is not None or "method" not in body:
        return problem
    method = body["method"]
    if not isinstance(method, str):
        return "A method is a string."
    if "result" in body or "error" in body:
        return "A message is a request or a response, not both."
    return method_problem(method)


def _key_problem(body: Mapping[str, Any], names: Collection[str]) -> str | None:
    for key in body:
        if key == "__proto__":  # where objects are copied in JavaScript, what stands in it becomes part of them
            return "No key may be __proto__."
        if _CONTROL.search(key):
            return "A key has a control character, which some readers take for its end."
        name = likeness(key, names)
        if name is not None:
            return f"A key looks like {name} and is not."
    return None


def _is_broken(text: bytes) -> bool:
    """Whether an end of a line stands between two tokens, which is legal."""
    return b"\r" in text or b"\n" in text


def _is_literal(body: Mapping[str, Any], text: bytes) -> bool:
    """Whether what says which message it is stands in the text as it is read, and not as escapes."""
    return b"\\" not in text or (
        all(b'"%b"' % key.encode() in text for key in body if key in _ENVELOPE)
        and ("method" not in body or not isinstance(body["method"], str) or b'"%b"' % body["method"].encode() in text)
    )


def _asked_with(body: Mapping[str, Any]) -> MessageId | None:
    """The id under which the sender waits for an answer: not that of a response, which is the other side's."""
    return None if "method" not in body and ("result" in body or "error" in body) else answerable(body.get("id"))


def answerable(value: Any) -> MessageId | None:
    """The id or token, if it is one that an answer can name."""
    return value if isinstance(value, str) or type(value) is int else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
