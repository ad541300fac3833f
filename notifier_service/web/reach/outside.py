"""Requests to addresses that somebody else has named: to public ones alone, whatever a name says the second time."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["LOOPBACK", "Networks", "NotOutside", "Outside", "clock_hint", "is_not_outside", "seconds_to_wait"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

#: From which IPv6 networks a gateway goes on to an IPv4 address, which stands at their end (RFC 6052, RFC 8215).
_TO_IPV4 = [ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48")]
LOOPBACK: Networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
#: Whoever asks for more is asked again sooner.
_MOST_SECONDS = 3600.0
#: Receivers of Standard Webhooks take what is five minutes old.
_CLOCK_SECONDS = 120.0
_TIMEOUT = aiohttp.ClientTimeout(total=15, connect=10)


class NotOutside(OSError):
    """The address is one that nothing is sent to."""


class Outside:
    """Says to which addresses something may be sent: public ones, and those in ``more`` networks."""

    def __init__(self, more: Networks = ()) -> None:
        self._more = tuple(more)

    def is_open(self, address: Address) -> bool:
        """Whether something may be sent there."""
        found = _meant(address)
        if any(found in network for network in self._more if network.version == found.version):
            return True
        return found.is_global and not found.is_multicast

    def check(self, url: str) -> None:
        """Raise ``NotOutside`` for a URL that names an address, or a name of this machine, that nothing is sent to.

        Another name is looked up when something is sent, each time.
        """
        host = (urlsplit(url).hostname or "").rstrip(".")
        address = _literal("127.0.0.1" if _is_here(host) else host)
        if address is not None and not self.is_open(address):
            raise NotOutside("it is a private address")

    def session(self) -> aiohttp.ClientSession:
        """A client that connects to these addresses alone; names are checked when they are resolved."""
        connector = aiohttp.TCPConnector(resolver=_Checked(self), use_dns_cache=False, limit=1000)
        return aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())


def is_not_outside(error: BaseException) -> bool:
    """Whether nothing was sent because of where an address leads."""
    found = (error, error.__cause__, getattr(error, "os_error", None))
    return any(isinstance(one, NotOutside) for one in found)


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """What ``Retry-After`` asks for, at most an hour: in seconds, or as a date, which is by the clock of the other."""
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", said):
        return min(float(said[:6]), _MOST_SECONDS)
    try:
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        seconds = (parsedate_to_datetime(said) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MOST_SECONDS)


def clock_hint(headers: Mapping[str, str]) -> str:
    """A sentence on how far our clock is from that of who answered, where it is too far for what is signed with it."""
    try:
        ahead = (datetime.now(UTC) - parsedate_to_datetime(headers["Date"])).total_seconds()
    except (KeyError, ValueError, TypeError, OverflowError):
        return ""
    if abs(ahead) < _CLOCK_SECONDS:
        return ""
    return f" It is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of who answered."


class _Checked(AbstractResolver):
    """Resolves names, and gives no address that is not open: what was checked is what is connected to."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if _is_here(host):  # whatever a name server says (RFC 6761)
            host = "127.0.0.1"
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        hosts = [(kind, str(address[0]).partition("%")[0]) for kind, _, _, _, address in found]
        is_open = [(kind, one) for kind, one in hosts if self._outside.is_open(ipaddress.ip_address(one))]
        if not is_open:
            raise NotOutside("its name leads to a private address")
        return [
            ResolveResult(hostname=host, host=one, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, one in is_open
        ]

    async def close(self) -> None:
        """There is nothing to be closed."""


def _is_here(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _literal(host: str) -> Address | None:
    """The address that a host is in any of its spellings: 127.1 and 0x7f000001 are those of C, and of many clients."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _meant(address: Address) -> Address:
    """The address that is reached through another one."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _TO_IPV4):
            return ipaddress.IPv4Address(address.packed[-4:])
        within: Any = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        return within or address
    return address
