"""better-sse on node, with a channel per session."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .peer import Missing, Peer, Ports, Target

__all__ = ["BetterSse"]

_SERVER = Path(__file__).with_suffix(".mjs")
_FOLDER = Path(__file__).parents[1] / ".node"
_PACKAGE = "better-sse@0.16"


class BetterSse(Peer):
    name = "better-sse"
    title = "better-sse on node"
    cannot = frozenset({"permission", "storm", "websocket", "long-poll"})
    share = 0.5

    def prepare(self, *, may_install: bool) -> None:
        npm = shutil.which("npm")
        if shutil.which("node") is None or npm is None:
            raise Missing("node 20 or newer, with npm")
        installed = _FOLDER / "node_modules" / "better-sse"
        if not installed.exists() and may_install:
            _FOLDER.mkdir(exist_ok=True)
            install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(_FOLDER), _PACKAGE]
            subprocess.run(install, check=False, capture_output=True)  # noqa: S603
        if not installed.exists():
            raise Missing(f"npm install --prefix {_FOLDER} {_PACKAGE}")

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        # node looks for packages beside the program, which therefore stands beside them.
        server = _FOLDER / "server.mjs"
        server.write_text(_SERVER.read_text())
        return [[shutil.which("node") or "node", str(server), str(ports.main)]]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        return Target(
            port=ports.main,
            stream="/events/{session}",
            publish="/publish/{session}",
            ready='data:"ready"',
            orders_port=ports.main,
            processes=processes,
        )
