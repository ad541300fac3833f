"""Other programs are told what waits: signed, in three forms, without what the audit log would take out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from pydantic import ValidationError

from notifier_service import Broker, Decision, Settings
from notifier_service.core.label import Label
from notifier_service.core.notices import Notice, QuietHours
from notifier_service.web import Site, create_app, serve
from notifier_service.web.reach import outbox
from notifier_service.web.reach.webhooks import Webhooks

from .conftest import API, until
from .receiver import Receiver

KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
PASSWORD = "correct-horse-battery"


class Hooked(Receiver):
    """Whose answers lead elsewhere, where nobody shall go."""

    def __init__(self) -> None:
        super().__init__()
        self.headers = {"Location": "/elsewhere"}

    @property
    def types(self) -> list[str]:
        return [json.loads(posted.body)["type"] for posted in self.posts]


@pytest.fixture
async def receiver() -> AsyncIterator[Hooked]:
    async with Hooked().running() as receiver:
        yield receiver


@asynccontextmanager
async def serving(*hooks: dict[str, Any], **settings: Any) -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, webhooks=json.dumps(hooks), **settings)) as site:
        yield site


def asked(broker: Broker, session_id: str = "s1", **more: Any) -> str:
    parameters = {"path": "/srv", "password": PASSWORD, "note": f"curl -H 'Authorization: Bearer {PASSWORD}'"}
    given = {"tool_name": "rm", "parameters": parameters, "risk_level": "high", **more}
    return broker.ask(session_id, **given).request_id


async def test_program_is_told_signed_what_waits_and_how_it_ended(receiver: Hooked) -> None:
    hook = {"url": f"{receiver.url}/hook", "secret": SECRET}
    async with serving(hook, public_url="https://desk.example/") as site:
        request_id = asked(site.broker)
        await until(lambda: len(receiver.posts) == 1)
        site.broker.decide("s1", Decision(approved=False, request_id=request_id, reason="no"), decided_by="alice")
        site.broker.end_session("s1")
        await until(lambda: site.broker.counters.notifications["webhook", "sent"] == 3)

    assert receiver.types == ["permission.requested", "permission.settled", "session.ended"]
    for path, headers, body in receiver.posts:
        text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        signature = base64.b64encode(hmac.new(KEY, text, hashlib.sha256).digest()).decode()
        assert (path, headers["webhook-signature"]) == ("/hook", f"v1,{signature}")
        assert headers["content-type"] == "application/json"
        assert PASSWORD not in body.decode()
    assert len({headers["webhook-id"] for _, headers, _ in receiver.posts}) == 3
    asked_data, settled_data, ended_data = (json.loads(body)["data"] for _, _, body in receiver.posts)
    assert (asked_data["request_id"], asked_data["step"], asked_data["risk_level"]) == (request_id, "unseen", "high")
    assert asked_data["parameters"]["path"] == "/srv"
    assert asked_data["parameters"]["password"] == "[redacted]"
    assert asked_data["page"] == f"https://desk.example/agent_backend/#/request/s1/{request_id}"
    assert ended_data["page"] == "https://desk.example/agent_backend/#/session/s1"
    assert (settled_data["status"], settled_data["decided_by"], settled_data["reason"]) == ("rejected", "alice", "no")
    assert ended_data["session_id"] == "s1"


async def test_slack_is_told_in_its_form_and_nobody_is_mentioned(receiver: Hooked) -> None:
    async with serving({"url": receiver.url, "format": "slack"}, public_url="https://desk.example") as site:
        site.broker.label("s1", Label(f"password={PASSWORD}", None))
        request_id = asked(site.broker, tool_name="<!channel> & rm")
        await until(lambda: receiver.posts)
    body = json.loads(receiver.posts[0][2])

    text = body["blocks"][0]["text"]["text"]
    assert "&lt;!channel&gt; &amp; rm" in text
    assert "<!channel>" not in json.dumps(body)
    assert f"<https://desk.example/agent_backend/#/request/s1/{request_id}|Open>" in text
    assert PASSWORD not in json.dumps(body)


async def test_text_that_is_too_long_for_slack_is_cut_and_its_links_are_not(receiver: Hooked) -> None:
    async with serving({"url": receiver.url, "format": "slack"}, public_url="https://desk.example") as site:
        request_id = asked(site.broker, risk_reasons=["<" * 900] * 5)
        await until(lambda: receiver.posts)
    text = json.loads(receiver.posts[0][2])["blocks"][0]["text"]["text"]

    assert len(text) <= 3000
    assert text.endswith(f"&lt;\n<https://desk.example/agent_backend/#/request/s1/{request_id}|Open>")


async def test_ntfy_is_told_no_parameter_and_where_to_decide(receiver: Hooked) -> None:
    async with serving({"url": f"{receiver.url}/topic", "format": "ntfy"}, public_url="https://desk.example") as site:
        request_id = asked(site.broker, tool_name="删除")
        await until(lambda: receiver.posts)
    _, headers, body = receiver.posts[0]

    title = base64.b64decode(headers["title"].removeprefix("=?UTF-8?B?").removesuffix("?=")).decode()
    assert title == "删除 waits for your decision (high risk)"
    page = f"https://desk.example/agent_backend/#/request/s1/{request_id}"
    assert (headers["priority"], headers["click"]) == ("5", page)
    assert headers["actions"] == f"view, Open, {page}, clear=true"
    assert (body, "/srv" in str(headers)) == (b"s1", False)
    settled = receiver.posts[-1][1]  # at the end of the service
    assert settled["x-sequence-id"] == headers["x-sequence-id"]
    assert re.fullmatch(r"[-_A-Za-z0-9]{1,64}", headers["x-sequence-id"])
    assert "actions" not in settled


@pytest.mark.parametrize("form", ["slack", "ntfy", "json"])
async def test_message_has_a_link_by_which_its_reader_decides_once_in_the_name_of_the_settings(
    receiver: Hooked, tmp_path: Any, form: str
) -> None:
    hook = {
        "url": receiver.url,
        "format": form,
        "links_as": "the team",
        **({"secret": SECRET} if form == "json" else {}),
    }
    given = {"public_url": "https://desk.example", "audit_file": tmp_path / "audit"}
    async with serving(hook, **given) as site, aiohttp.ClientSession(site.url) as http:
        request_id = asked(site.broker)
        await until(lambda: receiver.posts)
        _, headers, body = receiver.posts[0]
        [path] = set(
            re.findall(r"https://desk\.example(/agent_backend/api/links/tk_[\w-]+)", f"{headers}{body.decode()}")
        )
        for _ in range(3):  # a preview
            async with http.get(path) as shown:
                assert (shown.status, PASSWORD in await shown.text()) == (200, False)
        assert site.broker.get("s1").desk.find(request_id).pending
        answers = await asyncio.gather(*(http.post(path, data={"approved": "false"}) for _ in range(3)))
        record = site.broker.get("s1").desk.find(request_id).record
        await until(lambda: len(receiver.posts) == 2)
    audit = (tmp_path / "audit").read_text()

    assert sorted(one.status for one in answers) == [200, 410, 410]
    assert (record.approved, record.decided_by) == (False, "the team")
    assert (PASSWORD in audit, path.rpartition("/")[2] in audit) == (False, False)
    assert "/api/links/" not in f"{receiver.posts[1]}"


@pytest.mark.parametrize(("risk", "answers"), [("medium", ["Open", "Approve", "Reject"]), ("high", ["Open", "Reject"])])
async def test_button_of_ntfy_answers_what_is_not_of_high_risk(receiver: Hooked, risk: str, answers: list[str]) -> None:
    hook = {"url": receiver.url, "format": "ntfy", "links_as": "me"}
    async with serving(hook, public_url="https://desk.example") as site, aiohttp.ClientSession(site.url) as http:
        request_id = asked(site.broker, risk_level=risk)
        await until(lambda: receiver.posts)
        actions = [action.split(", ") for action in receiver.posts[0][1]["actions"].split("; ")]
        assert [action[1] for action in actions] == answers
        assert receiver.posts[0][1]["click"] == actions[0][2]
        pressed = {name: value.strip("'") for name, _, value in (part.partition("=") for part in actions[1][3:])}
        headers = {"Content-Type": pressed["headers.Content-Type"]}
        path = actions[1][2].removeprefix("https://desk.example")
        async with http.request(pressed["method"], path, data=pressed["body"], headers=headers) as response:
            assert response.status == 200
        assert site.broker.get("s1").desk.find(request_id).record.approved is (answers[1] == "Approve")


async def test_hook_hears_of_its_sessions_and_of_its_escalations_alone(receiver: Hooked) -> None:
    hooks = [
        {"url": f"{receiver.url}/team", "secret": SECRET, "sessions": ["team-*"]},
        {"url": f"{receiver.url}/oncall", "secret": SECRET, "to": "oncall"},
    ]
    async with serving(*hooks, escalate="0=oncall") as site:
        asked(site.broker, "team-1")
        asked(site.broker, "other")
        site.broker.sweep()
        await until(lambda: len(receiver.posts) == 3)
        heard = [(path, json.loads(body)["data"]["session_id"]) for path, _, body in receiver.posts]

    assert sorted(heard) == [("/oncall", "other"), ("/oncall", "team-1"), ("/team", "team-1")]


async def test_receiver_that_is_down_for_a_while_holds_up_nothing_and_gets_all_in_order(
    receiver: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    answers = iter([500, 503, 429])
    receiver.answer = lambda path: next(answers, 200)
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        ids = [asked(site.broker, f"s{number}") for number in range(5)]
        await until(lambda: site.broker.counters.notifications["webhook", "sent"] == 5)
        posts = receiver.posts[:]

    told = [json.loads(body)["data"]["request_id"] for _, _, body in posts]
    assert told == [ids[0]] * 3 + ids
    first, again = receiver.posts[0][1], receiver.posts[3][1]
    assert first["webhook-id"] == again["webhook-id"]


def down(receiver: Hooked) -> list[int]:
    """Have a receiver fail until what is returned is empty."""
    left = [503]
    receiver.answer = lambda path: left[0] if left else 200
    return left


async def test_program_that_was_down_hears_all_and_of_none_that_is_settled_as_if_it_waited(
    receiver: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    left = down(receiver)
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        first, second = asked(site.broker), asked(site.broker)
        await until(lambda: receiver.posts)
        site.broker.decide("s1", Decision(approved=True, request_id=first), decided_by="alice")
        receiver.posts.clear()
        left.clear()
        await until(lambda: site.broker.counters.notifications["webhook", "sent"] == 3)
        told = [json.loads(body) for _, _, body in receiver.posts[-3:]]

    assert [(one["type"], one["data"]["request_id"]) for one in told] == [
        ("permission.requested", first),
        ("permission.requested", second),
        ("permission.settled", first),
    ]
    assert [one["data"]["status"] for one in told] == ["approved", "pending", "approved"]
    assert told[0]["data"]["decided_by"] == "alice"


@pytest.mark.parametrize("form", ["slack", "ntfy"])
async def test_people_who_could_not_be_told_are_told_how_it_ended_and_not_that_it_waits(
    receiver: Hooked, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    left = down(receiver)
    async with serving({"url": receiver.url, "format": form}) as site:
        first, second = asked(site.broker), asked(site.broker, tool_name="ls")
        await until(lambda: receiver.posts)
        for request_id in (first, second):
            site.broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="alice")
        receiver.posts.clear()
        left.clear()
        await until(lambda: site.broker.counters.notifications["webhook", "sent"] == 2)
        told = [headers.get("title", "") + body.decode() for _, headers, body in receiver.posts[-2:]]

    assert ["was approved" in one for one in told] == [True, True]
    assert ["rm" in one for one in told] == [True, False]


async def test_what_was_not_sent_when_the_service_stopped_is_sent_by_the_next_and_who_was_told_hears_the_end(
    receiver: Hooked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    left = down(receiver)
    hooks = [
        {"url": f"{receiver.url}/all", "secret": SECRET},
        {"url": f"{receiver.url}/some", "secret": SECRET, "sessions": ["x*"]},
    ]
    given = {"journal": tmp_path / "journal", "shutdown_seconds": 2}
    body = {"tool_name": "rm", "parameters": {"password": PASSWORD}, "risk_level": "high"}
    async with serving(*hooks, **given) as site, aiohttp.ClientSession(site.url) as http:
        async with http.post(f"{API}/permissions/s1?wait=0", json=body) as response:
            request_id = (await response.json())["data"]["request_id"]
        await until(lambda: receiver.posts)
    left.clear()
    message_id = receiver.posts[-1][1]["webhook-id"]
    receiver.posts.clear()
    async with serving(*hooks, **given) as site:
        await until(lambda: receiver.posts)
        site.broker.decide("s1", Decision(approved=True, request_id=request_id), decided_by="alice")
        await until(lambda: len(receiver.posts) == 2)

    assert receiver.types == ["permission.requested", "permission.settled"]
    assert receiver.posts[0][1]["webhook-id"] == message_id
    assert {path for path, _, _ in receiver.posts} == {"/all"}
    assert PASSWORD.encode() not in (tmp_path / "journal").read_bytes().partition(b"webhook 0")[2][:2000]


@pytest.mark.parametrize(
    ("said", "low", "high"), [("7", 7, 7), ("date", 119, 121), ("99999999", 3600, 3600), ("soon", 0, 1)]
)
async def test_receiver_says_how_long_to_wait(
    receiver: Hooked, said: str, low: int, high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a date, too, which is by the clock of the receiver, however wrong ours is."""
    theirs = datetime(2031, 1, 1, tzinfo=UTC)
    date = format_datetime(theirs + timedelta(seconds=120), usegmt=True)
    receiver.headers = {"Retry-After": date if said == "date" else said, "Date": format_datetime(theirs, usegmt=True)}
    receiver.answer = lambda path: 429 if len(receiver.posts) < 2 else 200
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    hooks = Settings(webhooks=[{"url": receiver.url, "format": "slack"}])
    counted: Counter[tuple[str, str]] = Counter()
    channel = Webhooks(hooks, lambda *what: counted.update([what]), sleep=sleep)
    record = Broker().ask("s1", tool_name="rm", parameters={}).record
    channel.tell(Notice("requested", "s1", Label(), record, "unseen"))
    await until(lambda: counted["webhook", "sent"])
    await channel.close(0)

    assert low <= slept[0] <= high


