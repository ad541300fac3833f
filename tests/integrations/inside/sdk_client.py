"""A client of the SDK (1.x or 2.x) that lists a folder and writes two files; it prints what came of that."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(folder: str, command: str, *arguments: str) -> None:
    server = StdioServerParameters(command=command, args=list(arguments), env=dict(os.environ))
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        listed = await session.call_tool("list_directory", {"path": folder})
        written = await session.call_tool("write_file", {"path": f"{folder}/a", "content": "a"})
        refused = await session.call_tool("write_file", {"path": f"{folder}/b", "content": "b"})
    text: Any = refused.content[0]
    failed = [getattr(result, "is_error", getattr(result, "isError", None)) for result in (listed, written, refused)]
    print(json.dumps(dict(zip(("listed", "written", "refused"), failed, strict=True)) | {"reason": text.text}))


asyncio.run(main(*sys.argv[1:]))
