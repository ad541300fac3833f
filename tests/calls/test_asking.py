"""Whoever makes a call itself can ask first, in this process or at a running service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision, Limits, Settings, ToolDenied, ask, serve
from notifier_service.calls.asker import BrokerAsker, permission_by_record
from notifier_service.core.audit import Entry
from notifier_service.core.broker import set_process_broker
from notifier_service.core.errors import InvalidInput, NotRecorded
from notifier_service.core.events import PermissionRecord, ToolStatus
from notifier_service.core.label import Label
from notifier_service.core.limits import RiskLevel
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Question
from tests.clock import Clock
from tests.policies import a_policy_file

Service = Broker | Client | None


@pytest.fixture(params=["process", "broker", "client"])
async def service(request: pytest.FixtureRequest, broker: Broker) -> AsyncIterator[Service]:
    if request.param == "process":
        set_process_broker(broker)
        yield None
    elif request.param == "broker":
        yield broker
    else:
        async with serve(broker, Settings(port=0)) as site, Client(f"{site.url}{site.settings.prefix}") as client:
            yield client


class FullAudit:
    """An audit log whose disk is full."""

    error = None

    def commit(self, *entries: Entry) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(NotRecorded("The disk is full."))
        return future

    def note(self, *entries: Entry) -> None:
        return None


async def asked(broker: Broker) -> PermissionRequest:
    session = broker.open("s")
    async with asyncio.timeout(5):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


async def answered(broker: Broker, call: Awaitable[Any], **decision: Any) -> Any:
    task = asyncio.ensure_future(call)
    request = await asked(broker)
    broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
    async with asyncio.timeout(5):
        return await task


async def test_approval_gives_the_parameters_that_were_shown(service: Service, broker: Broker) -> None:
    parameters = {"path": ["a"]}
    call = asyncio.create_task(ask("s", "rm", parameters, service=service))
    request = await asked(broker)
    parameters["path"].append("b")
    broker.decide("s", Decision(approved=True), decided_by="ada")

    assert await call == {"path": ["a"]}
    assert request.record.parameters == {"path": ["a"]}


async def test_edit_gives_the_parameters_of_the_person(service: Service, broker: Broker) -> None:
    edit = {"path": "b"}

    assert (
        await answered(broker, ask("s", "rm", {"path": "a"}, service=service), approved=True, parameters=edit) == edit
    )


async def test_rejection_says_who_and_why(service: Service, broker: Broker) -> None:
    with pytest.raises(ToolDenied, match=r"^rm did not run: rejected by ada: not now$") as denied:
        await answered(broker, ask("s", "rm", {}, service=service), approved=False, reason="not now")

    assert (denied.value.outcome, denied.value.reason) == ("rejected", "not now")


async def test_request_carries_what_the_asker_knows(service: Service, broker: Broker) -> None:
    call = ask(
        "s",
        "rm",
        {},
        service=service,
        risk_level="medium",
        risk_reasons=["it deletes"],
        tool_call_id="c1",
        description="clean up",
        timeout_seconds=7,
        server="files",
        definition_sha256="0a" * 32,
    )
    task = asyncio.create_task(call)
    record = (await asked(broker)).record
    broker.decide("s", Decision(approved=True), decided_by="ada")
    await task

    assert (record.risk_level, record.tool_call_id) == ("medium", "c1")
    word = "the asker says: it deletes" if isinstance(service, Client) else "it deletes"
    assert record.risk_reasons == (word, "it deletes; this cannot be taken back")
    assert record.rated_by == ("producer" if isinstance(service, Client) else "service")
    assert (record.description, record.timeout_seconds) == ("clean up", 7)
    assert (record.server, record.definition_sha256) == ("files", "0a" * 32)
    assert record.allowed_decisions == ("approve", "edit", "reject")


async def test_edit_is_not_offered_where_it_could_not_be_carried_out(service: Service, broker: Broker) -> None:
    call = asyncio.create_task(ask("s", "rm", {}, service=service, may_edit=False))
    request = await asked(broker)
    request.cancel("enough")

    assert request.record.allowed_decisions == ("approve", "reject")
    with pytest.raises(ToolDenied, match="the request was cancelled because enough"):
        await call


async def test_low_risk_asks_nobody(service: Service) -> None:
    assert await ask("s", "ls", {"path": "a"}, service=service, risk_level="low") == {"path": "a"}


async def test_calls_with_the_same_id_are_asked_one_by_one(service: Service, broker: Broker) -> None:
    call = {"tool_name": "rm", "parameters": {}, "tool_call_id": "c1", "service": service}

    assert await answered(broker, ask("s", **call), approved=True) == {}
    with pytest.raises(ToolDenied):
        await answered(broker, ask("s", **call), approved=False)


async def test_cancelled_asker_withdraws_the_request(service: Service, broker: Broker) -> None:
    call = asyncio.create_task(ask("s", "rm", {}, service=service))
    request = await asked(broker)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async with asyncio.timeout(5):
        assert (await request.decision()).status == "cancelled"


async def test_nothing_is_left_running_in_the_session(service: Service, broker: Broker) -> None:
    await answered(broker, ask("s", "rm", {}, service=service), approved=True)

    assert broker.open("s").snapshot().running == ()


async def test_parameters_that_cannot_be_shown_are_denied(service: Service) -> None:
    with pytest.raises(ToolDenied, match="rm did not run: the parameters cannot be shown as JSON") as denied:
        await ask("s", "rm", {"path": object()}, service=service)

    assert denied.value.outcome == "invalid"


async def test_what_keeps_people_from_being_asked_is_a_denial() -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    first = asyncio.create_task(ask("s", "rm", {}, service=broker))
    await asked(broker)

    with pytest.raises(ToolDenied, match="more are denied") as denied:
        await ask("s", "rm", {}, service=broker)

    assert denied.value.outcome == "limit"
    broker.close()
    with pytest.raises(ToolDenied, match="the service is shutting down"):
        await first


class Elsewhere(Client):
    """A service that gives an answer nobody offered."""

    def __init__(self, **record: Any) -> None:
        super().__init__()
        self.record = record

    async def ask(self, *call: Any, **more: Any) -> dict[str, Any]:
        return {"tool_name": "rm", "request_id": "pr_1", "decided_by": "ada"} | self.record


@pytest.mark.parametrize(
    "record",
    [
        {"status": "rejected", "approved": False, "decision": "respond", "response": "42"},
        {"status": "approved", "approved": True, "decision": "edit", "parameters": {"path": "/"}},
    ],
)
async def test_answer_that_was_not_offered_lets_nothing_run(record: dict[str, Any]) -> None:
    async with Elsewhere(**record) as client:
        with pytest.raises(ToolDenied, match="rm did not run: the service answered what was not offered") as denied:
            await ask("s", "rm", {}, service=client, may_edit=False)

    assert denied.value.outcome == "invalid"


# What a session of this process is told


def test_event_of_this_process_fits_the_limit_of_its_broker() -> None:
    assert BrokerAsker(Broker(Limits(max_event_bytes=20_000)), "s").max_event_bytes == 20_000


def test_event_is_told_to_the_session(broker: Broker) -> None:
    BrokerAsker(broker, "s").tell("tool_status", ToolStatus(status="executing", tool_name="rm"))

    [event] = broker.open("s").log.read_after(0)
    assert event.type == "tool_status"


def test_event_that_comes_after_the_shutdown_is_logged_and_disturbs_nobody(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    broker.close()

    BrokerAsker(broker, "s").tell("tool_status", ToolStatus(status="executing", tool_name="rm"))

    assert "tool_status was not published: " in caplog.text


# What is fetched too late


def test_large_edit_that_is_no_longer_kept_whole_lets_nothing_run(clock: Clock) -> None:
    broker = Broker(clock=clock)
    request = broker.ask("s", tool_name="Write", parameters={"content": ""})
    broker.decide("s", Decision(approved=True, parameters={"content": "x" * 300_000}), decided_by="ada", via="program")
    in_time = permission_by_record(dict(request.record))
    clock.advance(60)
    broker.sweep()

    with pytest.raises(ToolDenied, match="Write did not run: the edit is too large, and no longer kept whole") as late:
        permission_by_record(dict(request.record))

    assert in_time.edited == {"content": "x" * 300_000}
    assert (late.value.outcome, late.value.request_id) == ("invalid", request.request_id)


# What can be offered


@pytest.mark.parametrize(
    ("offered", "shown"),
    [
        (["reject", "approve"], ("approve", "reject")),
        ({"respond", "reject", "approve"}, ("approve", "reject", "respond")),
    ],
)
def test_decisions_are_offered_in_one_order(offered: Any, shown: tuple[str, ...], broker: Broker) -> None:
    record: PermissionRecord = broker.ask("s", tool_name="rm", parameters={}, allowed_decisions=offered).record

    assert record.allowed_decisions == shown


TAKES = {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": False}


async def test_edit_that_does_not_fit_the_schema_is_refused_and_the_call_waits_on(
    service: Service, broker: Broker
) -> None:
    call = asyncio.create_task(ask("s", "rm", {"path": "a"}, service=service, input_schema=TAKES))
    request = await asked(broker)
    with pytest.raises(InvalidInput, match="parameters/path: it is not of type 'string'"):
        broker.decide("s", Decision(approved=True, parameters={"path": 5}), decided_by="ada")
    assert request.pending
    broker.decide("s", Decision(approved=True, parameters={"path": "b"}), decided_by="ada")

    assert await call == {"path": "b"}


async def test_schema_that_cannot_be_checked_is_refused_before_anybody_is_asked(
    service: Service, broker: Broker
) -> None:
    with pytest.raises(ToolDenied, match="rm did not run: input_schema: it has 13") as denied:
        await ask("s", "rm", {}, service=service, input_schema={"enum": ["x" * 131_072]})

    assert denied.value.outcome == "invalid"
    assert not broker.open("s").desk.pending


async def test_rule_of_a_policy_denies_with_its_name_and_justification(
    service: Service, broker: Broker, tmp_path: Path
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", deny="rm"))
    with pytest.raises(ToolDenied) as denied:
        await ask("s", "rm", {}, service=service, risk_level="low")

    assert str(denied.value) == 'rm did not run: denied by policy rule "no rm": because of rm'
    assert (denied.value.outcome, denied.value.reason) == ("policy", None)
    assert denied.value.details == {"rule": "no rm", "justification": "because of rm"}


async def test_rule_of_a_policy_allows_without_anybody_being_asked(
    service: Service, broker: Broker, tmp_path: Path
) -> None:
    broker.follow(a_policy_file(tmp_path / "policy.toml", allow="rm"))

    assert await ask("s", "rm", {"path": "a"}, service=service, risk_level="high") == {"path": "a"}


async def test_service_that_shuts_down_lets_nothing_run_and_says_why(broker: Broker) -> None:
    asker = BrokerAsker(broker, "s")
    question = Question("rm", {}, "low")
    was_allowed = asker.allows(question)
    broker.close()

    assert (was_allowed, asker.allows(question)) == (True, False)
    with pytest.raises(ToolDenied, match=r"^rm did not run: The service is shutting down\.$") as denied:
        await asker.ask(question)
    assert denied.value.outcome == "unavailable"


@pytest.mark.parametrize("risk_level", ["low", "high"])
async def test_call_that_cannot_be_put_on_record_does_not_run_and_says_why(risk_level: RiskLevel) -> None:
    broker = Broker(audit=FullAudit())
    with pytest.raises(ToolDenied, match=r"^rm did not run: The disk is full\.$") as denied:
        await ask("s", "rm", {}, service=broker, risk_level=risk_level)
    broker.close()

    assert denied.value.outcome == "unavailable"


async def test_session_is_called_after_what_asks_where_nobody_has_called_it_anything() -> None:
    broker = Broker()
    asker = BrokerAsker(broker, "s")
    asker.introduce(title="folder", agent=None)
    asker.introduce(agent="robot\u202e")
    asking = asyncio.ensure_future(asker.ask(Question("rm", {}, "high", ())))
    while not broker.open("s").desk.pending:  # noqa: ASYNC110  # a core has no event for it
        await asyncio.sleep(0)
    assert broker.open("s").label == Label("folder", "robot")
    broker.label("s", Label("mine", None))
    broker.decide("s", Decision(approved=True), decided_by="ana")
    await asking

    assert broker.open("s").label == Label("mine", None)
