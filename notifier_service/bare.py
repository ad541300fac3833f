"""What a program needs that starts before each call of an agent: JSON, a digest and HTTP to this machine.

The standard library's own modules for these load regular expressions, enumerations and OpenSSL, which cost more than
all that such a program does. Here are the parts of them that are written in C, for the usual case. Where these are not
as expected, or something is unusual, the standard library's own modules are loaded and judge.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import http.client
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Address(Protocol):
        """The parts of a URL, named as in ``urllib.parse``."""

        @property
        def scheme(self) -> str: ...
        @property
        def netloc(self) -> str: ...
        @property
        def path(self) -> str: ...
        @property
        def query(self) -> str: ...
        @property
        def hostname(self) -> str | None: ...
        @property
        def port(self) -> int | None: ...


__all__ = [
    "DEFAULT_URL",
    "HereConnection",
    "dumped",
    "hmac_sha256",
    "is_loopback",
    "on_sigalrm_each_second",
    "parsed",
    "split_url",
]

#: Where a service is that was started without settings.
DEFAULT_URL = "http://127.0.0.1:8000/agent_backend"

# JSON


class _Once:
    """How ``_json`` is to read: as ``json`` does, but no object has the same key twice."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))

    @staticmethod
    def object_pairs_hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(value := dict(pairs)) < len(pairs):
            raise ValueError("an object has the same key twice")
        return value


def parsed(text: str | bytes) -> Any:
    """JSON with one reading: what the agent runs must be what was shown. Raises ``ValueError``."""
    try:
        from _json import make_scanner

        whole = (text if isinstance(text, str) else text.decode()).strip(" \t\n\r")
        value, end = make_scanner(_Once)(whole, 0)  # type: ignore[arg-type]
        if end == len(whole):
            return value
    except Exception:  # noqa: S110  # the other reader says what is wrong
        pass
    import json

    return json.loads(text, object_pairs_hook=_Once.object_pairs_hook)


def dumped(value: Any) -> str:
    """The value as ``json.dumps`` writes it."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        encode = make_encoder({}, _not_json, encode_basestring_ascii, None, ": ", ", ", False, False, True)
        return "".join(encode(value, 0))
    except (ImportError, TypeError):
        import json

        return json.dumps(value)


def _not_json(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


# A digest

_BLOCK_BYTES = 64


def hmac_sha256(key: bytes, message: bytes) -> str:
    """What ``hmac.new(key, message, "sha256").hexdigest()`` is."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # since Python 3.12
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            from hashlib import sha256
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    digest: str = sha256(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()
    return digest


# Time


def on_sigalrm_each_second(look: Any) -> None:
    """Have a function of a signal's number and frame called each second."""
    try:
        import _signal as signal  # type: ignore[import-not-found]
    except ImportError:
        import signal

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)


# HTTP


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, is this machine."""
    numbers = host.split(".")
    is_127 = len(numbers) == 4 and numbers[0] == "127" and all(number.isdecimal() for number in numbers)
    return is_127 or host in ("localhost", "::1") or host.endswith(".localhost")


class _PlainUrl:
    """The parts of ``http://host:port/path?query``, where nothing in it needs a thought."""

    scheme = "http"

    def __init__(self, netloc: str, hostname: str, port: int | None, path: str, query: str) -> None:
        self.netloc = netloc
        self.hostname = hostname
        self.port = port
        self.path = path
        self.query = query


_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_PATH = _NAME | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_~/")
_QUERY = _PATH | frozenset("=&+%")


def split_url(url: str) -> Address:
    """The parts of a URL, as ``urllib.parse.urlsplit`` has them. Raises ``ValueError``."""
    if url.startswith("http://"):
        rest, _, query = url[7:].partition("?")
        netloc, slash, path = rest.partition("/")
        host, colon, port = netloc.partition(":")
        is_port = not colon or (len(port) <= 5 and port.isascii() and port.isdigit() and int(port) < 65536)
        if host and is_port and _NAME.issuperset(host) and _PATH.issuperset(path) and _QUERY.issuperset(query):
            return _PlainUrl(netloc, host, int(port) if colon else None, slash + path, query)
    from urllib.parse import urlsplit

    return urlsplit(url)


