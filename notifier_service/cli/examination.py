"""What stands between a client and the service, examined from the client's side, each question for a bounded time."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

import aiohttp

from ..service_address import CHALLENGE
from .mends import MENDS

__all__ = ["Examination", "Finding"]

Outcome = Literal["ok", "warn", "fail"]

#: What a person waits for without a thought, and what is held back for good for all that anybody knows.
_SOON_SECONDS = 1.0
_LATE_SECONDS = 0.15
_HELD_BACK_SECONDS = 4.0
_CHECK_SECONDS = 10.0
_CLOCK_SECONDS = 30.0
#: More than nginx, and the service, take by default; the form of the answer tells whose it is.
_LARGE_BYTES = 1024 * 1024 + 64 * 1024
_LONG_POLL_SECONDS = 25
#: What the service says where no token has come.
_NOTHING_CAME = "This needs a token."


@dataclass(frozen=True, slots=True)
class Finding:
    """What one question showed; ``mends`` has the line that mends it, by the program that stands between."""

    check: str
    outcome: Outcome
    text: str
    mends: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class _Unfit(Exception):
    """Nothing further can be asked, and this says why."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__()
        self.findings = findings


class _Connector(aiohttp.TCPConnector):
    """Closes with itself what is being closed: over TLS, as long as the other side takes to say that it has heard."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._transports: list[asyncio.Transport] = []

    async def connect(self, *asked: Any, **how: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*asked, **how)
        if connection.transport is not None:
            self._transports.append(connection.transport)
        return connection

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        for transport in self._transports:
            transport.abort()


class Examination:
    """Asks a service at a URL; ``findings`` yields what each question showed, in order.

    It works in sessions of its own, whose ids begin with ``session``, and ends them.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        session: str | None = None,
        origin: str | None = None,
        idle_seconds: float = 40,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        try:
            self._url = urlsplit(url)._replace(query="", fragment="")
            _ = self._url.port
        except ValueError:
            self._url = urlsplit("")  # as one that names nobody
        self._token = token
        self._session = session or f"doctor-{secrets.token_hex(6)}"
        self._foreign = origin
        self._idle_seconds = idle_seconds
        self._tls = tls or ssl.create_default_context()
        self._program: str | None = None
        self._base = ""
        self._may_produce = True

    async def findings(self) -> AsyncIterator[Finding]:
        headers = {"User-Agent": "notifier-service doctor", "Accept-Encoding": "gzip, deflate, br, zstd"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        async with aiohttp.ClientSession(
            headers=headers,
            auto_decompress=False,
            connector=_Connector(ssl=self._tls, limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CHECK_SECONDS),
        ) as self._http:
            try:
                for finding in await self._reached():
                    yield finding
            except _Unfit as unfit:
                for finding in unfit.findings:
                    yield finding
                return
            idle = asyncio.ensure_future(self._idle()) if self._idle_seconds > 0 else None
            try:
                for ask in (
                    self._stream, self._answers, self._cors, self._socket, self._producer, self._body, self._log,
                ):  # fmt: skip
                    yield await self._within(ask)
                if idle is not None:
                    for finding in await idle:
                        yield finding
            finally:
                if idle is not None:
                    idle.cancel()
                    await asyncio.gather(idle, return_exceptions=True)
                await self._cleared()

    async def _within(self, ask: Callable[[], Awaitable[Finding]]) -> Finding:
        name = ask.__name__.strip("_")
        try:
            async with asyncio.timeout(2 * _CHECK_SECONDS):
                return await ask()
        except TimeoutError:
            return Finding(name, "fail", f"no answer within {2 * _CHECK_SECONDS:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Finding(name, "fail", f"the connection broke: {type(error).__name__}: {error}"[:300])

    def _found(self, check: str, outcome: Outcome, text: str, fault: str | None = None) -> Finding:
        mends = MENDS[fault] if fault is not None else {}
        if self._program is not None and self._program in mends:
            mends = {self._program: mends[self._program]}
        return Finding(check, outcome, text, mends)

    @property
    def _origin(self) -> str:
        return f"{self._url.scheme}://{self._url.netloc}"

    # Whether it is there

    async def _reached(self) -> list[Finding]:
        address = self._url
        if address.scheme not in ("http", "https") or not address.hostname or address.username:
            raise _Unfit(Finding("address", "fail", "a URL is http://HOST or https://HOST, without a user"))
        path = address.path.rstrip("/")
        tried: list[str] = []
        passed_on = ""
        while True:
            began = time.time()
            told, status, response_headers, is_ours = await self._who(path)
            if told is not None:
                break
            tried.append(f"{path or '/'}: {status}")
            passed_on = passed_on or (path if is_ours else "")
            if not path:
                why = f"something answers, and is no notifier-service ({', '.join(tried)}): the URL or the proxy's path"
                if passed_on:
                    why = f"the service gets the path {passed_on} as it is, and has none of that name: the proxy must"
                    why += " take away the path at which it is mounted, or the URL is wrong"
                raise _Unfit(self._found("address", "fail", why, "path"))
            path = path.rpartition("/")[0]
        whole = path + str(told["prefix"])
        self._base = f"{self._origin}{whole}"
        findings = [Finding("address", "ok", f"the service is at {self._base}")]
        if whole != address.path.rstrip("/") and path != address.path.rstrip("/"):
            findings = [Finding("address", "warn", f"the service is at {self._base}: use that URL")]
        findings += [self._clock(began, response_headers), await self._version(), *self._passed(told)]
        findings.append(await self._allowed())
        if findings[-1].outcome == "fail":
            raise _Unfit(*findings)
        return findings

    async def _who(self, path: str) -> tuple[dict[str, Any] | None, int, Mapping[str, str], bool]:
        """What the service under a path tells of itself; the status; the headers; whether a 404 is the service's."""
        challenge = secrets.token_hex(16)
        try:
            async with (
                asyncio.timeout(_CHECK_SECONDS),
                self._http.get(
                    f"{self._origin}{path}/healthz/live",
                    headers={CHALLENGE: challenge, "Accept-Encoding": "identity"},
                    allow_redirects=False,
                ) as answer,
            ):
                self._program = _program(answer.headers.get("Server", ""))
                body = await _json(answer)
        except TimeoutError:
            raise _Unfit(Finding("address", "fail", f"no answer within {_CHECK_SECONDS:.0f} s")) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise _Unfit(Finding("address", "fail", f"TLS: {error.certificate_error}"[:300])) from None
        except aiohttp.ClientSSLError as error:
            raise _Unfit(Finding("address", "fail", f"TLS: {error.strerror or error}"[:300])) from None
        except aiohttp.ClientConnectorDNSError:
            raise _Unfit(Finding("address", "fail", f"no address is known for {self._url.hostname}")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Unfit(
                Finding("address", "fail", f"{self._url.netloc} cannot be reached, or speaks no HTTP: {error}"[:300])
            ) from None
        if answer.status in (502, 503, 504):
            raise _Unfit(
                Finding("address", "fail", f"the proxy answers {answer.status}: the service behind it does not run")
            )
        if answer.status == 403 and body is not None:
            raise _Unfit(Finding("address", "fail", _message(body)))
        is_ours = body is not None and "error" in body
        told = body.get("data") if body is not None and answer.status == 200 else None
        if not isinstance(told, dict) or not isinstance(told.get("prefix"), str):
            told = None
        return told, answer.status, answer.headers, is_ours

    def _clock(self, now: float, headers: Mapping[str, str]) -> Finding:
        try:
            there = parsedate_to_datetime(headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return Finding("clock", "warn", "no answer has a Date")
        apart = there - now
        if abs(apart) > _CLOCK_SECONDS:
            way = "ahead of" if apart > 0 else "behind"
            return Finding(
                "clock", "warn", f"its clock is {abs(apart):.0f} s {way} this one: JWTs may count as expired or not yet"
            )
        return Finding("clock", "ok", "its clock agrees with this one")

    async def _version(self) -> Finding:
        host, port = self._url.hostname or "", self._url.port or {"http": 80, "https": 443}[self._url.scheme]
        if self._url.scheme == "http":
            is_near = host in ("127.0.0.1", "::1", "localhost")
            text = "HTTP/1.1 without TLS: a browser keeps six connections, so six tabs are all"
            if is_near:
                return Finding("http", "ok", f"{text} (on this machine)")
            return Finding("http", "warn", f"{text}; and tokens travel readable for everybody between")
        offered = ssl.create_default_context()
        offered.check_hostname, offered.verify_mode = (
            False,
            ssl.CERT_NONE,
        )  # it was verified before; this asks one thing
        offered.set_alpn_protocols(["h2", "http/1.1"])
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                _, writer = await asyncio.open_connection(host, port, ssl=offered, server_hostname=host)
        except (OSError, TimeoutError) as error:
            return Finding("http", "warn", f"what it speaks could not be asked: {error}"[:200])
        chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
        if chosen == "h2":
            return Finding("http", "ok", "HTTP/2 to the browser: any number of tabs")
        return self._found(
            "http", "warn", "HTTP/1.1 to the browser: it keeps six connections, so six tabs are all", "http2"
        )

    def _passed(self, told: Mapping[str, Any]) -> list[Finding]:
        """Which Host and which version of HTTP have come through to the service."""
        seen = told.get("seen")
        if not isinstance(seen, dict):
            return [Finding("host", "warn", "an older service does not tell what came through")]
        findings = [Finding("host", "ok", "Host comes through as it was sent")]
        if str(seen.get("host", "")).lower() not in (self._url.netloc.lower(), _with_port(self._url)):
            findings = [
                self._found(
                    "host",
                    "fail",
                    f"Host was {self._url.netloc}, and {_plain(seen.get('host'))} came through: answers of people "
                    "will be 403s",
                    "host",
                )
            ]
        if seen.get("http") == "1.0":
            findings.append(
                self._found("upstream", "fail", "the proxy speaks HTTP/1.0 to the service: no WebSockets", "version")
            )
        else:
            findings.append(Finding("upstream", "ok", f"HTTP/{_plain(seen.get('http'))} to the service"))
        return findings

    async def _allowed(self) -> Finding:
        status, body = await self._call("GET", "/api/sse/health/" + self._session)
        if status in (200, 404):
            return Finding("token", "ok", "the token is taken" if self._token else "no token is needed")
        if status == 401 and self._token and _message(body) == _NOTHING_CAME:
            return self._found("token", "fail", "the proxy drops the header Authorization", "authorization")
        if status == 401:
            given = "this token is not taken" if self._token else "a token is needed: --token, or NOTIFIER_TOKEN"
            return Finding("token", "fail", given)
        if status == 403:
            return Finding(
                "token", "fail", f"{_message(body)} (a session that the token covers: --session)" if self._token
                else _message(body)
            )  # fmt: skip
        return Finding("token", "fail", f"{status}: {_message(body)}")

    # What comes, and when

    async def _stream(self) -> Finding:
        began = time.monotonic()
        answer = await self._opened()
        if answer is None:
            return self._found(
                "stream", "fail", "not one byte of the stream comes: something holds it back", "buffering"
            )
        async with answer:
            if answer.status != 200:
                return Finding("stream", "fail", f"{answer.status}: {_message(await _json(answer))}")
            if encoding := answer.headers.get("Content-Encoding"):
                return self._found(
                    "stream", "fail", f"the stream is compressed ({_plain(encoding)}), and so held back", "compression"
                )
            if await _arrives(answer, b'"hello"') is None:
                return self._found(
                    "stream", "fail", "the head of the stream comes and no event: something holds it back", "buffering"
                )
            first = time.monotonic() - began
            took = []
            for number in range(3):
                mark = f"doctor-{number}-{secrets.token_hex(4)}"
                sent = time.monotonic()
                status, _ = await self._call("POST", f"/api/events/{self._session}", _note(mark))
                if status != 201:
                    self._may_produce = False
                    break
                if await _arrives(answer, mark.encode()) is None:
                    return self._found(
                        "stream", "fail", "an event that was published does not come: it is held back", "buffering"
                    )
                took.append(time.monotonic() - sent)
        if first > _SOON_SECONDS:
            return self._found("stream", "fail", f"the first byte takes {first:.1f} s", "buffering")
        if not self._may_produce:
            return Finding(
                "stream", "warn", f"first byte after {first:.2f} s; events cannot be tried: no right produce"
            )
        late = min(took)  # what holds events back does so with each; a busy machine with some
        if late > _LATE_SECONDS:
            return self._found(
                "stream", "warn", f"first byte after {first:.2f} s, but each event takes {late:.2f} s", "late"
            )
        return Finding("stream", "ok", f"first byte after {first:.2f} s, events {late:.2f} s after they were published")

    async def _opened(self) -> aiohttp.ClientResponse | None:
        """The stream of its session; None when not one byte comes within the time that means that it is held back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_HELD_BACK_SECONDS):
                return await self._http.get(f"{self._base}/api/sse/events/{self._session}")
        return None

    async def _answers(self) -> Finding:
        """A person's answer, as a page of the service's own sends it."""
        status, body = await self._call(
            "POST",
            f"/api/sse/permission-response/{self._session}",
            {"approved": False, "request_id": "pr_doctor"},
            {"Origin": self._origin},
        )
        if status == 403 and body and body["error"].get("cause") in ("origin", "host"):
            return self._found("answers", "fail", f"each answer of a person is refused: {_message(body)}", "host")
        if status == 403 and body is None:
            return self._found("answers", "fail", "the proxy itself refuses a POST with an Origin (403)", "posts")
        if body is None or status in (405, 413, 415):
            told = f"a person's answer ends in a {status} that is not the service's"
            return self._found("answers", "fail", told, "posts")
        return Finding("answers", "ok", "a person's answer comes through with its Origin")

    async def _cors(self) -> Finding:
        if self._foreign is None:
            return Finding("cors", "ok", "not asked: pages of other origins (--origin) have no part here")
        path = f"{self._base}/api/sse/permission-response/{self._session}"
        asked = {
            "Origin": self._foreign,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        async with self._http.options(path, headers=asked) as answer:
            allowed = answer.headers.getall("Access-Control-Allow-Origin", [])
        if allowed == [self._foreign] and answer.status == 204:
            return Finding("cors", "ok", f"pages of {_plain(self._foreign)} may use it")
        if len(allowed) > 1:
            return Finding("cors", "fail", "Access-Control-Allow-Origin comes twice: the proxy must not add its own")
        return Finding(
            "cors", "fail", f"pages of {_plain(self._foreign)} are refused: the setting allowed_origins must name it"
        )

    async def _socket(self) -> Finding:
        try:
            async with asyncio.timeout(_HELD_BACK_SECONDS):
                live = await self._http.ws_connect(f"{self._base}/ws/{self._session}", origin=self._origin)
        except aiohttp.WSServerHandshakeError as error:
            return self._found(
                "websocket", "fail", f"no WebSocket comes through ({error.status}): the proxy drops Upgrade", "upgrade"
            )
        except (TimeoutError, aiohttp.ClientError, OSError):
            return self._found("websocket", "fail", "no WebSocket comes through: the connection ends", "upgrade")
        try:
            async with asyncio.timeout(_HELD_BACK_SECONDS):
                first = await live.receive()
        except TimeoutError:
            return self._found("websocket", "fail", "the WebSocket opens, and nothing comes on it", "buffering")
        finally:
            await live.close()
        if first.type is not aiohttp.WSMsgType.TEXT:
            return self._found("websocket", "fail", "the WebSocket opens, and is closed at once", "upgrade")
        return Finding("websocket", "ok", "a WebSocket comes through")

    async def _producer(self) -> Finding:
        if not self._may_produce:
            return Finding("producer", "warn", "cannot be tried: the token has no right produce")
        mark, goes_on = f"doctor-{secrets.token_hex(6)}", asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield json.dumps(_note(mark)).encode() + b"\n"
            await goes_on.wait()

        held_back = self._found("producer", "fail", "cannot be tried: the stream is held back", "buffering")
        stream = await self._opened()
        if stream is None:
            return held_back
        async with stream:
            if await _arrives(stream, b'"hello"') is None:
                return held_back
            sending = asyncio.ensure_future(
                self._http.post(
                    f"{self._base}/api/events/{self._session}",
                    data=lines(),
                    headers={"Content-Type": "application/x-ndjson"},
                )
            )
            try:
                came = await _arrives(stream, mark.encode())
                refused = sending.done() and not sending.exception() and sending.result().status >= 400
            finally:
                goes_on.set()
                with suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with asyncio.timeout(_HELD_BACK_SECONDS):
                        (await sending).release()
        if came is None or refused:
            return self._found(
                "producer", "fail", "what a producer streams arrives when it ends: requests are held back", "requests"
            )
        return Finding("producer", "ok", "what a producer streams arrives at once")

    async def _body(self) -> Finding:
        """One that no endpoint takes, so that nothing comes of it: whose refusal comes?"""
        status, body = await self._call(
            "POST", f"/api/events/{self._session}", {"type": 1, "padding": "x" * _LARGE_BYTES}
        )
        if body is None and status == 403:
            return Finding("body", "warn", "not tried: the proxy refuses a POST")
        if body is None:
            return self._found("body", "fail", f"a body of 1 MiB ends in a {status} that is not the service's", "body")
        return Finding("body", "ok", "large bodies reach the service, which says what is too large")

    async def _log(self) -> Finding:
        status, _ = await self._call("POST", f"/api/sse/ticket/{self._session}")
        tickets = "tickets work in the place of tokens" if status in (200, 201) else "no ticket is given"
        if self._program in ("nginx", "apache"):
            return self._found(
                "log", "warn", f"{tickets}; {self._program} logs queries, and tokens in them, unless it is told not to",
                "log",
            )  # fmt: skip
        return Finding("log", "ok", f"{tickets}; the service logs no query")

    # What lasts

    async def _idle(self) -> list[Finding]:
        return list(await asyncio.gather(self._silence(), self._question()))

    async def _silence(self) -> Finding:
        """Whether what is silent but for heartbeats stays open."""
        session = f"{self._session}-idle"
        began = time.monotonic()

        async def stream() -> float | None:
            """After how long it was cut; None when it was not."""
            async with self._http.get(f"{self._base}/api/sse/events/{session}") as answer:
                with suppress(aiohttp.ClientError, OSError):
                    async for _ in answer.content:
                        pass
            return time.monotonic() - began

        async def socket() -> float | None:
            with suppress(aiohttp.ClientError, OSError):
                live = await self._http.ws_connect(f"{self._base}/ws/{session}", origin=self._origin)
                async for _ in live:
                    pass
                return time.monotonic() - began
            return None  # that it does not open is another check's

        tasks = {asyncio.ensure_future(stream()): "stream", asyncio.ensure_future(socket()): "WebSocket"}
        done, open_still = await asyncio.wait(tasks, timeout=self._idle_seconds)
        for task in open_still:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            if task.exception() is None and (after := task.result()) is not None:
                return self._found("idle", "fail", f"a {tasks[task]} without events is cut after {after:.0f} s", "idle")
        return Finding(
            "idle", "ok", f"without events a stream and a WebSocket stay open for {self._idle_seconds:.0f} s"
        )

    async def _question(self) -> Finding:
        """Whether a request may be silent for as long as clients hold it."""
        wait = min(_LONG_POLL_SECONDS, int(self._idle_seconds))
        began = time.monotonic()
        try:
            async with asyncio.timeout(wait + _CHECK_SECONDS):
                status, body = await self._call("GET", f"/api/long-poll/{self._session}-held?timeout={wait}")
        except (TimeoutError, aiohttp.ClientError, OSError):
            status, body = 0, None
        took = time.monotonic() - began
        if body is None and status != 204:
            return self._found(
                "held", "fail", f"a request that waits is cut after {took:.0f} s ({status or 'no answer'})", "silent"
            )
        return Finding("held", "ok", f"a request may wait for {max(took, 0):.0f} s")

    async def _cleared(self) -> None:
        with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_CHECK_SECONDS):
                for ending in ("", "-idle", "-held"):
                    await self._call("DELETE", f"/api/sessions/{self._session}{ending}")

    async def _call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any] | None]:
        """The status, and the body where the service wrote it."""
        given = {"Accept-Encoding": "identity", **(headers or {})}
        data = None
        if body is not None:
            given["Content-Type"] = "application/json"
            data = io.BytesIO(json.dumps(body).encode())
        async with self._http.request(method, self._base + path, data=data, headers=given) as answer:
            return answer.status, await _json(answer)


def _note(mark: str) -> dict[str, Any]:
    return {"type": "note", "data": {"mark": mark}}


async def _json(answer: aiohttp.ClientResponse) -> dict[str, Any] | None:
    """A body in the service's one form; None for anything else."""
    try:
        body = json.loads(await answer.content.read(1024 * 1024))
    except (ValueError, RecursionError, aiohttp.ClientError):
        return None
    if not isinstance(body, dict) or "success" not in body:
        return None
    return body if body["success"] else body if isinstance(body.get("error"), dict) else None


async def _arrives(stream: aiohttp.ClientResponse, mark: bytes) -> float | None:
    """When it comes on the stream; None when it does not within the time that means that it is held back."""
    kept = b""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_HELD_BACK_SECONDS):
            async for piece in stream.content.iter_any():
                kept = (kept + piece)[-64 * 1024 :]
                if mark in kept:
                    return time.monotonic()
    return None


def _message(body: Mapping[str, Any] | None) -> str:
    return "not the service's own answer" if body is None else str(body.get("message", ""))[:600]


def _plain(text: object) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in str(text))[:200]


def _program(server: str) -> str | None:
    for name in ("nginx", "caddy", "apache"):
        if name in server.lower():
            return name
    return None


def _with_port(address: SplitResult) -> str:
    return f"{address.hostname}:{address.port or {'http': 80, 'https': 443}[address.scheme]}"
