"""An MCP server of the SDK 2.x runs its own tools as a person answers."""

from __future__ import annotations

from typing import Any

import pytest
from approve_mcp_server import approval
from mcp import Client
from mcp.server import MCPServer


async def delete(service: Any, mode: str, **options: Any) -> tuple[list[str], Any]:
    """What ran, and the result that the client gets."""
    ran: list[str] = []
    server = MCPServer("files", extensions=[approval("s", service=service, **options)])

    @server.tool()
    def delete(path: str) -> str:
        ran.append(path)
        return f"{path} is gone"

    async with Client(server, mode=mode) as client:  # type: ignore[arg-type]
        return ran, await client.call_tool("delete", {"path": "a"})


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_approved_call_runs(service: Any, person: Any, mode: str) -> None:
    seen = person(delete={"approved": True}).seen

    ran, result = await delete(service, mode)

    assert (ran, result.content[0].text, result.is_error) == (["a"], "a is gone", False)
    assert seen[0]["parameters"] == {"path": "a"}
    assert list(seen[0]["allowed_decisions"]) == ["approve", "reject"]


async def test_rejected_call_does_not_run_and_the_client_is_told_why(service: Any, person: Any, mode: str) -> None:
    person(delete={"approved": False, "reason": "not now"})

    ran, result = await delete(service, mode)

    assert (ran, result.is_error) == ([], True)
    assert result.content[0].text == "delete did not run: rejected by ada: not now"


async def test_call_of_low_risk_runs_unasked(service: Any, mode: str) -> None:
    assert (await delete(service, mode, risk_levels={"delete": "low"}))[0] == ["a"]
