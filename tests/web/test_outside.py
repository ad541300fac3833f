"""Nothing is sent to a private address that somebody else has named, in whichever spelling."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import aiohttp
import pytest

from notifier_service.web.reach.outside import NotOutside, Outside

PRIVATE = [
    "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0", "0.0.0.0", "localhost", "LOCALHOST.", "a.localhost",
    "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.1",
    "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]", "[ff02::1]", "[2001:db8::1]",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "push.example", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "1.1", "[64:ff9b::808:808]"]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_address_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(NotOutside):
        Outside().check(f"https://{host}/push")


@pytest.mark.parametrize("host", PUBLIC)
def test_public_address_and_name_are_taken(host: str) -> None:
    Outside().check(f"https://{host}:8443/push?x=1")


def test_networks_that_are_named_are_open_and_no_others() -> None:
    outside = Outside([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")])
    outside.check("http://10.1.2.3/")
    outside.check("http://[::1]/")
    with pytest.raises(NotOutside):
        outside.check("http://192.168.1.1/")


async def test_name_that_leads_to_a_private_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = []
    server = await asyncio.start_server(lambda reader, writer: reached.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answers = [["93.184.216.34"], ["127.0.0.1", "::1"]]

    async def resolve(self: Any, host: str, port: int, **more: Any) -> Any:
        assert host == "rebound.example"
        found = answers.pop(0)
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port)) for one in found]

    outside = Outside()
    outside.check(f"http://rebound.example:{port}/")
    answers.pop(0)  # what it said when it was checked
    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", resolve)
    async with outside.session() as http:
        with pytest.raises(aiohttp.ClientConnectorError) as refused:
            await http.post(f"http://rebound.example:{port}/")
    server.close()

    assert isinstance(refused.value.os_error, NotOutside)
    assert reached == []