async def test_what_takes_long_to_write_is_told_in_order_and_at_the_end_too(receiver: Hooked, tmp_path: Path) -> None:
    long = {"content": f"password={PASSWORD} " + "def f(x): return x\n" * 400}
    given = {"journal": tmp_path / "journal", "shutdown_seconds": 2}
    async with serving({"url": receiver.url, "secret": SECRET}, **given) as site:
        request_id = asked(site.broker, parameters=long)
        site.broker.decide("s1", Decision(approved=False, request_id=request_id), decided_by="alice")
        await until(lambda: len(receiver.posts) == 2)
        asked(site.broker, "s2", parameters=long)
    async with serving({"url": receiver.url, "secret": SECRET}, **given):
        await until(lambda: len(receiver.posts) == 4)
    told = [(json.loads(body)["type"], json.loads(body)["data"]["session_id"]) for _, _, body in receiver.posts]

    kinds = ("permission.requested", "permission.settled")
    assert told == [(kind, session_id) for session_id in ("s1", "s2") for kind in kinds]
    assert PASSWORD not in str(receiver.posts)


async def test_where_people_cannot_be_led_to_the_page_the_start_says_so_once(
    receiver: Hooked, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving({"url": receiver.url, "format": "ntfy"}) as site:
        asked(site.broker)
        await until(lambda: receiver.posts)
        assert caplog.text.count("set public_url") == 1
    async with serving({"url": receiver.url, "format": "ntfy"}, public_url="https://desk.example"):
        pass

    assert caplog.text.count("set public_url") == 1
    assert "click" not in receiver.posts[0][1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, True),  # with auth=none nobody is answered under another name
        ({"public_url": "http://127.0.0.1:8000"}, False),
        ({"allowed_hosts": "other.example"}, True),
        ({"allowed_hosts": "*.example"}, False),
    ],
)
def test_start_says_that_people_who_are_led_to_the_page_would_be_refused(
    more: dict[str, Any], says: bool, caplog: pytest.LogCaptureFixture
) -> None:
    create_app(Broker(), Settings(**{"public_url": "https://desk.example", **more}))

    assert ("who comes by the public_url is refused" in caplog.text) is says


