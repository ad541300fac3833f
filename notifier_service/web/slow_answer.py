"""An answer in JSON that may take long, and sends white space meanwhile."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .answers import ANSWER_HEADERS, json_answer

__all__ = ["BEAT_SECONDS", "SlowAnswer"]

#: Proxies cut an answer after 50 to 60 s without a byte.
BEAT_SECONDS = 15.0


class SlowAnswer:
    """An answer of status 200, which goes out with the first ``beat``: what goes wrong later is told in its body."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._beat_at = self._loop.time() + BEAT_SECONDS
        self._response: web.StreamResponse | None = None

    @property
    def has_begun(self) -> bool:
        return self._response is not None

    @property
    def due_seconds(self) -> float:
        """How long it may stay silent."""
        return max(0.0, self._beat_at - self._loop.time())

    async def beat(self) -> None:
        """Send a sign of life, which JSON allows before what it says."""
        if self._response is None:
            self._response = web.StreamResponse(headers=ANSWER_HEADERS)
            await self._response.prepare(self._request)
        await self._response.write(b"\n")
        self._beat_at = self._loop.time() + BEAT_SECONDS

    async def end(self, body: bytes) -> web.StreamResponse:
        """The whole answer."""
        if self._response is None:
            return json_answer(body)
        await self._response.write(body)
        await self._response.write_eof()
        return self._response
