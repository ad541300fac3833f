"""The gateway's own list of a server's tools is kept while it holds, and what it cannot know is of high risk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from notifier_service.calls.catalog import Catalog, Definitions, ListedTool
from notifier_service.calls.risk import RatedRisk
from tests.clock import Clock

READS = {"readOnlyHint": True, "openWorldHint": False}


class Server:
    """Answers ``tools/list`` with these results, one after the other; the last one again and again."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.asked: list[dict[str, Any]] = []

    async def request(self, method: str, params: dict[str, Any]) -> Mapping[str, Any]:
        assert method == "tools/list"
        self.asked.append(params)
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return {"result": result}


async def level(catalog: Catalog, name: str = "read") -> str:
    return (await catalog.find(name, {})).risk.level


async def test_pages_are_followed_to_the_last() -> None:
    server = Server({"tools": [{"name": "a"}], "nextCursor": "x"}, {"tools": [{"name": "read", "annotations": READS}]})

    assert await level(Catalog(server.request)) == "low"
    assert server.asked == [{}, {"cursor": "x"}]


async def test_pages_without_end_are_given_up() -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}], "nextCursor": "x"})

    await level(Catalog(server.request))

    assert len(server.asked) == 100


async def test_tool_that_is_listed_twice_is_of_high_risk() -> None:
    server = Server({"tools": [{"name": "read"}, {"name": "read", "annotations": READS}]})

    assert await level(Catalog(server.request)) == "high"


async def test_tool_that_is_not_listed_is_of_high_risk() -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}, "odd", {"name": 3}]})

    assert await level(Catalog(server.request), "Read") == "high"


@pytest.mark.parametrize("result", [None, {}, {"tools": {}}, ConnectionError(), TimeoutError()], ids=repr)
async def test_server_that_lists_nothing_is_asked_again_at_the_next_call(result: Any) -> None:
    server = Server(result, {"tools": [{"name": "read", "annotations": READS}]})
    catalog = Catalog(server.request)

    assert await level(catalog) == "high"
    assert await level(catalog) == "low"


@pytest.mark.parametrize(("changes", "expected"), [(3, "low"), (1000, "high")])
async def test_list_that_changes_while_it_is_read_is_read_again(changes: int, expected: str) -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}]})

    async def request(method: str, params: dict[str, Any]) -> Mapping[str, Any]:
        if len(server.asked) < changes:
            catalog.drop()
        return await server.request(method, params)

    catalog = Catalog(request)

    assert await level(catalog) == expected
    assert len(server.asked) <= 10


async def test_list_is_kept_as_long_as_the_server_says(clock: Clock) -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}], "ttlMs": 5000})
    catalog = Catalog(server.request, clock=clock)
    await level(catalog)

    clock.advance(4)
    await level(catalog)
    assert len(server.asked) == 1
    clock.advance(2)
    await level(catalog)
    assert len(server.asked) == 2


async def test_list_of_the_stateless_era_is_kept_for_a_minute(clock: Clock) -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}]})
    catalog = Catalog(server.request, clock=clock)
    era = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    await catalog.find("read", era)

    clock.advance(59)
    await catalog.find("read", era)
    assert len(server.asked) == 1
    clock.advance(2)
    await catalog.find("read", era)
    assert server.asked == [{"_meta": era}] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {**READS, "idempotentHint": True}},
        {"description": "another"},
        {"inputSchema": {"type": "object", "properties": {"a": {}}}},
        {"title": "Another"},
        {"outputSchema": {}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_definition_that_changed_is_of_high_risk_until_it_is_accepted(change: dict[str, Any]) -> None:
    tool = {"name": "read", "annotations": READS, "description": "reads"}
    server = Server({"tools": [tool]}, {"tools": [tool | change]})
    catalog = Catalog(server.request)
    await level(catalog)
    catalog.drop()

    changed = await catalog.find("read", {})
    assert (changed.risk.level, next(iter(change)) in changed.risk.reasons[0]) == ("high", True)
    catalog.definitions.accept("read", changed.definition)

    assert await level(catalog) == "low"
    server.results = [{"tools": [tool]}]
    catalog.drop()
    assert await level(catalog) == "low"


async def test_tool_that_went_and_came_back_harmless_has_changed() -> None:
    server = Server({"tools": [{"name": "read"}]}, {"tools": []}, {"tools": [{"name": "read", "annotations": READS}]})
    catalog = Catalog(server.request)
    for _ in range(3):
        await level(catalog)
        catalog.drop()

    assert await level(catalog) == "high"


async def test_tool_that_was_called_before_it_was_listed_has_changed() -> None:
    server = Server({"tools": []}, {"tools": [{"name": "read", "annotations": READS}]})
    catalog = Catalog(server.request)
    await level(catalog)
    catalog.drop()

    risk = (await catalog.find("read", {})).risk
    assert (risk.level, risk.reasons[0]) == (
        "high",
        "the server did not list this tool before, when it was called in this session",
    )


def test_of_more_than_a_hundred_definitions_that_were_accepted_the_first_is_a_new_one_again() -> None:
    definitions = Definitions()
    tools = [ListedTool(RatedRisk("low", ()), definition=(("title", str(number)),)) for number in range(101)]
    for tool in tools:
        definitions.accept("read", tool.definition)

    assert [definitions.rated("read", tool).risk.level for tool in tools] == ["high"] + ["low"] * 100


async def test_what_changes_beside_the_definition_is_no_change() -> None:
    tool = {"name": "read", "annotations": READS}
    server = Server({"tools": [tool | {"_meta": {"n": 1}}]}, {"tools": [tool | {"_meta": {"n": 2}, "x": 1}]})
    catalog = Catalog(server.request)
    await level(catalog)
    catalog.drop()

    assert await level(catalog) == "low"


async def test_change_is_known_to_whoever_shares_the_session() -> None:
    definitions = Definitions()
    server = Server({"tools": [{"name": "read"}]}, {"tools": [{"name": "read", "annotations": READS}]})
    await level(Catalog(server.request, definitions=definitions))

    assert await level(Catalog(server.request, definitions=definitions)) == "high"


@pytest.mark.parametrize("name", ["READ", "read ", "ｒead", "read\0x"])
async def test_tools_that_some_servers_take_for_one_are_of_high_risk(name: str) -> None:
    server = Server({"tools": [{"name": "read", "annotations": READS}, {"name": name}]})

    assert await level(Catalog(server.request)) == "high"


async def test_input_schemas_are_known_and_of_more_than_can_be_kept_it_is_said() -> None:
    large = {"enum": ["x" * 120_000]}
    tools = [{"name": f"t{number}", "inputSchema": {**large, "title": str(number)}} for number in range(80)]
    catalog = Catalog(Server({"tools": [*tools, {"name": "none"}]}).request)

    first, last = [(await catalog.find(name, {})).input_schema for name in ("t0", "t79")]

    assert first is not None
    assert last is not None
    assert (first.problem, last.problem) == (None, "the server lists too many and too large ones")
    assert (await catalog.find("none", {})).input_schema is None


async def test_two_clients_of_one_server_share_its_schemas() -> None:
    server = Server({"tools": [{"name": "a", "inputSchema": {"type": "object"}}]})
    one, other = [await Catalog(server.request).find("a", {}) for _ in range(2)]

    assert one.input_schema is other.input_schema
