"""What the stdio gateway adds to a call that nobody is asked about: direct and gateway in turn, in pairs."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from .__main__ import positive

__all__ = ["main"]

_WARM_UP = 200
#: The least that a server can be: what is measured is the way there and back.
_SERVER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    tool = {"name": "read", "annotations": {"readOnlyHint": True, "openWorldHint": False}}
    result = {"tools": [tool]} if message["method"] == "tools/list" else {"content": []}
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


def main() -> None:
    """Print a table, in Markdown: medians, the median of the differences, and their 95th percentile."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, usage="%(prog)s [OPTION ...] [-- COMMAND ...]"
    )
    parser.add_argument("--calls", type=positive, default=2000, help="calls each way (2000)")
    parser.add_argument("--tool", default="read", help="a tool that runs unasked (read)")
    parser.add_argument("--arguments", type=json.loads, default={}, metavar="JSON", help="its arguments ({})")
    parser.add_argument("--service", metavar="URL", help="a running service, which is asked about each call")
    parser.add_argument("server", nargs="*", metavar="COMMAND", help="the server (a minimal one)")
    given = parser.parse_args()
    server = given.server or [sys.executable, "-I", "-S", "-c", _SERVER]
    service = [] if given.service is None else ["--service", given.service]
    gateway = [sys.executable, "-m", "notifier_service", "gateway", "stdio", *service, "--", *server]
    with _Server(server) as direct, _Server(gateway) as gated:
        call = {"name": given.tool, "arguments": given.arguments}
        pairs = [(direct.timed_ms(call), gated.timed_ms(call)) for _ in range(given.calls + _WARM_UP)][_WARM_UP:]
    differences = [through - straight for straight, through in pairs]
    print("| direct, ms | through the gateway, ms | more, ms | p95 of that |\n|---|---|---|---|")
    print(
        f"| {median(pair[0] for pair in pairs):.3f} | {median(pair[1] for pair in pairs):.3f} "
        f"| {median(differences):.3f} | {quantiles(differences, n=20)[-1]:.3f} |"
    )


class _Server:
    """An MCP server, or what stands before one, as its client sees it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # to start what is measured is the point
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._count = 0

    def __enter__(self) -> _Server:
        info = {"name": "benchmark", "version": "1"}
        self._ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def timed_ms(self, call: dict[str, Any]) -> float:
        """Make one call, and return how long it took."""
        began = time.perf_counter()
        answer = self._ask("tools/call", call)
        took_ms = (time.perf_counter() - began) * 1000
        if "result" not in answer or answer["result"].get("isError"):
            sys.exit(f"the call failed: {answer}")
        return took_ms

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        self._send({"jsonrpc": "2.0", "id": self._count, "method": method, "params": params})
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self._count and "method" not in answer:
                return answer
        sys.exit("the server ended")

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()


if __name__ == "__main__":
    main()
