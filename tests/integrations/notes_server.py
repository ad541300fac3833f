"""An MCP server with one tool, which writes a file: line by line, without an SDK."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TOOL = {
    "name": "keep",
    "description": "Keeps a note.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
}


def result(message: dict[str, Any]) -> dict[str, Any] | None:
    params = message.get("params", {})
    if message["method"] == "initialize":
        server = {"name": "notes", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if message["method"] == "tools/list":
        return {"tools": [TOOL]}
    if message["method"] == "tools/call":
        Path("note").write_text(params["arguments"]["text"])
        return {"content": [{"type": "text", "text": "kept"}]}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer = result(message)
        error = {"code": -32601, "message": "unknown"}
        told = {"error": error} if answer is None else {"result": answer}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **told}), flush=True)
