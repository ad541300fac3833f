"""Judges calls by what the rules of another program become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from notifier_service.cli.importers import IMPORTERS
from notifier_service.cli.importers.draft import Draft
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.verdict import AskedTool, Call

__all__ = ["HOME", "Imported"]

HOME = "/home/anna"


class Imported:
    """The policy that a text becomes."""

    def __init__(self, source: str, text: str, path: str | None = None) -> None:
        self.draft: Draft = IMPORTERS[source](text, None if path is None else Path(path))
        self.policy = Policy.loads(self.draft.toml(), "policy.toml", home=HOME)

    @property
    def remarks(self) -> list[str]:
        return [str(remark) for remark in self.draft.remarks]

    def effect(self, tool: str, server: str | None = None, /, **parameters: Any) -> str:
        """What it says of a call, where it is not asked about its risk."""
        verdict = self.policy.judge(Call(AskedTool(tool, server), "s1", "low", parameters))
        return self.policy.default if verdict is None else verdict.effect
