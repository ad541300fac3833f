"""One message of the Agent Client Protocol: what it is, so that what was judged here is what the other side reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from ..mcp.message import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MessageId,
    MessageRefused,
    answerable,
    written,
)
from ..mcp.readings import likeness, one_line

__all__ = ["CREATE_TERMINAL", "PERMISSION", "READ_FILE", "WRITE_FILE", "Message"]

PERMISSION = "session/request_permission"
READ_FILE = "fs/read_text_file"
WRITE_FILE = "fs/write_text_file"
CREATE_TERMINAL = "terminal/create"
#: What is judged of what an agent asks of an editor, with the parameters that say what is to happen.
_JUDGED: Mapping[str, frozenset[str]] = {
    PERMISSION: frozenset({"sessionId", "toolCall", "options"}),
    READ_FILE: frozenset({"sessionId", "path", "line", "limit"}),
    WRITE_FILE: frozenset({"sessionId", "path", "content"}),
    CREATE_TERMINAL: frozenset({"sessionId", "command", "args", "env", "cwd", "outputByteLimit"}),
}
_ENVELOPE = ("jsonrpc", "id", "method", "params", "result", "error")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_words(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_text, value)))


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


#: What these must be: an editor makes something of others, and a person could not see what.
_SHAPES: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    READ_FILE: {"path": _is_text},
    WRITE_FILE: {"path": _is_text, "content": _is_text},
    CREATE_TERMINAL: {"command": _is_text, "args": _are_words, "cwd": _is_text_or_none},
}

#: A line that nobody can take for one of them is read the quick way.
_MAY_BE_JUDGED = re.compile(rb"permission|text_?file|terminal|\\u", re.IGNORECASE)
_METHOD = re.compile(r"[A-Za-z0-9_.:/$-]{1,256}")


class Message:
    """One message. ``text`` is what passes it on: the bytes that came, where what matters can be read in one way only.

    Raises ``MessageRefused`` for what some reader could take for something that is judged, and ``ValueError`` for what
    is no JSON object.
    """

    __slots__ = ("body", "has_one_reading", "text")

    def __init__(self, text: bytes) -> None:
        keys = _Pairs()
        try:
            body = _read(text, keys)
        except ValueError:
            # Bytes that are no UTF-8 are what everybody makes of them: who waits for the message is not left waiting.
            text = str(text, "utf-8", "replace").encode()
            body = _read(text, keys)
        if not isinstance(body, dict):
            raise ValueError("a message is a JSON object")
        self.body: dict[str, Any] = body
        #: False for what came with a key twice in one object, of which another reader may take the first.
        self.has_one_reading = not keys.doubled
        problem = _problem(body)
        if problem is None and (keys.doubled or self.is_judged or self.is_response):
            # Written anew, it has the one meaning that is judged; of what is only passed on, each byte stays.
            try:
                text = written(body) if keys.doubled or self.is_judged else text
            except ValueError:
                problem = "The message has a number that JSON has no form for."
        if problem is not None:
            refused = INTERNAL_ERROR if self.is_response else INVALID_REQUEST
            raise MessageRefused(refused, problem, answerable(body.get("id")), is_response=self.is_response)
        self.text = one_line(text)

    @property
    def method(self) -> str | None:
        method: str | None = self.body.get("method")
        return method

    @property
    def message_id(self) -> MessageId | None:
        """The id that an answer can name, or None."""
        return answerable(self.body.get("id"))

    @property
    def is_request(self) -> bool:
        return "method" in self.body and "id" in self.body

    @property
    def is_response(self) -> bool:
        return "method" not in self.body and "id" in self.body

    @property
    def is_judged(self) -> bool:
        return self.body.get("method") in _JUDGED

    @property
    def params(self) -> dict[str, Any]:
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def result(self) -> dict[str, Any]:
        result = self.body.get("result")
        return result if isinstance(result, dict) else {}

    @property
    def session_id(self) -> str | None:
        """The session of the agent, which is none of ours."""
        return _text(self.params.get("sessionId"))

    def with_params(self, changed: Mapping[str, Any]) -> bytes:
        """The same with other parameters."""
        return written(self.body | {"params": dict(changed)})

    def judged(self) -> MessageId:
        """The id under which the agent waits. Raises ``MessageRefused`` for what says in no one way what is to be."""
        message_id = self.message_id
        if message_id is None:
            raise MessageRefused(INVALID_REQUEST, f"{self.method} needs an id that is a string or an integer.")
        if not isinstance(self.body.get("params"), dict) or self.session_id is None:
            raise MessageRefused(INVALID_PARAMS, f"The params of {self.method} name a sessionId.", message_id)
        known = _JUDGED[str(self.method)]
        for field, is_one in _SHAPES.get(str(self.method), {}).items():
            if not is_one(self.params.get(field)):
                raise MessageRefused(INVALID_PARAMS, f"The {field} of {self.method} is something else.", message_id)
        for key in self.params:
            name = likeness(key, known)
            if name is not None:
                raise MessageRefused(INVALID_PARAMS, f"A key looks like {name} and is not.", message_id)
        return message_id


def _read(text: bytes, keys: _Pairs) -> Any:
    if _MAY_BE_JUDGED.search(text) is None:
        return from_json(text)
    try:
        return json.loads(str(text, "utf-8"), object_pairs_hook=keys.unique, parse_constant=keys.constant)
    except RecursionError:
        raise ValueError("the message is too deep") from None


def _problem(body: Mapping[str, Any]) -> str | None:
    for key in body:
        name = None if key in _ENVELOPE else likeness(key, _ENVELOPE)
        if name is not None:
            return f"A key looks like {name} and is not."
    if "method" not in body:
        return None
    method = body["method"]
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        return "A method is made of at most 256 letters, digits and _ . : / $ - only."
    if "result" in body or "error" in body:
        return "A message is a request or a response, not both."
    name = likeness(method, _JUDGED)
    return None if name is None else f"The method looks like {name} and is not: it is taken letter for letter only."


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


class _Pairs:
    """The keys of a message's objects: of two with the same name the last counts, as almost everywhere."""

    __slots__ = ("doubled",)

    def __init__(self) -> None:
        self.doubled = False

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self.doubled = True
        return value

    @staticmethod
    def constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))
