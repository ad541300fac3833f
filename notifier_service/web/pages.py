"""The console: a web page, and the files it is made of. They hold no secret, so nobody needs a token to fetch them."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web

from ..core.errors import NotFound

__all__ = ["add_pages"]

_FOLDER = Path(__file__).parent / "console"
_PAGE = "index.html"

# Not from the system's tables, which differ; and what is none of these is not given out.
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    # Checked at each use, so that a page never runs with the scripts of another version.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Endpoint = Callable[[web.Request], Awaitable[web.Response]]


class _File(NamedTuple):
    body: bytes
    content_type: str
    etag: str


def add_pages(app: web.Application, prefix: str) -> None:
    """Serve the console at ``prefix/``, and lead there from the prefix without its slash and from the root.

    Every reference is relative, so that the application may be mounted under, or reached behind, any path.
    """
    files = dict(_files())  # all that is ever given out: what a URL says is only looked up

    async def page(request: web.Request) -> web.Response:
        return _answer(request, files[_PAGE])

    async def file(request: web.Request) -> web.Response:
        found = files.get(request.match_info["file"])
        if found is None:
            raise NotFound("There is no such path.")
        return _answer(request, found)

    rows: Mapping[str, Endpoint] = {f"{prefix}/": page, f"{prefix}/console/{{file:.+}}": file}
    if prefix:
        rows = {
            **rows,
            prefix: _redirect(f"./{prefix.rpartition('/')[2]}/"),
            "/": _redirect(f".{prefix}/"),
        }
    for path, endpoint in rows.items():
        app.router.add_route("GET", path, endpoint)
        app.router.add_route("HEAD", path, endpoint)


def _files() -> Iterator[tuple[str, _File]]:
    for path in sorted(_FOLDER.rglob("*")):
        if path.suffix in _CONTENT_TYPES:
            body = path.read_bytes()
            yield (
                path.relative_to(_FOLDER).as_posix(),
                _File(body, _CONTENT_TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:32]),
            )


def _answer(request: web.Request, file: _File) -> web.Response:
    headers = {**_HEADERS, "ETag": f'"{file.etag}"'}
    known = request.if_none_match or ()
    if any(tag.value in (file.etag, "*") for tag in known):
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers={**headers, "Content-Type": file.content_type})


def _redirect(location: str) -> Endpoint:
    # Not for good: a browser would remember it when the prefix is another one tomorrow.
    headers = {**_HEADERS, "Location": quote(location)}

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers=headers)

    return redirect
