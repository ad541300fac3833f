"""What the service puts on record, and that nothing takes effect before (contract section 12)."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from notifier_service import Broker, Settings, ToolDenied, ToolWrapper, serve
from notifier_service.calls.asking import ask
from notifier_service.core.errors import InvalidInput
from notifier_service.core.question import Decision
from notifier_service.storage.audit_chain import lines_of, verify
from notifier_service.web import Site

from .conftest import API, until

SECRET = "hunter2-Correct!"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
async def site(path: Path) -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0, audit_file=path, shutdown_seconds=0.5)) as site:
        yield site


def told(path: Path, *names: str) -> list[Any]:
    """Of each line but the first its kind and these fields."""
    lines = [line for _, line in lines_of(path)][1:]
    return [tuple(line.get(name) for name in ("kind", *names)) for line in lines]


async def read_file(path: str) -> str:
    return "text"


async def pending(broker: Broker) -> str:
    await until(lambda: broker.look("s1").desk.pending)
    return broker.look("s1").desk.pending[0].request_id


async def post(site: Site, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.post(f"{site.url}{API}/{path}", json=body) as response:
        return response.status, await response.json()


async def decide(site: Site, **body: Any) -> tuple[int, Any]:
    return await post(site, "sse/permission-response/s1", body)


def fill(monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    """Have the disk be full from now on."""

    def full(fd: int, text: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(site.broker.recorder.audit, "_write", full)


async def test_a_call_that_a_person_approves_is_asked_decided_started_and_finished(site: Site, path: Path) -> None:
    run = asyncio.create_task(ToolWrapper(read_file, session_id="s1", risk_level="high")(path="/tmp/x"))
    request_id = await pending(site.broker)
    assert told(path, "request_id") == [("asked", request_id)]
    status, body = await decide(site, approved=True, request_id=request_id, reason="fine")
    assert (status, body["data"]["status"]) == (200, "approved")
    assert told(path, "request_id")[1] == ("decided", request_id)
    assert await run == "text"
    await until(lambda: len(told(path)) == 4)

    lines = {line["kind"]: line for _, line in lines_of(path)}
    assert list(lines) == ["audit_opened", "asked", "decided", "started", "finished"]
    assert lines["asked"]["parameters"] == {"path": "/tmp/x"}
    decided = lines["decided"]
    assert (decided["decision"], decided["approved"], decided["reason"]) == ("approve", True, "fine")
    assert (decided["decided_by"], decided["via"], decided["right"]) == ("local", "api", "admin")
    assert type(decided["waited_ms"]) is int
    assert lines["started"]["parameters_sha256"] == lines["asked"]["parameters_sha256"]
    assert lines["started"]["tool_call_id"] == lines["asked"]["tool_call_id"]
    assert lines["finished"]["outcome"] == "completed"
    assert verify([path]).records == 5


async def test_what_the_policy_lets_run_unasked_is_on_record_before_it_runs(site: Site, path: Path) -> None:
    seen: list[Any] = []

    async def look(path: str) -> None:
        seen.extend(told(Path(path)))

    await ToolWrapper(look, session_id="s1", risk_level="low")(path=str(path))

    assert seen[0] == ("allowed",)
    assert told(path, "effect", "decided_by")[0] == ("allowed", "allow", "policy")


async def test_who_is_not_answered_gives_up_or_is_denied_is_on_record_too(site: Site, path: Path) -> None:
    broker = site.broker
    late = broker.ask("s1", tool_name="late", parameters={}, timeout_seconds=0.05)
    withdrawn = broker.ask("s1", tool_name="withdrawn", parameters={})
    await late.recorded()
    await withdrawn.recorded()
    withdrawn.cancel()
    await late.decision()
    first = broker.ask("s1", tool_name="first", parameters={})
    await first.recorded()
    await decide(site, approved=False, request_id=first.request_id, scope="session")
    denied = broker.ask("s1", tool_name="first", parameters={})
    assert (await denied.decision()).decided_by == "policy"
    broker.look("s1").take_back(broker.look("s1").desk.grants.rules[0].rule_id, revoked_by="ana")
    await until(lambda: told(path)[-1] == ("rule_revoked",))

    assert set(told(path, "tool_name", "decided_by")[2:]) == {
        ("asked", "first", None),
        ("cancelled", "withdrawn", "agent"),
        ("expired", "late", "timeout"),
        ("decided", "first", "local"),
        ("rule_learned", "first", None),
        ("denied", "first", "policy"),
        ("rule_revoked", "first", "ana"),
    }


async def test_nothing_is_decided_asked_or_let_run_that_cannot_be_written_and_it_goes_on_by_itself(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = site.broker
    request = broker.ask("s1", tool_name="rm", parameters={})
    await request.recorded()
    with monkeypatch.context() as disk:
        fill(disk, site)
        status, body = await decide(site, approved=True, request_id=request.request_id)
        assert (status, body["error"]["code"]) == (503, "not_recorded")
        assert request.pending
        status, body = await post(site, "permissions/s1", {"tool_name": "rm", "parameters": {}})
        assert (status, body["error"]["code"]) == (503, "not_recorded")
        with pytest.raises(ToolDenied, match="No space left on device"):
            await ToolWrapper(read_file, session_id="s1", risk_level="low")(path="/tmp/x")
        with pytest.raises(ToolDenied, match="No space left on device"):
            await ask("s1", "rm", {}, service=broker)
        assert broker.look("s1").desk.pending == (request,)
        async with aiohttp.ClientSession() as http, http.get(f"{site.url}/healthz/ready") as response:
            assert (await response.json())["data"]["audit"] == "failing"

    status, body = await decide(site, approved=True, request_id=request.request_id)
    assert (status, body["data"]["approved"]) == (200, True)
    assert verify([path])
    assert ("decided", "rm") in told(path, "tool_name")


async def test_a_log_that_is_not_required_denies_nothing_while_the_disk_is_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(settings=Settings(port=0, audit_file=path, audit_required=False)) as site:
        with monkeypatch.context() as disk:
            fill(disk, site)
            request = site.broker.ask("s1", tool_name="rm", parameters={})
            await request.recorded()
            status, _ = await decide(site, approved=True, request_id=request.request_id)
            assert (status, site.broker.recorder.audit.error) == (200, os.strerror(errno.ENOSPC))
    assert told(path) == [("asked",), ("decided",)]


async def test_two_who_decide_at_once_get_one_decision(site: Site, path: Path) -> None:
    request = site.broker.ask("s1", tool_name="rm", parameters={})
    await request.recorded()

    answers = await asyncio.gather(
        *(decide(site, approved=number % 2 == 0, request_id=request.request_id) for number in range(6))
    )

    assert sorted(status for status, _ in answers) == [200, 200, 200, 409, 409, 409]
    assert [kind for (kind,) in told(path)] == ["asked", "decided"]


async def test_a_program_decides_at_once_and_on_record(site: Site, path: Path) -> None:
    request = site.broker.ask("s1", tool_name="rm", parameters={"path": "x"})
    record = site.broker.decide(
        "s1", Decision(approved=True, request_id=request.request_id, parameters={"path": "y"}), decided_by="me"
    )

    assert (record.decision, record.parameters) == ("edit", {"path": "y"})
    assert told(path, "decision", "parameters", "via") == [
        ("asked", None, {"path": "x"}, None),
        ("decided", "edit", {"path": "y"}, "program"),
    ]


async def test_the_end_of_the_service_is_on_record(path: Path) -> None:
    async with serve(settings=Settings(port=0, audit_file=path)) as site:
        request = site.broker.ask("s1", tool_name="rm", parameters={})
        await request.recorded()

    assert told(path, "decided_by") == [("asked", None), ("cancelled", "service")]


async def test_no_secret_is_in_the_file(site: Site, path: Path) -> None:
    parameters = {
        "password": SECRET,
        "command": f"curl -u bob:{SECRET} https://bob:{SECRET}@example.org/?token={SECRET}",
        "custom": {"licence_no": SECRET},
        "body": base64.b64encode(f"the password is {SECRET}".encode()).decode(),
    }
    request = site.broker.ask("s1", tool_name="send", parameters=parameters, description=f"password: {SECRET}")
    await request.recorded()
    await decide(site, approved=True, request_id=request.request_id, reason=f"use the password {SECRET}")
    text = path.read_text()

    assert text.count(SECRET) == 1  # under a name that nobody has told
    assert "[redacted]" in text
    assert request.record.parameters_sha256 in text


async def test_names_of_secrets_can_be_told(path: Path) -> None:
    async with serve(settings=Settings(port=0, audit_file=path, redact_keys="licence_no")) as site:
        await site.broker.ask("s1", tool_name="t", parameters={"custom": {"licenceNo": SECRET}}).recorded()

    assert SECRET not in path.read_text()


async def test_large_parameters_are_written_with_their_beginning_and_the_hash_of_the_whole(
    site: Site, path: Path
) -> None:
    request = site.broker.ask("s1", tool_name="t", parameters={"text": "word " * 100_000})
    await request.recorded()
    line = [line for _, line in lines_of(path)][-1]

    assert path.stat().st_size < 20_000
    assert line["parameters_truncated"] is True
    assert line["parameters"]["beginning"].startswith('{"text": "word word')
    assert line["parameters_sha256"] == request.record.parameters_sha256


async def test_a_file_that_cannot_be_used_keeps_the_service_from_starting(path: Path) -> None:
    path.mkdir()
    loop = path.with_name("loop")
    loop.symlink_to(loop)

    for given, why in ((path, "Is a directory"), (loop, "symbolic links")):
        with pytest.raises(InvalidInput, match=why):
            async with serve(settings=Settings(port=0, audit_file=given)):
                pass


async def test_what_a_producer_tells_of_a_run_may_be_anything(site: Site, path: Path) -> None:
    for details in ({"parameters": 1, "duration_ms": "long"}, {"parameters": {"a": 1}, "parameters_truncated": True}):
        for status in ("executing", "failed"):
            event = {"type": "tool_status", "data": {"tool_name": "t", "status": status, "details": details}}
            answered, _ = await post(site, "events/s1", event)
            assert answered == 201
    await until(lambda: len(told(path)) == 4)

    assert told(path, "outcome") == [("started", None), ("finished", "failed")] * 2


async def test_a_policy_that_is_loaded_again_or_does_not_load_is_on_record(path: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('default = "ask"\n')
    settings = Settings(port=0, audit_file=path, policy_file=policy)
    async with serve(settings=settings) as site:
        await until(lambda: told(path))
        for text in ('[[rule]]\nname = "a"\neffect = "deny"\ntool = "rm"\n', "nonsense"):
            policy.write_text(text)
            count = len(told(path))
            site.read_again()
            await until(lambda count=count: len(told(path)) > count)

    lines = told(path, "rules", "reason")
    assert lines[:2] == [("policy_loaded", 0, None), ("policy_loaded", 1, None)]
    assert "policy.toml:1" in lines[2][2]
