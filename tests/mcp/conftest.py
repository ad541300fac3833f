"""A relay of this process between a bare client and the stub server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notifier_service import Broker
from tests.mcp.wiring import Wiring


@pytest.fixture
async def wiring(broker: Broker, tmp_path: Path) -> AsyncIterator[Wiring]:
    wiring = Wiring(broker, tmp_path / "reached.jsonl")
    yield wiring
    await wiring.close()
