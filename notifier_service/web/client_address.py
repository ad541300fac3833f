"""From where a request comes: its peer, or whom a trusted proxy says that it speaks for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from aiohttp import web

__all__ = ["CLIENT_ADDRESS", "HELD_ADDRESS", "address_by", "client_address", "held_address", "peer_address"]

_Address = IPv4Address | IPv6Address

#: Proxies in a row that are looked through; who sends more is not looked for any further.
_MAX_HOPS = 32
_FOR = re.compile(r'(?:^|[;,])\s*for=("[^"]*"|[^;,\s]*)', re.IGNORECASE)

#: Says from where a request comes, by the application's ``trusted_proxies``.
CLIENT_ADDRESS: web.AppKey[Callable[[web.BaseRequest], str]] = web.AppKey("client_address")

#: The address for whose share a request counts, where that is known already.
HELD_ADDRESS = web.RequestKey("held_address", str)


def client_address(request: web.BaseRequest) -> str:
    """The address to which logs and limits hold a request; ``unix`` for a peer on a Unix socket."""
    try:
        address_of = request.config_dict.get(CLIENT_ADDRESS) if isinstance(request, web.Request) else None
    except AssertionError:
        address_of = None  # it was answered before it was given to the application
    return _peer(request) if address_of is None else address_of(request)


def held_address(request: web.BaseRequest) -> str:
    """The address for whose share a request counts: of IPv6 the network, which is the least that anybody is given."""
    known = request.get(HELD_ADDRESS)
    return _shared(client_address(request)) if known is None else known


def peer_address(transport: asyncio.BaseTransport) -> str:
    """The same of a peer that speaks for nobody else."""
    peer = transport.get_extra_info("peername")
    return _shared(_shown(peer[0] if isinstance(peer, tuple) else peer))


@lru_cache(maxsize=1024)
def _shared(text: str) -> str:
    address = _parsed(text)
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else text


def address_by(trusted_proxies: Sequence[str]) -> Callable[[web.BaseRequest], str]:
    """What says it: the peer, and where that is trusted, the last in the chain before it that is not.

    So nobody speaks for others but who is trusted: what a client wrote itself stands before its own address.
    """
    if not trusted_proxies:
        return _peer
    networks = [ip_network(network, strict=False) for network in trusted_proxies if network != "unix"]
    trusts_unix = "unix" in trusted_proxies

    @lru_cache(maxsize=1024)
    def is_trusted(text: str) -> bool:
        if text == "unix":
            return trusts_unix
        address = _parsed(text)
        return address is not None and any(address in network for network in networks)

    def address_of(request: web.BaseRequest) -> str:
        found = _peer(request)
        if not is_trusted(found):
            return found
        for text in reversed(_chain(request)[-_MAX_HOPS:]):
            address = _parsed(text)
            if address is None:
                break  # "unknown", a made-up name, or nothing: whoever passed it on is all that is known
            found = str(address)
            if not is_trusted(found):
                break
        return found

    return address_of


def _peer(request: web.BaseRequest) -> str:
    return _shown(request.remote)


@lru_cache(maxsize=1024)
def _shown(remote: str | None) -> str:
    if not remote:
        return "unix"
    address = _parsed(remote)
    return remote if address is None else str(address)


def _chain(request: web.BaseRequest) -> list[str]:
    """Whom each proxy spoke for, the nearest last; ``Forwarded`` counts where ``X-Forwarded-For`` is missing."""
    lines = request.headers.getall("X-Forwarded-For", ())
    if lines:
        return ",".join(lines).split(",")
    return [named.strip('"') for named in _FOR.findall(",".join(request.headers.getall("Forwarded", ())))]


@lru_cache(maxsize=1024)
def _parsed(text: str) -> _Address | None:
    """The address in a text that may have a port, brackets or a zone."""
    text = text.strip()
    if match := re.fullmatch(r"\[([^\]]*)\](:\d+)?|(\d+\.\d+\.\d+\.\d+):\d+", text):
        text = match[1] or match[3] or ""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
