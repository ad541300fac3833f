"""A small file of JSON that only this user reads: written whole, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput

__all__ = ["write_own"]


def write_own(path: Path, body: Any, *, setting: str) -> None:
    """Put ``body`` in the place of what the file of this setting held. Raises ``InvalidInput``, which names that."""
    draft = path.with_name(f"{path.name}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise InvalidInput(f"{setting} cannot be written: {error.strerror}") from None
