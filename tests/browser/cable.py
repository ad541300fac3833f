"""A cable between browsers and a service, which can be pulled out and plugged in again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["Cable"]


class Cable:
    """Relays TCP connections to a port of this machine.

    What Playwright calls offline cuts no stream that is open; this does.
    """

    def __init__(self, service_port: int, port: int) -> None:
        self._service_port = service_port
        self._port = port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def plug(self) -> None:
        """Let everything through, from now on."""
        self._passing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)

    def pull(self) -> None:
        """Cut every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()

    def hold(self) -> None:
        """Let nothing through, in silence: every connection stays as it is, and nobody is told."""
        self._passing.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._service_port)
            ends = {writer, far_writer}
            self._ends |= ends
            try:
                await asyncio.wait(
                    {
                        asyncio.create_task(self._pass(reader, far_writer)),
                        asyncio.create_task(self._pass(far_reader, writer)),
                    }
                )
            finally:
                self._ends -= ends
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(2**16):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