class HereConnection:
    """HTTP to this machine, used as an ``http.client.HTTPConnection`` is. Raises ``OSError`` where nobody listens."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        import _socket

        self.host = host
        self.port = port
        self._left = b""
        refused: OSError | None = None
        ways: list[tuple[int, Any]] = [(_socket.AF_INET, (host, port))]
        if not host[-1].isdigit():  # a look-up takes long; as bytes: else that for Unicode does, too
            ways = [(way[0], way[4]) for way in _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)]
        for family, address in ways:
            self.sock = _socket.socket(family, _socket.SOCK_STREAM)
            self.sock.settimeout(seconds)
            try:
                self.sock.connect(address)
                return
            except OSError as error:
                self.sock.close()
                refused = error
        raise refused or OSError("nobody has that name")

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a request; its answer is read before the next one."""
        lines = [f"{method} {path or '/'} HTTP/1.1", f"Host: {self.host}:{self.port}", "Accept-Encoding: identity"]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        for name, value in (headers or {}).items():
            if not value.isprintable():
                raise ValueError(f"the header {name} has a character that none may have")
            lines.append(f"{name}: {value}")
        self.sock.sendall("\r\n".join((*lines, "\r\n")).encode("latin-1") + body)

    def getresponse(self) -> HereResponse | http.client.HTTPResponse:
        """The answer, from its head on."""
        got, self._left = self._left, b""
        while b"\r\n\r\n" not in got and b"\n\n" not in got and len(got) < _MAX_HEAD and (more := self._more()):
            got += more
        head, end, body = got.partition(b"\r\n\r\n")
        status, *fields = head.lower().split(b"\r\n")
        lengths = [field[15:].strip() for field in fields if field.startswith(b"content-length:")]
        is_usual = status.startswith(b"http/1.1 ") and status[9:12].isdigit() and status[9:10] > b"1" and bool(end)
        if is_usual and len(lengths) == 1 and lengths[0].isdigit() and b"transfer-encoding" not in head.lower():
            return HereResponse(self, int(status[9:12]), body, int(lengths[0]))
        from http.client import HTTPResponse

        response = HTTPResponse(_Again(self, got))  # type: ignore[arg-type]
        response.begin()
        return response

    def close(self) -> None:
        """Leave."""
        self.sock.close()

    def _more(self) -> bytes:
        received: bytes = self.sock.recv(65536)
        return received

    def take(self, body: bytes, length: int) -> bytes:
        """So many bytes of what is sent, of which the first were read; what comes behind them is kept."""
        parts, missing = [body], length - len(body)
        while missing > 0:
            part = self._more()
            if not part:
                raise ConnectionResetError("the answer ended too early")
            parts.append(part)
            missing -= len(part)
        whole = b"".join(parts)
        self._left = whole[length:]
        return whole[:length]


class HereResponse:
    """An answer that tells its length, read as an ``http.client.HTTPResponse`` is."""

    def __init__(self, connection: HereConnection, status: int, body: bytes, length: int) -> None:
        self.status = status
        self._connection = connection
        self._body = body
        self._length = length
        self._is_read = False

    def read(self, limit: int | None = None) -> bytes:
        """The body, or its first bytes. Raises ``OSError`` where it ends before."""
        self._is_read = limit is None or self._length <= limit
        return self._connection.take(self._body, self._length if limit is None else min(limit, self._length))

    def isclosed(self) -> bool:
        """Whether all of it was read."""
        return self._is_read


_MAX_HEAD = 65536


class _Again:
    """A socket from which the bytes that were read are read once more."""

    def __init__(self, connection: HereConnection, got: bytes) -> None:
        self._connection = connection
        self._got = got

    def makefile(self, mode: str) -> Any:
        import io

        connection, got = self._connection, self._got

        class Bytes(io.RawIOBase):
            left = got

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                part = self.left or connection.sock.recv(len(buffer))
                size = min(len(buffer), len(part))
                buffer[:size], self.left = part[:size], part[size:]
                return size

        return io.BufferedReader(Bytes())
