"""Which runs of an agent on this machine have ended until a person answers: a small file for each, for this user alone.

The hook writes them, so that only what it needs is imported.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

__all__ = ["ParkedRun", "park", "parked_runs", "take"]


class ParkedRun(NamedTuple):
    """A run of Claude Code, by its own id; where it worked, and the request that it ended for."""

    run_id: str
    folder: str
    url: str
    session_id: str
    request_id: str
    tool_name: str


def park(run: ParkedRun) -> None:
    """Remember it. Raises ``OSError``."""
    folder = _folder()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = _path(run)
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(run._asdict(), file)
    os.replace(beside, path)


def parked_runs() -> list[ParkedRun]:
    """All of them, those that were parked first before the others; what is no such file is passed over."""
    folder = _folder()
    try:
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        return []
    found: list[tuple[float, ParkedRun]] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                told: dict[str, Any] = json.load(file)
            run = ParkedRun(**told)
            if all(isinstance(value, str) for value in run) and path == _path(run):
                found.append((os.stat(path).st_mtime, run))
        except (OSError, ValueError, TypeError):
            continue
    return [run for _, run in sorted(found)]


def take(run: ParkedRun) -> bool:
    """Forget it, as the only one who does: False where somebody else has."""
    try:
        os.unlink(_path(run))
    except FileNotFoundError:
        return False
    return True


def _folder() -> str:
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "notifier-service", "parked")


def _path(run: ParkedRun) -> str:
    from hashlib import sha256

    # An id may be any text. A run that ended for several calls goes on with one of them.
    return os.path.join(_folder(), f"{sha256(run.run_id.encode()).hexdigest()[:32]}.json")
