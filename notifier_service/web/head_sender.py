"""Sends the signed heads of the audit log to a second machine, whose copy shows it when the log is written anew."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections import deque
from contextlib import suppress
from pathlib import Path

import aiohttp

from ..core.events import utc_now, utc_text

__all__ = ["HeadSender"]

#: A later head says all that an earlier one does; the earlier only says it of an earlier time.
_MOST_WAITING = 100
_ANSWER_SECONDS = 10.0
_FIRST_BACKOFF_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 60.0

_log = logging.getLogger("notifier_service.audit")


class HeadSender:
    """Sends each head ``to`` an http(s) URL, as a POST, or appends it to a file: ``{"time", "head"}``, one a line.

    What cannot be sent is tried again, later each time; at most 100 wait, and the oldest give way. Nobody waits for it.
    """

    def __init__(self, to: str, *, first_backoff_seconds: float = _FIRST_BACKOFF_SECONDS) -> None:
        self._to = to
        self._is_url = "://" in to
        self._first_backoff_seconds = first_backoff_seconds
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed, self._sent = asyncio.Event(), asyncio.Event()
        self._has_failed = False

    def put(self, note: str) -> None:
        """Have a head sent. May be called from any thread; never waits, never raises."""
        self._waiting.append(json.dumps({"time": utc_text(utc_now()), "head": note}).encode() + b"\n")
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._changed.set)

    def begin(self) -> None:
        """Send from now on, on the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._send_all())
        self._changed.set()

    async def end(self, within_seconds: float) -> None:
        """Send what waits still, for so long at most, and then nothing more."""
        if self._task is None:
            return
        self._sent.clear()
        self._changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                await self._sent.wait()
        self._loop = None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _send_all(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as http:
            while True:
                await self._changed.wait()
                self._changed.clear()
                self._sent.clear()
                await self._send_waiting(http)
                self._sent.set()

    async def _send_waiting(self, http: aiohttp.ClientSession) -> None:
        backoff_seconds = self._first_backoff_seconds
        while self._waiting:
            line = self._waiting[0]
            why = await self._why_not_sent(http, line)
            if why is None:
                with suppress(ValueError):  # it has given way meanwhile
                    self._waiting.remove(line)
                backoff_seconds = self._first_backoff_seconds
                self._tell_that_it_goes_on()
            else:
                self._tell_why_not(why)
                await asyncio.sleep(backoff_seconds)
                backoff_seconds = min(_MAX_BACKOFF_SECONDS, backoff_seconds * 2)

    async def _why_not_sent(self, http: aiohttp.ClientSession, line: bytes) -> str | None:
        try:
            if not self._is_url:
                await asyncio.to_thread(_append, Path(self._to), line)
                return None
            headers = {"Content-Type": "application/json"}
            async with http.post(self._to, data=line, headers=headers, allow_redirects=False) as response:
                return None if 200 <= response.status < 300 else f"it answers {response.status}"
        except TimeoutError:
            return "it does not answer in time"
        except OSError as error:
            return error.strerror or type(error).__name__
        except aiohttp.ClientError as error:
            return type(error).__name__  # its text may hold the URL, and that a secret
        except ValueError:
            return "this is no address"

    def _tell_why_not(self, why: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            _log.warning("heads of the audit log cannot be sent to %s, and wait: %s", self._place, why)

    def _tell_that_it_goes_on(self) -> None:
        if self._has_failed:
            self._has_failed = False
            _log.warning("heads of the audit log are sent to %s again", self._place)

    @property
    def _place(self) -> str:
        """Where to, without what may be a secret."""
        return re.sub(r"(?<=://)[^/?#]*@|(?<=[^:/])[/?#].*", "", self._to) if self._is_url else self._to


def _append(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    try:
        if os.write(fd, line) != len(line):
            raise OSError(0, "it took only a part")
        os.fsync(fd)
    finally:
        os.close(fd)
