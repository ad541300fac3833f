"""The headers of MCP over HTTP: what they repeat of a message, and which of them pass through a relay."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from multidict import CIMultiDict, MultiMapping

from ...mcp.message import ERA, HEADER_MISMATCH, Message, MessageRefused, ToolCall, answerable

__all__ = [
    "METHOD",
    "NAME",
    "SESSION",
    "VERSION",
    "RepeatedArguments",
    "check_headers",
    "check_task_headers",
    "headers_for_own_request",
    "mismatch",
    "relayed_headers",
]

SESSION = "Mcp-Session-Id"
VERSION = "MCP-Protocol-Version"
METHOD = "Mcp-Method"
NAME = "Mcp-Name"

_OF_ONE_CALL = ("mcp-name", "mcp-param-", "last-event-id")

#: What belongs to one connection, or to a body that is written anew, or would lead a client past the gate.
_NOT_RELAYED = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "expect", "host", "content-length", "content-encoding", "accept-encoding",
        "alt-svc",
    }
)  # fmt: skip


def mismatch(headers: MultiMapping[str], said: Iterable[tuple[str, Any]]) -> str | None:
    """Why these headers tell of another message than the one that has said this, in words."""
    for header, value in said:
        told = headers.getall(header, [])
        if [_decoded(text) if header == NAME else text for text in told] != [value]:
            return f"The header {header} does not say what the message says."
    return None


def check_headers(headers: MultiMapping[str], message: Message) -> None:
    """Raise ``MessageRefused`` where what judges by the headers would judge another message."""
    said: list[tuple[str, Any]] = []
    call = ToolCall(message) if message.is_tool_call and "id" in message.body else None
    is_stateless = call is not None and call.is_stateless
    if is_stateless or METHOD in headers:
        said.append((METHOD, message.method))
    if call is not None and is_stateless:
        said.append((VERSION, call.meta[f"{ERA}protocolVersion"]))
    if is_stateless or (message.is_tool_call and NAME in headers):
        said.append((NAME, message.params.get("name")))
    problem = mismatch(headers, said)
    if problem is not None:
        raise MessageRefused(HEADER_MISMATCH, problem, answerable(message.message_id))


def check_task_headers(headers: MultiMapping[str], message: Message) -> None:
    """Raise ``MessageRefused`` where the headers of a request about a task tell of another one, or of none."""
    meta = message.params.get("_meta")
    version = meta.get(f"{ERA}protocolVersion") if isinstance(meta, dict) else None
    said = [(METHOD, message.method), (VERSION, version), (NAME, message.params.get("taskId"))]
    problem = mismatch(headers, said)
    if problem is not None:
        raise MessageRefused(HEADER_MISMATCH, problem, answerable(message.message_id))


def relayed_headers(headers: Mapping[str, str], more: Iterable[str]) -> CIMultiDict[str]:
    """A copy of headers without those that belong to one connection, and without ``more``."""
    dropped = _NOT_RELAYED.union(more)
    for name, value in headers.items():
        if name.lower() == "connection":
            dropped = dropped.union(word.strip().lower() for word in value.split(","))
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


def headers_for_own_request(headers: CIMultiDict[str], method: str) -> CIMultiDict[str]:
    """The headers of a call as those of a request of the gateway's own, made in the name of the same client."""
    headers = headers.copy()
    for name in [name for name in headers if name.lower().startswith(_OF_ONE_CALL)]:
        headers.popall(name, None)
    if METHOD in headers:
        headers[METHOD] = method
    return headers


class RepeatedArguments:
    """Which arguments of a server's tools the headers of a call repeat (``x-mcp-header`` in their schemas)."""

    def __init__(self) -> None:
        self._paths: dict[str, dict[str, tuple[str, ...]]] = {}

    def note(self, page: Any) -> None:
        """Remember what a page of the list of tools says."""
        tools = page.get("tools") if isinstance(page, dict) else None
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, dict) and isinstance(tool.get("name"), str):
                self._paths[tool["name"]] = dict(_repeated(tool.get("inputSchema"), ()))

    def told_anew(self, headers: CIMultiDict[str], name: str, arguments: Any) -> CIMultiDict[str]:
        """The headers of a call of that tool, as they are with other arguments."""
        headers = headers.copy()
        for header, path in self._paths.get(name, {}).items():
            value = arguments
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            headers.popall(header, None)
            if isinstance(value, str | int):
                headers[header] = _encoded(str(value).lower() if isinstance(value, bool) else str(value))
        return headers


def _repeated(schema: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The headers that repeat arguments of this schema, and where each of those stands."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    for name, described in properties.items() if isinstance(properties, dict) else ():
        if isinstance(described, dict):
            header = described.get("x-mcp-header")
            if isinstance(header, str) and header:
                yield f"Mcp-Param-{header}", (*path, name)
            yield from _repeated(described, (*path, name))


def _decoded(value: str) -> str:
    """What a header says whose value is no plain ASCII."""
    value = value.strip()
    if value.startswith("=?base64?") and value.endswith("?="):
        with suppress(binascii.Error, UnicodeDecodeError):
            return str(base64.b64decode(value[9:-2], validate=True), "utf-8")
    return value


def _encoded(value: str) -> str:
    """A header's value, whatever it says."""
    if value.isascii() and value.isprintable() and value == value.strip() and not value.startswith("=?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
