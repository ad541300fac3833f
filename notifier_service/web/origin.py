"""Which web pages may use the service: the Host it answers to, and the origins it answers.

A browser sends a foreign page's requests to any address its user can reach. `Host` stops a name that was re-bound to
loopback; `Origin` stops a page of another site; the JSON content type of bodies stops plain forms.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from ..errors import Forbidden
from ..settings import Settings, is_loopback
from .boundary import SETTINGS

__all__ = ["add_cors_headers", "guard_origin", "require_origin"]

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CORS_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


@web.middleware
async def guard_origin(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse other hosts' names and other sites' changes; answer the preflight of an allowed origin."""
    settings = request.config_dict[SETTINGS]
    _require_host(request, settings)
    if request.method == "OPTIONS" and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
        require_origin(request)
        return web.Response(status=204, headers=_CORS_HEADERS)
    if request.method not in _SAFE_METHODS:
        require_origin(request)
    return await handler(request)


def require_origin(request: web.Request) -> None:
    """Raise ``Forbidden`` for a page of another site, unless its origin is allowed; a program sends no origin."""
    origin = request.headers.get("Origin")
    if origin is None and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Forbidden("Another site may not do that.")  # an image or a form of a foreign page names no origin
    if origin is None or _is_allowed(origin, request.config_dict[SETTINGS]):
        return
    if origin.lower().partition("://")[2] != request.headers.get("Host", "").lower():
        raise Forbidden("This origin may not do that: see the setting allowed_origins.")


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let an allowed origin read the answer, with its credentials; also of a stream, before it begins."""
    settings = request.config_dict[SETTINGS]
    if not settings.allowed_origins:
        return
    response.headers.add("Vary", "Origin")
    origin = request.headers.get("Origin")
    if origin is not None and _is_allowed(origin, settings):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = "ETag, Retry-After, X-Session-Id"


def _is_allowed(origin: str, settings: Settings) -> bool:
    return origin.lower() in settings.allowed_origins


def _host_name(host: str) -> str:
    """The name without its port; empty for what is no name."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _require_host(request: web.Request, settings: Settings) -> None:
    host = request.headers.get("Host")
    if host is None:
        return  # no browser: those always say whom they mean
    name = _host_name(host)
    if settings.allowed_hosts:
        allowed = any(fnmatchcase(name, pattern.lower()) for pattern in settings.allowed_hosts)
    else:
        # With tokens, a re-bound name gains nothing: its page has no token.
        allowed = settings.auth != "none" or is_loopback(name) or name.endswith(".localhost")
    if not allowed:
        raise Forbidden("This Host is not served: see the setting allowed_hosts.")
