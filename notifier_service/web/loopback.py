"""Whether a request on loopback was made by a program of this user, or came through something from elsewhere.

With ``auth=none`` the address is all that speaks for a caller, and a proxy on this machine lends it to the whole
network. A proxy that says so is believed; one that does not is known by how nginx speaks for a bare ``proxy_pass``,
or by its user: proxies have one of their own. The system tells whose a connection is on Linux only.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import hdrs, web

from ..core.errors import Forbidden
from .logs import Seldom

__all__ = ["forget_user", "require_own_program", "require_own_user", "user_of"]

_HELP = "auth=none is for programs of the user who started the service: set auth=tokens"

#: Headers by which a proxy names whom it speaks for; one search over the names of all is cheaper than a look at each.
_FORWARDING = re.compile(
    rb"^(x-forwarded.*|x-forward-for|forwarded(-for)?|via|([a-z0-9-]+-)?client-?ip|cf-(connecting-ip(v6)?|ray|visitor)"
    rb"|x-(real-ip|proxyuser-ip|remote-(ip|addr)|nf-client-connection-ip|azure-socketip|arr-log-id|amzn-trace-id"
    rb"|cloud-trace-context|envoy-external-address|original-(forwarded-for|host|url))"
    rb"|cdn-loop|tailscale-user-login)$",
    re.IGNORECASE | re.MULTILINE,
)

# linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI")
_NO_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_UID_AT = _HEADER.size + 4 + 48 + 12

_seldom = Seldom("notifier_service.auth")
_UNKNOWN = object()
#: Nobody could be told from others, root, and who runs this.
_TRUSTED = (None, 0, os.getuid())
_users: WeakKeyDictionary[asyncio.BaseTransport, object] = WeakKeyDictionary()


def require_own_program(request: web.Request, *, any_user: bool = False) -> None:
    """Raise ``Forbidden``, and say so in the log, for a request that speaks for somebody who may be anywhere.

    With ``any_user`` a program of any user of this machine will do.
    """
    name = _forwarding_header(b"\n".join([name for name, _ in request.raw_headers]))
    if name is not None:
        raise _refused("proxy", f"this request came through a proxy ({name[:40]})")
    # HTTP/1.0 closes anyway: who says so in words is nginx.
    if request.version < (1, 1) and request.headers.get(hdrs.CONNECTION, "").lower() == "close":
        raise _refused("nginx", "this request came through nginx")
    if request.transport is not None and not any_user:
        require_own_user(request.transport)


def require_own_user(transport: asyncio.BaseTransport) -> None:
    """Raise ``Forbidden`` for a connection of a program of another user, as far as one can tell."""
    user = _users.get(transport, _UNKNOWN)
    if user is _UNKNOWN:
        near, far = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        user = user_of(near, far) if isinstance(far, tuple) else _user_at(transport.get_extra_info("socket"))
        _users[transport] = user
    if user not in _TRUSTED:
        raise _refused("user", f"this request came from a program of another user (uid {user})")


def forget_user(transport: asyncio.BaseTransport) -> None:
    """No more requests come over this connection."""
    _users.pop(transport, None)


@lru_cache(maxsize=64)
def _forwarding_header(names: bytes) -> str | None:
    """The first of these headers by which a proxy speaks for somebody; a client sends the same ones again and again."""
    found = _FORWARDING.search(names)
    return None if found is None else found[0].decode("ascii", "replace").lower()


def _refused(kind: str, why: str) -> Forbidden:
    _seldom.warning(kind, f"refused: {why}; {_HELP}")
    return Forbidden(f"T{why[1:]}, and {_HELP}.")


def _user_at(unix: Any) -> int | None:
    """The uid of whoever opened a Unix socket; None if unknown."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        _, uid, _ = struct.unpack("3i", unix.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    except OSError:
        return None
    return int(uid)


def user_of(near: Any, far: Any) -> int | None:
    """The uid of whoever opened the TCP socket ``near`` towards ``far``, both on this machine; None if unknown."""
    if not (isinstance(near, tuple) and isinstance(far, tuple)) or not hasattr(socket, "AF_NETLINK"):
        return None
    try:
        family = socket.AF_INET6 if len(near) == 4 else socket.AF_INET
        # The system knows a connection between two IPv4 addresses as one of IPv6 where the near end is such a socket.
        ends = [ip_address(end[0].partition("%")[0]).packed.ljust(16, b"\0") for end in (near, far)]
        ports = struct.pack("!HH", near[1], far[1])
        question = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ports + b"".join(ends) + _NO_COOKIE
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(0.2)
            head = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
            kernel.send(head + question)
            answer = kernel.recv(4096)
    except (OSError, ValueError):
        return None
    if len(answer) < _UID_AT + 4 or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    uid: int = struct.unpack_from("=I", answer, _UID_AT)[0]
    return uid
