"""The application: run, mounted in another, twice in one process."""

from __future__ import annotations

import logging
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier_service import Broker, Settings, SimpleNotifier, ToolWrapper, create_app, serve
from notifier_service.core.broker import process_broker
from notifier_service.core.errors import NoBroker
from notifier_service.web import AccessLog, Site

from .conftest import API, Client, Service, Stream, answer, error_of, reading, serving, until

TOOL: dict[str, Any] = {"tool_name": "ls", "parameters": {"path": "/"}, "risk_level": "low"}


@pytest.fixture
async def mounted(aiohttp_client: Any, broker: Broker) -> Client:
    """A client of another application, with the service under /notifier/."""

    async def index(request: web.Request) -> web.Response:
        return web.Response(text="host")

    host = web.Application()
    host.router.add_get("/", index)
    host.add_subapp("/notifier/", create_app(broker, Settings()))
    client: Client = await aiohttp_client(host, connector=aiohttp.TCPConnector(force_close=True))
    return client


async def test_a_mounted_service_answers_under_its_path_and_the_host_beside_it(mounted: Client) -> None:
    host = await mounted.get("/")
    health = await mounted.get(f"/notifier{API}/sse/health/s1")
    live = await mounted.get("/notifier/healthz/live")

    assert await host.text() == "host"
    assert (await health.json())["data"]["session_id"] == "s1"
    assert live.status == 200


async def test_a_mounted_service_streams_what_the_notifier_publishes(mounted: Client) -> None:
    async with reading(mounted, prefix=f"/notifier{API}") as stream:
        await stream.take(2)
        await SimpleNotifier.notify_tool_execution_start("s1", TOOL)
        request = await SimpleNotifier.notify_tool_waiting_permission("s1", TOOL)
        decided = await mounted.post(f"/notifier{API}/polling/permission-response/s1", json={"approved": True})
        await SimpleNotifier.notify_tool_execution_complete("s1", TOOL, ["bin"], True)
        frames = await stream.take(7)

    assert [frame.type for frame in frames] == [
        "tool_status",
        "tool_status",
        "permission_request",
        "permission_response_result",
        "permission_cleared",
        "tool_result",
        "tool_status",
    ]
    assert decided.status == 200
    assert (await request.decision()).approved is True


async def test_a_mounted_service_gives_its_errors_the_one_shape(mounted: Client) -> None:
    assert await error_of(await mounted.get("/notifier/nothing")) == (404, "not_found")
    assert await error_of(await mounted.put("/notifier/healthz/live")) == (405, "method_not_allowed")
    assert await error_of(await mounted.get("/notifier/agent_backend/api/sse/health/a%20b")) == (422, "invalid")


async def test_a_mounted_service_does_not_touch_the_errors_of_its_host(mounted: Client) -> None:
    response = await mounted.get("/nothing")

    assert (response.status, response.content_type) == (404, "text/plain")


async def test_a_mounted_service_closes_its_broker_with_its_host(mounted: Client, broker: Broker) -> None:
    async with mounted.get(f"/notifier{API}/sse/events/s1") as response:
        stream = Stream(response)
        await stream.take(2)
        await mounted.app.shutdown()
        frames = await stream.rest()

    assert [frame.data["data"]["code"] for frame in frames] == ["shutdown"]
    assert broker.closed


async def test_two_applications_keep_their_sessions_apart(aiohttp_client: Any) -> None:
    brokers = Broker(), Broker()
    one, two = [await aiohttp_client(create_app(broker, Settings())) for broker in brokers]

    await one.post(f"{API}/events/s1", json={"type": "note"}, headers={"Idempotency-Key": "k"})
    await two.post(f"{API}/events/s2", json={"type": "note"}, headers={"Idempotency-Key": "k"})

    assert [[session.session_id for session in broker.sessions] for broker in brokers] == [["s1"], ["s2"]]


async def test_of_two_applications_the_notifier_publishes_to_the_later(aiohttp_client: Any) -> None:
    first, second = Broker(), Broker()
    create_app(first, Settings())
    create_app(second, Settings())

    await SimpleNotifier.notify_tool_execution_start("s1", TOOL)

    assert (len(first.sessions), len(second.sessions)) == (0, 1)


async def test_closing_the_earlier_of_two_applications_leaves_the_later_in_its_place() -> None:
    first, second = Broker(), Broker()
    earlier = create_app(first, Settings())
    create_app(second, Settings())

    earlier.freeze()
    await earlier.shutdown()

    assert first.closed
    assert process_broker() is second


