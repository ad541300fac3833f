"""Rules of other programs, made ours: never wider than they were there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ...core.errors import InvalidInput
from ...core.policy.policy import Policy
from . import claude, codex, gemini, opencode
from .draft import Draft
from .source_text import read

__all__ = ["IMPORTERS", "imported"]

#: By the name of the program: what reads the text of its rules, and the file's place, where that is known.
IMPORTERS: Mapping[str, Callable[[str, Path | None], Draft]] = {
    "claude": claude.imported,
    "codex": codex.imported,
    "gemini": gemini.imported,
    "opencode": opencode.imported,
}


def imported(source: str, file: str) -> Draft:
    """What becomes of the rules in a file, ``-`` for standard input; it loads as a policy.

    Raises ``InvalidInput``.
    """
    text, path = read(file)
    draft = IMPORTERS[source](text, path)
    try:
        Policy.loads(draft.toml(), "line")
    except InvalidInput as error:
        raise InvalidInput(f"what would become of it is no policy: {error.message}") from None
    return draft
