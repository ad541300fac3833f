"""Other programs are told what waits: signed, in three forms, without what the audit log would take out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from notifier_service import Broker, Decision, Settings
from notifier_service.web import Site, serve
from notifier_service.web.reach import outbox
from tests.mcp.http_wiring import on_a_port

from .conftest import until

KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
PASSWORD = "correct-horse-battery"


class Receiver:
    """A program on a real socket; ``answer`` gives the status of each answer, or None for none."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[], int | None] = lambda: 200
        self.url = ""
        self._never = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        status = self.answer()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.posts.append((request.path, headers, await request.read()))
        if status is None:
            await self._never.wait()
        return web.Response(status=status or 200, headers={"Location": "/elsewhere"})

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, _, body in self.posts]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Receiver]:
        app = web.Application()
        app.router.add_post("/{path:.*}", self.take)
        async with on_a_port(app) as port:
            self.url = f"http://127.0.0.1:{port}"
            try:
                yield self
            finally:
                self._never.set()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().running() as receiver:
        yield receiver


@asynccontextmanager
async def serving(*hooks: dict[str, Any], **settings: Any) -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, webhooks=json.dumps(hooks), **settings)) as site:
        yield site


def asked(broker: Broker, session_id: str = "s1", **more: Any) -> str:
    parameters = {"path": "/srv", "password": PASSWORD, "note": f"curl -H 'Authorization: Bearer {PASSWORD}'"}
    given = {"tool_name": "rm", "parameters": parameters, "risk_level": "high", **more}
    return broker.ask(session_id, **given).request_id


async def test_program_is_told_signed_what_waits_and_how_it_ended(receiver: Receiver) -> None:
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


async def test_slack_is_told_in_its_form_and_nobody_is_mentioned(receiver: Receiver) -> None:
    async with serving({"url": receiver.url, "format": "slack"}, public_url="https://desk.example") as site:
        request_id = asked(site.broker, tool_name="<!channel> & rm")
        await until(lambda: receiver.posts)
    body = json.loads(receiver.posts[0][2])

    text = body["blocks"][0]["text"]["text"]
    assert "&lt;!channel&gt; &amp; rm" in text
    assert "<!channel>" not in json.dumps(body)
    assert f"<https://desk.example/agent_backend/#/request/s1/{request_id}|Open>" in text
    assert PASSWORD not in json.dumps(body)


async def test_ntfy_is_told_no_parameter_and_where_to_decide(receiver: Receiver) -> None:
    async with serving({"url": f"{receiver.url}/topic", "format": "ntfy"}, public_url="https://desk.example") as site:
        request_id = asked(site.broker, tool_name="删除")
        await until(lambda: receiver.posts)
    _, headers, body = receiver.posts[0]

    title = base64.b64decode(headers["title"].removeprefix("=?UTF-8?B?").removesuffix("?=")).decode()
    assert title == "删除 waits for your decision (high risk)"
    page = f"https://desk.example/agent_backend/#/request/s1/{request_id}"
    assert (headers["priority"], headers["click"]) == ("5", page)
    assert (body, "/srv" in str(headers)) == (b"s1", False)


async def test_hook_hears_of_its_sessions_and_of_its_escalations_alone(receiver: Receiver) -> None:
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
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_FIRST_BACKOFF_SECONDS", 0.01)
    answers = iter([500, 503, 429])
    receiver.answer = lambda: next(answers, 200)
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        ids = [asked(site.broker, f"s{number}") for number in range(5)]
        await until(lambda: site.broker.counters.notifications["webhook", "sent"] == 5)
        posts = receiver.posts[:]

    told = [json.loads(body)["data"]["request_id"] for _, _, body in posts]
    assert told == [ids[0]] * 3 + ids
    first, again = receiver.posts[0][1], receiver.posts[3][1]
    assert first["webhook-id"] == again["webhook-id"]


@pytest.mark.parametrize("status", [301, 400, 404, 410])
async def test_receiver_that_refuses_is_not_asked_again_and_nowhere_else(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda: status
    async with serving({"url": receiver.url, "secret": SECRET}) as site:
        asked(site.broker)
        await until(lambda: site.broker.counters.notifications["webhook", "failed"] == 1)
        assert len(receiver.posts) == 1


async def test_receiver_that_never_answers_keeps_nobody_from_stopping(receiver: Receiver) -> None:
    receiver.answer = lambda: None
    async with serving({"url": receiver.url, "secret": SECRET}, shutdown_seconds=0.5) as site:
        asked(site.broker)
        await until(lambda: receiver.posts)
        site.broker.decide("s1", Decision(approved=True), decided_by="alice")


async def test_step_that_was_told_is_on_record(receiver: Receiver, tmp_path: Any) -> None:
    async with serving({"url": receiver.url, "secret": SECRET}, audit_file=tmp_path / "audit") as site:
        asked(site.broker)
        await until(lambda: receiver.posts)
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]

    [line] = [line for line in lines if line["kind"] == "notified"]
    assert (line["step"], line["channels"]) == ("unseen", {"webhook": 1})


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
    assert by_file.escalate == by_program.escalate == ((60, "oncall"), (120, "boss"))
    assert by_file.quiet_hours == by_program.quiet_hours
    assert by_file.webhooks[0].key == KEY
    assert SECRET not in repr(by_file)
    assert Settings(webhooks="").webhooks == ()
