"""The doctor through real proxies: nothing to say of the printed lines, and the fault of each wrong variant by name."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession

from notifier_service.cli.proxies import PROXIES, Front
from tests.cli.processes import Commands, free_port
from tests.deploy.conftest import AGENT, TOKEN
from tests.deploy.programs import make_certificate, running
from tests.service_process import service_process


class Report(NamedTuple):
    exit_code: int
    outcomes: dict[str, str]
    mends: dict[str, dict[str, str]]
    text: str


async def examined(url: str, *flags: str, token: str | None = TOKEN, idle_seconds: float = 0) -> Report:
    given = [] if token is None else ["--token", token]
    done = await Commands().run_here("doctor", url, "--json", "--idle-seconds", str(idle_seconds), *given, *flags)
    assert done.err == ""
    findings: list[dict[str, Any]] = json.loads(done.out)
    return Report(
        done.exit_code,
        {finding["check"]: finding["outcome"] for finding in findings},
        {finding["check"]: finding["mends"] for finding in findings},
        done.out,
    )


@asynccontextmanager
async def behind(
    proxy: str, service_port: int, folder: Path, change: Callable[[str], str] = str, *, path: str = ""
) -> AsyncIterator[str]:
    """The service behind a proxy with the printed lines, after a change of them."""
    port = free_port()
    front = Front(
        upstreams=(f"127.0.0.1:{service_port}",), server_name="127.0.0.1", path=path, listen=f"127.0.0.1:{port}"
    )
    async with running(proxy, change(PROXIES[proxy](front)), port, folder / proxy):
        yield f"http://127.0.0.1:{port}{path}"


@pytest.mark.parametrize("path", ["", "/notifier"], ids=["at the root", "under a path"])
@pytest.mark.parametrize("proxy", PROXIES)
async def test_nothing_fails_with_the_printed_lines(proxy: str, path: str, service_port: int, tmp_path: Path) -> None:
    async with behind(proxy, service_port, tmp_path, path=path) as url:
        report = await examined(f"{url}/agent_backend", idle_seconds=1)

    assert report.exit_code == 0
    assert set(report.outcomes) == {
        "address", "clock", "http", "host", "upstream", "token", "stream", "answers", "cors", "websocket", "producer",
        "body", "log", "idle", "held",
    }  # fmt: skip
    assert "fail" not in report.outcomes.values()
    assert {check for check, outcome in report.outcomes.items() if outcome == "warn"} <= {"log"}


def without(*lines: str) -> Callable[[str], str]:
    """The configuration without the lines in which these stand."""

    def change(text: str) -> str:
        for line in lines:
            assert line in text
            text = re.sub(rf"^.*{re.escape(line)}.*\n", "", text, flags=re.M)
        return text

    return change


def instead(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


NGINX_HOLDS_BACK = (
    "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering; proxy_buffer_size 256k; proxy_buffers 8 256k;"
    "proxy_busy_buffers_size 256k; gzip off;"
)

#: proxy, what is wrong, the change, the check that fails, what its mend says
WRONG = [
    ("nginx", "buffering on", lambda text: without("proxy_http_version")(
        instead("proxy_buffering off;", NGINX_HOLDS_BACK)(text).replace("        gzip off;\n", "", 1)),
     "stream", "proxy_buffering off;"),
    ("nginx", "HTTP/1.0 upstream", without("proxy_http_version"), "upstream", "proxy_http_version 1.1;"),
    ("nginx", "no upgrade", without("proxy_set_header Upgrade"), "websocket", "proxy_set_header Upgrade $http_upgrade"),
    ("nginx", "Host changed", without("proxy_set_header Host"), "host", "proxy_set_header Host $http_host;"),
    ("nginx", "Host without its port", instead("$http_host", "$host"), "host", "proxy_set_header Host $http_host;"),
    ("nginx", "Origin refused", without("proxy_set_header Host"), "answers", "proxy_set_header Host $http_host;"),
    ("nginx", "short timeout", instead("proxy_read_timeout 1h", "proxy_read_timeout 1s"), "idle", "proxy_read_timeout"),
    ("nginx", "held request cut", instead("proxy_read_timeout 1h", "proxy_read_timeout 1s"), "held",
     "proxy_read_timeout"),
    ("nginx", "compression", instead("gzip off;", "gzip on; gzip_types text/event-stream; gzip_min_length 0;"),
     "stream", "gzip off;"),
    ("nginx", "requests buffered", instead("proxy_request_buffering off", "proxy_request_buffering on"),
     "producer", "proxy_request_buffering off;"),
    ("nginx", "bodies bounded", without("client_max_body_size"), "body", "client_max_body_size 0;"),
    ("haproxy", "Host changed", instead("    server notifier1",
     "    http-request set-header Host internal.example\n    server notifier1"), "host", "set-header Host"),
    ("haproxy", "short timeout", instead("timeout server 1h", "timeout server 1s"), "idle", "timeout server 1h"),
    ("haproxy", "requests buffered", instead("    option forwardfor",
     "    option forwardfor\n    option http-buffer-request"),
     "producer", "no option http-buffer-request"),
    ("haproxy", "no upgrade", instead("    server notifier1",
     "    http-request del-header Upgrade\n    http-request del-header Connection\n    server notifier1"),
     "websocket", "del-header Upgrade"),
    ("caddy", "Host changed", instead("reverse_proxy 127", "reverse_proxy {\n header_up Host internal\n to 127"),
     "host", "header_up Host"),
    ("caddy", "requests buffered", instead("reverse_proxy 127", "reverse_proxy {\n buffer_requests\n to 127"),
     "producer", "request_buffers"),
    ("caddy", "no upgrade", instead("reverse_proxy 127",
     "reverse_proxy {\n header_up -Upgrade\n header_up -Connection\n to 127"), "websocket", "no header_up Upgrade"),
    ("caddy", "bodies bounded", instead("reverse_proxy 127",
     "request_body {\n max_size 100KB\n }\n reverse_proxy 127"), "body", "max_size"),
    ("caddy", "short timeout", instead("reverse_proxy 127",
     "reverse_proxy {\n transport http {\n read_timeout 1s\n }\n to 127"), "idle", "read_timeout"),
    ("haproxy", "short tunnel", instead("timeout tunnel 1h", "timeout tunnel 1s"), "idle", "timeout tunnel 1h"),
    ("nginx", "token dropped", instead("proxy_set_header Host $http_host;",
     'proxy_set_header Host $http_host; proxy_set_header Authorization "";'), "token", "Authorization"),
    ("nginx", "answers refused", instead("proxy_set_header Host $http_host;",
     "proxy_set_header Host $http_host; limit_except GET { deny all; }"), "answers", "limit_except"),
    ("haproxy", "answers refused", instead("    server notifier1",
     "    http-request deny if METH_POST\n    server notifier1"), "answers", "METH_POST"),
    ("apache", "Host changed", without("ProxyPreserveHost"), "host", "ProxyPreserveHost On"),
    ("apache", "Origin refused", without("ProxyPreserveHost"), "answers", "ProxyPreserveHost On"),
    ("apache", "no upgrade", instead(" upgrade=websocket", ""), "websocket", "upgrade=websocket"),
    ("apache", "short timeout", instead("timeout=3600", "timeout=1"), "idle", "timeout=3600"),
    ("apache", "requests buffered", without("proxy-prefetch-nonblocking"), "producer", "proxy-prefetch-nonblocking"),
    ("apache", "HTTP/1.0 upstream", instead("    ProxyPreserveHost On",
     "    ProxyPreserveHost On\n    SetEnv force-proxy-request-1.0 1"), "upstream", "force-proxy-request-1.0"),
    ("apache", "compression", lambda text: without("SetEnv no-gzip")(text).replace(
        "</VirtualHost>", "AddOutputFilterByType DEFLATE text/event-stream\n</VirtualHost>"), "stream", "no-gzip"),
]  # fmt: skip


def _closed(proxy: str, text: str) -> str:
    """A block that a change has opened in a Caddyfile, closed again."""
    return re.sub(r"( to 127[^\n]*)", r"\1\n }", text) if proxy == "caddy" else text


def _with_the_others(number: int) -> Sequence[pytest.MarkDecorator]:
    """Of each proxy one is tried at every turn; each waits for a proxy, and all of them take minutes."""
    is_first = WRONG[number][0] not in {wrong[0] for wrong in WRONG[:number]}
    return () if is_first else (pytest.mark.integration,)


@pytest.mark.parametrize(
    ("proxy", "change", "check", "mend"),
    [
        pytest.param(proxy, change, check, mend, id=f"{proxy}: {what}", marks=_with_the_others(number))
        for number, (proxy, what, change, check, mend) in enumerate(WRONG)
    ],
)
async def test_each_wrong_variant_is_named_with_the_line_that_mends_it(
    proxy: str, change: Callable[[str], str], check: str, mend: str, tokens_file: Path, tmp_path: Path
) -> None:
    flags = ["--auth", "tokens", "--tokens-file", str(tokens_file)]
    async with (
        service_process(*flags) as (_, port),
        behind(proxy, port, tmp_path, lambda text: _closed(proxy, change(text))) as url,
    ):
        report = await examined(url, idle_seconds=5 if check in ("idle", "held") else 0)

    assert report.exit_code == 1
    assert report.outcomes[check] == "fail"
    assert mend in report.mends[check][proxy]
    assert "no answer within" not in report.text  # what is held back is known to be long before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (instead("proxy_pass http://notifier_service/;", "proxy_pass http://notifier_service;"), "as it is"),
        (instead("location /notifier/", "location /other/"), "is no notifier-service"),
    ],
    ids=["not taken away", "another path"],
)
async def test_path_that_is_wrong_in_the_proxy_is_told(
    change: Callable[[str], str], told: str, service_port: int, tmp_path: Path
) -> None:
    async with behind("nginx", service_port, tmp_path, change, path="/notifier") as url:
        report = await examined(f"{url}/agent_backend")

    assert (report.exit_code, report.outcomes) == (1, {"address": "fail"})
    assert told in report.text
    assert "proxy_pass http://127.0.0.1:8000/" in report.mends["address"]["nginx"]


async def test_events_that_each_come_late_are_told(tokens_file: Path, tmp_path: Path) -> None:
    flags = ["--auth", "tokens", "--tokens-file", str(tokens_file)]
    async with (
        service_process(*flags) as (_, port),
        behind("haproxy", port, tmp_path, without("option http-no-delay")) as url,
    ):
        report = await examined(url)

    assert (report.exit_code, report.outcomes["stream"]) == (0, "warn")
    assert report.mends["stream"]["haproxy"] == "option http-no-delay"


@pytest.mark.parametrize(
    ("change", "outcome"), [(str, "ok"), (instead(" ssl http2;", " ssl;"), "warn")], ids=["HTTP/2", "HTTP/1.1"]
)
async def test_certificate_and_http_2_are_looked_at(
    change: Callable[[str], str], outcome: str, service_port: int, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path, "127.0.0.1")
    port = free_port()
    front = Front(
        upstreams=(f"127.0.0.1:{service_port}",), server_name="127.0.0.1", certificate=str(certificate), key=str(key),
        listen=f"127.0.0.1:{port}",
    )  # fmt: skip
    async with running("nginx", change(PROXIES["nginx"](front)), port, tmp_path / "nginx"):
        known = await examined(f"https://127.0.0.1:{port}", "--ca-file", str(certificate))
        unknown = await examined(f"https://127.0.0.1:{port}")
    gc.collect()  # a connection that was left open would be warned of, which fails the test

    assert (known.exit_code, known.outcomes["http"]) == (0, outcome)
    assert known.outcomes["websocket"] == "ok"
    assert outcome == "ok" or known.mends["http"] == {"nginx": "listen 443 ssl http2;"}
    assert (unknown.exit_code, unknown.outcomes) == (1, {"address": "fail"})
    assert "certificate" in unknown.text


async def test_url_without_the_prefix_or_with_another_one_is_mended_in_words(service_port: int) -> None:
    report = await examined(f"http://127.0.0.1:{service_port}/somewhere/else")
    assert (report.exit_code, report.outcomes["address"]) == (0, "warn")
    assert "use that URL" in report.text
    report = await examined(f"http://127.0.0.1:{service_port}")
    assert (report.exit_code, report.outcomes["address"]) == (0, "ok")
    assert f"http://127.0.0.1:{service_port}/agent_backend" in report.text


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:{closed}", "cannot be reached"),
        ("https://127.0.0.1:{port}", "TLS"),
        ("http://name.invalid", "no address is known"),
        ("ftp://127.0.0.1", "a URL is"),
        ("nonsense", "a URL is"),
        ("http://[::1", "a URL is"),
        ("http://127.0.0.1:99999", "a URL is"),
        ("http://127.0.0.1:{closed}/?token={token}", "cannot be reached"),
        ("http://anna:{token}@127.0.0.1:{port}", "a URL is"),
    ],
)
async def test_what_cannot_be_reached_is_told_in_one_line(url: str, told: str, service_port: int) -> None:
    report = await examined(url.format(port=service_port, closed=free_port(), token=TOKEN))

    assert (report.exit_code, report.outcomes) == (1, {"address": "fail"})
    assert told in report.text
    assert TOKEN not in report.text


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan", "4000"])
async def test_silence_without_an_end_is_refused(seconds: str) -> None:
    done = await Commands().run_here("doctor", "http://127.0.0.1:1", f"--idle-seconds={seconds}")

    assert (done.exit_code, done.out) == (1, "")
    assert "0 to 3600" in done.err


async def test_token_that_is_missing_or_wrong_is_told_and_never_printed(service_port: int) -> None:
    url = f"http://127.0.0.1:{service_port}"

    wrong, missing = await examined(url, token="wrong-token-1234567"), await examined(url, token=None)

    assert (wrong.exit_code, wrong.outcomes["token"]) == (1, "fail")
    assert "wrong-token-1234567" not in wrong.text
    assert (missing.exit_code, missing.outcomes["token"]) == (1, "fail")


async def test_origin_that_is_not_allowed_is_told(service_port: int) -> None:
    report = await examined(f"http://127.0.0.1:{service_port}", "--origin", "https://app.example")

    assert (report.exit_code, report.outcomes["cors"]) == (1, "fail")
    assert "allowed_origins" in report.text


async def test_service_that_says_nothing_is_given_up_and_lines_are_for_people(service_port: int) -> None:
    async def is_told_things_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"success": false, "error": {"code": "x"}, "message": "' + TOKEN.encode() + b'\\u001b[31m"}'
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(is_told_things_back, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        done = await Commands().run_here("doctor", f"http://127.0.0.1:{port}", "--token", TOKEN)

    assert done.exit_code == 1
    assert done.out.startswith("fail  address ")
    assert TOKEN not in done.out
    assert "\x1b" not in done.out


async def test_doctor_leaves_no_session_behind(service_port: int) -> None:
    url = f"http://127.0.0.1:{service_port}"
    assert (await examined(url, idle_seconds=1)).exit_code == 0

    async with (
        ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session,
        session.get(f"{url}/agent_backend/api/sessions") as answer,
    ):
        assert (await answer.json())["data"] == []


async def test_token_of_few_rights_is_told_what_could_not_be_tried(service_port: int) -> None:
    report = await examined(f"http://127.0.0.1:{service_port}", token=AGENT)

    assert (report.exit_code, report.outcomes["token"]) == (1, "fail")
    assert "view" in report.text
