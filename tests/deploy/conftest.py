"""A service with tokens, as it stands behind a proxy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier_service import Settings, serve

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
    settings = Settings(auth="tokens", tokens_file=tokens_file, port=0)
    async with serve(settings=settings) as site:
        yield site.port
