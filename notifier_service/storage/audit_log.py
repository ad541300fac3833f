"""The audit log that settings describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from .audit_file import AuditFile
from .audit_lines import written_form
from .merkle import Tree
from .redaction import Redaction

__all__ = ["open_audit"]


class _Settings(Protocol):
    """What of the settings counts here."""

    @property
    def audit_required(self) -> bool: ...
    @property
    def audit_rotate_bytes(self) -> int: ...
    @property
    def audit_rotate_days(self) -> float: ...
    @property
    def audit_keep_days(self) -> float: ...
    @property
    def redact_keys(self) -> Sequence[str]: ...


def open_audit(
    path: Path, settings: _Settings, *, rotated: Callable[[Path, Tree], object] = lambda path, tree: None
) -> AuditFile:
    """Open the log, whose lines hold no secrets; ``rotated`` as for ``AuditFile``. Raises ``AuditUnusable``."""
    return AuditFile(
        path,
        required=settings.audit_required,
        prepare=partial(written_form, redaction=Redaction(settings.redact_keys)),
        rotate_bytes=settings.audit_rotate_bytes,
        rotate_days=settings.audit_rotate_days,
        keep_days=settings.audit_keep_days,
        rotated=rotated,
    )
