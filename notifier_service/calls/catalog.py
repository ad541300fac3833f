"""What tools a server lists, and how risky each is: asked for at the first call, by a gateway or in a session."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from ..core.input_schema import InputSchema
from ..core.parameters import canonical_json
from ..core.policy.reasons import Reason
from .risk import DEFINITION, RatedRisk, risk_of_tool

__all__ = ["Catalog", "Definitions", "ListedTool"]

_MAX_PAGES = 100
_MAX_TOOLS = 10_000
#: Definitions of one tool that people have approved, before the first is forgotten.
_MAX_ACCEPTED = 100
#: Of the input schemas of a server, together.
_MAX_SCHEMA_BYTES = 8 * 1024 * 1024
_PAGE_SECONDS = 10.0
_STATELESS_LIFE_MS = 60_000.0
#: Servers that have just started tell of each tool that they add.
_MAX_TRIES = 10

#: Send a request of our own, and return the whole response.
Request = Callable[[str, dict[str, Any]], Awaitable[Mapping[str, Any]]]


#: A hash of each part of how a server defines a tool.
Definition = tuple[tuple[str, str], ...]


class ListedTool(NamedTuple):
    """A tool as it is listed, or as one that is not."""

    risk: RatedRisk
    is_structured: bool = False
    definition: Definition | None = None
    input_schema: InputSchema | None = None


class Definitions:
    """How the tools of one server were defined in a session until now: one that changes is a new one to people.

    What a server says first holds. Afterwards a tool with another definition is of high risk, until somebody has
    approved a call of it. Of more than ``capacity`` tools nothing is remembered.
    """

    def __init__(self, *, capacity: int = _MAX_TOOLS) -> None:
        self._capacity = capacity
        self._accepted: dict[str, dict[Definition | None, None]] = {}

    def meet(self, name: str, definition: Definition | None) -> None:
        """A tool was listed, or called (None) without being so."""
        if name not in self._accepted and len(self._accepted) < self._capacity:
            self.accept(name, definition)

    def accept(self, name: str, definition: Definition | None) -> None:
        """A person has approved a call of the tool as it is defined now."""
        accepted = self._accepted.setdefault(name, {})
        accepted[definition] = None
        if len(accepted) > _MAX_ACCEPTED:
            del accepted[next(iter(accepted))]

    def rated(self, name: str, tool: ListedTool) -> ListedTool:
        """The tool, of high risk if its definition is not the one that is known."""
        accepted = self._accepted.get(name)
        if accepted is None or tool.definition in accepted:
            return tool
        last = next(reversed(accepted))
        if last is None:
            said = Reason("not_listed_before")
        else:
            old, new = dict(last), dict(tool.definition or ())
            changed = [part for part in DEFINITION if old.get(part) != new.get(part)]
            said = Reason("definition_changed", parts=", ".join(changed))
        return tool._replace(risk=tool.risk._replace(level="high", reasons=(said, *tool.risk.reasons)))


def _definition(tool: Mapping[str, Any]) -> Definition:
    return tuple((part, _sha256(tool[part])) for part in DEFINITION if part in tool)


def _sha256(value: Any) -> str:
    try:
        text = canonical_json(value)
    except (ValueError, TypeError):  # NaN, half a character, or an object of a program
        text = json.dumps(value, sort_keys=True, default=repr).encode()
    return hashlib.sha256(text).hexdigest()


class Catalog:
    """The tools that one server lists for one client, kept until it tells that they have changed.

    Risk comes from their annotations, which are hints of the server's. A tool that is not listed, and every tool of a
    server that lists none, is of high risk.
    """

    def __init__(
        self,
        request: Request,
        *,
        definitions: Definitions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: What is known of the tools in this session, whichever client has had them listed.
        self.definitions = Definitions() if definitions is None else definitions
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
        tool = self._tools.get(name)
        return ListedTool(risk_of_tool(None)) if tool is None else self.definitions.rated(name, tool)

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
        if tool is not None:
            self.definitions.meet(name, tool.definition)
        return tool or ListedTool(RatedRisk("high", (Reason("list_missing"),)))

    async def _list(self, era: Mapping[str, Any]) -> bool:
        """Ask for the list, and keep it unless it has changed meanwhile. False if there is none."""
        generation, schema_bytes = self._generation, 0
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
                    risk = RatedRisk("high", (Reason("listed_twice"),)) if name in tools else risk_of_tool(tool)
                    schema = _shared(InputSchema.of(tool.get("inputSchema")), schema_bytes)
                    schema_bytes += 0 if schema is None else len(schema.text)
                    tools[name] = ListedTool(risk, "outputSchema" in tool, _definition(tool), schema)
            life_ms = result.get("ttlMs")
            if isinstance(life_ms, int | float) and not isinstance(life_ms, bool):
                lives_ms.append(life_ms)
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str) or len(tools) > _MAX_TOOLS:
                break
            params = {**params, "cursor": cursor}
        if generation == self._generation:
            for name, listed in tools.items():
                self.definitions.meet(name, listed.definition)
            self._tools = _without_doubles(tools)
            # At least long enough for the call that asked.
            self._stale_at = self._clock() + max(1.0, min(lives_ms) / 1000) if lives_ms else None
        return True


#: Clients of one server are told the same schemas, which are kept once.
_schemas: WeakValueDictionary[InputSchema, InputSchema] = WeakValueDictionary()


def _shared(schema: InputSchema | None, others_bytes: int) -> InputSchema | None:
    if schema is not None and others_bytes + len(schema.text) > _MAX_SCHEMA_BYTES:
        schema = InputSchema(b"", "the server lists too many and too large ones")
    return None if schema is None else _schemas.setdefault(schema, schema)


def _without_doubles(tools: dict[str, ListedTool]) -> dict[str, ListedTool]:
    """The tools; of those whose names some servers take for one, all are as risky as can be."""
    alike = Counter(map(_folded, tools))
    doubt = (Reason("look_alike"),)
    return {
        name: tool._replace(risk=tool.risk._replace(level="high", reasons=doubt)) if alike[_folded(name)] > 1 else tool
        for name, tool in tools.items()
    }


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name.partition("\0")[0]).strip().casefold()