async def test_readiness_says_whether_receivers_take_what_they_are_sent(
    receiver: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    left = down(receiver)
    async with serving({"url": receiver.url, "secret": SECRET}) as site, aiohttp.ClientSession(site.url) as http:

        async def says() -> str:
            async with http.get("/healthz/ready") as response:
                return str((await response.json())["data"]["webhooks"])

        assert await says() == "sent"
        asked(site.broker)
        await until(lambda: receiver.posts)
        assert await says() == "failing"
        left.clear()
        await until(lambda: site.broker.counters.notifications["webhook", "sent"])
        assert await says() == "sent"


@pytest.mark.parametrize("status", [301, 400, 404, 410])
async def test_receiver_that_refuses_is_not_asked_again_and_nowhere_else(receiver: Hooked, status: int) -> None:
    receiver.answer = lambda path: status
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["webhook", "failed"] == 1)
        assert len(receiver.posts) == 1


async def test_receiver_that_does_not_know_us_by_our_clock_is_told_with_how_far_it_is_off(
    receiver: Hooked, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda path: 401
    receiver.headers = {"Date": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["webhook", "failed"])

    assert re.search(r"status 401; are the secret and the clock .* It is 360\d s ahead of that of who", caplog.text)


async def test_receiver_that_never_answers_keeps_nobody_from_stopping(receiver: Hooked) -> None:
    receiver.answer = lambda path: None
    async with serving({"url": receiver.url, "secret": SECRET}, shutdown_seconds=0.5) as site:
        asked(site.broker)
        await until(lambda: receiver.posts)
        site.broker.decide("s1", Decision(approved=True), decided_by="alice")


async def test_step_that_was_told_is_on_record(receiver: Hooked, tmp_path: Any) -> None:
    async with serving({"url": receiver.url, "secret": SECRET}, audit_file=tmp_path / "audit") as site:
        asked(site.broker)
        await until(lambda: receiver.posts)
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]

    [line] = [line for line in lines if line["kind"] == "notified"]
    assert (line["step"], line["channels"]) == ("unseen", {"webhook": 1})


