"""A running service is asked about every call; while it is away, and whatever else goes wrong, nothing may run."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Client, Decision, Settings, ToolDenied, ToolWrapper, serve
from notifier_service.calls.asker import Permission
from notifier_service.calls.service_asker import ServiceAsker
from notifier_service.core.errors import InvalidInput, NotifierError, ServiceRefused, ServiceRestarted
from notifier_service.core.events import ToolStatus
from notifier_service.core.input_schema import InputSchema
from notifier_service.core.label import Label
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Question
from notifier_service.core.trace import in_trace
from notifier_service.web import Site
from tests.cli.processes import free_port
from tests.losing_proxy import Fate, LosingProxy
from tests.policies import a_policy_file
from tests.service_process import service_process

#: For a service that is away, or ill; one that is well is given its time, for others may have the cores.
HASTE = {"answer_seconds": 0.5, "hold_seconds": 0.3, "ask_seconds": 0.6, "wait_seconds": 0.6}


def question(tool_name: str = "write", **more: Any) -> Question:
    told: dict[str, Any] = {
        "tool_name": tool_name,
        "parameters": {"path": "a"},
        "risk_level": "high",
        "risk_reasons": (),
        "tool_call_id": f"call_{time.monotonic_ns()}",
        "timeout_seconds": None,
        "announce_status": True,
    }
    return Question(**(told | more))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@asynccontextmanager
async def asker_of(url: str, *, token: str | None = None, **options: Any) -> AsyncIterator[ServiceAsker]:
    async with (
        Client(url, token=token) as client,
        ServiceAsker(client, "s", **({"hold_seconds": 0.3} | options)) as asker,
    ):
        yield asker


def url_of(site: Site) -> str:
    return f"{site.url}{site.settings.prefix}"


async def until(state: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not state():  # noqa: ASYNC110  # the state may be a service's
            await asyncio.sleep(0.01)


async def asked(broker: Broker) -> PermissionRequest:
    await until(lambda: broker.open("s").desk.pending)
    return broker.open("s").desk.pending[0]


def events(broker: Broker, event_type: str) -> list[dict[str, Any]]:
    told = [json.loads(event.json) for event in broker.open("s").log.read_after(0)]
    return [event["data"] for event in told if event["type"] == event_type]


@pytest.mark.parametrize(
    ("decision", "permission"),
    [
        ({"approved": True}, Permission(decided_by="ada")),
        ({"approved": True, "parameters": {"path": "b"}}, Permission(edited={"path": "b"}, decided_by="ada")),
        ({"approved": False, "response": "done"}, Permission(response="done", decided_by="ada")),
    ],
)
async def test_answer_of_a_person_comes_through(site: Site, decision: dict[str, Any], permission: Permission) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        request = await asked(site.broker)
        await asyncio.sleep(0.5)  # longer than one answer is held
        site.broker.decide("s", Decision(**decision), decided_by="ada")

        assert await asking == permission
        assert request.record.parameters in ({"path": "a"}, {"path": "b"})
        await until(lambda: events(site.broker, "tool_status"))
        assert events(site.broker, "tool_status")[0]["status"] == "waiting_permission"


async def test_each_event_is_told_in_the_trace_of_its_call(site: Site) -> None:
    traces = [f"00-{digit * 32}-{'b' * 16}-01" for digit in "1223"]
    async with asker_of(url_of(site)) as asker:
        for number, traceparent in enumerate([None, *traces]):
            with in_trace(traceparent):
                asker.tell("tool_status", ToolStatus(status="executing", tool_name=f"t{number}"))
        asking = asyncio.create_task(asker.ask(question("asked", traceparent=traces[0])))
        await until(lambda: len(events(site.broker, "tool_status")) == 6)
        site.broker.decide("s", Decision(approved=True), decided_by="ada")
        await asking

    told = [json.loads(event.json) for event in site.broker.open("s").log.read_after(0)]
    assert [
        (event["data"]["tool_name"], event.get("traceparent")) for event in told if event["type"] == "tool_status"
    ] == [("t0", None), *zip(("t1", "t2", "t3", "t4", "asked"), [*traces, traces[0]], strict=True)]


async def test_wrapped_function_asks_a_service_and_tells_it_what_becomes_of_the_call(site: Site) -> None:
    async with Client(url_of(site)) as client:
        calling = asyncio.create_task(ToolWrapper(str.upper, session_id="s", service=client, tool_name="write")("a"))
        await asked(site.broker)
        site.broker.decide("s", Decision(approved=True), decided_by="ada")
        result = await calling

    assert result == "A"
    statuses = [status["status"] for status in events(site.broker, "tool_status")]
    assert statuses[-2:] == ["executing", "completed"]


async def test_rejection_says_who_and_why(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        await asked(site.broker)
        site.broker.decide("s", Decision(approved=False, reason="not now"), decided_by="ada")

        with pytest.raises(ToolDenied, match=r"^write did not run: rejected by ada: not now$"):
            await asking


async def test_policy_of_the_service_decides_what_runs_unasked(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        assert asker.allows(question("read", risk_level="low")) is False
        assert await asker.ask(question("read", risk_level="low")) == Permission(decided_by="policy")


async def test_call_that_is_cancelled_withdraws_its_request(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        request = await asked(site.broker)

        asking.cancel()

        await until(lambda: request.record.status == "cancelled")


async def test_call_that_is_cancelled_before_the_service_answers_withdraws_its_request_too(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert events(site.broker, "permission_request") == events(site.broker, "permission_cleared") == [] or (
        events(site.broker, "permission_cleared")[0]["status"] == "cancelled"
    )


async def test_gateway_that_ends_withdraws_what_waits(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        request = await asked(site.broker)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert request.record.status == "cancelled"


async def test_nobody_answers_in_time(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        with pytest.raises(ToolDenied, match=r"within 0\.2 s") as denied:
            await asker.ask(question(timeout_seconds=0.2))

    assert denied.value.outcome == "expired"


async def test_service_that_is_away_denies_and_is_asked_again_when_it_is_back() -> None:
    port = free_port()
    async with asker_of(f"http://127.0.0.1:{port}/agent_backend", **HASTE) as asker:
        with pytest.raises(ToolDenied, match="does not answer") as denied:
            await asker.ask(question())
        assert denied.value.outcome == "unavailable"

        async with serve(settings=Settings(port=port)):
            assert await asker.ask(question("read", risk_level="low")) == Permission(decided_by="policy")


async def test_service_that_is_known_to_be_away_is_not_waited_for_at_every_call() -> None:
    async with asker_of(f"http://127.0.0.1:{free_port()}/agent_backend", **(HASTE | {"ask_seconds": 1.5})) as asker:
        with pytest.raises(ToolDenied):
            await asker.ask(question())
        began = time.monotonic()
        with pytest.raises(ToolDenied):
            await asker.ask(question())
        took = time.monotonic() - began

    assert took < 1.5


async def test_service_that_is_back_in_a_moment_denies_nothing() -> None:
    port = free_port()
    async with asker_of(f"http://127.0.0.1:{port}/agent_backend", **(HASTE | {"ask_seconds": 10})) as asker:
        asking = asyncio.create_task(asker.ask(question("read", risk_level="low")))
        await asyncio.sleep(0.1)
        async with serve(settings=Settings(port=port)):
            assert await asking == Permission(decided_by="policy")


async def test_service_that_never_answers_denies() -> None:
    async with silent_service() as url, asker_of(url, **HASTE) as asker:
        with pytest.raises(ToolDenied, match="does not answer in time"):
            await asker.ask(question())


async def test_service_that_stops_answering_while_a_call_waits_denies() -> None:
    async with (
        service_process() as (process, port),
        asker_of(f"http://127.0.0.1:{port}/agent_backend", **(HASTE | {"ask_seconds": 5})) as asker,
    ):
        asking = asyncio.create_task(asker.ask(question()))
        async with Client(f"http://127.0.0.1:{port}/agent_backend") as client:
            while not await client.pending("s"):  # noqa: ASYNC110  # the service is another process
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGSTOP)

        with pytest.raises(ToolDenied, match="does not answer in time"):
            await asking
        process.send_signal(signal.SIGCONT)


async def test_service_that_refuses_the_token_denies(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([{"token": "t1", "subject": "a", "rights": ["produce"], "sessions": ["s"]}]))
    async with serve(settings=Settings(port=0, auth="tokens", tokens_file=tokens)) as site:
        async with asker_of(url_of(site), token="wrong") as asker:
            with pytest.raises(ToolDenied, match=r"^write did not run: "):
                await asker.ask(question())
        async with asker_of(url_of(site), token="t1") as asker:
            assert await asker.ask(question(risk_level="low")) == Permission(decided_by="policy")


async def test_answer_that_is_no_decision_denies() -> None:
    body = json.dumps({"success": True, "data": {"status": "approved", "approved": 1, "decision": "approve"}})
    async with silent_service(body) as url, asker_of(url, **HASTE) as asker:
        with pytest.raises(ToolDenied):
            await asker.ask(question())


async def test_answer_of_another_service_denies() -> None:
    async with silent_service("<html>") as url, asker_of(url, **HASTE) as asker:
        with pytest.raises(ToolDenied, match="comes from no notifier_service"):
            await asker.ask(question())


async def test_events_are_published_beside_the_calls_and_in_order(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        for number in range(120):
            asker.tell(
                "tool_status", ToolStatus(status="executing", tool_name="t", tool_call_id="c", details={"n": number})
            )

    assert [event["details"]["n"] for event in events(site.broker, "tool_status")] == list(range(120))


async def test_events_for_a_service_that_is_away_hold_nothing_up() -> None:
    began = time.monotonic()
    async with asker_of(f"http://127.0.0.1:{free_port()}/agent_backend", **HASTE) as asker:
        for _ in range(2000):
            asker.tell("tool_status", ToolStatus(status="executing", tool_name="t"))

    assert time.monotonic() - began < 5


async def test_events_that_the_service_refuses_are_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async with asker_of(url_of(site)) as asker:
        asker.tell("no type", ToolStatus(status="executing", tool_name="t"))
        await until(lambda: "1 events were refused: " in caplog.text)
        asker.tell("tool_status", ToolStatus(status="executing", tool_name="t"))

    assert [event["status"] for event in events(site.broker, "tool_status")] == ["executing"]


@asynccontextmanager
async def silent_service(body: str | None = None) -> AsyncIterator[str]:
    """Something that listens, and answers every request with this body, or never."""
    left = asyncio.Event()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if body is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        await left.wait()
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/agent_backend"
    finally:
        left.set()
        server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_call_that_waits_is_asked_again_when_the_service_was_restarted(number: signal.Signals) -> None:
    port = free_port()
    async with (
        Client(f"http://127.0.0.1:{port}/agent_backend") as client,
        ServiceAsker(client, "s", answer_seconds=2, hold_seconds=1) as asker,
    ):
        async with service_process("--port", str(port)) as (process, _):
            asking = asyncio.create_task(asker.ask(question()))
            first = await pending(client)
            process.send_signal(number)
            await process.wait()
        async with service_process("--port", str(port)):
            second = await pending(client)
            assert (second["parameters"], second["request_id"] != first["request_id"]) == ({"path": "a"}, True)
            await client.decide("s", {"approved": True, "request_id": second["request_id"]})

            assert (await asking).edited is None


async def test_call_that_waits_is_waited_for_as_long_as_the_person_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier_service.calls.service_asker._LEAST_AWAY_SECONDS", 0.1)
    monkeypatch.setattr("notifier_service.calls.service_asker._PAUSE_SECONDS", 0.05)
    settings = Settings(port=free_port())
    client = Client(f"http://127.0.0.1:{settings.port}")
    async with client, ServiceAsker(client, "s", answer_seconds=1, hold_seconds=0.1) as asker:
        async with serve(settings=settings) as site:
            asking = asyncio.create_task(asker.ask(question(timeout_seconds=20)))
            await asked(site.broker)
        await asyncio.sleep(1)
        assert not asking.done()
        async with serve(settings=settings) as site:
            decision = Decision(request_id=(await asked(site.broker)).request_id, approved=True)
            site.broker.decide("s", decision, decided_by="ada")
            assert await asking == Permission(decided_by="ada")


async def test_agent_whose_time_is_over_is_told_that_the_service_was_restarted() -> None:
    port = free_port()
    async with (
        Client(f"http://127.0.0.1:{port}/agent_backend") as client,
        ServiceAsker(client, "s", answer_seconds=2, hold_seconds=1) as asker,
    ):
        async with service_process("--port", str(port)) as (process, _):
            asking = asyncio.create_task(asker.ask(question(timeout_seconds=1.5)))
            await pending(client)
            await asyncio.sleep(0.7)
            process.kill()
            await process.wait()
            await asyncio.sleep(0.6)
        async with service_process("--port", str(port)):
            with pytest.raises(ToolDenied, match="restarted while a person thought"):
                await asking


GONE: dict[str, Any] = {"status": "cancelled", "approved": False, "code": "shutdown", "request_id": "pr_1"}


class Restarting(Client):
    """A service that is restarted while a person thinks, and at first still answers what it did to all that waited."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[dict[str, Any]] = [
            {"status": "pending", "request_id": "pr_1"},
            GONE,
            {"status": "approved", "approved": True, "decision": "approve", "decided_by": "ada", "request_id": "pr_2"},
        ]
        self.keys: list[str | None] = []

    async def ask(self, *call: Any, idempotency_key: str | None = None, **more: Any) -> dict[str, Any]:
        self.keys.append(idempotency_key)
        return self.answers.pop(0)

    async def request(self, session_id: str, request_id: str, *, wait_seconds: float = 0) -> dict[str, Any]:
        return GONE

    async def claim(self, *call: Any, **more: Any) -> dict[str, Any] | None:
        return None


