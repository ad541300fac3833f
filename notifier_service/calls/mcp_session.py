"""An MCP client session as its SDK gives it, 1.x or 2.x: what is known of its tools, and results in its own form.

The SDK is never imported: what is needed of it is reached through the session itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import typing
import weakref
from collections.abc import Awaitable, Callable, Mapping
from inspect import signature
from typing import Any

from ..core.policy.reasons import Reason
from .catalog import Catalog, Definitions, ListedTool
from .risk import DEFINITION, RatedRisk

__all__ = ["McpSession"]

_log = logging.getLogger("notifier_service.mcp_session")

#: The protocol from which on a list says itself how long it holds, and changes are told to subscribers only.
_STATELESS = "2026-07-28"
#: A list holds at least so long, even if nobody tells of changes: listing anew before each call would double its time.
_MIN_FRESH_MS = 60_000
_LIST_SECONDS = 10.0


class McpSession:
    """What ``ToolWrapper`` needs of an object with ``call_tool``: for any other than an MCP session it is little."""

    def __init__(self, target: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._result_type = _result_type(target)
        # That a definition changed is the policy's to judge here: what was asked about once is asked about again.
        self._catalog = Catalog(self._page, definitions=Definitions(capacity=0), clock=clock)
        self._hears_changes = False
        self._farewells: set[asyncio.Task[None]] = set()

    def result(self, text: str, *, is_error: bool) -> Any | None:
        """A tool result of the SDK with this text, or None where ``call_tool`` does not give such results."""
        if self._result_type is None:
            return None
        return self._result_type.model_validate({"content": [{"type": "text", "text": text}], "isError": is_error})

    def noted(self, result: Any, text: str) -> Any:
        """A result of the SDK with a text behind what it has; any other as it is."""
        note = self.result(text, is_error=False)
        if note is None or not isinstance(result, type(note)):
            return result
        return result.model_copy(update={"content": [*result.content, *note.content]})

    async def listed(self, tool_name: str) -> ListedTool:
        """A tool as the server lists it, rated by what that says. What cannot be known is of high risk."""
        if not callable(getattr(self._target, "list_tools", None)):
            return ListedTool(RatedRisk("high", (Reason("unrated"),)))
        self._hear_changes()
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                return await self._catalog.find(tool_name, {})
        except Exception as error:
            _log.warning("the tools of a session cannot be listed: %s", error)
            return ListedTool(RatedRisk("high", (Reason("list_unreadable"),)))

    async def call(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Call the tool; a call that is cancelled is cancelled at the server too."""
        # The SDK 1.x leaves the server working. The id is that of the request which begins before anything else runs.
        request_id = getattr(self._target, "_request_id", None)
        try:
            return await self._target.call_tool(*positional, **named)
        except asyncio.CancelledError:
            if request_id is not None and self._result_type is not None:
                # In a task of its own: a cancelled anyio scope would cancel whatever is awaited here.
                farewell = asyncio.create_task(self._cancel(request_id))
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)
            raise

    async def _page(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """A page of the list as it is on the wire, whatever the SDK made of it."""
        cursor = params.get("cursor")
        try:
            page = await self._target.list_tools(**self._from(cursor))
        except OSError as error:  # which would mean that there is no list
            raise RuntimeError(str(error)) from error
        following = getattr(page, "next_cursor", None) or getattr(page, "nextCursor", None)
        if following is not None and following == cursor:
            raise ValueError("the list has no end")
        result = {"tools": [_on_the_wire(tool) for tool in getattr(page, "tools", page)], "nextCursor": following}
        if not self._hears_changes:
            result["ttlMs"] = _MIN_FRESH_MS
        elif str(getattr(self._target, "protocol_version", None) or "") >= _STATELESS:
            result["ttlMs"] = max(_MIN_FRESH_MS, page.ttl_ms)
        return {"result": result}

    def _from(self, cursor: str | None) -> dict[str, Any]:
        """The arguments of ``list_tools`` for the page at this cursor."""
        if cursor is None:
            return {}
        if "cursor" in signature(self._target.list_tools).parameters:
            return {"cursor": cursor}
        return {"params": self._types.PaginatedRequestParams(cursor=cursor)}

    @property
    def _types(self) -> Any:
        """The SDK's types, which the session has imported."""
        assert self._result_type is not None
        return sys.modules[self._result_type.__module__]

    def _hear_changes(self) -> None:
        """Hear what the server tells, before whoever heard it until now.

        The SDK takes its one ``message_handler`` when a session is made, and offers no public way to join it later.
        """
        # The 2.x ``Client`` is not a session, but has one.
        session = self._target if hasattr(self._target, "_message_handler") else getattr(self._target, "session", None)
        handler = getattr(session, "_message_handler", None)
        if session is None or handler is None:
            return
        if not isinstance(handler, _Handler):
            handler = session._message_handler = _Handler(handler)
        handler.sessions.add(self)
        self._hears_changes = True

    def hear(self, message: Any) -> None:
        """Forget the tools if that is what this message of the server means."""
        # In 1.x a notification has a root.
        if getattr(getattr(message, "root", message), "method", None) == "notifications/tools/list_changed":
            self._catalog.drop()

    async def _cancel(self, request_id: int) -> None:
        types = self._types
        told = types.CancelledNotification(
            method="notifications/cancelled",
            params=types.CancelledNotificationParams(requestId=request_id, reason="the call was cancelled"),
        )
        try:
            await self._target.send_notification(types.ClientNotification(told))
        except Exception as error:
            _log.debug("a cancelled call could not be cancelled at the server: %s", error)


class _Handler:
    """A session's ``message_handler``, before which those hear of changed tools who wrapped the session."""

    def __init__(self, theirs: Callable[[Any], Awaitable[None]]) -> None:
        self._theirs = theirs
        # A wrapper may live for one turn of a conversation only, and the session for all of them.
        self.sessions: weakref.WeakSet[McpSession] = weakref.WeakSet()

    async def __call__(self, message: Any) -> None:
        self._tell(message)
        try:
            await self._theirs(message)
        finally:
            self._tell(message)  # a list that the SDK itself still kept may have come in between

    def _tell(self, message: Any) -> None:
        for session in self.sessions:
            session.hear(message)


def _on_the_wire(tool: Any) -> dict[str, Any]:
    """A tool of the SDK, or of an object that lists its tools in a way of its own."""
    dump = getattr(tool, "model_dump", None)
    if dump is None:
        return {"name": tool.name} | {part: getattr(tool, part) for part in DEFINITION if hasattr(tool, part)}
    told: dict[str, Any] = dump(mode="json", by_alias=True, exclude_none=True)
    return told


def _result_type(target: Any) -> Any | None:
    """The class of MCP's tool results, if that is what ``call_tool`` says it gives; a subclass may leave that out."""
    owners = [target, *type(target).__mro__]
    for call_tool in (vars(owner).get("call_tool") for owner in owners if hasattr(owner, "__dict__")):
        try:
            given = typing.get_type_hints(call_tool).get("return")
        except Exception:  # noqa: S112  # hints may name what is there for a type checker only
            continue
        for kind in (given, *typing.get_args(given)):
            module = getattr(kind, "__module__", "").partition(".")[0]
            if getattr(kind, "__name__", "") == "CallToolResult" and module in ("mcp", "mcp_types"):
                return kind
    return None
