"""The load generator's connections: bare sockets under epoll, with as little Python per byte as there can be."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

__all__ = ["Countdown", "LongPoll", "Loop", "Publisher", "Stream", "connected", "get", "listen", "post"]

_LENGTH = re.compile(rb"content-length: (\d+)", re.I)
_RESET = struct.pack("ii", 1, 0)

#: Where everything is received before it is kept; one for all, because this is one thread.
_ROOM = bytearray(1024 * 1024)
_VIEW = memoryview(_ROOM)


class Connection(Protocol):
    """What the loop looks after."""

    socket: socket.socket
    #: Whether the other side has closed it.
    ended: bool

    def ready(self) -> None:
        """Take what has arrived."""


class Loop:
    """Connections of one thread, and who is told that something arrived."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}

    def add(self, connection: Connection) -> None:
        number = connection.socket.fileno()
        self._connections[number] = connection
        self._epoll.register(number, select.EPOLLIN)

    def remove(self, connection: Connection) -> None:
        number = connection.socket.fileno()
        if self._connections.pop(number, None) is not None:
            self._epoll.unregister(number)

    def turn(self, timeout_seconds: float = 0.1) -> bool:
        """Take what has arrived, waiting for so long; whether there was anything."""
        found = self._epoll.poll(timeout_seconds, 4096)
        for number, _ in found:
            connection = self._connections.get(number)
            if connection is not None:
                connection.ready()
                if connection.ended:
                    self.remove(connection)
        return bool(found)

    def until(self, done: Callable[[], bool], *, silence_seconds: float = 5, most_seconds: float = 60) -> bool:
        """Turn until it is done; False when nothing arrived for so long, or the time is over."""
        heard = began = time.monotonic()
        while not done():
            now = time.monotonic()
            if self.turn():
                heard = now
            elif now - heard > silence_seconds:
                return False
            if now - began > most_seconds:
                return False
        return True

    def close(self) -> None:
        """Reset all connections: no port is left waiting for the next round."""
        for connection in self._connections.values():
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.socket.close()
        self._connections.clear()
        self._epoll.close()


def get(path: str, *headers: str) -> bytes:
    """A GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def listen(path: str, *headers: str) -> bytes:
    """The request of an EventSource."""
    return get(path, "Accept: text/event-stream", *headers)


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """A POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def connected(port: int, *, segment_bytes: int | None = None, receive_bytes: int | None = None) -> socket.socket:
    """A connection. Small segments make the server's kernel keep little for it, as it would across a network."""
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if segment_bytes is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment_bytes)
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    return connection


