"""Bad input of every kind has an answer that says what is wrong, and never repeats it (contract section 9)."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from .conftest import API, Client, MakeClient, error_of

JSON = {"Content-Type": "application/json"}
DECIDE = f"{API}/sse/permission-response/s1"
BODY_PATHS = pytest.mark.parametrize("path", [DECIDE, f"{API}/permissions/s1", f"{API}/events/s1", f"{API}/events"])
SECRET = "s3cr3t-value"


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
