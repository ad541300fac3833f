"""One error shape for every failure, and bad input of every kind (contract section 9)."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from notifier_service import Broker, Settings, create_app
from notifier_service.core.session import Session

from .conftest import API, Client, MakeClient, Service, error_of, serving, until

JSON = {"Content-Type": "application/json"}
DECIDE = f"{API}/sse/permission-response/s1"
BODY_PATHS = pytest.mark.parametrize("path", [DECIDE, f"{API}/permissions/s1", f"{API}/events/s1", f"{API}/events"])
SECRET = "s3cr3t-value"


class FailingBroker(Broker):
    """A broker with a bug."""

    def look(self, session_id: str) -> Session:
        raise RuntimeError("a bug")


BAD_JSON = {
    "empty": b"",
    "blank": b" \r\n",
    "broken": b'{"approved": tru',
    "trailing": b'{"approved": true} x',
    "two": b"{}{}",
    "comment": b"{} // x",
    "single-quotes": b"{'approved': true}",
    "nan": b'{"approved": true, "parameters": {"x": NaN}}',
    "infinity": b'{"approved": true, "parameters": {"x": -Infinity}}',
    "1e999": b'{"approved": true, "parameters": {"x": 1e999}}',
    "-1E+0999": b'{"approved": true, "parameters": {"x": [{"y": -1E+0999}]}}',
    "1e400-in-digits": b'{"approved": true, "parameters": {"x": 1' + b"0" * 400 + b".0}}",
    "integer-too-long": b'{"approved": true, "parameters": {"x": ' + b"9" * 5000 + b"}}",
    "deep-arrays": b"[" * 100_000,
    "deep-objects": b'{"a":' * 50_000,
    "deep-and-closed": b"[" * 1000 + b"]" * 1000,
    "utf-8": b'{"approved": true, "reason": "\xff\xfe"}',
    "utf-8-cut": b'{"approved": true, "reason": "\xc3"}',
    "utf-8-surrogate": b'{"approved": true, "reason": "\xed\xa0\x80"}',
    "lone-surrogate": b'{"approved": true, "reason": "\\ud800"}',
    "raw-newline": b'{"approved": true, "reason": "a\nb"}',
    "raw-nul": b'{"approved": true, "reason": "\0"}',
    "utf-16": '{"approved": true}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"approved": true}',
    "binary": bytes(range(256)),
}


@BODY_PATHS
@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON.keys())
async def test_what_is_no_json_is_invalid_and_says_where(client: Client, path: str, body: bytes) -> None:
    response = await client.post(path, data=body, headers=JSON)

    assert await error_of(response) == (422, "invalid")
    assert (await response.json())["message"].startswith("no valid JSON: ")


@pytest.mark.parametrize("number", [b"9" * 250 + b"e99", b"9" * 299 + b"e10"])
async def test_a_number_that_is_infinite_in_any_spelling_is_invalid(client: Client, number: bytes) -> None:
    body = b'{"type": "note", "data": {"x": ' + number + b"}}"

    response = await client.post(f"{API}/events/s1", data=body, headers=JSON)

    assert await error_of(response) == (422, "invalid")


@pytest.mark.parametrize("number", [b"9" * 4300, b"-" + b"9" * 4299, b"1e308", b"5e-324"])
async def test_a_number_that_is_just_not_too_large_is_taken(client: Client, number: bytes) -> None:
    body = b'{"type": "note", "data": {"x": ' + number + b"}}"

    response = await client.post(f"{API}/events/s1", data=body, headers=JSON)

    assert response.status == 201


@BODY_PATHS
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""]
)
async def test_a_body_that_is_no_json_by_its_type_is_unsupported(client: Client, path: str, content_type: str) -> None:
    response = await client.post(path, data=b'{"approved": true}', headers={"Content-Type": content_type})

    assert await error_of(response) == (415, "unsupported_media_type")


@BODY_PATHS
async def test_a_body_without_a_type_is_unsupported(client: Client, path: str) -> None:
    response = await client.post(path, data=b"{}", skip_auto_headers=["Content-Type"])

    assert await error_of(response) == (415, "unsupported_media_type")


async def test_a_charset_beside_the_type_changes_nothing(client: Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=UTF-8"}

    response = await client.post(f"{API}/events/s1", data=b'{"type":"note"}', headers=headers)

    assert response.status == 201


async def _chunks(size: int, piece: int = 4096) -> AsyncIterator[bytes]:
    yield b'{"x": "'
    for _ in range(0, size, piece):
        yield b"x" * piece
    yield b'"}'


@BODY_PATHS
async def test_a_huge_body_is_too_large_before_it_is_read(client: Client, path: str) -> None:
    response = await client.post(path, data=io.BytesIO(b"x" * (1024 * 1024 + 1)), headers=JSON)

    assert await error_of(response) == (413, "too_large")
    assert (await response.json())["error"]["limit"] == "max_body_bytes"


@BODY_PATHS
async def test_a_huge_body_in_chunks_is_too_large(make_client: MakeClient, path: str) -> None:
    client = await make_client(max_parameters_bytes=1024)
    response = await client.post(path, data=_chunks(1024 * 1024 + 8192), headers=JSON)

    assert await error_of(response) == (413, "too_large")


@BODY_PATHS
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_too_large(client: Client, path: str, encoding: str) -> None:
    packed = (gzip if encoding == "gzip" else zlib).compress(b" " * 8_000_000)
    assert len(packed) < 20_000

    response = await client.post(path, data=packed, headers={**JSON, "Content-Encoding": encoding})

    assert await error_of(response) == (413, "too_large")


async def test_a_bomb_of_one_line_is_too_large(client: Client) -> None:
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}

    response = await client.post(f"{API}/events/s1", data=gzip.compress(b"x" * 8_000_000), headers=headers)

    assert await error_of(response) == (413, "too_large")
    assert (await response.json())["error"]["line"] == 1


async def test_a_packed_body_is_unpacked(client: Client) -> None:
    packed = gzip.compress(b'{"type": "note"}')

    response = await client.post(f"{API}/events/s1", data=packed, headers={**JSON, "Content-Encoding": "gzip"})

    assert response.status == 201


@BODY_PATHS
async def test_a_packed_body_that_is_broken_is_invalid(client: Client, path: str) -> None:
    response = await client.post(path, data=b"no gzip at all", headers={**JSON, "Content-Encoding": "gzip"})

    assert await error_of(response) == (422, "invalid")
    assert "it is not the gzip" in (await response.json())["message"]


async def test_a_body_of_just_the_limit_is_taken(make_client: MakeClient) -> None:
    client = await make_client(max_body_bytes=1024)
    body = json.dumps({"type": "note", "data": {"x": ""}}).encode()
    body = body.replace(b'""', b'"' + b"x" * (1024 - len(body)) + b'"')

    taken = await client.post(f"{API}/events/s1", data=body, headers=JSON)
    refused = await client.post(f"{API}/events/s1", data=body + b" ", headers=JSON)

    assert (len(body), taken.status, refused.status) == (1024, 201, 413)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (DECIDE, {"approved": SECRET}),
        (DECIDE, {"approved": True, "scope": SECRET}),
        (DECIDE, {"approved": True, "parameters": SECRET}),
        (DECIDE, {"approved": True, "request_id": SECRET}),
        (DECIDE, {"approved": True, "response": SECRET}),
        (DECIDE, SECRET),
        (DECIDE, [SECRET]),
        (f"{API}/permissions/s1", {"tool_name": "x", "parameters": {}, "risk_level": SECRET}),
        (f"{API}/permissions/s1", {"tool_name": "x", "parameters": {}, "timeout_seconds": SECRET}),
        (f"{API}/events/s1", {"type": SECRET}),
        (f"{API}/events/s1", {"type": "note", "data": SECRET}),
        (f"{API}/events/s1", {"type": "note", "session_id": SECRET}),
        (f"{API}/events/s1", {"type": "tool_status", "data": {"status": SECRET, "timestamp": SECRET}}),
        (f"{API}/events/s1", {"type": "tool_result", "data": {"tool_name": "x", "success": SECRET}}),
        (f"{API}/events", {"type": "note", "session_id": f"{SECRET}/"}),
        (f"{API}/events", [{"type": "tool_progress", "session_id": "s1", "data": {"progress": SECRET}}]),
    ],
)
async def test_an_error_never_repeats_what_was_sent(client: Client, path: str, body: Any) -> None:
    response = await client.post(path, json=body)

    assert 400 <= response.status < 500
    assert SECRET not in await response.text() + str(response.headers)


@pytest.mark.parametrize("body", [f'"{SECRET}', f"{SECRET}", f'{{"approved": {SECRET}}}', f'{{"{SECRET}" 1}}'])
async def test_an_error_in_the_json_never_repeats_it(client: Client, body: str) -> None:
    response = await client.post(DECIDE, data=body.encode(), headers=JSON)

    assert response.status == 422
    assert SECRET not in await response.text()


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/sse/health/{SECRET}%20",
        f"{API}/permissions/s1/{SECRET}",
        f"{API}/permissions/s1?wait={SECRET}",
        f"{API}/permissions/s1?unknown={SECRET}",
        f"{API}/permissions/s1?token=a&token={SECRET}",
        f"{API}/{SECRET}",
        f"/{SECRET}?{SECRET}",
    ],
)
async def test_an_error_never_repeats_the_address(client: Client, path: str) -> None:
    response = await client.get(URL(path, encoded=True))

    assert 400 <= response.status < 500
    assert SECRET not in await response.text() + str(response.headers)


async def test_a_name_that_is_unknown_is_told_cut_to_its_beginning(client: Client) -> None:
    response = await client.post(DECIDE, json={"approved": True, "x" * 1000: 1})

    assert (await response.json())["error"]["problems"] == [
        {"where": "x" * 64, "why": "Extra inputs are not permitted"}
    ]


async def test_of_many_problems_the_first_twenty_are_told(client: Client) -> None:
    response = await client.post(DECIDE, json={"approved": True, **{f"x{n}": 1 for n in range(100)}})

    assert len((await response.json())["error"]["problems"]) == 20


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/agent_backend/nothing",
        "/agent_backend/console/",
        f"{API}/",
        f"{API}/sse/events/",
        f"{API}/sessions/",
    ],
)
async def test_a_path_that_is_none_is_not_found(client: Client, path: str) -> None:
    response = await client.get(URL(path, encoded=True))

    assert await error_of(response) == (404, "not_found")
    assert (await response.json())["message"] == "There is no such path."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", f"{API}/sse/events/s1", {"GET"}),
        ("GET", DECIDE, {"POST"}),
        ("PUT", f"{API}/events/s1", {"POST"}),
        ("PATCH", f"{API}/permissions/s1", {"GET", "POST"}),
        ("POST", f"{API}/permissions/s1/pr_x", {"GET", "DELETE"}),
        ("GET", f"{API}/sessions/s1", {"DELETE"}),
        ("OPTIONS", f"{API}/events", {"POST"}),
        ("POST", "/healthz/live", {"GET", "HEAD"}),
        ("PROPFIND", f"{API}/sessions", {"GET"}),
    ],
)
async def test_a_method_that_is_none_is_told_which_there_are(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    response = await client.request(method, path)

    assert await error_of(response) == (405, "method_not_allowed")
    assert set(response.headers["Allow"].split(",")) == allowed


async def test_a_bug_is_a_500_that_tells_nothing_and_a_log_line_that_tells_no_query(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client = await make_client(FailingBroker())

    response = await client.get(f"{API}/sse/health/private-id", params={"token": SECRET})

    assert await error_of(response) == (500, "internal")
    assert "a bug" not in await response.text()
    told = [record for record in caplog.records if record.name == "notifier_service.web"]
    assert [record.getMessage() for record in told] == ["GET /agent_backend/api/sse/health/{session_id} failed"]
    assert told[0].exc_info is not None
    assert SECRET not in caplog.text
    assert "private-id" not in told[0].getMessage()


async def test_errors_are_not_stored_nor_sniffed_and_send_no_referrer(client: Client) -> None:
    response = await client.get("/nothing")

    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"


async def raising(aiohttp_client: Any, broker: Broker, error: web.HTTPException) -> Client:
    """A client of the application with a route ``/own`` of the program that made it."""

    async def refuse(request: web.Request) -> web.Response:
        raise error

    app = create_app(broker, Settings())
    app.router.add_get("/own", refuse)
    client: Client = await aiohttp_client(app)
    return client


async def test_what_another_route_of_the_application_raises_has_the_one_shape(
    aiohttp_client: Any, broker: Broker
) -> None:
    client = await raising(aiohttp_client, broker, web.HTTPNotFound())

    assert await error_of(await client.get("/own")) == (404, "not_found")


async def test_what_another_route_forbids_has_the_code_of_its_status(aiohttp_client: Any, broker: Broker) -> None:
    client = await raising(aiohttp_client, broker, web.HTTPForbidden())

    assert await error_of(await client.get("/own")) == (403, "forbidden")


async def test_where_another_route_redirects_to_stays(aiohttp_client: Any, broker: Broker) -> None:
    client = await raising(aiohttp_client, broker, web.HTTPFound("/healthz/live"))

    response = await client.get("/own", allow_redirects=False)

    assert (response.status, response.headers.get("Location")) == (302, "/healthz/live")


async def test_what_another_route_reads_is_bounded_too(aiohttp_client: Any, broker: Broker) -> None:
    async def read(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = create_app(broker, Settings(max_body_bytes=1024))
    app.router.add_post("/own", read)
    client = await aiohttp_client(app)

    assert await error_of(await client.post("/own", data=b"x" * 2000)) == (413, "too_large")


UNREADABLE = {
    "query": f"GET {API}/sse/events/s1?token={SECRET}&x={'x' * 9000} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
    "header": f"GET {API}/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {SECRET}\0\r\n\r\n".encode(),
    "long-header": f"GET {API}/sessions HTTP/1.1\r\nAuthorization: Bearer {SECRET}{'x' * 9000}\r\n\r\n".encode(),
}
WHERE_A_TOKEN_IS_UNREADABLE = pytest.mark.parametrize("request_", UNREADABLE.values(), ids=UNREADABLE.keys())


@WHERE_A_TOKEN_IS_UNREADABLE
async def test_a_token_in_what_is_no_http_reaches_no_log(
    service: Service, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    caplog.set_level("DEBUG")

    received = await service.raw(request_)

    assert b" 400 Bad Request\r\n" in received
    assert SECRET not in caplog.text


async def test_a_held_answer_ends_with_its_service() -> None:
    async with serving(shutdown_seconds=1) as service:
        broker = service.site.broker
        held = asyncio.ensure_future(
            service.http.post(f"{API}/permissions/s1", json={"tool_name": "x", "parameters": {}}, params={"wait": "60"})
        )
        await until(lambda: broker.statistics().pending_permissions)
        broker.close()
        body = await (await held).json()

    assert (body["data"]["status"], body["data"]["approved"]) == ("cancelled", False)