@pytest.mark.parametrize(("networks", "result"), [("", "failed"), ("127.0.0.0/8", "sent")])
async def test_name_that_leads_into_this_network_is_called_where_the_settings_say_so(
    receiver: Hooked, monkeypatch: pytest.MonkeyPatch, networks: str, result: str
) -> None:
    port = int(receiver.url.rpartition(":")[2])

    async def said(self: Any, host: Any, port: Any, **more: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with serving({"url": f"http://hooks.example:{port}/", "secret": SECRET}, webhook_networks=networks) as site:
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", said)
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["webhook", result])

    assert bool(receiver.posts) is (result == "sent")


# Settings


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("webhooks", "[{", "a JSON array"),
        ("webhooks", '[{"url": "ftp://x"}]', "http or https"),
        ("webhooks", '[{"url": "https://user:pw@x/", "format": "slack"}]', "http or https"),
        ("webhooks", '[{"url": "https://x/"}]', "needs a secret"),
        ("webhooks", '[{"url": "https://x/", "secret": "short"}]', "whsec_"),
        ("webhooks", '[{"url": "https://x/", "secret": "whsec_AAAA"}]', "whsec_"),
        ("webhooks", '[{"url": "https://x/", "secret": "whsec_***"}]', "whsec_"),
        ("webhooks", '[{"url": "https://x/", "format": "teams"}]', "slack"),
        ("webhooks", '[{"url": "https://x/", "format": "slack", "tokne": "x"}]', "Extra"),
        ("webhooks", "/nowhere/hooks.json", "cannot be read"),
        ("webhook_networks", "10.0.0.0/99", "networks such as"),
        ("quiet_hours", "22-07", "two times"),
        ("quiet_hours", "25:00-07:00", "two times"),
        ("quiet_hours", "07:00-07:00", "two times"),
        ("quiet_hours", "22:00-07:00 Mars/Olympus", "no time zone Mars/Olympus"),
        ("quiet_hours", "22:00-07:00 ../zone", "no time zone"),
        ("webhooks", '[{"url": "https://x/", "format": "slack", "to": "oncall"}]', "'oncall', whom escalate does not"),
        ("webhooks", '[{"url": "https://x/", "format": "slack", "links_as": "me"}]', "needs a public_url"),
        ("escalate", "60=oncall,60=oncall", "twice"),
        ("escalate", "60=", "60=oncall"),
        ("escalate", "nan=oncall", "60=oncall"),
        ("escalate", "9999999=oncall", "at most 2592000 seconds"),
        ("escalate", '[{"after": 60, "to": null}]', "60=oncall"),
        ("escalate", '[{"after": true, "to": "oncall"}]', "60=oncall"),
        ("escalate", '[{"after": 60, "to": "oncall", "sesions": "x"}]', "60=oncall"),
        ("escalate", "soon=oncall", "60=oncall"),
        ("escalate", "60", "60=oncall"),
        ("escalate", "-1=oncall", "60=oncall"),
        ("escalate", '[{"after": 60}]', "60=oncall"),
        ("public_url", "desk.example", "without a path"),
        ("public_url", "https://desk.example/path", "without a path"),
    ],
)
def test_setting_that_cannot_be_used_is_refused_without_its_secret(name: str, value: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        Settings(**{name: value})

    assert "whsec_AAAA" not in str(refused.value.errors(include_input=False))


def test_settings_of_a_file_and_of_a_program_are_the_same(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = [{"url": "https://x.example/", "secret": SECRET, "sessions": ["a", "b"]}]
    (tmp_path / "hooks.json").write_text(json.dumps(hooks))
    monkeypatch.setenv("NOTIFIER_ESCALATE", "60=oncall, 120=boss")
    monkeypatch.setenv("NOTIFIER_QUIET_HOURS", "22:00-07:00")
    monkeypatch.setenv("NOTIFIER_WEBHOOKS", str(tmp_path / "hooks.json"))
    by_file = Settings()
    by_program = Settings(
        webhooks=hooks,
        escalate=[{"after": 60, "to": "oncall"}, {"after": 120, "to": "boss"}],
        quiet_hours="22:00-07:00",
    )

    assert by_file.webhooks == by_program.webhooks
    assert Settings(quiet_hours="22:00-07:00 Europe/Berlin").quiet_hours == QuietHours(
        time(22), time(7), ZoneInfo("Europe/Berlin")
    )
    assert by_file.escalate == by_program.escalate == ((60, "oncall"), (120, "boss"))
    assert by_file.quiet_hours == by_program.quiet_hours
    assert by_file.webhooks[0].key == KEY
    assert SECRET not in repr(by_file)
    assert Settings(webhooks="").webhooks == ()
