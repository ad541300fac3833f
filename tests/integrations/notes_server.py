"""An MCP server with a tool that writes a file, and one that asks its person: line by line, without an SDK."""

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
ASK = {"name": "ask", "description": "Asks where to file it.", "inputSchema": {"type": "object"}}
FORM = {
    "type": "object",
    "properties": {"project": {"type": "string", "enum": ["billing", "web"]}, "urgent": {"type": "boolean"}},
    "required": ["project"],
}


def asked() -> str:
    """What the person says to the form."""
    params = {"message": "Where shall it be filed?", "requestedSchema": FORM}
    print(json.dumps({"jsonrpc": "2.0", "id": "e1", "method": "elicitation/create", "params": params}), flush=True)
    for line in sys.stdin:
        answer = json.loads(line)
        if answer.get("id") == "e1":
            return json.dumps(answer.get("result", answer))
    return ""


def result(message: dict[str, Any]) -> dict[str, Any] | None:
    params = message.get("params", {})
    if message["method"] == "initialize":
        server = {"name": "notes", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if message["method"] == "tools/list":
        return {"tools": [TOOL, ASK]}
    if message["method"] == "tools/call" and params["name"] == "ask":
        return {"content": [{"type": "text", "text": asked()}]}
    if message["method"] == "tools/call":
        with Path("note").open("a") as note:
            note.write(params["arguments"]["text"])
        return {"content": [{"type": "text", "text": "kept"}]}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message and "method" in message:
        answer = result(message)
        error = {"code": -32601, "message": "unknown"}
        told = {"error": error} if answer is None else {"result": answer}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **told}), flush=True)