async def test_call_is_asked_again_until_the_service_that_goes_has_gone() -> None:
    async with Restarting() as client, ServiceAsker(client, "s") as asker:
        assert await asker.ask(question(announce_status=False)) == Permission(decided_by="ada")

    assert len(client.keys) == 3
    assert len(set(client.keys)) == 1


async def test_call_that_runs_is_taken_for_it_and_one_that_a_person_answered_is_not(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        for decision, is_taken in (({"approved": True}, True), ({"approved": False, "response": "x"}, False)):
            asking = asyncio.create_task(asker.ask(question()))
            request = await asked(site.broker)
            site.broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
            await asking

            assert (request.claimed_by is not None) is is_taken


@pytest.mark.parametrize(("announces", "is_missed"), [(True, True), (False, False)])
async def test_only_who_tells_the_end_of_a_call_is_missed(site: Site, announces: bool, is_missed: bool) -> None:
    async with asker_of(url_of(site)) as asker:
        await asker.ask(question(risk_level="low", announce_status=announces))

    assert bool(site.broker.open("s").desk.runs) is is_missed


async def test_second_asker_of_one_approval_runs_nothing(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question()))
        request = await asked(site.broker)
        site.broker.decide("s", Decision(approved=True), decided_by="ada")
        await site.broker.open("s").desk.claim(request, "another")

        with pytest.raises(ToolDenied, match=r"^write did not run: Another run has taken this request"):
            await asking


