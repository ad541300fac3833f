"""A program that is told something: a real socket that takes what is posted to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

from aiohttp import web

from tests.mcp.http_wiring import on_a_port

__all__ = ["Posted", "Receiver"]


class Posted(NamedTuple):
    """A request as it arrived; the names of its headers are in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Keeps what comes; ``answer`` gives the status of the answer to a path, or None for no answer."""

    def __init__(self, status: int = 200) -> None:
        self.posts: list[Posted] = []
        self.answer: Callable[[str], int | None] = lambda path: status
        self.url = ""
        self.headers: dict[str, str] = {}
        self._never = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        async with on_a_port(app) as port:
            self.url = f"http://127.0.0.1:{port}"
            try:
                yield self
            finally:
                self._never.set()

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = self.answer(request.path)
        self.keep(Posted(request.path, headers, await request.read()))
        if status is None:
            await self._never.wait()
        return web.Response(status=status or 200, headers=self.headers)

    def keep(self, posted: Posted) -> None:
        self.posts.append(posted)
