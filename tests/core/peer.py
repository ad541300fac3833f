"""The other end of a stream, as the core sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Peer:
    """A connection that takes what the test says."""

    handed: int = 0
    unsent: int = 0
    gone: bool = False

    def handed_bytes(self) -> int:
        return self.handed

    def unsent_bytes(self) -> int:
        return self.unsent

    def is_gone(self) -> bool:
        return self.gone
