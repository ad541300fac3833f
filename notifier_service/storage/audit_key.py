"""The key that signs the heads of an audit log, in a file that nobody else may read."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ..core.errors import InvalidInput
from .signed_note import SigningKey, needs_cryptography

__all__ = ["audit_key"]

_MOST_BYTES = 4096


def audit_key(path: Path) -> SigningKey:
    """The key in this file, which is made, for its owner alone, where there is none.

    Raises ``InvalidInput`` for a file that others may read or that holds something else, and where ``cryptography`` is
    missing; never with what the file holds.
    """
    needs_cryptography()
    try:
        try:
            content = _read(path)
        except FileNotFoundError:
            _make(path)
            content = _read(path)
        return SigningKey.of(content.decode("ascii"))
    except OSError as error:
        raise InvalidInput(f"audit_key_file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise InvalidInput(f"audit_key_file {path}: it holds no key that signs audit heads") from None
    except InvalidInput as error:
        raise InvalidInput(f"audit_key_file {path}: {error.message}") from None


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode):
            raise InvalidInput("it is no regular file")
        if there.st_mode & 0o077:
            raise InvalidInput(
                "others may read or write it, who could sign in your name: chmod 600, and make a new key"
            )
        if there.st_uid not in (0, os.geteuid()):
            raise InvalidInput("it belongs to another user")
        return os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)


def _make(path: Path) -> None:
    """Put a new key there whole, or not at all; one that another process has made meanwhile stays."""
    draft = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(fd, SigningKey.new().text.encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