class Countdown:
    """How many readers still wait for what they expect."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0

    def over(self) -> bool:
        return self.left == 0


class Stream:
    """A reader: it keeps what comes and sees when what it waits for is there.

    ``times_ns`` holds a time for each piece when ``timed``. It is an SSE stream or a WebSocket: both send events as
    they stand.
    """

    __slots__ = ("_countdown", "_mark", "_tail", "ended", "pieces", "socket", "timed", "times_ns")

    def __init__(self, connection: socket.socket, request: bytes, *, timed: bool = False) -> None:
        self.socket = connection
        self.pieces: list[bytes] = []
        self.times_ns: list[int] = []
        self.timed = timed
        self.ended = False
        self._mark = b""
        self._tail = b""
        self._countdown = Countdown()
        self.socket.send(request)

    def expect(self, mark: bytes, countdown: Countdown) -> None:
        """Count down once when ``mark`` has come."""
        self._mark, self._tail, self._countdown = mark, b"", countdown
        countdown.left += 1

    def ready(self) -> None:
        size = received(self.socket)
        if size <= 0:
            self.ended = size == 0
            return
        if self.timed:
            self.times_ns.append(time.monotonic_ns())
        piece = bytes(_VIEW[:size])
        self.pieces.append(piece)
        mark = self._mark
        if mark:
            if mark in piece or mark in self._tail + piece[: len(mark)]:
                self._mark = b""
                self._countdown.left -= 1
            self._tail = (self._tail + piece)[-len(mark) :] if size < len(mark) else piece[-len(mark) :]

    def received(self) -> bytes:
        return b"".join(self.pieces)


class LongPoll:
    """A reader that asks again for what is behind the last it got.

    ``following`` makes the next request from an answer's body.
    """

    __slots__ = ("_buffer", "_countdown", "_following", "_mark", "bodies", "ended", "socket")

    def __init__(self, connection: socket.socket, request: bytes, following: Callable[[bytes], bytes]) -> None:
        self.socket = connection
        self.bodies: list[bytes] = []
        self.ended = False
        self._buffer = b""
        self._mark = b""
        self._countdown = Countdown()
        self._following = following
        self.socket.send(request)

    def expect(self, mark: bytes, countdown: Countdown) -> None:
        """Count down once when ``mark`` has come."""
        self._mark, self._countdown = mark, countdown
        countdown.left += 1

    def ready(self) -> None:
        size = received(self.socket)
        if size <= 0:
            self.ended = size == 0
            return
        self._buffer += _VIEW[:size]
        answers, self._buffer = answers_in(self._buffer)
        for _, body in answers:
            self.bodies.append(body)
            if self._mark and self._mark in body:
                self._mark = b""
                self._countdown.left -= 1
            self.socket.send(self._following(body))

    def received(self) -> bytes:
        return b"\r\n\r\n" + b"".join(self.bodies)


class Publisher:
    """A keep-alive connection with at most ``window`` requests under way; the next goes out when one is answered.

    ``spent_ns`` holds the time of each request, ``bodies`` the answers, in order.
    """

    def __init__(self, connection: socket.socket, requests: Iterable[bytes] = (), *, window: int = 1) -> None:
        self.socket = connection
        self.socket.setblocking(True)
        self.ended = False
        self.failed: str | None = None
        self.spent_ns: list[int] = []
        self.bodies: list[bytes] = []
        self._requests: Iterator[bytes] = iter(requests)
        self._window = window
        self._sent_ns: deque[int] = deque()
        self._buffer = b""

    @property
    def done(self) -> bool:
        """Whether every request is answered, or one has failed."""
        return self.failed is not None or not self._sent_ns

    def fill(self) -> None:
        """Send as many requests as may be under way."""
        batch = []
        while len(self._sent_ns) < self._window and (request := next(self._requests, None)) is not None:
            batch.append(request)
            self._sent_ns.append(time.monotonic_ns())
        if batch:
            self.socket.sendall(b"".join(batch))

    def send(self, request: bytes) -> None:
        """Send one more request at once."""
        self._sent_ns.append(time.monotonic_ns())
        self.socket.sendall(request)

    def ready(self) -> None:
        size = received(self.socket)
        if size <= 0:
            self.ended = True
            self.failed = "the connection was closed"
            return
        self._buffer += _VIEW[:size]
        answers, self._buffer = answers_in(self._buffer)
        now = time.monotonic_ns()
        for head, body in answers:
            self.spent_ns.append(now - self._sent_ns.popleft())
            self.bodies.append(body)
            if head[9:10] != b"2":
                self.ended, self.failed = True, f"{head[:60]!r} {body[:300]!r}"
                return
        self.fill()


def received(connection: socket.socket) -> int:
    """Receive into the room of all: how many bytes, 0 at the end, -1 when there is nothing yet."""
    try:
        return connection.recv_into(_VIEW)
    except BlockingIOError:
        return -1
    except ConnectionError:
        return 0


def answers_in(buffer: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The whole answers, as heads and bodies, and what is left."""
    answers, at = [], 0
    while (head_end := buffer.find(b"\r\n\r\n", at)) >= 0:
        head = buffer[at:head_end]
        length = _LENGTH.search(head)
        body_end = head_end + 4 + (int(length[1]) if length is not None else 0)
        if body_end > len(buffer):
            break
        answers.append((head, buffer[head_end + 4 : body_end]))
        at = body_end
    return answers, buffer[at:]
