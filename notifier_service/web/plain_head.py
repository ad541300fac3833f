"""Heads of requests of which nothing is to be asked but who sends them: each of their headers is known.

They are read in two ways, by aiohttp and in one look at the bytes; what is plain is said here, once for both. The look
takes less than HTTP allows, and nothing that it does not: names and values of visible characters, one blank at most
between them, a length in digits, each header once. So there is nothing that another parser could read in another way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

from multidict import CIMultiDict, CIMultiDictProxy

from ..core.trace import checked_traceparent

__all__ = ["PlainHead", "head_in", "head_of"]

RawHeaders = tuple[tuple[bytes, bytes], ...]

_NEEDED = frozenset({b"host", b"content-type", b"content-length"})
#: Any other header may mean that something else is to be asked: of a page, of a proxy, of how a body comes.
#: ``sec-fetch-mode`` says nothing of a page: Node sends it too, and a browser names its page's site beside it.
_KNOWN = _NEEDED | {
    b"accept", b"accept-encoding", b"accept-language", b"authorization", b"connection", b"idempotency-key",
    b"sec-fetch-mode", b"traceparent", b"tracestate", b"user-agent",
}  # fmt: skip
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8"})
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,8}")

#: With a signed token, and little besides; what is remembered is bounded by that.
_MOST_BYTES = 4096
_LINE = re.compile(rb"([A-Za-z-]+): ?([!-~](?:[ -~]*[!-~])?)\r\n")
_LINES = re.compile(rb"(?:%b)+" % _LINE.pattern)


class PlainHead:
    """What the headers of a plain request say."""

    def __init__(self, raw_headers: RawHeaders, values: Mapping[bytes, bytes]) -> None:
        self.raw_headers = raw_headers
        self.host = _text(values[b"host"])
        self.authorization = _text(values.get(b"authorization", b""))
        #: The ``traceparent`` that came along, if it is valid.
        self.trace = checked_traceparent(_text(values[b"traceparent"])) if b"traceparent" in values else None
        #: Whether it is to be done once, however often it comes.
        self.has_key = b"idempotency-key" in values
        #: Bytes of the body.
        self.length = int(values[b"content-length"])

    @cached_property
    def headers(self) -> CIMultiDictProxy[str]:
        """All of them, as aiohttp has them."""
        return CIMultiDictProxy(CIMultiDict([(_text(name), _text(value)) for name, value in self.raw_headers]))


def head_in(lines: bytes) -> PlainHead | None:
    """The head in the lines of headers of a request, each with its end; None where it is not plain."""
    return _head_in(lines) if len(lines) <= _MOST_BYTES else None


@lru_cache(maxsize=256)
def _head_in(lines: bytes) -> PlainHead | None:
    # A client sends the same ones again and again, of which the length alone is another.
    return _plain(tuple(_LINE.findall(lines))) if _LINES.fullmatch(lines) else None


def head_of(raw_headers: RawHeaders) -> PlainHead | None:
    """The same of headers that aiohttp has read."""
    return _head_of(raw_headers) if len(raw_headers) <= len(_KNOWN) else None


@lru_cache(maxsize=64)
def _head_of(raw_headers: RawHeaders) -> PlainHead | None:
    return _plain(raw_headers)


def _plain(raw_headers: RawHeaders) -> PlainHead | None:
    names = _known(tuple([name for name, _ in raw_headers]))
    if not names:
        return None
    values = dict(zip(names, [value for _, value in raw_headers], strict=True))
    if (
        values[b"content-type"] not in _JSON
        or not _LENGTH.fullmatch(values[b"content-length"])
        or values.get(b"connection", b"keep-alive").lower() != b"keep-alive"
    ):
        return None
    return PlainHead(raw_headers, values)


@lru_cache(maxsize=64)
def _known(names: tuple[bytes, ...]) -> Sequence[bytes]:
    """These names in small letters; none where one of them is not known, is missing, or comes twice."""
    lower = [name.lower() for name in names]
    return lower if _NEEDED.issubset(lower) and _KNOWN.issuperset(lower) and len({*lower}) == len(lower) else ()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")  # as aiohttp does