@pytest.mark.parametrize(("code", "more"), [("not_found", {}), ("request_not_found", {"restarted": True})])
async def test_service_that_knows_no_claim_is_passed_over(code: str, more: dict[str, Any]) -> None:
    async with Older(code, more) as client, ServiceAsker(client, "s") as asker:
        assert await asker.ask(question(announce_status=False)) == Permission(decided_by="ada")


async def test_call_that_cannot_be_taken_does_not_run() -> None:
    async with Older("request_not_found", {}) as client, ServiceAsker(client, "s") as asker:
        with pytest.raises(ToolDenied, match=r"^write did not run: it is not known$"):
            await asker.ask(question(announce_status=False))


async def test_service_that_is_shutting_down_is_not_asked_on_and_on() -> None:
    async with Stopping() as client, ServiceAsker(client, "s") as asker:
        asking = asyncio.create_task(asker.ask(question(announce_status=False)))
        await asyncio.sleep(0.1)
        asked_in_a_moment = client.asked
        client.has_stopped = True
        with pytest.raises(ToolDenied):
            await asking

    assert asked_in_a_moment == 1


class Stopping(Client):
    """A service that keeps what waits, and says so at once while it shuts down."""

    has_stopped = False
    asked = 0

    async def _record(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        self.asked += method == "GET"
        return {"status": "rejected" if self.has_stopped else "pending", "request_id": "r"}


class Older(Client):
    """A service that approves, and answers a claim so."""

    def __init__(self, code: str, more: dict[str, Any]) -> None:
        super().__init__()
        self._refused = (ServiceRestarted if more else ServiceRefused)(404, code, "it is not known", **more)

    async def _record(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        if path.endswith("/claim"):
            raise self._refused
        return {
            "status": "approved",
            "approved": True,
            "decision": "approve",
            "decided_by": "ada",
            "request_id": "pr_1",
        }


@pytest.mark.parametrize(
    "fates",
    [["502"], ["lose"], ["half"], ["pass", "504"], ["pass", "lose", "502"], ["pass", "reset", "504", "half"]],
    ids=" ".join,
)
async def test_proxy_that_cuts_and_loses_changes_nothing(site: Site, fates: list[Fate]) -> None:
    async with (
        LosingProxy(site.port).running() as proxy,
        Client(proxy.url) as client,
        ServiceAsker(client, "s", hold_seconds=0.3) as asker,
    ):
        proxy.fates = fates
        asking = asyncio.create_task(asker.ask(question(announce_status=False)))
        await until(lambda: not proxy.fates)
        request = await asked(site.broker)
        site.broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ada")

        assert await asking == Permission(decided_by="ada")
    assert len(events(site.broker, "permission_request")) == 1


async def pending(client: Client) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            with suppress(NotifierError):
                if records := await client.pending("s"):
                    return records[0]
            await asyncio.sleep(0.05)


async def test_schema_of_the_tool_holds_for_an_edit_there(site: Site) -> None:
    schema = InputSchema.of({"type": "object", "properties": {"path": {"type": "string"}}})
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question(input_schema=schema)))
        request = await asked(site.broker)
        with pytest.raises(InvalidInput, match="parameters/path: it is not of type 'string'"):
            site.broker.decide("s", Decision(approved=True, parameters={"path": 5}), decided_by="ada")
        assert request.pending
        site.broker.decide("s", Decision(approved=True, parameters={"path": "b"}), decided_by="ada")

        assert await asking == Permission(edited={"path": "b"}, decided_by="ada")


