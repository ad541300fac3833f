"""Paths as Claude Code's rules name them: a pattern of gitignore, counted from a place that its beginning tells."""

from __future__ import annotations

import re

__all__ = ["FileRule"]

_WILD = re.compile(r"\*+|\?|\[[^\]]*\]|\\.")


class FileRule:
    """``//x`` is absolute, ``~/x`` in the home, ``/x`` in the folder of the project, ``x`` in the working folder.

    ``allowed`` is a glob that matches nothing more than the pattern does, None where there is none (``why`` says it);
    ``covering`` one that matches at least that. ``name`` is a piece of a name that every such path has in it, None
    where there is none.
    """

    def __init__(self, pattern: str, *, has_project: bool) -> None:
        self.why = ""
        segments = [segment for segment in pattern.split("/") if segment not in ("", ".")]
        is_home = segments[:1] == ["~"]
        names = segments[1:] if is_home else segments
        self.allowed = self._allowed(pattern, names, is_home=is_home, has_project=has_project)
        covered = "/".join([_covering(name) for name in names] + ["**"]) if names[-1:] != ["**"] else "/".join(names)
        begins_anywhere = not has_project and bool(names) and not _WILD.match(names[0])
        if pattern.startswith("//") and not begins_anywhere:
            self.covering = f"/{covered}"
        elif is_home and not begins_anywhere:
            self.covering = f"~/{covered}"
        else:
            self.covering = covered if covered.startswith("**") else f"**/{covered}"
        self.name: str | None = None
        self.name_begins = self.name_ends = False
        for name in reversed(names):
            pieces = [piece for piece in _WILD.split(name) if piece]
            if pieces:
                self.name = max(pieces, key=len)
                self.name_begins, self.name_ends = name.startswith(self.name), name.endswith(self.name)
                break

    def _allowed(self, pattern: str, names: list[str], *, is_home: bool, has_project: bool) -> str | None:
        odd = re.search(r"[\[\]?\\{}!]|\.\.", pattern) is not None
        if odd or any("**" in name and name != "**" for name in names):
            self.why = "it is more than names, * and **"
        elif not names:
            self.why = "it names nothing"
        elif pattern.startswith("/") and not pattern.startswith("//") and not has_project:
            self.why = "it is counted from the project's folder, which is not known"
        else:
            path = "/".join(names) + ("/**" if pattern.endswith("/") else "")
            if pattern.startswith("//"):
                return f"/{path}"
            if is_home:
                return f"~/{path}"
            if len(names) == 1 and not pattern.startswith("/") and not pattern.endswith("/") and names[0] != "**":
                return f"**/{path}" if has_project else path
            return path
        return None


def _covering(name: str) -> str:
    """The name with every class of characters, and what is escaped, as any character."""
    return re.sub(r"\[[^\]]*\]|\\.|[\[\]\\]", "?", name)
