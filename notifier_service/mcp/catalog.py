"""What tools a server lists, and how risky each is: asked for by the gateway itself, at the first call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from ..risk import RatedRisk, risk_of_tool

__all__ = ["Catalog", "ListedTool"]

_MAX_PAGES = 100
_MAX_TOOLS = 10_000
_PAGE_SECONDS = 10.0
_STATELESS_LIFE_MS = 60_000.0
#: Servers that have just started tell of each tool that they add.
_MAX_TRIES = 10

#: Send a request of the gateway's own, and return the whole response.
Request = Callable[[str, dict[str, Any]], Awaitable[Mapping[str, Any]]]


class ListedTool(NamedTuple):
    """A tool as it is listed, or as one that is not."""

    risk: RatedRisk
    is_structured: bool = False


class Catalog:
    """The tools that one server lists for one client, kept until it tells that they have changed.

    Risk comes from their annotations, which are hints of the server's. A tool that is not listed, and every tool of a
    server that lists none, is of high risk.
    """

    def __init__(self, request: Request, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._request = request
        self._clock = clock
        self._listing = asyncio.Lock()
        self._tools: dict[str, ListedTool] | None = None
        self._stale_at: float | None = None
        self._generation = 0

    def drop(self) -> None:
        """The list has changed."""
        self._tools = None
        self._generation += 1

    def look_up(self, name: str) -> ListedTool | None:
        """The tool of this name, or None as long as the list is not known. Never waits."""
        if self._tools is None or (self._stale_at is not None and self._stale_at <= self._clock()):
            return None
        return self._tools.get(name) or ListedTool(risk_of_tool(None))

    async def find(self, name: str, era: Mapping[str, Any]) -> ListedTool:
        """The tool of this name, after the list was asked for if need be.

        ``era`` is the part of ``_meta`` without which a server of the stateless era takes no request.
        """
        async with self._listing:
            tool = self.look_up(name)
            for _ in range(_MAX_TRIES):
                if tool is not None or not await self._list(era):
                    break
                tool = self.look_up(name)
        return tool or ListedTool(RatedRisk("high", ("the server did not list its tools",)))

    async def _list(self, era: Mapping[str, Any]) -> bool:
        """Ask for the list, and keep it unless it has changed meanwhile. False if there is none."""
        generation = self._generation
        tools: dict[str, ListedTool] = {}
        params: dict[str, Any] = {"_meta": dict(era)} if era else {}
        # In the stateless era nobody need hear of changes.
        lives_ms: list[float] = [_STATELESS_LIFE_MS] if era else []
        for _ in range(_MAX_PAGES):
            try:
                async with asyncio.timeout(_PAGE_SECONDS):
                    response = await self._request("tools/list", params)
            except (TimeoutError, ConnectionError):
                return False
            result = response.get("result")
            page = result.get("tools") if isinstance(result, Mapping) else None
            if not isinstance(result, Mapping) or not isinstance(page, list):
                return False
            for tool in page:
                name = tool.get("name") if isinstance(tool, Mapping) else None
                if isinstance(name, str):
                    risk = RatedRisk("high", ("the server lists it twice",)) if name in tools else risk_of_tool(tool)
                    tools[name] = ListedTool(risk, "outputSchema" in tool)
            life_ms = result.get("ttlMs")
            if isinstance(life_ms, int | float) and not isinstance(life_ms, bool):
                lives_ms.append(life_ms)
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str) or len(tools) > _MAX_TOOLS:
                break
            params = {**params, "cursor": cursor}
        if generation == self._generation:
            self._tools = tools
            # At least long enough for the call that asked.
            self._stale_at = self._clock() + max(1.0, min(lives_ms) / 1000) if lives_ms else None
        return True
