"""What the broker has counted, as Prometheus reads it (contract section 16)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from math import inf, isinf
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..core.broker import Broker
from ..core.errors import NotFound
from ..core.metrics import Histogram
from ..core.turns import in_turns
from ..settings import Settings
from .request import Call, Query

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["REGISTRY", "metrics", "registry_of"]

#: What each label may be. All of them are there from the start, with 0, so that the first of a kind is a rise.
_TRANSPORTS = ("sse", "websocket", "long-poll")
_ENDS = ("left", "session_closed", "shutdown", "slow", "token_expired")
_REPLAYS = ("full", "partial")
_CHANNELS = ("webhook", "push")
_NOTICE_RESULTS = ("sent", "failed", "dropped", "expired", "gone")
_GAPS = ("evicted", "epoch", "unknown", "slow")
_OUTCOMES = ("approved", "rejected", "expired", "cancelled")
_EFFECTS = ("allow", "ask", "deny")
_AUTH_FAILURES = ("missing", "unknown", "expired", "revoked", "claims", "ticket", "forbidden", "origin", "host")
_READS = ("loaded", "refused")
#: Limits that are no settings.
_OTHER_LIMITS = frozenset({"wrong_tokens", "tickets", "rules_per_session", "learned_rules"})
#: In the place of a label that a program which embeds this one has made up: how many there are is bounded.
_OTHER = "other"


def registry_of(broker: Broker) -> CollectorRegistry | None:
    """A registry of its own with what this broker has counted, read when it is scraped; None without prometheus-client.

    What readers were sent is in it as far as ``count_delivered`` has counted that.
    """
    if importlib.util.find_spec("prometheus_client") is None:
        return None
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.registry import Collector

    class OfBroker(Collector):
        def collect(self) -> Iterable[Metric]:
            return _read(broker)

        def describe(self) -> Iterable[Metric]:
            return ()  # nothing is read to register it

    registry = CollectorRegistry(auto_describe=False)
    registry.register(OfBroker())
    ProcessCollector(registry=registry)
    return registry


REGISTRY: web.AppKey[Any] = web.AppKey("registry", object)


async def metrics(call: Call[Query, None]) -> web.Response:
    """What was counted since the start, in the form that Prometheus asks for."""
    registry = call.request.config_dict[REGISTRY]
    if registry is None:
        raise NotFound("No metrics without prometheus-client: pip install 'notifier-service[metrics]'")
    from prometheus_client.exposition import choose_encoder

    await in_turns(call.broker.count_delivered())
    encode, content_type = choose_encoder(call.request.headers.get("Accept", ""))
    headers = {"Content-Type": content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=encode(registry), headers=headers)


def _read(broker: Broker) -> Iterator[Metric]:
    now = broker.statistics(is_counted=True)
    counters = now.counters
    connections = counters.connections
    yield _gauges(
        "connections",
        "Readers that are there, by transport; waiting are other answers that are held open.",
        "transport",
        {**connections, "waiting": max(0, now.connections - connections.total())},
        (*_TRANSPORTS, "waiting"),
    )
    yield _counts("disconnects", "Streams and sockets that ended.", "reason", counters.disconnects, _ENDS)
    yield _count("events_published", "Events appended to the logs of sessions.", counters.events_published)
    yield _counts(
        "events_delivered",
        "Events of the logs that were written to readers.",
        "transport",
        counters.events_delivered,
        _TRANSPORTS,
    )
    yield _count("bytes_delivered", "Bytes written to readers.", counters.bytes_delivered)
    yield _histogram(
        "delivery_seconds",
        "From the moment an event is published until it is written to a reader; a sample of writes.",
        counters.delivery_seconds,
    )
    yield _counts("replays", "Readers who came with a cursor, by what they got.", "result", counters.replays, _REPLAYS)
    yield _count("client_reconnects", "Streams and sockets opened with a cursor.", counters.reconnects)
    yield _counts("gaps", "Gaps told to readers.", "reason", counters.gaps, _GAPS)
    yield _gauge("pending_permissions", "Permission requests that wait for a decision.", now.pending_permissions)
    yield _counts(
        "decisions", "Requests that people were asked, by how they ended.", "outcome", counters.decisions, _OUTCOMES
    )
    yield _histogram(
        "decision_wait_seconds", "How long people were shown what they decided.", counters.decision_wait_seconds
    )
    yield _count("unseen_requests", "Requests that nobody was there to see, when asked.", counters.unseen_requests)
    yield _notifications(counters.notifications)
    yield _counts("policy_decisions", "What the policy said of calls.", "effect", counters.policy_decisions, _EFFECTS)
    yield _counts(
        "policy_reads", "Files of rules that were read because they changed.", "result", counters.policies_read, _READS
    )
    yield _counts(
        "auth_failures", "Requests whose sender was not let in.", "reason", counters.auth_failures, _AUTH_FAILURES
    )
    limits, reached = {*Settings.model_fields, *_OTHER_LIMITS}, counters.limits_reached
    yield _counts("limits_reached", "Refusals, by what was reached.", "limit", reached, limits, all_of=False)
    yield _gauge("sessions", "Sessions that are open.", now.sessions)
    yield _gauge("log_bytes", "Bytes of events in the logs of all sessions.", now.log_bytes)
    yield _histogram(
        "journal_commit_seconds", "How long the journal took to keep a group.", broker.journal.commit_seconds
    )
    yield _gauge("journal_bytes", "Bytes of the journal on the disk.", broker.journal.size)
    yield _gauge(
        "journal_failing", "1 while nothing can be kept in the journal.", int(broker.journal.error is not None)
    )


def _known(counted: Mapping[str, int], labels: Iterable[str], *, all_of: bool = True) -> dict[str, int]:
    labels = tuple(labels)
    known = dict.fromkeys(labels if all_of else (), 0)
    for label, number in counted.items():
        name = label if label in labels else _OTHER
        known[name] = known.get(name, 0) + number
    return known


def _count(name: str, text: str, number: int) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    return CounterMetricFamily(f"notifier_{name}", text, number)


def _counts(
    name: str, text: str, label: str, counted: Mapping[str, int], labels: Iterable[str], *, all_of: bool = True
) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(f"notifier_{name}", text, labels=[label])
    for value, number in _known(counted, labels, all_of=all_of).items():
        family.add_metric([value], number)
    return family


def _notifications(counted: Mapping[tuple[str, str], int]) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    text = "What people who do not look were told, by channel and by how that ended."
    family = CounterMetricFamily("notifier_notifications", text, labels=["channel", "result"])
    for channel in _CHANNELS:
        for result in _NOTICE_RESULTS:
            family.add_metric([channel, result], counted.get((channel, result), 0))
    return family


def _gauge(name: str, text: str, number: int) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    return GaugeMetricFamily(f"notifier_{name}", text, number)


def _gauges(name: str, text: str, label: str, counted: Mapping[str, int], labels: Iterable[str]) -> Metric:
    from prometheus_client.metrics_core import GaugeMetricFamily

    family = GaugeMetricFamily(f"notifier_{name}", text, labels=[label])
    for value, number in _known(counted, labels).items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    buckets, so_far = [], 0
    for bound, number in zip((*histogram.bounds, inf), histogram.counts, strict=True):
        so_far += number
        buckets.append(("+Inf" if isinf(bound) else str(float(bound)), so_far))
    return HistogramMetricFamily(f"notifier_{name}", text, buckets=buckets, sum_value=histogram.sum)
