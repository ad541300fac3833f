"""Small environments of packages whose pins conflict, each made once and kept beside this file.

``python -m tests.integrations.environments`` makes all that are named here, two at a time; a test makes what it lacks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["NODE", "NPM", "PYTHON", "ROOT", "CannotInstall", "npm_environment", "python_environment"]

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name(".environments")

#: Whatever runs in one of them is a test.
_TEST_TOOLS = ("pytest==9.1.1", "pytest-asyncio==1.4.0", "pytest-timeout==2.4.0")
PYTHON = {
    "sdk 1.x": ("mcp==1.30.0",),
    "sdk 2.x": ("mcp==2.3.0",),
    "claude-agent-sdk": ("claude-agent-sdk==0.2.186",),
    "langchain": ("langchain==1.4.7", "langchain-mcp-adapters==0.3.2"),
    "openai-agents": ("openai-agents==0.24.0",),
    "ag-ui-validate": ("ag-ui-validate[transport]==0.4.0",),
    "acp": ("agent-client-protocol==0.12.1",),
    "codex sdk": ("openai-codex==0.163.0",),
    "copilot sdk": ("github-copilot-sdk==1.0.27",),
    "sync": ("flask==3.1.3", "django==5.2.19", "fastapi==0.165.0", "httpx==0.28.1", "ipython==9.18.1"),
    "sigstore": ("sigstore==4.5.1",),
    "schemathesis": ("schemathesis==4.32.5",),
}

NODE = "node@22.23.3"
NPM: dict[str, tuple[str, ...]] = {
    "servers": (
        "@modelcontextprotocol/server-everything@2026.8.31",
        "@modelcontextprotocol/server-filesystem@2026.8.31",
    ),
    "conformance": ("@modelcontextprotocol/conformance@0.1.16",),
    "conformance alpha": ("@modelcontextprotocol/conformance@0.2.0-alpha.12",),
    "tasks": ("@modelcontextprotocol/client@2.4.0", "@modelcontextprotocol/ext-tasks@0.2.2"),
    "inspector": ("@modelcontextprotocol/inspector@2.12.0",),
    # Whose rules are imported.
    "codex": ("@openai/codex@0.169.0",),
    # The runtime of its SDK for Python.
    "copilot": ("@github/copilot@1.0.102",),
    "gemini": ("@google/gemini-cli-core@0.61.0",),
    # Whose pages talk to the chat's agent.
    "ai 7": ("ai@7.0.173",),
    "ai 6": ("ai@6.0.326",),
    "ai page": (
        "ai@7.0.173",
        "@ai-sdk/react@4.0.177",
        "react@19.3.1",
        "react-dom@19.3.1",
        "vite@8.3.8",
        "@vitejs/plugin-react@6.3.0",
    ),
    "acpx": ("acpx@0.19.1",),
    "ag-ui": ("@ag-ui/client@1.0.0",),
    "opencode": ("opencode-ai@1.18.33",),
}


class CannotInstall(Exception):
    """A registry does not answer, or no longer has a package."""


def python_environment(*requirements: str) -> Path:
    """The interpreter of a virtual environment with these packages, pytest and notifier_service."""
    # What the package needs is part of it: an editable install does not follow.
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    made_of = [*requirements, *_TEST_TOOLS, sys.version, settings["options"]["install_requires"]]
    with _kept("python", requirements, made_of) as (folder, is_new):
        if is_new:
            # Nothing is compiled that no test imports.
            made_with = ("--no-compile", *requirements, *_TEST_TOOLS, "--editable", ROOT)
            _run(ROOT / "scripts/environment", folder, *made_with)
    return folder / "bin/python"


def npm_environment(*packages: str) -> Path:
    """A folder with these packages (``name@version``) and node 22; ``node_modules/.bin`` in it holds their commands."""
    with _kept("npm", packages, [*packages, NODE]) as (folder, is_new):
        if is_new:
            folder.mkdir()
            (folder / "package.json").write_text('{"private": true}')
            _run("npm", "install", "--no-audit", "--no-fund", "--loglevel=error", NODE, *packages, cwd=folder)
    return folder


@contextmanager
def _kept(kind: str, packages: Sequence[str], made_of: Sequence[str]) -> Any:
    """A folder for an environment, and whether it has to be filled; one process at a time."""
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n")
    folder = KEPT / f"{kind}-{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:16]}"
    done = folder / ".done"
    with open(KEPT / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            yield folder, False
            return
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        yield folder, True
        done.touch()
        print(f"{' '.join(packages)}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _run(*command: Any, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=900, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(str(error)) from error
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line and not line.startswith("WARNING")]
        errors = [line for line in said if line.lower().startswith(("error", "npm err"))]
        raise CannotInstall((errors or said or [f"{command[0]} ended with {done.returncode}"])[-1])


def _environment() -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**outside, "PYTHON": os.path.realpath(sys.executable)}


def main() -> None:
    """Make all of them; one that cannot be made is told, and its tests are skipped."""

    def make(kind: Any, packages: tuple[str, ...]) -> None:
        try:
            kind(*packages)
        except CannotInstall as error:
            print(f"{' '.join(packages)} cannot be installed: {error}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(max_workers=2) as makers:
        for kind, named in ((python_environment, PYTHON), (npm_environment, NPM)):
            for packages in named.values():
                makers.submit(make, kind, packages)


if __name__ == "__main__":
    main()