async def test_two_services_run_side_by_side() -> None:
    async with serving() as one, serving() as two:
        await one.http.post(f"{API}/events/s1", json={"type": "note"})
        counts = [len((await (await each.http.get(f"{API}/sessions")).json())["data"]) for each in (one, two)]

    assert counts == [1, 0]
    assert one.site.port != two.site.port


async def test_an_application_reads_its_settings_from_the_environment(
    aiohttp_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_PREFIX", "/elsewhere")
    monkeypatch.setenv("NOTIFIER_LOG_EVENTS", "7")
    client = await aiohttp_client(create_app())

    response = await client.get("/elsewhere/api/sse/health/s1")

    assert (await response.json())["data"]["queue_capacity"] == 7


async def test_a_service_reads_its_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_PORT", "0")
    monkeypatch.setenv("NOTIFIER_PREFIX", "/elsewhere")

    async with serve() as site, aiohttp.ClientSession(site.url) as http:
        response = await http.get("/elsewhere/api/sessions")

        assert response.status == 200
        assert site.settings.prefix == "/elsewhere"


async def test_a_service_is_the_one_of_its_process_as_long_as_it_runs(broker: Broker) -> None:
    async with serve(broker, Settings(port=0)) as site:
        assert site.broker is process_broker() is broker

    assert broker.closed
    with pytest.raises(NoBroker):
        process_broker()


async def test_a_service_takes_the_port_it_is_told(service: Service) -> None:
    assert service.site.url == f"http://127.0.0.1:{service.site.port}"
    assert service.site.port != 0


async def test_an_address_that_is_taken_is_an_os_error(broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(OSError, match="address already in use"):
            async with serve(broker, Settings(port=taken.getsockname()[1])):
                pass

    assert broker.closed


def test_the_url_of_an_ipv6_address_has_brackets(broker: Broker) -> None:
    assert Site(broker, Settings(), "::1", 80).url == "http://[::1]:80"


async def test_a_failure_inside_stops_the_service(broker: Broker) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve(broker, Settings(port=0)):
            raise ZeroDivisionError

    assert broker.closed


async def test_a_wrapper_publishes_to_the_application(service: Service) -> None:
    wrapper = ToolWrapper(lambda: 42, session_id="s1", risk_level="low")

    async with reading(service.http) as stream:
        await stream.take(2)
        result = await wrapper()
        frames = await stream.take(3)

    assert result == 42
    assert [frame.type for frame in frames] == ["tool_status", "tool_result", "tool_status"]


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "aiohttp.access"]


async def test_the_access_log_has_no_query(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    await service.http.get(f"{API}/sse/health/s1", params={"token": "s3cr3t"})
    await service.http.get(f"{API}/sse/health/a%0d%0ab?token=s3cr3t")
    await until(lambda: len(access_lines(caplog)) == 2)

    lines = [line.rpartition(" ")[0].rpartition(" ")[0] for line in access_lines(caplog)]
    assert lines == [
        f"127.0.0.1 GET {API}/sse/health/s1 200",
        f"127.0.0.1 GET {API}/sse/health/a%0D%0Ab 422",
    ]
    assert "s3cr3t" not in caplog.text


async def test_nobody_writes_lines_of_their_own_into_the_access_log(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    await service.raw(b"GET /a%0d%0ab%1b[31m?x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await until(lambda: access_lines(caplog))

    line = access_lines(caplog)[0]
    assert line.startswith("127.0.0.1 GET /a%0d%0ab%1b")
    assert line.isprintable()


async def test_no_access_is_logged_where_nobody_wants_to_know(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="aiohttp.access")

    await service.http.get("/healthz/live")

    assert AccessLog(logging.getLogger("aiohttp.access"), "").enabled is False
    assert access_lines(caplog) == []


async def test_a_token_in_the_query_reaches_no_log(
    tmp_path: Any, write_tokens: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = write_tokens([{"token": "s3cr3t", "rights": ["view"], "sessions": ["*"]}])

    async with serving(auth="tokens", tokens_file=path) as service:
        async with reading(service.http, params={"token": "s3cr3t"}) as stream:
            await stream.take(2)
            service.site.broker.end_session("s1")
            await stream.rest()
        await until(lambda: access_lines(caplog))
        live = await answer(await service.http.get("/healthz/live"))

    assert live[0] == 200
    assert "s3cr3t" not in caplog.text
