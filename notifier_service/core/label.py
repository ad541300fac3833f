"""What a session is called: a title and the name of the agent, in the words of who runs it."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple, Self

from pydantic_core import from_json

from .errors import InvalidInput
from .events import SessionLabel, dump
from .journal import Journal

__all__ = ["LABEL_KIND", "MAX_AGENT", "MAX_TITLE", "NO_LABEL", "Label", "clean", "labels_of", "last_part"]

#: What a journal keeps them as, by their sessions.
LABEL_KIND = "label"

#: Characters, before what nobody sees is taken out.
MAX_TITLE = 200
MAX_AGENT = 100


class Label(NamedTuple):
    """Both are words of somebody who may be nobody to trust: whoever shows them marks them so."""

    title: str | None = None
    agent: str | None = None

    def changed(self, changes: Mapping[str, str | None]) -> Self:
        """The same with these fields, cleaned; None takes one away. Raises ``InvalidInput`` for what is too long."""
        most = {"title": MAX_TITLE, "agent": MAX_AGENT}
        for name, text in changes.items():
            if text is not None and len(text) > most[name]:
                raise InvalidInput(f"{name}: at most {most[name]} characters")
        return self._replace(**{name: None if text is None else clean(text) for name, text in changes.items()})

    def filled(self, *, title: str | None, agent: str | None) -> Self:
        """The same with what nobody has said yet, cut where it is too long."""
        told = {"title": (title or "")[:MAX_TITLE], "agent": (agent or "")[:MAX_AGENT]}
        return self._replace(**{name: getattr(self, name) or clean(text) for name, text in told.items()})

    def of(self, session_id: str) -> SessionLabel:
        return SessionLabel(session_id=session_id, title=self.title, agent=self.agent)

    def to_json(self) -> bytes:
        return dump(self._asdict())

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises ``ValueError``, ``TypeError`` or ``InvalidInput`` for what ``to_json`` has not made."""
        return cls().changed(cls(**from_json(text))._asdict())


NO_LABEL = Label()

_log = logging.getLogger("notifier_service.session")


def labels_of(journal: Journal) -> dict[str, Label]:
    """The labels of all sessions that an earlier run has left."""
    found = {}
    for change in journal.kept(LABEL_KIND):
        try:
            found[change.name] = Label.from_json(change.body or b"")
        except (ValueError, TypeError, InvalidInput):
            _log.exception("what a session is called cannot be read from the journal")
    return found


def clean(text: str) -> str | None:
    """The text on one line, without what is not seen or turns round what stands beside it; None for nothing left."""
    seen = "".join(" " if character.isspace() else character for character in text if _is_seen(character))
    return " ".join(seen.split()) or None


def last_part(folder: str | None) -> str | None:
    """What people call a folder, on whichever system it is."""
    parts = re.split(r"[\\/]+", (folder or "").rstrip("\\/"))
    return parts[-1] or None


def _is_seen(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
