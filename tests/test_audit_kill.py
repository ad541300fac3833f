"""A process that is killed while people decide leaves a log that verifies and holds every decision it acknowledged."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import aiohttp
import pytest

from notifier_service.storage.audit_chain import lines_of, verify
from notifier_service.storage.audit_file import AuditFile
from tests.service_process import service_process

API = "agent_backend/api"


@pytest.mark.parametrize("seconds", [0.2, 0.45])
async def test_killed_service_has_on_record_every_decision_that_it_acknowledged(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "audit.jsonl"
    acknowledged: list[str] = []

    async def approver(http: aiohttp.ClientSession, base: str, number: int) -> None:
        """Ask and decide again and again, until the service is gone."""
        while True:
            body = {"tool_name": "rm", "parameters": {"number": number}}
            async with http.post(f"{base}/permissions/s{number}", json=body) as response:
                request_id = (await response.json())["data"]["request_id"]
            decision = {"approved": True, "request_id": request_id}
            async with http.post(f"{base}/sse/permission-response/s{number}", json=decision) as response:
                if response.status == 200:
                    acknowledged.append((await response.json())["data"]["request_id"])

    async with service_process("--audit-file", str(path)) as (process, port), aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{port}/{API}"
        approvers = [asyncio.ensure_future(approver(http, base, number)) for number in range(20)]
        while len(acknowledged) < 20:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)  # to be killed in the middle of it, whatever that is
        process.send_signal(signal.SIGKILL)
        await process.wait()
        ended = await asyncio.gather(*approvers, return_exceptions=True)

    assert all(isinstance(error, aiohttp.ClientError | OSError) for error in ended), ended
    assert verify([path]).records > 2 * len(acknowledged)
    decided = {line["request_id"] for _, line in lines_of(path) if line["kind"] == "decided"}
    assert decided >= set(acknowledged)
    AuditFile(path).close()
    lines = path.read_bytes().splitlines()
    assert verify([path]).head.hash == json.loads(lines[-1])["hash"]
