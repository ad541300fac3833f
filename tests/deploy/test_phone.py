"""The ways to a phone that docs/phone.md gives: a link that was made on this machine is opened through each of them."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import ClientConnectorSSLError, ClientSession, TCPConnector

from notifier_service import Settings, serve
from notifier_service.cli.proxies import PROXIES, Front
from tests.cli.processes import Commands, free_port
from tests.deploy.conftest import TOKEN
from tests.deploy.programs import make_certificate, needs, running
from tests.deploy.test_proxies import API, NAME, Here, event_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "phone.md"

#: What ``tailscale serve`` does with a request of somebody in the tailnet, whose source says so; it is a proxy in Go
#: as Caddy is. It keeps the Host, and takes away what a client says of itself by these names.
AS_TAILSCALE = """\
https://{name}:{port} {{
    bind 127.0.0.1
    tls {certificate} {key}
    reverse_proxy 127.0.0.1:{service} {{
        header_up X-Forwarded-Host {{http.request.hostport}}
        header_up X-Forwarded-Proto https
        header_up X-Forwarded-For 100.101.102.103
        header_up Tailscale-User-Login ana@example.org
        header_up Tailscale-User-Name "Ana"
        header_up Tailscale-User-Profile-Pic https://example.org/ana.png
        header_up Tailscale-Headers-Info https://tailscale.com/s/serve-headers
    }}
}}
"""


class Way(NamedTuple):
    proxy: str
    configuration: str
    #: Who vouches for the certificate.
    authority: Path


def tailscale(service: int, port: int, folder: Path) -> Way:
    certificate, key = make_certificate(folder, NAME)
    given = {"name": NAME, "port": port, "service": service, "certificate": certificate, "key": key}
    return Way("caddy", AS_TAILSCALE.format(**given), certificate)


def nginx(service: int, port: int, folder: Path) -> Way:
    certificate, key = make_certificate(folder, NAME)
    front = Front(
        upstreams=(f"127.0.0.1:{service}",), server_name=NAME, certificate=str(certificate), key=str(key),
        listen=f"127.0.0.1:{port}",
    )  # fmt: skip
    return Way("nginx", PROXIES["nginx"](front), certificate)


def at_home(service: int, port: int, folder: Path) -> Way:
    [written] = re.findall(r"```\n(https://desk\.local \{.*?\n\})\n```", DOCUMENT.read_text(), re.DOTALL)
    configuration = written.replace("desk.local", f"{NAME}:{port}").replace("127.0.0.1:8000", f"127.0.0.1:{service}")
    return Way("caddy", configuration, folder / "caddy" / "caddy" / "pki" / "authorities" / "local" / "root.crt")


WAYS: dict[str, Callable[[int, int, Path], Way]] = {"tailscale": tailscale, "nginx": nginx, "at home": at_home}


@asynccontextmanager
async def reached(way: str, tokens_file: Path, folder: Path) -> AsyncIterator[tuple[str, str, ClientSession]]:
    """Where the service is for this machine and for a phone, and the phone."""
    needs({"nginx": "nginx"}.get(way, "caddy"))
    port = free_port()
    public = f"https://{NAME}:{port}"
    settings = Settings(port=0, auth="tokens", tokens_file=tokens_file, public_url=public, trusted_proxies="127.0.0.1")
    async with serve(settings=settings) as site:
        proxy, configuration, authority = WAYS[way](site.port, port, folder)
        async with running(proxy, configuration, port, folder / proxy):
            async with asyncio.timeout(10):
                while not authority.exists():  # noqa: ASYNC110  # another process makes it: only asking tells
                    await asyncio.sleep(0.01)
            tls = ssl.create_default_context(cafile=str(authority))
            async with ClientSession(public, connector=TCPConnector(ssl=tls, resolver=Here())) as phone:
                await is_certified(phone)
                yield site.url, public, phone


async def is_certified(phone: ClientSession) -> None:
    """Wait until a proxy that makes its own certificate has done so, which is behind the authority's."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with phone.get("/agent_backend/"):
                    return
            except ClientConnectorSSLError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", WAYS)
async def test_phone_is_paired_asked_and_taken_back(way: str, tokens_file: Path, tmp_path: Path) -> None:
    async with reached(way, tokens_file, tmp_path) as (here, public, phone):
        desk = {"NOTIFIER_URL": here, "NOTIFIER_TOKEN": TOKEN}
        shown = await Commands().run_here("pair", "--label", "phone", env=desk)
        assert (shown.exit_code, shown.err) == (0, "")
        [link] = re.findall(rf"^{re.escape(public)}/agent_backend/#/pair/(\S+)$", shown.out, re.M)
        origin = {"Origin": public}

        async with phone.get("/agent_backend/") as page:
            assert (page.status, page.content_type) == (200, "text/html")
        async with phone.post(
            f"{API}/pair", json={}, headers={**origin, "Authorization": f"Bearer {link}"}
        ) as response:
            assert response.status == 201, await response.text()
            token = (await response.json())["data"]["token"]
        headers = {**origin, "Authorization": f"Bearer {token}"}
        asking = asyncio.ensure_future(
            Commands().run_here("ask", "s1", "rm", "--wait", "--token", "token-of-agent-0123456789", env=desk)
        )
        async with phone.get(f"{API}/sse/inbox", headers=headers) as stream:
            event, _ = await event_of(stream, "permission_request")
            answer = {"approved": True, "request_id": event["data"]["request_id"]}
            async with phone.post(f"{API}/sse/permission-response/s1", json=answer, headers=headers) as decided:
                assert (decided.status, (await decided.json())["data"]["decided_by"]) == (200, "anna")
            assert (await asking).exit_code == 0

            listed = json.loads((await Commands().run_here("devices", "--json", env=desk)).out)
            [device] = listed["devices"]
            removed = await Commands().run_here("devices", "remove", device["id"], env=desk)
            assert removed.exit_code == 0
            assert (await event_of(stream, "bye"))[0]["data"]["code"] == "token_expired"
        async with phone.get(f"{API}/inbox", headers=headers) as refused:
            assert refused.status == 401
