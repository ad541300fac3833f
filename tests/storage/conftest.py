"""Audit logs for tests of the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier_service.storage.audit_file import AuditFile

Open = Callable[..., AuditFile]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit(path: Path) -> Iterator[Open]:
    """Opens the log of the test; all that were opened are closed at the end."""
    opened: list[AuditFile] = []

    def one(at: Path = path, **settings: Any) -> AuditFile:
        opened.append(AuditFile(at, **settings))
        return opened[-1]

    yield one
    for each in opened:
        each.close()


def entry(number: int, **more: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00.000Z",
        "kind": "asked",
        "session_id": "s1",
        "parameters": {"number": number, "text": 'a "quoted" é \n {"hash":"' + "0" * 64 + '",'},
        **more,
    }
