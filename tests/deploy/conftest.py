"""A service with tokens, in a process of its own, as it stands behind a proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.service_process import service_process

__all__ = ["TOKEN"]

#: May do everything, in every session.
TOKEN = "token-of-anna-0123456789"
AGENT = "token-of-agent-0123456789"


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    rows = [
        {"token": TOKEN, "subject": "anna", "rights": ["approve", "produce"], "sessions": ["*"]},
        {"token": AGENT, "subject": "agent", "rights": ["produce"], "sessions": ["*"]},
    ]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
async def service_port(tokens_file: Path) -> AsyncIterator[int]:
    async with service_process("--auth", "tokens", "--tokens-file", str(tokens_file)) as (_, port):
        yield port
