"""What Prometheus reads says what happened, and of nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from notifier_service import Broker
from notifier_service.core.question import Question
from notifier_service.web import metrics as web_metrics
from tests.policies import a_policy_file
from tests.raw_stream import OpenStream

from .conftest import API, Client, MakeClient, Service, WriteTokens, bearer, error_of, reading, serving, until

pytest.importorskip("prometheus_client")

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_of
from prometheus_client.parser import text_string_to_metric_families

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana.json"

#: Contract section 16, but for what is counted only where it is built.
NAMES = {
    "notifier_connections": "gauge",
    "notifier_disconnects": "counter",
    "notifier_events_published": "counter",
    "notifier_events_delivered": "counter",
    "notifier_bytes_delivered": "counter",
    "notifier_delivery_seconds": "histogram",
    "notifier_replays": "counter",
    "notifier_gaps": "counter",
    "notifier_pending_permissions": "gauge",
    "notifier_decisions": "counter",
    "notifier_decision_wait_seconds": "histogram",
    "notifier_unseen_requests": "counter",
    "notifier_notifications": "counter",
    "notifier_auth_failures": "counter",
    "notifier_limits_reached": "counter",
    "notifier_sessions": "gauge",
    "notifier_log_bytes": "gauge",
    "notifier_journal_commit_seconds": "histogram",
    "notifier_journal_bytes": "gauge",
    "notifier_journal_failing": "gauge",
    "notifier_policy_decisions": "counter",
    "notifier_client_reconnects": "counter",
}
LABELS = {"le", "transport", "reason", "result", "outcome", "limit", "effect", "channel"}

Samples = dict[str, float]


async def scraped(http: Client | ClientSession, **request: Any) -> Samples:
    """Every sample, as ``name{label="value"}``."""
    async with http.get("/metrics", **request) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


async def test_names_and_kinds_are_those_of_the_contract(service: Service) -> None:
    async with service.http.get("/metrics") as response:
        families = {family.name: family for family in text_string_to_metric_families(await response.text())}

    assert response.content_type == "text/plain"
    assert {name: families[name].type for name in NAMES} == NAMES
    ours = [family for name, family in families.items() if name.startswith("notifier_")]
    assert {label for family in ours for sample in family.samples for label in sample.labels} <= LABELS
    assert all(family.documentation for family in ours)


async def test_who_asks_for_open_metrics_gets_them(service: Service) -> None:
    async with service.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as asked:
        families = [family.name for family in open_metrics_of(await asked.text())]

    assert asked.content_type == "application/openmetrics-text"
    assert set(NAMES) <= set(families)


async def test_what_promtool_checks_is_as_it_should_be(service: Service) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    async with service.http.get("/metrics") as response:
        text = await response.read()
    process = await asyncio.create_subprocess_exec(
        promtool, "check", "metrics", stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await process.communicate(text)

    assert (process.returncode, complaints) == (0, b"")


async def test_each_reader_counts_what_it_was_sent_while_it_is_there_and_after(
    service: Service, open_stream: OpenStream
) -> None:
    stream = await open_stream(service.site.port, f"{API}/sse/events/s1")
    await stream.until("snapshot")
    async with service.http.ws_connect("/agent_backend/ws/s1") as socket:
        await socket.receive_json()
        await socket.receive_json()
        async with service.http.post(f"{API}/events/s1", json=[{"type": "note"}] * 3):
            await stream.until("note")
        for _ in range(3):
            await socket.receive_json()
        there = await scraped(service.http)
    await stream.closed()
    await until(lambda: not service.site.broker.connections)
    gone = await scraped(service.http)

    assert there['notifier_connections{transport="sse"}'] == there['notifier_connections{transport="websocket"}'] == 1
    assert gone['notifier_connections{transport="sse"}'] == gone['notifier_connections{transport="websocket"}'] == 0
    for found in (there, gone):
        assert found["notifier_events_published_total"] == 3
        assert found['notifier_events_delivered_total{transport="sse"}'] == 3
        assert found['notifier_events_delivered_total{transport="websocket"}'] == 3
    assert there["notifier_bytes_delivered_total"] > 6 * len('{"type":"note"}')
    assert gone["notifier_bytes_delivered_total"] == there["notifier_bytes_delivered_total"]
    assert there["notifier_delivery_seconds_count"] >= 2
    assert there["notifier_delivery_seconds_sum"] < 5
    assert there["notifier_sessions"] == 1
    assert there["notifier_log_bytes"] > 0
    assert gone['notifier_disconnects_total{reason="left"}'] == 2


async def test_what_a_reader_takes_late_counts_as_late(service: Service, open_stream: OpenStream) -> None:
    slow = await open_stream(service.site.port, f"{API}/sse/events/s1", receive_bytes=4096)
    await slow.until("snapshot")
    session, counters = service.site.broker.open("s1"), service.site.broker.counters
    [reader] = session.readers
    while not reader.peer.unsent_bytes() > 64 * 1024:
        await service.site.broker.publish("s1", "note", {"text": "x" * 10_000})
        await asyncio.sleep(0)
    service.site.broker.sweep()  # by which the next event is timed
    began, before = asyncio.get_running_loop().time(), counters.delivery_seconds.count
    service.site.broker.publish_nowait("s1", "last")
    await until(lambda: not session.readers.is_due)
    while asyncio.get_running_loop().time() - began < 0.3:  # noqa: ASYNC110  # it is time that is measured
        await asyncio.sleep(0.01)
    held = counters.delivery_seconds.count - before
    await slow.until("last")

    assert held == 0
    assert counters.delivery_seconds.count - before == 1
    assert sum(counters.delivery_seconds.counts[counters.delivery_seconds.bounds.index(0.25) + 1 :]) == 1


async def test_a_long_poll_counts_the_events_that_it_brings(service: Service) -> None:
    async with service.http.post(f"{API}/events/s1", json=[{"type": "note"}] * 2):
        pass
    async with service.http.get(f"{API}/long-poll/s1?after=earliest&timeout=0") as response:
        size = len(await response.read())
    waiting = asyncio.create_task(service.http.get(f"{API}/long-poll/s1?timeout=30").__aenter__())
    await until(lambda: service.site.broker.connections)
    held = await scraped(service.http)
    waiting.cancel()

    assert held['notifier_events_delivered_total{transport="long-poll"}'] == 2
    assert held["notifier_bytes_delivered_total"] == size
    assert held['notifier_connections{transport="long-poll"}'] == 1
    assert held['notifier_connections{transport="waiting"}'] == 0


async def test_who_waits_for_a_decision_holds_a_connection_too(service: Service) -> None:
    asked = {"tool_name": "rm", "parameters": {}}
    asking = service.http.post(f"{API}/permissions/s1?wait=30", json=asked)
    waiting = asyncio.create_task(asking.__aenter__())
    await until(lambda: service.site.broker.connections)
    held = await scraped(service.http)
    waiting.cancel()

    assert held['notifier_connections{transport="waiting"}'] == 1
    assert held["notifier_pending_permissions"] == 1


async def test_who_comes_back_counts_as_that_and_so_does_what_was_missed(service: Service) -> None:
    async with service.http.post(f"{API}/events/s1", json={"type": "note"}) as response:
        [event_id] = (await response.json())["data"]["ids"]
    for cursor in (event_id, "nonsense"):
        async with reading(service.http, headers={"Last-Event-ID": cursor}) as stream:
            await stream.take(1)
    async with service.http.ws_connect("/agent_backend/ws/s1") as socket:
        await socket.send_json({"type": "resume", "after": event_id})
        await socket.receive_json()
        await until(lambda: service.site.broker.counters.replays["full"] == 2)
    found = await scraped(service.http)

    assert found["notifier_client_reconnects_total"] == 2
    assert found['notifier_replays_total{result="full"}'] == 2
    assert found['notifier_replays_total{result="partial"}'] == 1
    assert found['notifier_gaps_total{reason="unknown"}'] == 1


async def test_what_people_and_the_policy_decide_is_counted_apart(
    make_client: MakeClient, tmp_path: Path, clock: Any
) -> None:
    broker = Broker(policy=a_policy_file(tmp_path / "policy.toml", deny="rm", allow="ls"), clock=clock)
    client = await make_client(broker)
    for tool in ("rm", "ls", "ls", "write"):
        broker.ask("s1", Question(tool, {}))
    broker.ask("s2", Question("write", {}, timeout_seconds=1))
    broker.ask("s3", Question("write", {})).cancel()
    broker.ask("s4", Question("write", {}))
    before = await scraped(client)
    clock.advance(7)
    broker.sweep()
    for session_id, approved in (("s1", True), ("s4", False)):
        answered = await client.post(f"{API}/sse/permission-response/{session_id}", json={"approved": approved})
        assert answered.status == 200
    after = await scraped(client)

    assert before["notifier_pending_permissions"] == 3
    assert before["notifier_unseen_requests_total"] == 4
    effects = {
        effect: after[f'notifier_policy_decisions_total{{effect="{effect}"}}'] for effect in ("allow", "ask", "deny")
    }
    assert effects == {"allow": 2, "ask": 4, "deny": 1}
    for outcome in ("approved", "rejected", "expired", "cancelled"):
        assert after[f'notifier_decisions_total{{outcome="{outcome}"}}'] == 1
    assert after["notifier_decision_wait_seconds_count"] == 2
    assert after["notifier_decision_wait_seconds_sum"] == 14
    assert after["notifier_pending_permissions"] == 0


async def test_a_request_that_somebody_sees_is_none_that_nobody_saw(service: Service) -> None:
    async with reading(service.http) as stream:
        await stream.until("snapshot")
        service.site.broker.ask("s1", Question("write", {}))
        found = await scraped(service.http)

    assert found["notifier_unseen_requests_total"] == 0


async def test_who_is_not_let_in_is_counted_by_why(make_client: MakeClient, write_tokens: WriteTokens) -> None:
    tokens = [{"token": f"{right}-token", "rights": [right], "sessions": ["*"]} for right in ("view", "admin")]
    client = await make_client(auth="tokens", tokens_file=write_tokens(tokens))
    tries: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer tk_stale"},
        {**bearer("admin"), "Origin": "https://elsewhere.example"},
    ]
    for headers in tries:
        await client.get(f"{API}/sessions", headers=headers)
    await client.post(f"{API}/events/s1", headers=bearer("view"), json={"type": "note"})
    async with client.ws_connect("/agent_backend/ws/s1?token=wrong") as socket:
        await socket.receive()
        await socket.receive()
    found = await scraped(client, headers=bearer("admin"))

    reasons = {"missing": 1, "unknown": 2, "ticket": 1, "origin": 1, "forbidden": 1, "expired": 0}
    for reason, times in reasons.items():
        assert found[f'notifier_auth_failures_total{{reason="{reason}"}}'] == times, reason


async def test_limits_that_are_reached_are_counted_by_their_setting(make_client: MakeClient) -> None:
    client = await make_client(max_sessions=1, max_pending_per_session=1)
    await client.post(f"{API}/permissions/s1", json={"tool_name": "rm", "parameters": {}})
    refused = [
        await client.post(f"{API}/permissions/s1", json={"tool_name": "rm", "parameters": {}}),
        await client.post(f"{API}/events/s2", json={"type": "note"}),
    ]
    for _ in range(101):
        refused.append(await client.post(f"{API}/sse/ticket/s1"))
    found = await scraped(client)

    assert [response.status for response in refused if response.status != 201] == [429, 429, 429]
    for limit in ("max_sessions", "max_pending_per_session", "tickets"):
        assert found[f'notifier_limits_reached_total{{limit="{limit}"}}'] == 1


async def test_nothing_that_a_caller_names_becomes_a_label(service: Service) -> None:
    broker = service.site.broker
    for number in range(100):
        broker.publish_nowait(f"secret-{number}", "note")
        broker.ask(f"secret-{number}", Question(f"secret-tool-{number}", {}, asked_by=f"secret-subject-{number}"))
    async with service.http.get("/metrics") as response:
        few = len((await response.text()).splitlines())
    broker.counters.limits_reached["secret-limit"] += 1
    broker.counters.connections["secret-transport"] += 1
    async with service.http.get("/metrics") as response:
        text = await response.text()

    assert "secret" not in text
    assert 'notifier_connections{transport="other"} 1.0' in text
    assert len(text.splitlines()) <= few + 3


async def test_who_may_scrape(guarded: Client) -> None:
    assert await error_of(await guarded.get("/metrics")) == (401, "unauthenticated")
    for right in ("view", "approve", "produce"):
        assert await error_of(await guarded.get("/metrics", headers=bearer(right))) == (403, "forbidden")
    assert "notifier_sessions" in await scraped(guarded, headers=bearer("admin"))


async def test_any_user_of_this_machine_may_scrape_where_there_are_no_tokens_and_no_proxy_for_them(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.web.loopback.user_of", lambda near, far: 4242)
    async with service.http.get(f"{API}/sessions") as other:
        assert await error_of(other) == (403, "forbidden")
    found = await scraped(service.http)
    async with service.http.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}) as proxied:
        refused = await error_of(proxied)

    assert found['notifier_auth_failures_total{reason="forbidden"}'] == 1
    assert refused == (403, "forbidden")


async def test_without_prometheus_client_it_is_said_what_to_install(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_metrics.importlib.util, "find_spec", lambda name: None)
    client = await make_client()

    response = await client.get("/metrics")

    assert (response.status, (await response.json())["message"]) == (
        404, "No metrics without prometheus-client: pip install 'notifier-service[metrics]'",
    )  # fmt: skip


async def test_two_services_of_one_process_count_apart(service: Service) -> None:
    async with serving() as other:
        service.site.broker.publish_nowait("s1", "note")

        assert (await scraped(service.http))["notifier_events_published_total"] == 1
        assert (await scraped(other.http))["notifier_events_published_total"] == 0


async def test_scrapes_under_load_are_whole_and_only_rise(service: Service, open_stream: OpenStream) -> None:
    streams = [await open_stream(service.site.port, f"{API}/sse/events/s1") for _ in range(10)]
    for stream in streams:
        await stream.until("snapshot")

    async def publish() -> None:
        for number in range(500):
            await service.site.broker.publish("s1", "note", {"n": number})

    publishing = asyncio.create_task(publish())
    found = [await scraped(service.http)]
    while not publishing.done():
        found.append(await scraped(service.http))
    for stream in streams:
        while (await stream.until("note"))["data"]["n"] < 499:
            pass
    found.append(await scraped(service.http))

    for earlier, later in itertools.pairwise(found):
        assert earlier["notifier_events_published_total"] <= later["notifier_events_published_total"]
        of_sse = 'notifier_events_delivered_total{transport="sse"}'
        assert earlier[of_sse] <= later[of_sse]
    assert found[-1]['notifier_events_delivered_total{transport="sse"}'] == 5000


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    known = set()
    for name, kind in NAMES.items():
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[kind]
        known |= {name + end for end in ends}

    asked = {name for query in queries for name in re.findall(r"\bnotifier_\w+", query)}
    assert asked <= known
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked} == set(NAMES)
    labels = {label for query in queries for label in re.findall(r"[({,]\s*(\w+)\s*(?:=|\))", query)}
    assert labels - {"instance", "job"} <= LABELS | asked
