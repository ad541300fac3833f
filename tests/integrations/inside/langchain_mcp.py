"""LangChain's MCP adapters call a server's tools as a person answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from approve_langchain_mcp import approval
from langchain_mcp_adapters.client import MultiServerMCPClient

SERVER = """
from pathlib import Path
from mcp.server.fastmcp import FastMCP

server = FastMCP("files")

@server.tool()
def write(path: str) -> str:
    Path(path).touch()
    return f"{Path(path).name} is there"

server.run()
"""


async def write(service: Any, path: Path) -> str:
    """What the tool gives that writes this file."""
    connection: Any = {"transport": "stdio", "command": sys.executable, "args": ["-c", SERVER]}
    client = MultiServerMCPClient({"files": connection}, tool_interceptors=[approval("s", service=service)])
    [tool] = await client.get_tools()
    [content] = await tool.ainvoke({"path": str(path)})
    return str(content["text"])


async def test_approved_call_runs(service: Any, person: Any, tmp_path: Path) -> None:
    seen = person(**{"files.write": {"approved": True}}).seen

    assert await write(service, tmp_path / "a") == "a is there"
    assert (tmp_path / "a").exists()
    assert seen[0]["parameters"] == {"path": str(tmp_path / "a")}


async def test_edited_call_runs_as_it_was_edited(service: Any, person: Any, tmp_path: Path) -> None:
    person(**{"files.write": {"approved": True, "parameters": {"path": str(tmp_path / "b")}}})

    assert await write(service, tmp_path / "a") == "b is there"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


async def test_rejected_call_does_not_run_and_the_model_is_told_why(service: Any, person: Any, tmp_path: Path) -> None:
    person(**{"files.write": {"approved": False, "reason": "not now"}})

    assert await write(service, tmp_path / "a") == "files.write did not run: rejected by ada: not now"
    assert list(tmp_path.iterdir()) == []
