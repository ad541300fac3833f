"""What schemathesis makes up from the description of the API is answered as that says, and nothing fails."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.integrations.environments import PYTHON
from tests.integrations.test_recipes import INSIDE
from tests.service_process import service_process

TOKEN = "token-of-anna-0123456789"

#: Streams and sockets have no end; what is behind a gateway is another's. What a link, a page's word or a push
#: subscription may hold depends on what was there before, and ``decide`` is the name of a session to a GET.
_LEFT_OUT = "/sse/|/agent_chat_stream|/ai-sdk/|/ag-ui/|/ws/|/mcp/gateway/|/links|/presence|/push/|/permissions/decide"


async def test_nothing_fails_and_every_answer_is_as_described(python_with: Callable[..., Path], tmp_path: Path) -> None:
    program = python_with(*PYTHON["schemathesis"]).with_name("schemathesis")
    shutil.copytree(INSIDE / "schemathesis", tmp_path, dirs_exist_ok=True)
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": TOKEN, "subject": "anna", "rights": ["admin"], "sessions": ["*"]}]))
    flags = ["--auth", "tokens", "--tokens-file", str(tokens)]
    async with service_process(*flags) as (service, port):
        url = f"http://127.0.0.1:{port}"
        run = await asyncio.create_subprocess_exec(
            program, "run", f"{url}/agent_backend/api/openapi.json", "--url", url,
            "--header", f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing",
            "--max-examples", "20", "--seed", "1", "--exclude-path-regex", _LEFT_OUT, "--request-timeout", "10",
            "--continue-on-failure", "--no-color",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
        report, _ = await run.communicate()
        service.terminate()
        log = (await service.communicate())[1].decode()

    assert run.returncode == 0, report.decode()[-20_000:]
    assert "Traceback" not in log, log[-20_000:]