async def test_tool_whose_schema_cannot_be_checked_is_offered_for_no_edit_there(site: Site) -> None:
    async with asker_of(url_of(site)) as asker:
        asking = asyncio.create_task(asker.ask(question(input_schema=InputSchema.of("text"))))
        request = await asked(site.broker)
        site.broker.decide("s", Decision(approved=True), decided_by="ada")
        await asking

    assert request.record.allowed_decisions == ("approve", "reject", "respond")


async def test_rule_of_the_policy_there_denies_in_its_own_words(site: Site, tmp_path: Path) -> None:
    site.broker.follow(a_policy_file(tmp_path / "policy.toml", deny="write"))
    async with asker_of(url_of(site)) as asker:
        with pytest.raises(ToolDenied) as denied:
            await asker.ask(question(risk_level="low"))

    assert str(denied.value) == 'write did not run: denied by policy rule "no write": because of write'
    assert (denied.value.outcome, denied.value.details["rule"]) == ("policy", "no write")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Label(), Label("folder", "robot")),
        (Label("mine", None), Label("mine", "robot")),
        (Label("mine", "other"), Label("mine", "other")),
    ],
)
async def test_session_is_called_after_what_asks_where_nobody_has_called_it_anything(
    site: Site, before: Label, after: Label
) -> None:
    site.broker.label("s", before)
    async with asker_of(url_of(site)) as asker:
        asker.introduce(title="folder")
        asker.introduce(title="", agent="robot")
        for expected in (after, Label("theirs", None)):  # it is said once
            asking = asyncio.ensure_future(asker.ask(question()))
            request = await asked(site.broker)
            assert site.broker.open("s").label == expected
            site.broker.label("s", Label("theirs", None))
            site.broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ana")
            await asking


async def test_service_that_does_not_let_a_session_be_called_anything_is_asked_all_the_same(site: Site) -> None:
    class Older(Client):
        async def label(self, session_id: str, **label: str | None) -> dict[str, Any]:
            raise ServiceRefused(404, "not_found", "There is no such path.")

    async with Older(url_of(site)) as client, ServiceAsker(client, "s", hold_seconds=0.3) as asker:
        asker.introduce(agent="robot")
        asking = asyncio.ensure_future(asker.ask(question()))
        request = await asked(site.broker)
        site.broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ana")
        assert (await asking).decided_by == "ana"
