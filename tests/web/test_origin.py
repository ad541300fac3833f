"""Which web pages may use the service: cross-site requests, DNS rebinding, CORS."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from notifier_service import Broker, Settings

from .conftest import API, Client, MakeClient, WriteTokens, error_of

APP = "https://app.example"
EVENTS = f"{API}/events/s1"
NOTE = {"type": "note"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "https://app.example.evil"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", EVENTS, NOTE),
        ("POST", f"{API}/sse/permission-response/s1", {"approved": True}),
        ("DELETE", f"{API}/sessions/s1", None),
    ],
)
async def test_page_of_another_site_changes_nothing(
    make_client: MakeClient, broker: Broker, method: str, path: str, body: object, origin: str
) -> None:
    client = await make_client(broker, allowed_origins="https://app.example")
    request = broker.ask("s1", tool_name="t", parameters={})

    response = await client.request(method, path, json=body, headers={"Origin": origin})

    assert await error_of(response) == (403, "forbidden")
    assert (request.pending, broker.get("s1").log.last_seq) == (True, 1)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "cross-site", "Origin": APP}, 201),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_browser_that_names_no_origin_tells_whether_the_page_is_another_sites(
    make_client: MakeClient, broker: Broker, headers: dict[str, str], status: int
) -> None:
    client = await make_client(broker, allowed_origins=APP)

    response = await client.post(EVENTS, json=NOTE, headers=headers)

    assert response.status == status
    assert len(broker.sessions) == (status == 201)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        f"{API}/sse/events/s1", f"{API}/long-poll/s1", "/api/long-poll/s1", f"{API}/polling/session-info/s1",
        f"{API}/sse/health/s1", f"{API}/permissions/s1", f"{API}/sessions", "/agent_chat_stream?query=x",
    ],
)  # fmt: skip
async def test_page_of_another_site_reads_nothing_and_costs_nothing(
    client: Client, broker: Broker, path: str, headers: dict[str, str]
) -> None:
    assert await error_of(await client.get(path, headers=headers)) == (403, "forbidden")
    assert (broker.sessions, broker.connections) == ((), 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"},
    ],
)
async def test_own_page_an_allowed_one_a_program_and_an_address_bar_read(
    make_client: MakeClient, headers: dict[str, str]
) -> None:
    client = await make_client(allowed_origins="https://app.example")

    assert (await client.get(f"{API}/polling/session-info/s1", headers=headers)).status == 200


@pytest.mark.parametrize("path", ["/agent_backend/", "/healthz/live", "/healthz/ready"])
async def test_link_on_another_page_leads_to_the_console_and_health_is_told_to_all(client: Client, path: str) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    assert (await client.get(path, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", "http://localhost:5173"),  # Vite's one-line proxy
        ("127.0.0.1:8000", "https://agents.example"),  # ProxyPass, and nginx's proxy_pass, as they are
        ("localhost", "http://localhost:8080"),  # nginx with $host, which loses the port
    ],
)
async def test_refusal_that_a_proxy_causes_says_so_and_what_mends_it(
    make_client: MakeClient, host: str, origin: str
) -> None:
    client = await make_client()

    response = await client.post(
        f"{API}/sse/permission-response/s1", json={"approved": True}, headers={"Host": host, "Origin": origin}
    )

    assert response.status == 403
    error = (await response.json())["error"]
    assert (error["code"], error["cause"], error["host"], error["origin"]) == ("forbidden", "origin", host, origin)
    for part in (f"of {origin},", f"for {host}.", "Host $http_host", "ProxyPreserveHost On", "changeOrigin: false"):
        assert part in error["message"]
    assert f"allowed_origins must name {origin}" in error["message"]


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("null", "null"),
        ("https://a<script>\u202e", "https://a?script?"),
        ("https://" + "a" * 5000, "https://" + "a" * 272),
        ("", "(none)"),
    ],
)
async def test_refusal_repeats_nothing_that_a_page_or_a_terminal_acts_on(
    make_client: MakeClient, origin: str, told: str
) -> None:
    client = await make_client()

    response = await client.post(EVENTS, json=NOTE, headers={"Origin": origin})

    assert response.status == 403
    assert (await response.json())["error"]["origin"].startswith(told)
    assert not {"<", "\u202e"} & set(await response.text())
    assert len(await response.text()) < 2500


async def test_refusal_of_a_host_says_which(make_client: MakeClient) -> None:
    client = await make_client()

    response = await client.get(f"{API}/sse/health/s1", headers={"Host": "agents.example:8443"})

    error = (await response.json())["error"]
    assert (response.status, error["cause"], error["host"]) == (403, "host", "agents.example:8443")


async def test_own_page_and_a_program_may_publish(make_client: MakeClient, broker: Broker) -> None:
    client = await make_client(broker)
    own = f"http://{client.host}:{client.port}"

    statuses = [(await client.post(EVENTS, json=NOTE, headers=headers)).status for headers in ({"Origin": own}, {})]

    assert statuses == [201, 201]


async def test_allowed_origin_may_publish_and_read_the_answer(make_client: MakeClient) -> None:
    client = await make_client(allowed_origins=f"{APP}, http://localhost:5173")

    response = await client.post(EVENTS, json=NOTE, headers={"Origin": APP})

    assert response.status == 201
    assert response.headers["Access-Control-Allow-Origin"] == APP
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Vary"] == "Origin"


async def test_stream_tells_an_allowed_origin_before_it_begins(make_client: MakeClient) -> None:
    client = await make_client(allowed_origins=APP)

    async with client.get(f"{API}/sse/events/s1", headers={"Origin": APP}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == APP


async def test_other_origins_get_no_leave_to_read(make_client: MakeClient) -> None:
    client = await make_client(allowed_origins=APP)

    response = await client.get(f"{API}/sse/health/s1", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in response.headers
    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize(("origin", "status"), [(APP, 204), ("https://evil.example", 403)])
async def test_preflight_is_answered_to_an_allowed_origin_only(
    make_client: MakeClient, origin: str, status: int
) -> None:
    client = await make_client(allowed_origins=APP)

    response = await client.options(EVENTS, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})

    assert response.status == status
    assert ("Access-Control-Allow-Origin" in response.headers) is (status == 204)
    if status == 204:
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[", "10.0.0.1"])
async def test_name_that_was_rebound_to_loopback_is_not_served(
    make_client: MakeClient, broker: Broker, host: str
) -> None:
    client = await make_client(broker)

    response = await client.post(EVENTS, json=NOTE, headers={"Host": host})

    assert await error_of(response) == (403, "forbidden")
    assert broker.sessions == ()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1", "127.3.2.1:80", "[::1]:8000", "a.localhost"]
)
async def test_names_of_loopback_are_served(make_client: MakeClient, host: str) -> None:
    client = await make_client()

    assert (await client.get("/healthz/live", headers={"Host": host})).status == 200


@pytest.mark.parametrize(("host", "status"), [("agents.example", 200), ("x.agents.example", 200), ("localhost", 403)])
async def test_allowed_hosts_are_the_ones_that_are_served(make_client: MakeClient, host: str, status: int) -> None:
    client = await make_client(allowed_hosts="agents.example,*.agents.example")

    assert (await client.get("/healthz/live", headers={"Host": host})).status == status


async def test_tokens_are_served_under_any_name(make_client: MakeClient, write_tokens: WriteTokens) -> None:
    path = write_tokens([{"token": "a-token", "rights": ["view"], "sessions": ["*"]}])
    client = await make_client(auth="tokens", tokens_file=path)
    headers = {"Host": "agents.example", "Authorization": "Bearer a-token"}

    assert (await client.get(f"{API}/sse/health/s1", headers=headers)).status == 200


@pytest.mark.parametrize("origin", ["*", "https://*.example", "app.example", "https://app.example/", "null"])
def test_origin_that_is_not_exact_refuses_to_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="an origin is exact"):
        Settings(allowed_origins=origin)  # type: ignore[arg-type]


def test_origins_and_hosts_come_from_the_environment_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_ALLOWED_ORIGINS", "https://App.example, http://localhost:5173,")
    monkeypatch.setenv("NOTIFIER_ALLOWED_HOSTS", "agents.example")
    settings = Settings()

    assert settings.allowed_origins == ("https://app.example", "http://localhost:5173")
    assert settings.allowed_hosts == ("agents.example",)


async def test_name_and_page_that_are_refused_are_told_in_the_log_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        await client.get(f"{API}/sse/health/s1", headers={"Host": "evil.example"})
        await client.post(EVENTS, json=NOTE, headers={"Origin": "https://evil.example"})

    # None, if another test of this process was the first within this minute.
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused: ")]
    assert len(told) <= 2
    assert all("evil.example" in line or "more since" in line for line in told)
