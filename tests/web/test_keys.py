"""The key of the audit log for everybody."""

from __future__ import annotations

from .conftest import API, Client, answer


async def test_without_a_key_there_is_none(client: Client) -> None:
    assert await answer(await client.get(f"{API}/keys")) == (200, {"success": True, "data": {"keys": []}})
