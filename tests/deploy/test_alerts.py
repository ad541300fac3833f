"""The alerts fire when they should, and only then; what they are made of is what the service counts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from notifier_service import Settings, serve

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "alerts.yaml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
LABELS = 'job="notifier", instance="a"'

#: For each alert series that are harmless for ten minutes and then are not; what its labels are then.
SERIES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "NotifierDown": ({"up{%s}": "1x10 0x10"}, {"job": "notifier"}),
    "NotifierNobodyLooks": (
        {"notifier_pending_permissions{%s}": "0x10 1x10", "notifier_unseen_requests_total{%s}": "0x10 1x10"},
        {"job": "notifier"},
    ),
    "NotifierRequestsExpire": (
        {
            'notifier_decisions_total{%s, outcome="approved"}': "0+1x20",
            'notifier_decisions_total{%s, outcome="expired"}': "0x10 1x10",
        },
        {"job": "notifier", "outcome": "expired"},
    ),
    "NotifierNobodyCalled": (
        {
            'notifier_notifications_total{%s, channel="webhook", result="sent"}': "0+1x20",
            'notifier_notifications_total{%s, channel="webhook", result="dropped"}': "0x10 1x10",
        },
        {"channel": "webhook"},
    ),
    "NotifierSlowDelivery": (
        {
            'notifier_delivery_seconds_bucket{%s, le="1.0"}': "0+100x10 1000x10",
            'notifier_delivery_seconds_bucket{%s, le="5.0"}': "0+100x10 1100+100x10",
            'notifier_delivery_seconds_bucket{%s, le="+Inf"}': "0+100x10 1100+100x10",
        },
        {},
    ),
    "NotifierEventsLost": (
        {'notifier_gaps_total{%s, reason="epoch"}': "0+1x20", 'notifier_gaps_total{%s, reason="slow"}': "0x10 1x10"},
        {"job": "notifier", "reason": "slow"},
    ),
    "NotifierLimitReached": (
        {'notifier_limits_reached_total{%s, limit="max_sessions"}': "0x10 1x10"},
        {"limit": "max_sessions"},
    ),
    "NotifierPolicyRefused": (
        {
            'notifier_policy_reads_total{%s, result="loaded"}': "0+1x20",
            'notifier_policy_reads_total{%s, result="refused"}': "0x10 1x10",
        },
        {"job": "notifier", "result": "refused"},
    ),
    "NotifierNotDurable": ({"notifier_journal_failing{%s}": "0x10 1x10"}, {"job": "notifier"}),
    "NotifierTokensGuessed": (
        {
            'notifier_auth_failures_total{%s, reason="missing"}': "0+500x20",
            'notifier_auth_failures_total{%s, reason="unknown"}': "0x10 500x10",
        },
        {"job": "notifier", "reason": "unknown"},
    ),
    "NotifierDescriptors": (
        {"process_open_fds{%s}": "10x10 900x10", "process_max_fds{%s}": "1000x20"},
        {"job": "notifier"},
    ),
    "NotifierMemory": ({"process_resident_memory_bytes{%s}": "100000000x5 3000000000x15"}, {"job": "notifier"}),
}


def promtool(*words: str, **how: Any) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_reads_the_rules() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    def expected(name: str, labels: dict[str, str]) -> dict[str, Any]:
        rule = ALERTS[name]
        filled = {f"{{{{ $labels.{label} }}}}": value for label, value in labels.items()}
        told = dict(rule["annotations"])
        for place, value in filled.items():
            told = {key: text.replace(place, value) for key, text in told.items()}
        return {"exp_labels": {**rule["labels"], **labels, "instance": "a"}, "exp_annotations": told}

    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series % LABELS, "values": values} for series, values in told.items()],
            "alert_rule_test": [
                {"eval_time": "4m", "alertname": name},
                {"eval_time": "18m", "alertname": name, "exp_alerts": [expected(name, labels)]},
            ],
        }
        for name, (told, labels) in SERIES.items()
    ]
    file = tmp_path / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))

    assert SERIES.keys() == ALERTS.keys()
    assert "SUCCESS" in promtool("test", "rules", str(file))


async def _scraped() -> str:
    async with serve(settings=Settings(port=0)) as site, ClientSession() as http:
        site.broker.publish_nowait("s", "note")
        async with http.get(f"{site.url}/metrics") as response:
            return await response.text()


async def test_prometheus_has_nothing_to_say_against_the_metrics() -> None:
    assert promtool("check", "metrics", input=await _scraped()) == ""


async def test_what_the_rules_and_the_dashboard_name_is_what_the_service_counts() -> None:
    counted = set(re.findall(r"^# TYPE (\w+)", await _scraped(), re.M))
    of_histograms = re.compile(r"_(bucket|count|sum)$")
    for file in (RULES, RULES.with_name("grafana.json")):
        named = set(re.findall(r"\b((?:notifier|process)_[a-z_]+)(?=[{\[) ]| [>/*])", file.read_text()))

        assert named
        assert {of_histograms.sub("", name) for name in named} <= counted


def test_each_alert_says_what_to_do_and_stands_in_the_documentation() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()

    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert f"`{name}`" in page
