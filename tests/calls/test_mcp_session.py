"""A wrapped MCP client session asks about what its server says is risky, and gives MCP's own results.

The servers and the sessions are the SDK's: ``make test`` takes its newest version, ``make test-integrations`` 1.x too.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import mcp
import pytest
from mcp import ClientSession, types

from notifier_service import Broker, Decision, Limits, ToolDenied, ToolWrapper
from notifier_service.calls.mcp_session import McpSession
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.verdict import Verdict
from tests.clock import Clock
from tests.mcp_server import IS_FIRST, Journal, in_memory, over_stdio

over_both = pytest.mark.parametrize("session", ["memory", "stdio"], indirect=True)
stateless = pytest.mark.skipif(IS_FIRST, reason="the SDK 1.x knows no stateless protocol")


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture(params=["memory"])
async def session(request: pytest.FixtureRequest, journal: Journal) -> AsyncIterator[ClientSession]:
    """A session with a server in memory, or, for tests ``over_both``, also with one in a process of its own."""
    opened: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    async def hold() -> None:
        # In one task: anyio leaves a scope only where it was entered, and a fixture ends in another task.
        async with in_memory(journal) if request.param == "memory" else over_stdio() as session:
            opened.set_result(session)
            await closing.wait()

    holder = asyncio.create_task(hold())
    await asyncio.wait({holder, opened}, return_when=asyncio.FIRST_COMPLETED)
    if opened.done():
        yield opened.result()
    closing.set()
    await holder


def told(broker: Broker, event_type: str) -> list[dict[str, Any]]:
    events = [json.loads(event.json) for event in broker.open("s").log.read_after(0)]
    return [event["data"] for event in events if event["type"] == event_type]


def statuses(broker: Broker) -> list[str]:
    return [status["status"] for status in told(broker, "tool_status")]


async def asked(broker: Broker) -> PermissionRequest:
    session = broker.open("s")
    async with asyncio.timeout(10):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    return session.desk.pending[-1]


async def answered(broker: Broker, call: Awaitable[Any], **decision: Any) -> Any:
    task = asyncio.ensure_future(call)
    request = await asked(broker)
    broker.decide("s", Decision(request_id=request.request_id, **decision), decided_by="ada")
    async with asyncio.timeout(10):
        return await task


def text_of(result: Any) -> str:
    assert isinstance(result, types.CallToolResult)
    [content] = result.content
    assert isinstance(content, types.TextContent)
    return content.text


def is_error(result: Any) -> bool:
    return bool(result.isError if IS_FIRST else result.is_error)


def test_the_sdk_is_the_one_that_is_meant() -> None:
    assert hasattr(mcp, "Client") is not IS_FIRST


# Risk


@over_both
async def test_tool_that_only_reads_its_own_system_runs_unasked(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)

    result = await wrapped.call_tool("read", {"path": "a"})

    assert (text_of(result), is_error(result)) == ("read {'path': 'a'}", False)
    assert statuses(broker) == ["executing", "completed"]
    assert told(broker, "permission_request") == []


@pytest.mark.parametrize(
    ("tool", "level", "reason"),
    [
        ("search", "medium", "the server says that it only reads"),
        ("append", "medium", "the server says that it destroys nothing"),
        ("write", "high", "the server does not say what the tool may do"),
        ("no such tool", "high", "the server lists no tool of that name"),
    ],
)
async def test_tool_that_may_do_more_asks_and_tells_why(
    tool: str, level: str, reason: str, journal: Journal, broker: Broker
) -> None:
    async with in_memory(journal) as session:
        wrapped = ToolWrapper(session, session_id="s", broker=broker)
        await answered(broker, wrapped.call_tool(tool, {}), approved=False)

    [request] = told(broker, "permission_request")
    assert (request["risk_level"], request["risk_reasons"][0]) == (level, reason)


async def test_risk_level_that_was_given_counts_and_no_list_is_read(journal: Journal, broker: Broker) -> None:
    async with in_memory(journal) as session:
        wrapped = ToolWrapper(session, session_id="s", broker=broker, risk_level={"read": "high"})
        await answered(broker, wrapped.call_tool("read", {}), approved=False)

    assert journal.lines == []


async def test_all_pages_are_listed_once_for_all_calls(journal: Journal, broker: Broker) -> None:
    async with in_memory(journal) as session:
        wrapped = ToolWrapper(session, session_id="s", broker=broker)
        await asyncio.gather(*(wrapped.call_tool("count", {}) for _ in range(3)))
        await wrapped.call_tool("read", {})

    assert [line for line in journal.lines if line.startswith("list")] == ["list None", "list 3", "list 6", "list 9"]


@over_both
async def test_list_is_dropped_when_the_server_tells_that_it_changed(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)
    await answered(broker, wrapped.call_tool("jot", {}), approved=False)

    await wrapped.call_tool("change", {})
    async with asyncio.timeout(10):
        result = await answered(broker, wrapped.call_tool("jot", {}), approved=True)

    first, second = told(broker, "permission_request")
    assert text_of(result) == "jot {}"
    assert (first["risk_level"], second["risk_level"]) == ("high", "low")
    assert first["definition_sha256"] != second["definition_sha256"]
    assert second["risk_reasons"][-1] == "who asks rates it low now, and it was asked about at risk high before"


async def test_whoever_handled_the_messages_of_the_session_goes_on_hearing_them(
    journal: Journal, broker: Broker
) -> None:
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(getattr(message, "root", message))

    async with in_memory(journal, message_handler=hear) as session:
        # A wrapper for each turn of a conversation, over one session.
        for _ in range(3):
            await ToolWrapper(session, session_id="s", broker=broker).call_tool("change", {})

    assert [type(message) for message in heard] == [types.ToolListChangedNotification] * 3


class Listing:
    """An object with ``call_tool`` that lists its tools in some way of its own."""

    def __init__(self, *pages: Any) -> None:
        self.pages = pages
        self.lists = 0

    async def call_tool(self, name: str, arguments: Any) -> str:
        return name

    async def list_tools(self, cursor: str | None = None) -> Any:
        self.lists += 1
        page = self.pages[min(int(cursor or 0), len(self.pages) - 1)]
        if isinstance(page, Exception):
            raise page
        return page


READ = {"readOnlyHint": True, "openWorldHint": False}
TOOL = SimpleNamespace(name="t", annotations=READ)


async def test_object_that_gives_its_tools_as_a_list_is_rated_too(broker: Broker) -> None:
    listing = Listing([TOOL])

    assert await ToolWrapper(listing, session_id="s", broker=broker).call_tool("t", {}) == "t"


async def test_list_of_an_object_whose_changes_nobody_hears_holds_for_a_minute() -> None:
    clock = Clock()
    listing = Listing([TOOL])
    session = McpSession(listing, clock=clock)
    await session.listed("t")
    clock.advance(59)
    await session.listed("t")
    assert listing.lists == 1
    clock.advance(1)
    await session.listed("t")

    assert listing.lists == 2


@pytest.mark.parametrize("is_wrapped", [True, False], ids=["1.x", "2.x"])
async def test_wrapper_offers_a_handler_for_messages_that_it_cannot_hear(is_wrapped: bool, broker: Broker) -> None:
    listing = Listing([TOOL])
    wrapped = ToolWrapper(listing, session_id="s", broker=broker)
    await wrapped.call_tool("t", {})
    for method in ("notifications/message", "notifications/tools/list_changed"):
        message = SimpleNamespace(method=method)
        await wrapped.message_handler(SimpleNamespace(root=message) if is_wrapped else message)
        await wrapped.call_tool("t", {})

    assert listing.lists == 2


async def test_wrapper_of_a_callable_hears_nothing(broker: Broker) -> None:
    await ToolWrapper(len, session_id="s", broker=broker).message_handler(RuntimeError("gone"))


@pytest.mark.parametrize(
    "pages",
    [
        [RuntimeError("gone")],
        [ConnectionError("gone")],
        ["garbage"],
        [SimpleNamespace(tools=[TOOL], nextCursor="1"), RuntimeError("gone")],
        # A server that gives cursors for ever.
        [SimpleNamespace(tools=[TOOL], next_cursor="0")],
    ],
    ids=["error", "lost", "garbage", "second page", "endless"],
)
async def test_list_that_cannot_be_read_makes_every_tool_risky(pages: list[Any], broker: Broker) -> None:
    wrapped = ToolWrapper(Listing(*pages), session_id="s", broker=broker)

    assert await answered(broker, wrapped.call_tool("t", {}), approved=True) == "t"
    assert told(broker, "permission_request")[0]["risk_reasons"][0] == "the server's list of tools cannot be read"


@pytest.mark.parametrize(
    ("other", "said"),
    [("t", "the server lists it twice"), (" T", "the server lists another tool with nearly the same name")],
)
async def test_tool_of_which_the_server_has_a_double_is_risky(other: str, said: str, broker: Broker) -> None:
    listing = Listing([TOOL, SimpleNamespace(name=other, annotations=READ)])

    await answered(broker, ToolWrapper(listing, session_id="s", broker=broker).call_tool("t", {}), approved=True)

    [request] = told(broker, "permission_request")
    assert request["risk_level"] == "high"
    assert request["risk_reasons"][0] == said


async def test_annotations_that_are_an_object_say_what_they_say(broker: Broker) -> None:
    tool = SimpleNamespace(name="t", annotations=SimpleNamespace(**READ))

    assert await ToolWrapper(Listing([tool]), session_id="s", broker=broker).call_tool("t", {}) == "t"


async def test_list_that_changes_while_it_is_read_is_not_kept(
    journal: Journal, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_memory(journal) as session:
        wrapped = ToolWrapper(session, session_id="s", broker=broker)
        list_tools = session.list_tools

        @functools.wraps(list_tools)
        async def list_and_change(**page: Any) -> Any:
            tools = await list_tools(**page)
            if journal.annotations["jot"] is None:
                await session.call_tool("change", {})
            return tools

        monkeypatch.setattr(session, "list_tools", list_and_change)
        await wrapped.call_tool("read", {})
        await wrapped.call_tool("jot", {})

    assert told(broker, "permission_request") == []


# Denials and answers


@over_both
async def test_rejection_is_an_error_result_that_says_who_and_why(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)

    result = await answered(broker, wrapped.call_tool("write", {}), approved=False, reason='not "now"\nlater')

    assert text_of(result) == 'write did not run: rejected by ada: not "now"\nlater'
    assert is_error(result)
    assert statuses(broker) == ["waiting_permission", "denied"]
    assert "call write" not in text_of(await wrapped.call_tool("journal", {}))


async def test_edit_runs_as_it_was_edited(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)

    result = await answered(broker, wrapped.call_tool("write", {"n": 1}), approved=True, parameters={"n": 2})

    ran, note = (content.text for content in result.content)
    assert ran == "write {'n': 2}"
    assert note == 'Note: ada changed the parameters of this call before it ran. It ran with {"n":2}'


async def test_answer_in_the_tools_place_is_a_result_without_an_error(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)

    result = await answered(broker, wrapped.call_tool("write", {}), approved=False, response="it is done already")

    assert (text_of(result), is_error(result)) == ("it is done already", False)
    assert statuses(broker) == ["waiting_permission", "completed"]


async def test_every_failure_to_ask_is_an_error_result(journal: Journal) -> None:
    broker = Broker(Limits(max_pending_per_session=1))
    async with in_memory(journal) as session:
        wrapped = ToolWrapper(session, session_id="s", broker=broker)
        first = asyncio.create_task(wrapped.call_tool("write", {}))
        await asked(broker)
        full = await wrapped.call_tool("write", {})
        unshowable = await wrapped.call_tool("write", {"n": float("nan")})
        nameless = await wrapped.call_tool("", {})
        broker.close()
        closed = await first
        after = await wrapped.call_tool("read", {})

    assert all(is_error(result) for result in (full, unshowable, nameless, closed, after))
    assert [text_of(result)[:42] for result in (full, closed, after)] == [
        "write did not run: 1 permission requests a",
        "write did not run: the request was cancell",
        "read did not run: The service is shutting ",
    ]
    assert not [line for line in journal.lines if line.startswith("call")]


async def test_object_that_is_no_mcp_session_raises_the_denial(broker: Broker) -> None:
    with pytest.raises(ToolDenied):
        await answered(broker, ToolWrapper(Listing(), session_id="s", broker=broker).call_tool("t", {}), approved=False)


class Quiet(ClientSession):
    async def call_tool(self, *args, **kwargs):  # type: ignore[no-untyped-def]  # that it says nothing is the point
        return await super().call_tool(*args, **kwargs)


class Unresolved:
    async def call_tool(self, name: str, arguments: Any) -> Nothing:  # type: ignore[name-defined]  # noqa: F821
        ...


class Mine:
    async def call_tool(self, name: str, arguments: Any) -> types.CallToolResult | None: ...


class Theirs:
    async def call_tool(self, name: str, arguments: Any) -> typing.Any: ...


@pytest.mark.parametrize(("kind", "is_mcp"), [(Quiet, True), (Mine, True), (Unresolved, False), (Theirs, False)])
def test_mcps_results_are_given_where_call_tool_says_so(kind: Any, is_mcp: bool) -> None:
    target = object.__new__(kind)

    assert (McpSession(target).result("no", is_error=True) is not None) is is_mcp


async def test_failure_that_the_tool_reports_is_passed_on_and_told(session: ClientSession, broker: Broker) -> None:
    result = await ToolWrapper(session, session_id="s", broker=broker).call_tool("fail", {})

    assert (text_of(result), is_error(result)) == ("fail {}", True)
    assert statuses(broker) == ["executing", "failed"]


# Progress and cancellation


@over_both
async def test_progress_is_told_and_passed_on(session: ClientSession, broker: Broker) -> None:
    heard: list[Any] = []

    async def hear(*progress: Any) -> None:
        heard.append(progress)

    await ToolWrapper(session, session_id="s", broker=broker).call_tool("count", {}, progress_callback=hear)

    steps = [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    progress = [(step["progress"], step["total"], step["message"]) for step in told(broker, "tool_progress")]
    assert heard == progress == steps


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await is_so():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.01)


@over_both
async def test_cancelled_call_is_cancelled_at_the_server_too(session: ClientSession, broker: Broker) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)

    async def journal_has(line: str) -> bool:
        return line in text_of(await session.call_tool("journal", {}))

    call = asyncio.create_task(wrapped.call_tool("wait", {}))
    await until(lambda: journal_has("call wait"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await until(lambda: journal_has("cancelled"))
    assert statuses(broker) == ["executing", "cancelled"]


class CallToolResult:
    """The result of an SDK that leaves it to its user to tell the server."""


class Notification:
    def __init__(self, root: Any = None, **fields: Any) -> None:
        self.root, self.fields = root, fields


class LikeFirst:
    """A session of the SDK 1.x, as far as a cancelled call goes."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._request_id = 7
        self.failure = failure
        self.sent: list[Any] = []
        self.called, self.told = asyncio.Event(), asyncio.Event()

    async def call_tool(self, name: str, arguments: Any) -> CallToolResult:
        self._request_id += 1
        self.called.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def send_notification(self, notification: Any) -> None:
        self.sent.append(notification.root.fields)
        self.told.set()
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize("failure", [None, OSError("the connection is gone")], ids=["told", "gone"])
async def test_sdk_that_leaves_the_server_working_is_told_for(
    failure: Exception | None, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("CancelledNotification", "CancelledNotificationParams", "ClientNotification")
    monkeypatch.setattr(CallToolResult, "__module__", "mcp.first")
    monkeypatch.setitem(sys.modules, "mcp.first", SimpleNamespace(**dict.fromkeys(names, Notification)))
    session = LikeFirst(failure)
    call = asyncio.create_task(
        ToolWrapper(session, session_id="s", broker=broker, risk_level="low").call_tool("wait", {})
    )
    await session.called.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await session.told.wait()

    assert session.sent[0]["method"] == "notifications/cancelled"
    assert session.sent[0]["params"].fields["requestId"] == 7


async def test_call_that_is_cancelled_while_it_waits_withdraws_its_request(
    session: ClientSession, broker: Broker
) -> None:
    wrapped = ToolWrapper(session, session_id="s", broker=broker)
    call = asyncio.create_task(wrapped.call_tool("write", {}))
    request = await asked(broker)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert request.record.status == "cancelled"
    assert "call write" not in text_of(await wrapped.call_tool("journal", {}))


async def test_request_that_somebody_withdraws_is_an_error_result(session: ClientSession, broker: Broker) -> None:
    call = asyncio.create_task(ToolWrapper(session, session_id="s", broker=broker).call_tool("write", {}))
    (await asked(broker)).cancel("the agent withdrew it")

    assert text_of(await call) == "write did not run: the request was cancelled because the agent withdrew it."


# Calls of several rounds, and the stateless protocol


def connected(journal: Journal) -> AbstractAsyncContextManager[Any]:
    client: Any = mcp.Client(journal.server())  # type: ignore[attr-defined,unused-ignore]
    return client


@stateless
async def test_further_rounds_of_a_call_are_not_asked_again(journal: Journal, broker: Broker) -> None:
    async with connected(journal) as client:
        call = ToolWrapper(client.session, session_id="s", broker=broker).call_tool
        first = await answered(broker, call("rounds", {"n": 1}, allow_input_required=True), approved=True)
        second = await call("rounds", {"n": 1}, allow_input_required=True, request_state=first.request_state)
        third = await call("rounds", {"n": 1}, allow_input_required=True, request_state=second.request_state)

    assert (first.request_state, second.request_state) == ("first", "second")
    assert text_of(third) == "rounds {'n': 1}"
    assert len(told(broker, "permission_request")) == 1


@stateless
async def test_further_round_runs_what_the_person_made_of_the_first(journal: Journal, broker: Broker) -> None:
    async with connected(journal) as client:
        call = ToolWrapper(client.session, session_id="s", broker=broker).call_tool
        edit: dict[str, Any] = {"approved": True, "parameters": {"n": 2}}
        first = await answered(broker, call("rounds", {"n": 1}, allow_input_required=True), **edit)
        await call("rounds", {"n": 1}, allow_input_required=True, request_state=first.request_state)

    assert [line for line in journal.lines if line.startswith("call")] == ["call rounds {'n': 2}"] * 2
    assert told(broker, "tool_status")[-2]["details"]["parameters"] == {"n": 2}


@stateless
@pytest.mark.parametrize(
    ("name", "arguments", "state"),
    [("write", {"n": 1}, "first"), ("rounds", {"n": 2}, "first"), ("rounds", {"n": 1}, "forged")],
)
async def test_round_that_no_result_asked_for_is_asked(
    name: str, arguments: dict[str, Any], state: str, journal: Journal, broker: Broker
) -> None:
    async with connected(journal) as client:
        call = ToolWrapper(client.session, session_id="s", broker=broker).call_tool
        await answered(broker, call("rounds", {"n": 1}, allow_input_required=True), approved=True)
        await answered(broker, call(name, arguments, request_state=state), approved=False)

    assert len(told(broker, "permission_request")) == 2


@stateless
async def test_round_counts_once_and_only_at_the_wrapper_that_saw_it(journal: Journal, broker: Broker) -> None:
    async with connected(journal) as client:
        wrapped, other = (ToolWrapper(client.session, session_id="s", broker=broker) for _ in range(2))
        options: dict[str, Any] = {"allow_input_required": True}
        first = await answered(broker, wrapped.call_tool("rounds", {}, **options), approved=True)
        options["request_state"] = first.request_state
        await answered(broker, other.call_tool("rounds", {}, **options), approved=False)
        await wrapped.call_tool("rounds", {}, **options)
        await answered(broker, wrapped.call_tool("rounds", {}, **options), approved=False)

    assert len(told(broker, "permission_request")) == 3


@stateless
async def test_policy_that_denies_denies_a_further_round_too(
    journal: Journal, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(journal) as client:
        call = ToolWrapper(client.session, session_id="s", broker=broker).call_tool
        first = await answered(broker, call("rounds", {}, allow_input_required=True), approved=True)
        monkeypatch.setattr("notifier_service.core.session.judge", lambda *call, **rules: Verdict("deny", ("rule 3",)))
        result = await call("rounds", {}, allow_input_required=True, request_state=first.request_state)

    assert text_of(result) == "rounds did not run: denied by policy: rule 3."


@stateless
async def test_round_of_a_tool_that_is_defined_anew_is_asked(journal: Journal, broker: Broker) -> None:
    async with connected(journal) as client:
        wrapped = ToolWrapper(client.session, session_id="s", broker=broker)
        options: dict[str, Any] = {"allow_input_required": True}
        first = await answered(broker, wrapped.call_tool("rounds", {}, **options), approved=True)
        journal.annotations["rounds"] = {"destructiveHint": True}
        await wrapped.message_handler(SimpleNamespace(method="notifications/tools/list_changed"))
        again = wrapped.call_tool("rounds", {}, request_state=first.request_state, **options)
        result = await answered(broker, again, approved=False)

    assert text_of(result) == "rounds did not run: rejected by ada."


@stateless
async def test_client_that_drives_the_rounds_itself_is_asked_about_once(journal: Journal, broker: Broker) -> None:
    async with connected(journal) as client:
        wrapped = ToolWrapper(client, session_id="s", broker=broker)
        result = await answered(broker, wrapped.call_tool("rounds", {}), approved=True)
        await wrapped.call_tool("read", {})

    assert text_of(result) == "rounds {}"
    assert len(told(broker, "permission_request")) == 1


@stateless
async def test_list_is_dropped_when_a_stateless_server_tells_its_subscribers(broker: Broker) -> None:
    from mcp.server.mcpserver import Context, MCPServer

    server = MCPServer("files")
    only_reads = types.ToolAnnotations(read_only_hint=True, open_world_hint=False)

    @server.tool()
    def jot() -> str:
        return "before"

    async def change(context: Any) -> None:
        server.remove_tool("jot")
        server.tool(name="jot", annotations=only_reads)(lambda: "after")
        await context.notify_tools_changed()

    change.__annotations__["context"] = Context  # by name it would not be found, which 1.x does not have
    server.tool(annotations=only_reads)(change)
    async with mcp.Client(server) as client, client.listen(tools_list_changed=True) as changes:
        wrapped = ToolWrapper(client, session_id="s", broker=broker)
        await answered(broker, wrapped.call_tool("jot", {}), approved=False)
        await wrapped.call_tool("change", {})
        await anext(aiter(changes))
        result = await answered(broker, wrapped.call_tool("jot", {}), approved=True)

    assert text_of(result) == "after"
    assert told(broker, "permission_request")[-1]["risk_level"] == "low"


async def test_stateless_server_says_how_long_its_list_holds_and_a_minute_is_the_least() -> None:
    clock = Clock()

    class Stateless(Listing):
        protocol_version = "2026-07-28"

        async def _message_handler(self, message: Any) -> None: ...

    listing = Stateless(
        SimpleNamespace(tools=[TOOL], next_cursor="1", ttl_ms=0), SimpleNamespace(tools=[], ttl_ms=90_000)
    )
    session = McpSession(listing, clock=clock)
    await session.listed("t")
    clock.advance(59)
    assert (await session.listed("t")).risk.level == "low"
    assert listing.lists == 2
    clock.advance(1)
    await session.listed("t")

    assert listing.lists == 4
