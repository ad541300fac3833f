"""Files that are changed, and given back to the byte."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...core.file_lock import locked

__all__ = ["Kept", "Original", "take_away", "write"]


class Original(NamedTuple):
    """A file as it was before the first change, and as the last change left it."""

    #: None where there was no file.
    content: bytes | None
    left_sha256: str
    #: Whether a person has changed it between two of our changes: then what it was is not what it should be.
    is_edited: bool
    #: The folders that were made for it, outer ones first.
    made: Sequence[Path]

    def is_as_left(self, now: bytes | None) -> bool:
        """Whether nobody has changed the file since."""
        return now is not None and not self.is_edited and _sha256(now) == self.left_sha256


class Kept:
    """The originals of all files that were changed, in a file that only this user reads. Raises ``OSError``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def held(self, within_seconds: float) -> AbstractContextManager[None]:
        """Hold off others who would change files and remember what they were, at the same time. Raises ``OSError``."""
        self._make_folder()
        return locked(self.path, within_seconds)

    def __iter__(self) -> Iterator[tuple[Path, Original]]:
        for name, kept in self._read().items():
            content = kept["content"]
            yield (
                Path(name),
                Original(
                    None if content is None else base64.b64decode(content),
                    kept["left_sha256"],
                    kept.get("is_edited", False),
                    [Path(folder) for folder in kept.get("made", ())],
                ),
            )

    def keep(self, path: Path, before: bytes | None, after: bytes) -> Callable[[], None]:
        """Remember what a file was, before it is written; of one that was changed before, what it was first.

        Returns what takes that back, where it could not be written.
        """
        kept = self._read()
        first = kept.get(str(path))
        if first is None or before is None:
            content = None if before is None else base64.b64encode(before).decode()
            kept[str(path)] = {"content": content, "made": [str(folder) for folder in _missing(path)]}
        elif _sha256(before) != first["left_sha256"]:
            kept[str(path)] = {**first, "is_edited": True}
        kept[str(path)] = {**kept[str(path)], "left_sha256": _sha256(after)}
        self._write(kept)
        return lambda: self.forget(path) if first is None else self._write(kept | {str(path): first})

    def forget(self, path: Path) -> None:
        kept = self._read()
        kept.pop(str(path), None)
        if kept:
            self._write(kept)
        else:
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            kept: dict[str, Any] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            raise OSError(f"{self.path} cannot be read: it holds the originals of what was changed") from None
        return kept

    def _write(self, kept: Mapping[str, Any]) -> None:
        self._make_folder()
        write(self.path, json.dumps(kept, indent=1).encode(), mode=0o600)

    def _make_folder(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def take_away(path: Path, made: Sequence[Path]) -> None:
    """Take a file away, behind a link what it leads to, and the folders that were made for it and hold nothing else."""
    os.unlink(os.path.realpath(path))
    for folder in reversed(made):
        with suppress(OSError):  # it holds something else by now
            folder.rmdir()


def _missing(path: Path) -> list[Path]:
    """The folders that are to be made for it, outer ones first."""
    target = Path(os.path.realpath(path))
    return [folder for folder in reversed(target.parents) if not folder.exists()]


def write(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Put a whole file in the place of another or of none; behind a link, of what it leads to. Raises ``OSError``."""
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode is None:
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o600
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
