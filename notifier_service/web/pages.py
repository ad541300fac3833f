"""The console: a web page, and the files it is made of. They hold no secret, so nobody needs a token to fetch them.

What is served is what was built of the sources beside it, ``make client``, named by what is in it and compressed. Where
the sources are others now, they are served as they are.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from aiohttp import web

from ..core.errors import NotFound

__all__ = ["add_pages", "read_console"]

_FOLDER = Path(__file__).parent / "console"
_BUILT = "built"
_PAGE = "index.html"

#: Best first, and how the files are called that hold them.
_PACKED = {"br": ".br", "gzip": ".gz"}

# Not from the system's tables, which differ; and what is none of these is not given out.
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

#: Of a file whose name says what is in it.
_FOR_EVER = "public, max-age=31536000, immutable"
_NAMED_BY_CONTENT = re.compile(r"\w+-[0-9a-f]{16}\.\w+")

#: Works for all of the page, one step above the file itself: relative, as every path here.
_WORKER = "worker.js"
_OF_WORKER = {"Service-Worker-Allowed": "../"}

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
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            # It makes the address of the page's worker trusted, and nothing else.
            "trusted-types notifier-worker",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_NOTHING = re.compile(r"q=0(\.0*)?")

Endpoint = Callable[[web.Request], Awaitable[web.Response]]


class _File(NamedTuple):
    body: bytes
    content_type: str
    etag: str
    packed: Mapping[str, bytes] = {}
    is_named_by_content: bool = False
    headers: Mapping[str, str] = {}


def add_pages(app: web.Application, prefix: str, folder: Path = _FOLDER) -> None:
    """Serve the console at ``prefix/``, and lead there from the prefix without its slash and from the root.

    Every reference is relative, so that the application may be mounted under, or reached behind, any path.
    """

    async def page(request: web.Request) -> web.Response:
        return _answer(request, _served(folder)[_PAGE])

    async def file(request: web.Request) -> web.Response:
        found = _served(folder).get(request.match_info["file"])
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


def read_console() -> None:
    """Read the files now, and not when one of them is first asked for."""
    _served(_FOLDER)


@functools.cache  # what a process serves does not change, however many applications it makes
def _served(folder: Path) -> Mapping[str, _File]:
    """All that is ever given out, by its name: what a URL says is only looked up."""
    sources = dict(_sources(folder))
    built = folder / _BUILT
    try:
        if (built / "sources.sha256").read_text().strip() == _digest(sources):
            return dict(_built(built))
    except FileNotFoundError:
        pass
    return sources


def _sources(folder: Path) -> Iterator[tuple[str, _File]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.suffix in _CONTENT_TYPES and name.parts[0] != _BUILT:
            yield name.as_posix(), _file(path)


def _digest(sources: Mapping[str, _File]) -> str:
    """What says of which sources something was built; clients/typescript/scripts/bundle.mjs has the same."""
    digest = hashlib.sha256()
    for name, file in sorted(sources.items()):
        digest.update(b"%b\0%b\0" % (name.encode(), file.body))
    return digest.hexdigest()


def _built(folder: Path) -> Iterator[tuple[str, _File]]:
    for path in folder.iterdir():
        if path.suffix in _CONTENT_TYPES:
            copies = {coding: path.with_name(path.name + ending) for coding, ending in _PACKED.items()}
            packed = {coding: copy.read_bytes() for coding, copy in copies.items() if copy.exists()}
            is_named = _NAMED_BY_CONTENT.fullmatch(path.name) is not None
            yield path.name, _file(path)._replace(packed=packed, is_named_by_content=is_named)


def _file(path: Path) -> _File:
    body = path.read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:32]
    return _File(body, _CONTENT_TYPES[path.suffix], digest, headers=_OF_WORKER if path.name == _WORKER else {})


def _answer(request: web.Request, file: _File) -> web.Response:
    coding = next((coding for coding in file.packed if coding in _codings(request)), None)
    tag = file.etag if coding is None else f"{file.etag}-{coding}"
    headers = {**_HEADERS, **file.headers, "ETag": f'"{tag}"'}
    if file.packed:
        headers["Vary"] = "Accept-Encoding"
    if file.is_named_by_content:
        headers["Cache-Control"] = _FOR_EVER
    known = request.if_none_match or ()
    if any(found.value in (tag, "*") for found in known):
        return web.Response(status=304, headers=headers)
    if coding is not None:
        headers["Content-Encoding"] = coding
    body = file.body if coding is None else file.packed[coding]
    return web.Response(body=body, headers={**headers, "Content-Type": file.content_type})


def _codings(request: web.Request) -> set[str]:
    """How the caller takes what is compressed; one with the weight 0 is refused."""
    given = (one.partition(";") for one in request.headers.get("Accept-Encoding", "").lower().split(","))
    return {name.strip() for name, _, weight in given if not _NOTHING.fullmatch(weight.replace(" ", ""))}


def _redirect(location: str) -> Endpoint:
    # Not for good: a browser would remember it when the prefix is another one tomorrow.
    headers = {**_HEADERS, "Location": quote(location)}

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers=headers)

    return redirect
