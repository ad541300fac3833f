"""Bodies by which calls are asked: as large as parameters may be; of larger ones enough to say what it was."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic_core import from_json

from ..core.errors import InvalidInput, NotifierError, TooLarge
from ..core.events import parse_json
from ..core.limits import Limits
from ..settings import Settings
from .request import UNREAD, check_body, read_json, why_unread

__all__ = ["BODY_BYTES", "longest_body", "read_long_json", "too_large"]

#: The size of a body that was too large, of which only the beginnings of its texts are there.
BODY_BYTES = web.RequestKey("body_bytes", int)

_ARRIVES_SECONDS = 30
#: What is kept of each text of a body that is too large.
_TEXT_BYTES = 1024
#: What one value costs, beside its bytes, in bytes of those that cost as much.
_VALUE_BYTES = 8
#: The longest escape of one character, a surrogate pair's.
_ESCAPE_BYTES = 12

_TEXT = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)


def longest_body(settings: Settings) -> int:
    """Bytes of a body that is taken whole: its parameters may have twice as many as in their canonical form."""
    return 2 * settings.max_parameters_bytes + settings.max_body_bytes


def too_large(body_bytes: int, limits: Limits) -> TooLarge:
    """What is said of a call whose parameters came in a body that was not taken whole."""
    return TooLarge(
        f"Its parameters came in a body of {body_bytes} bytes, and they may have {limits.max_parameters_bytes}.",
        limit="max_parameters_bytes",
        body_bytes=body_bytes,
    )


async def read_long_json(request: web.Request, settings: Settings) -> tuple[Any, int | None]:
    """The body as JSON, and None; or, of one that is too large, with all its texts cut, and its size.

    A large body is one of long texts: outside of them it may have ``max_body_bytes`` as any other, because values cost
    much more time than text. Raises ``TooLarge`` else, and what ``read_json`` raises.
    """
    length = request.content_length
    if length is not None and length <= settings.max_body_bytes and not request.headers.get("Content-Encoding"):
        return await read_json(request, settings.max_body_bytes), None
    check_body(request, "application/json")
    pieces: list[bytes] = []
    cutter = _Cutter(settings.max_body_bytes)
    try:
        return await _read(request, settings, pieces, cutter)
    except NotifierError:
        request[UNREAD] = b"".join(pieces) or cutter.text()
        raise


async def _read(
    request: web.Request, settings: Settings, pieces: list[bytes], cutter: _Cutter
) -> tuple[Any, int | None]:
    limit, size = longest_body(settings), 0
    try:
        async with asyncio.timeout(_ARRIVES_SECONDS):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size <= limit:
                    pieces.append(piece)
                    continue
                for held in (*pieces, piece):
                    cutter.feed(held)
                pieces.clear()
    except TimeoutError:
        raise InvalidInput(f"the body did not arrive within {_ARRIVES_SECONDS} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidInput(why_unread(request)) from error
    if size > limit:
        return parse_json(cutter.text()), size  # two long keys may have the same beginning; nothing of it runs
    pieces[:] = [b"".join(pieces)]
    if size > settings.max_body_bytes:
        cutter.feed(pieces[0])
    return parse_json(pieces[0], unique_keys=True), None


class _Cutter:
    """Keeps of a JSON text what is outside its strings, and their beginnings; ``TooLarge`` for too much of it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._weight = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._in_string = False
        self._string = bytearray()
        self._is_cut = False
        self._rest = b""

    def feed(self, piece: bytes) -> None:
        text, at = self._rest + piece if self._rest else piece, 0
        self._rest = b""
        while at < len(text):
            if not self._in_string:
                quote = text.find(b'"', at)
                end = len(text) if quote < 0 else quote + 1
                self._weight += end - at + _VALUE_BYTES
                if self._weight > self._max_bytes:
                    raise TooLarge(
                        f"Outside of its texts, the body is over the limit of {self._max_bytes} bytes.",
                        limit="max_body_bytes",
                    )
                self._keep(text[at:end])
                self._in_string, at = quote >= 0, end
                continue
            found = _TEXT.match(text, at)
            assert found is not None  # it matches nothing, too
            end = found.end()
            room = max(0, min(_TEXT_BYTES, self._max_bytes - self._size) - len(self._string))
            self._string += text[at : min(end, at + room)]
            self._is_cut = self._is_cut or end - at > room
            at = end
            if at < len(text):
                if text[at : at + 1] == b"\\":
                    self._rest = text[at:]  # an escape that goes on in the next piece
                    return
                self._end_string()
                at += 1

    def text(self) -> bytes:
        return b"".join(self._pieces)

    def _end_string(self) -> None:
        kept = bytes(self._string)
        if self._is_cut:
            kept = _whole_characters(kept)
        self._keep(kept + b'"')
        self._in_string = self._is_cut = False
        self._string.clear()

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)


def _whole_characters(text: bytes) -> bytes:
    """The text of a JSON string without a character, or an escape, that was cut in two at its end."""
    for less in range(min(len(text), _ESCAPE_BYTES) + 1):
        shorter = text[: len(text) - less]
        try:
            from_json(b'"%b"' % shorter)
        except ValueError:
            continue
        return shorter
    return b""
