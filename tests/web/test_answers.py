"""One error shape for every failure, and what an error never tells (contract section 9)."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from notifier_service import Broker, Settings, create_app
from notifier_service.core.session import Session

from .conftest import API, Client, MakeClient, Service, error_of

DECIDE = f"{API}/sse/permission-response/s1"
SECRET = "s3cr3t-value"


class FailingBroker(Broker):
    """A broker with a bug."""

    def look(self, session_id: str) -> Session:
        raise RuntimeError("a bug")


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
        ("GET", f"{API}/sessions/s1", {"DELETE", "POST"}),
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
