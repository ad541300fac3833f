"""Which web pages may use the service: the Host it answers to, and the origins it answers.

A browser sends a foreign page's requests to any address its user can reach. `Host` stops a name that was re-bound to
loopback; `Origin` stops a page of another site; the JSON content type of bodies stops plain forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import ClassVar
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ..core.errors import Forbidden
from ..core.redaction import without_credentials
from ..settings import Settings, is_loopback
from .logs import Seldom

__all__ = ["CorsHeaders", "is_served_under", "origin_guard", "require_origin", "serves"]


_seldom = Seldom("notifier_service.web")

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: How much of a header an answer repeats: a name in DNS has 253.
_TOLD_CHARACTERS = 280

_CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, "
    "Mcp-Method, Mcp-Name, MCP-Protocol-Version, Mcp-Session-Id, Upstream-Authorization",
    "Access-Control-Max-Age": "600",
}


def origin_guard(settings: Settings) -> Callable[[web.Request], web.Response | None]:
    """What refuses other hosts' names and other sites' changes, and answers an allowed preflight."""

    is_served = serves(settings)
    links = f"{settings.prefix}/api/links/"

    def guard(request: web.Request) -> web.Response | None:
        host = request.headers.get(hdrs.HOST)
        # Whoever names none is no browser: those always say whom they mean.
        if host is not None and not is_served(host):
            raise _not_served(host)
        if request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            require_origin(request, settings)
            return web.Response(status=204, headers=_CORS_HEADERS)
        # Who knows a link may use it: its page names no origin, and its address is no other page's to know.
        if request.method not in _SAFE_METHODS and not request.path.startswith(links):
            require_origin(request, settings)
        return None

    return guard


def serves(settings: Settings) -> Callable[[str], bool]:
    """What says whether a ``Host`` is one of this service."""

    @lru_cache(maxsize=256)
    def is_served(host: str) -> bool:
        return _is_served(host, settings)

    return is_served


def require_origin(request: web.Request, settings: Settings) -> None:
    """Raise ``Forbidden`` for a page of another site, unless its origin is allowed; a program sends no origin."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Forbidden("Another site may not do that.")  # an image or a form of a foreign page names no origin
    if origin is None or _is_allowed(origin, settings):
        return
    host = request.headers.get(hdrs.HOST, "")
    if origin.lower().partition("://")[2] != host.lower():
        raise _foreign(origin, host)


def _foreign(origin: str, host: str) -> Forbidden:
    """The refusal of another site's page; it may also be the own one, behind a proxy that changed a header."""
    told_origin, told_host = _told(origin), _told(host)
    mends = [
        "a proxy in between must keep the Host (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On; "
        "HAProxy, Caddy: no line that sets Host; Traefik: passHostHeader: true; Vite: changeOrigin: false)"
    ]
    if re.fullmatch(r"https?://[^/*\s]+", told_origin):  # what the setting takes
        mends.append(f"or the setting allowed_origins must name {told_origin}")
    message = (
        f"This origin may not do that: the page is of {told_origin}, the request came for {told_host}. "
        f"If that page is this service's own, {', '.join(mends)}."
    )
    _seldom.warning("origin", f"refused: {message}")
    return Forbidden(message, cause="origin", origin=told_origin, host=told_host)


def _not_served(host: str) -> Forbidden:
    told = _told(host)
    message = (
        f"This Host is not served: the request came for {told}. If people reach the service under that name, "
        "the setting allowed_hosts must name it, with auth=tokens or auth=jwt."
    )
    _seldom.warning("host", f"refused: {message}")
    return Forbidden(message, cause="host", host=told)


def _told(header: str) -> str:
    """A header as an answer may repeat it: bounded, no credential, and nothing that a page or a terminal acts on."""
    return re.sub(r"[^A-Za-z0-9.:/\[\]_~*-]", "?", without_credentials(header)[:_TOLD_CHARACTERS]) or "(none)"


class CorsHeaders:
    """Lets an allowed origin read an answer, with its credentials; also a stream, before it begins."""

    #: What every answer says, whoever asks.
    always: ClassVar[Mapping[str, str]] = {"Vary": "Origin"}

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, request: web.Request, response: web.StreamResponse) -> None:
        for name, value in self.always.items():
            response.headers.add(name, value)
        origin = request.headers.get("Origin")
        if origin is not None and _is_allowed(origin, self._settings):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = "ETag, Mcp-Session-Id, Retry-After, X-Session-Id"


def _is_allowed(origin: str, settings: Settings) -> bool:
    return origin.lower() in settings.allowed_origins


def _host_name(host: str) -> str:
    """The name without its port; empty for what is no name."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_served_under(url: str, settings: Settings) -> bool:
    """Whether who comes by this address, with its Host, is answered."""
    return _is_served(urlsplit(url).netloc, settings)


def _is_served(host: str, settings: Settings) -> bool:
    name = _host_name(host)
    if settings.allowed_hosts:
        return any(fnmatchcase(name, pattern.lower()) for pattern in settings.allowed_hosts)
    # With tokens, a re-bound name gains nothing: its page has no token.
    return settings.auth != "none" or is_loopback(name) or name.endswith(".localhost")
