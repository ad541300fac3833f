"""A token appears nowhere: not in logs, answers or errors, whatever comes in."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import ClientSession

from tests.raw_stream import OpenStream
from tests.service_process import service_process

API = "/agent_backend/api"
TOKEN = "secret-4f1c9a"
WRONG = "secret-of-nobody"

NO_HTTP = [
    f"GET {API}/sse/events/s?token={TOKEN} HTTP/9.x\r\n\r\n",
    f"GARBAGE {TOKEN}\r\n\r\n",
    f"GET {API}/sse/health/s HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer {TOKEN}\r\n\r\n",
    f"POST {API}/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TOKEN}\r\n\r\n",
    f"GET /{TOKEN * 1000} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    f"GET http://[{TOKEN}/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
]


async def test_token_is_in_nothing_that_the_process_prints_or_answers(tmp_path: Path, open_stream: OpenStream) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": TOKEN, "rights": ["admin"], "sessions": ["*"]}]))
    bodies = []
    flags = ("--auth", "tokens", "--tokens-file", str(tokens), "--log-level", "debug")
    async with service_process(*flags) as (process, port), ClientSession() as client:
        url = f"http://127.0.0.1:{port}{API}"
        stream = await open_stream(port, f"{API}/sse/events/s?token={TOKEN}")
        await stream.until("snapshot")
        for token in (TOKEN, WRONG):
            headers = {"Authorization": f"Bearer {token}"}
            for method, path, body in (
                ("GET", f"/sse/health/s?token={token}", None),
                ("GET", f"/sse/events/s%0d%0a?token={token}", None),
                ("GET", f"/nothing?token={token}", None),
                ("POST", f"/sse/permission-response/s?token={token}", {"approved": token}),
                ("POST", "/events/s", {"type": token, "data": {"a": 1}}),
                ("POST", "/permissions/s", {"tool_name": "t", "parameters": {}, "risk_level": token}),
            ):
                async with client.request(method, url + path, json=body, headers=headers) as response:
                    bodies.append(await response.text())
        tokens.write_text(json.dumps([{"token": TOKEN, "rights": [TOKEN], "sessions": ["*"]}]))
        async with client.get(f"{url}/sse/health/s", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
            assert response.status == 200  # the tokens read before stay in force
        for text in NO_HTTP:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text.encode())
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
            await writer.wait_closed()
        process.terminate()
        assert process.stderr is not None
        printed = (await process.stderr.read()).decode()

    assert "tokens_file is not as expected" in printed
    assert TOKEN not in printed
    assert WRONG not in printed
    for body in bodies:
        assert TOKEN not in body
        assert WRONG not in body
