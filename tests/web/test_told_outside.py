"""Nothing that the audit log would take out of what is asked leaves the service by any way to people, nor is logged."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Decision, Settings
from notifier_service.core.label import Label
from notifier_service.web import serve

from .conftest import API, answer, until
from .push_service import Browser, PushService
from .test_webhooks import SECRET as WHSEC
from .test_webhooks import Hooked

PASSWORD = "correct-horse-battery"
TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


@pytest.mark.parametrize(
    "asks",
    [
        {"parameters": {"password": PASSWORD, "nested": [{"api_key": PASSWORD}]}},
        {"parameters": {"command": f"mysql -p{PASSWORD} && curl -H 'Authorization: Bearer {PASSWORD}'"}},
        {"parameters": {"body": json.dumps({"token": PASSWORD}), "url": f"https://me:{PASSWORD}@example.org/"}},
        {"description": f"I log in with password={PASSWORD}"},
        {"risk_reasons": (f"it sends token={PASSWORD}", f"and {TOKEN}")},
        {"tool_name": f"use_{TOKEN}"},
        {"title": f"password={PASSWORD} and {TOKEN}"},
        {"agent": TOKEN},
        {"reason": f"because password={PASSWORD}"},
        {"edited": {"password": PASSWORD, "header": f"Authorization: Bearer {TOKEN}"}},
    ],
    ids=lambda asks: next(iter(asks)),
)
async def test_no_secret_leaves_by_any_way_to_people(
    asks: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    browser, told = Browser(), list[str]()
    title, agent = asks.pop("title", None), asks.pop("agent", None)
    decision = {"reason": asks.pop("reason", None), "parameters": asks.pop("edited", None)}
    async with Hooked().running() as receiver, PushService().running() as push:
        hooks = [
            {"url": f"{receiver.url}/{form}", "secret": WHSEC, "format": form, "links_as": "me"}
            for form in ("json", "slack", "ntfy")
        ]
        settings = Settings(port=0, webhooks=hooks, public_url="https://desk.example", audit_file=tmp_path / "audit")
        with caplog.at_level(logging.DEBUG):
            async with serve(settings=settings) as site, aiohttp.ClientSession(site.url) as http:
                body = {"endpoint": f"{push.url}/phone", "keys": browser.keys}
                assert (await http.post(f"{API}/push/subscriptions", json=body)).status == 201
                site.broker.label("s1", Label(title, agent))
                request = site.broker.ask("s1", **{"tool_name": "rm", "parameters": {"path": "/srv"}, **asks})
                await until(lambda: len(receiver.posts) == 3 and push.pushes)
                link = {"session_id": "s1", "request_id": request.request_id}
                made = (await answer(await http.post(f"{API}/links", json=link)))[1]["data"]
                told += [str(made), await (await http.get(made["path"])).text()]
                site.broker.decide("s1", Decision(approved=True, **decision), decided_by="me")
                await until(lambda: len(receiver.posts) == 6 and len(push.pushes) == 2)
                site.broker.end_session("s1")
                await until(lambda: len(receiver.posts) == 9)
                told.append(await (await http.get("/metrics")).text())
    told += [f"{headers}{body.decode()}" for _, headers, body in receiver.posts]
    told += [browser.read(one.body).decode() for one in push.pushes]
    told += [caplog.text, (tmp_path / "audit").read_text()]

    for text in told:
        assert PASSWORD not in text
        assert TOKEN not in text
