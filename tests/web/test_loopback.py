"""With ``auth=none`` only programs of this user are answered, not whoever a proxy speaks for."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from notifier_service import Settings
from notifier_service.web import serve
from notifier_service.web.loopback import user_of
from tests.browser.proxy import NGINX, nginx_before

HEALTH = "/agent_backend/api/sse/health/s1"

#: Any user but root, whom everybody trusts.
OTHER_USER = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded", "X-Forwarded-For", "x-forwarded-proto", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Real-IP",
        "Via", "CF-Connecting-IP", "True-Client-IP", "X-Client-IP", "Fly-Client-IP", "X-Azure-ClientIP", "CF-Ray",
        "WL-Proxy-Client-IP", "CDN-Loop", "Tailscale-User-Login", "X-Original-URL", "X-ARR-Log-ID", "X-Amzn-Trace-Id",
    ],
)  # fmt: skip
async def test_request_that_names_whom_it_speaks_for_is_refused(header: str) -> None:
    async with (
        serve(settings=Settings(port=0)) as site,
        aiohttp.ClientSession() as http,
        http.get(f"{site.url}{HEALTH}", headers={header: "127.0.0.1"}) as response,
    ):
        body = await response.json()

    assert (response.status, body["error"]["code"]) == (403, "forbidden")
    assert header.lower() in body["message"]
    assert "auth=tokens" in body["message"]


async def test_request_through_a_proxy_is_answered_where_it_brings_a_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": "a-token-of-anna", "rights": ["view"], "sessions": ["*"]}]))
    headers = {"X-Forwarded-For": "192.0.2.1", "Authorization": "Bearer a-token-of-anna"}
    async with (
        serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site,
        aiohttp.ClientSession() as http,
        http.get(f"{site.url}{HEALTH}", headers=headers) as response,
    ):
        assert response.status == 200


async def test_load_balancer_may_ask_how_the_service_is() -> None:
    async with (
        serve(settings=Settings(port=0)) as site,
        aiohttp.ClientSession() as http,
        http.get(f"{site.url}/healthz/ready", headers={"Via": "1.1 proxy"}) as response,
    ):
        assert response.status == 200


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed: scripts/programs tells how")
@pytest.mark.parametrize(
    "how",
    [
        "",
        "proxy_set_header X-Real-IP $remote_addr; proxy_http_version 1.1;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $host;",
    ],
)
async def test_stranger_behind_nginx_neither_sees_nor_approves(how: str, tmp_path: Path) -> None:
    async with serve(settings=Settings(port=0)) as site, nginx_before(site.port, tmp_path, how=how) as url:
        request = site.broker.ask("s1", tool_name="deploy", parameters={})
        decide = f"{url}/agent_backend/api/sse/permission-response/s1"
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{url}{HEALTH}") as seen:
                pass
            async with http.post(decide, json={"approved": True, "request_id": request.request_id}) as decided:
                pass

    assert (seen.status, decided.status) == (403, 403)
    assert request.record.status == "cancelled"


PROGRAM = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
client = socket.socket()
client.connect(("127.0.0.1", int(sys.argv[2])))
client.sendall(b"GET %s HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n" % sys.argv[3].encode())
print(client.makefile().readline().strip())
"""


def as_another_user(port: int) -> str:
    """The status line that a program of another user gets."""
    command = [sys.executable, "-I", "-c", PROGRAM, str(OTHER_USER), str(port), HEALTH]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@AS_ROOT
async def test_program_of_another_user_is_refused_and_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(settings=Settings(port=0)) as site:
        answers = {await asyncio.to_thread(as_another_user, site.port) for _ in range(3)}

    assert answers == {"HTTP/1.1 403 Forbidden"}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) <= 1  # none if another test was the first within this minute


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_user_of_a_connection_is_known(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listener, socket.socket(family) as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            assert user_of(accepted.getpeername(), accepted.getsockname()) in (os.getuid(), None)


@pytest.mark.parametrize(
    "ends", [(None, None), ("", "/run/socket"), (("127.0.0.1", 1), ("127.0.0.1", 2)), (("x", 1), ("y", 2))]
)
def test_user_of_what_is_no_connection_is_not_known(ends: tuple[object, object]) -> None:
    assert user_of(*ends) is None


async def test_service_says_at_its_start_what_none_means() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", "serve", "--port", "0", stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(20):
        line = (await process.stderr.readline()).decode()
    process.terminate()
    await process.wait()

    assert "auth=none: every program of this user" in line
