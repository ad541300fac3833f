"""A client that takes tasks gets one in place of an answer for which a person is waited (SEP-2663)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notifier_service.mcp.message import Message
from notifier_service.mcp.tasks import Passed, Reply, Task, Tasks
from tests.clock import Clock
from tests.mcp.task_client import TAKES, TASKS


def asked(method: str, task_id: Any, meta: Any = TAKES, **params: Any) -> Message:
    given = {"taskId": task_id, **params} | ({} if meta is None else {"_meta": meta})
    return Message.parse(json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": given}).encode())


class Book:
    """Tasks whose ends the test decides."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.tasks = Tasks(clock=self.clock, **limits)
        self.ends: list[asyncio.Future[Any]] = []

    def begin(self, owner: str = "ada") -> Task | None:
        end = asyncio.get_running_loop().create_future()
        self.ends.append(end)

        async def work(task: Task) -> Any:
            return await end

        return self.tasks.begin(owner, "write waits for a person to decide.", work)

    def begun(self, owner: str = "ada") -> str:
        task = self.begin(owner)
        assert task is not None
        return task.task_id

    async def end(self, number: int = -1, **response: Any) -> None:
        self.ends[number].set_result(response or {"result": {"content": []}})
        for _ in range(3):
            await asyncio.sleep(0)

    def ask(self, method: str, task_id: Any, owner: str = "ada", **params: Any) -> dict[str, Any]:
        """What the client gets: the result, or the error."""
        looked = self.tasks.look(owner, asked(method, task_id, **params))
        assert looked is not None
        # A server that knows no tasks is behind.
        told = json.loads(looked.text) if isinstance(looked, Reply) else looked.told(error(-32601))
        got: dict[str, Any] = told["result"] if "result" in told else told["error"]
        return got


def error(code: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "error": {"code": code, "message": "no"}}


@pytest.fixture
async def book() -> AsyncIterator[Book]:
    book = Book()
    yield book
    await book.tasks.close()


async def test_task_says_how_it_is_until_it_has_ended(book: Book) -> None:
    task_id = book.begun()

    before = book.ask("tasks/get", task_id)
    await book.end(result={"content": [], "isError": True})
    after = book.ask("tasks/get", task_id)

    assert before["resultType"] == after["resultType"] == "complete"
    assert (before["status"], before["ttlMs"]) == ("working", None)
    assert before["statusMessage"] == "write waits for a person to decide."
    assert "result" not in before
    assert (after["status"], after["result"]) == ("completed", {"content": [], "isError": True})
    assert 3_600_000 <= after["ttlMs"] < 3_700_000
    assert after["createdAt"] == before["createdAt"] <= after["lastUpdatedAt"]


@pytest.mark.parametrize(
    ("response", "told"),
    [
        ({"error": {"code": 7, "message": "no", "data": 1}}, {"code": 7, "message": "no", "data": 1}),
        ({"error": {"message": "gone"}}, {"code": -32603, "message": "gone"}),
        ({"error": "odd"}, {"code": -32603, "message": "The MCP server's answer is none."}),
        ({"result": "odd"}, {"code": -32603, "message": "The MCP server's answer is none."}),
    ],
)
async def test_error_of_the_protocol_is_a_failure(book: Book, response: Any, told: Any) -> None:
    task_id = book.begun()

    await book.end(**response)

    got = book.ask("tasks/get", task_id)
    assert (got["status"], got["error"]) == ("failed", told)
    assert "result" not in got


async def test_work_that_breaks_is_a_failure_that_says_nothing_of_why(book: Book) -> None:
    task_id = book.begun()

    book.ends[0].set_exception(RuntimeError("secret"))
    await asyncio.sleep(0.01)

    assert book.ask("tasks/get", task_id)["error"] == {"code": -32603, "message": "The gateway failed."}


async def test_ids_cannot_be_guessed(book: Book) -> None:
    ids = {book.begun() for _ in range(100)}

    assert len(ids) == 100
    assert all(len(task_id) == 32 for task_id in ids)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_somebody_elses_task_is_as_unknown_as_one_that_never_was(book: Book, method: str) -> None:
    task_id = book.begun("ada")

    theirs = book.ask(method, task_id, "eve", inputResponses={})
    none = book.ask(method, "x" * 32, "eve", inputResponses={})

    assert theirs == none == {"code": -32602, "message": "There is no such task."}
    assert book.ask("tasks/get", task_id)["status"] == "working"


@pytest.mark.parametrize("task_id", [None, 1, True, "", [], {}, "\0", "é", "x" * 100_000, 1e300])
async def test_malformed_id_is_no_task(book: Book, task_id: Any) -> None:
    book.begun()

    assert book.ask("tasks/get", task_id)["code"] == -32602


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        [],
        {TASKS: {}},
        {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}},
        TAKES | {"io.modelcontextprotocol/clientCapabilities": {"tasks": {}}},
        TAKES | {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: None}}},
        TAKES | {"io.modelcontextprotocol/clientCapabilities": {"extensions": [TASKS]}},
        TAKES | {"io.modelcontextprotocol/clientCapabilities": None},
    ],
)
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_client_that_does_not_say_that_it_takes_tasks_has_none(book: Book, method: str, meta: Any) -> None:
    task_id = book.begun()

    told = [book.ask(method, one, meta=meta) for one in (task_id, "unknown")]

    assert told[0] == told[1]
    assert told[0]["code"] == -32021
    assert told[0]["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    assert book.ask("tasks/get", task_id)["status"] == "working"


async def test_cancel_ends_it_once_and_for_all(book: Book) -> None:
    task_id = book.begun()

    acknowledged = [book.ask("tasks/cancel", task_id) for _ in range(2)]
    await asyncio.sleep(0.01)

    assert acknowledged == [{"resultType": "complete"}] * 2
    assert book.ends[0].cancelled()
    assert book.ask("tasks/get", task_id)["status"] == "cancelled"


async def test_cancel_comes_too_late_for_what_has_ended(book: Book) -> None:
    task_id = book.begun()
    await book.end()

    assert book.ask("tasks/cancel", task_id) == {"resultType": "complete"}
    assert book.ask("tasks/get", task_id)["status"] == "completed"


async def test_end_is_kept_for_its_time_and_no_longer(book: Book) -> None:
    task_id = book.begun()
    book.clock.now += 100_000
    assert book.ask("tasks/get", task_id)["status"] == "working"
    await book.end()

    book.clock.now += 3599
    assert book.ask("tasks/get", task_id)["status"] == "completed"
    book.clock.now += 2

    assert book.ask("tasks/get", task_id)["code"] == -32602


async def test_client_has_only_so_many_tasks_and_takes_no_room_of_others() -> None:
    book = Book(max_tasks=(5, 2))
    ids = [book.begun("ada"), book.begun("ada")]

    assert book.begin("ada") is None
    book.begun("bob")
    await book.end(0)
    assert book.begin("ada") is None  # its client does not know yet how it ended
    book.ask("tasks/get", ids[0])
    book.begun("ada")

    assert book.ask("tasks/get", ids[0])["code"] == -32602
    assert book.ask("tasks/get", ids[1])["status"] == "working"
    await book.tasks.close()


async def test_ten_thousand_tasks_of_one_client_are_two_hundred(book: Book) -> None:
    begun = [book.begin() for _ in range(10_000)]

    assert sum(task is not None for task in begun) == 200
    assert book.begin("bob") is not None


async def test_answers_take_only_so_many_bytes() -> None:
    book = Book(max_bytes=(1000, 300))
    ids = [book.begun() for _ in range(4)]

    await book.end(0, result={"content": [], "x": "x" * 200})
    await book.end(1, result={"content": [], "x": "y" * 200})
    first, second = (book.ask("tasks/get", task_id) for task_id in ids[:2])
    await book.end(2, result={"content": [], "x": "z" * 200})
    await book.end(3, error={"code": 1, "message": "z" * 1000})

    assert first["result"]["x"] == "x" * 200
    assert second["status"] == "completed"
    assert second["result"]["isError"] is True
    assert "too large to be kept" in second["result"]["content"][0]["text"]
    assert book.ask("tasks/get", ids[2])["result"]["x"] == "z" * 200  # in the room of the first, which is known
    assert book.ask("tasks/get", ids[0])["code"] == -32602
    assert book.ask("tasks/get", ids[3])["result"]["isError"] is True


@pytest.mark.parametrize("result", [{"n": float("inf")}, {"n": float("nan")}])
async def test_answer_that_has_no_form_is_not_kept(book: Book, result: Any) -> None:
    task_id = book.begun()

    await book.end(result=result)

    assert book.ask("tasks/get", task_id)["result"]["isError"] is True


# What a task needs of its client


async def needing(book: Book, *rounds: dict[str, Any]) -> tuple[str, list[Any]]:
    """A task that asks its client for this, and what it has got."""
    got: list[Any] = []

    async def work(task: Task) -> Any:
        for wanted in rounds:
            got.append(await task.given(wanted))
        return {"result": {}}

    task = book.tasks.begin("ada", "?", work)
    assert task is not None
    await asyncio.sleep(0)
    return task.task_id, got


async def test_client_answers_one_after_the_other_and_what_was_not_asked_is_passed_over(book: Book) -> None:
    task_id, got = await needing(book, {"who": {"method": "a"}, "where": {"method": "b"}})

    wanted = book.ask("tasks/get", task_id)
    first = book.ask("tasks/update", task_id, inputResponses={"who": 1, "nobody": 2})
    still = book.ask("tasks/get", task_id)
    book.ask("tasks/update", task_id, inputResponses={"who": 3, "where": 4})
    book.ask("tasks/update", task_id, inputResponses={"where": 5})
    await asyncio.sleep(0)

    assert (wanted["status"], wanted["inputRequests"].keys()) == ("input_required", {"who", "where"})
    assert first == {"resultType": "complete"}
    assert (still["status"], still["inputRequests"]) == ("input_required", {"where": {"method": "b"}})
    assert got == [{"who": 1, "where": 4}]
    assert book.ask("tasks/get", task_id)["status"] == "completed"


async def test_key_is_one_requests_as_long_as_the_task_lives(book: Book) -> None:
    task_id, got = await needing(book, {"who": {"round": 1}}, {"who": {"round": 2}}, {})

    book.ask("tasks/update", task_id, inputResponses={"who": "ada"})
    await asyncio.sleep(0)
    [(name, request)] = book.ask("tasks/get", task_id)["inputRequests"].items()
    book.ask("tasks/update", task_id, inputResponses={"who": "late"})
    book.ask("tasks/update", task_id, inputResponses={name: "bob"})
    await asyncio.sleep(0)

    assert (name != "who", request) == (True, {"round": 2})
    assert got == [{"who": "ada"}, {"who": "bob"}, {}]


async def test_request_that_has_no_form_is_not_asked(book: Book) -> None:
    task_id, got = await needing(book, {"who": {"n": float("inf")}})

    assert (book.ask("tasks/get", task_id)["status"], got) == ("failed", [])


@pytest.mark.parametrize("answers", [None, [], "x", 1])
async def test_answers_that_are_no_object_are_refused(book: Book, answers: Any) -> None:
    task_id, _ = await needing(book, {"who": {}})

    assert book.ask("tasks/update", task_id, inputResponses=answers)["code"] == -32602


async def test_number_beyond_every_double_is_refused(book: Book) -> None:
    task_id, _ = await needing(book, {"who": {}})
    text = json.dumps(asked("tasks/update", task_id, inputResponses={"who": 8}).body).replace("8}", "1e999}")

    looked = book.tasks.look("ada", Message.parse(text.encode()))

    assert isinstance(looked, Reply)
    assert looked.is_error


async def test_update_of_what_needs_nothing_is_acknowledged(book: Book) -> None:
    task_id = book.begun()

    assert book.ask("tasks/update", task_id, inputResponses={"who": 1}) == {"resultType": "complete"}


async def test_cancelled_task_takes_no_answers(book: Book) -> None:
    task_id, got = await needing(book, {"who": {}})

    book.ask("tasks/cancel", task_id)
    book.ask("tasks/update", task_id, inputResponses={"who": 1})
    await asyncio.sleep(0)

    assert got == []
    assert book.ask("tasks/get", task_id)["status"] == "cancelled"


# The server's own


async def delegated(book: Book) -> str:
    async def work(task: Task) -> None:
        task.upstream_id = "theirs"

    task = book.tasks.begin("ada", "?", work)
    assert task is not None
    await asyncio.sleep(0.01)
    return task.task_id


async def test_task_that_the_server_makes_of_the_call_is_asked_of_the_server(book: Book) -> None:
    task_id = await delegated(book)

    passed = book.tasks.look("ada", asked("tasks/cancel", task_id, other=[1]))

    assert isinstance(passed, Passed)
    assert passed.task_id == "theirs"
    assert json.loads(passed.text)["params"] == {"taskId": "theirs", "other": [1], "_meta": TAKES}
    assert passed.told({"id": 7, "result": {"taskId": "theirs", "x": 1}})["result"] == {"taskId": task_id, "x": 1}
    assert passed.told(error(5)) == error(5)
    assert passed.told({"id": 7, "result": {}}) == {"id": 7, "result": {}}


async def test_task_at_the_server_is_known_as_long_as_its_client_asks(book: Book) -> None:
    task_id = await delegated(book)

    for _ in range(3):
        book.clock.now += 3000
        assert isinstance(book.tasks.look("ada", asked("tasks/get", task_id)), Passed)
    book.clock.now += 3601

    assert book.ask("tasks/get", task_id)["code"] == -32602


async def test_number_beyond_every_double_does_not_go_on_to_the_server(book: Book) -> None:
    task_id = await delegated(book)
    text = json.dumps(asked("tasks/get", task_id, n=8).body).replace('"n": 8', '"n": 1e999')

    assert isinstance(book.tasks.look("ada", Message.parse(text.encode())), Reply)


async def test_task_of_the_server_passes_with_what_the_server_says(book: Book) -> None:
    book.begun()
    message = asked("tasks/get", "of the server")

    passed = book.tasks.look("ada", message)

    assert isinstance(passed, Passed)
    assert passed.text == message.text
    assert passed.told({"id": 7, "result": {"taskId": "of the server"}}) == {
        "id": 7, "result": {"taskId": "of the server"},
    }  # fmt: skip
    assert passed.told(error(-32602)) == error(-32602)


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result", "tasks/status", "ping", "notifications/cancelled"])
async def test_other_methods_pass_untouched(book: Book, method: str) -> None:
    assert book.tasks.look("ada", asked(method, book.begun())) is None


async def test_server_is_not_asked_to_tell_of_tasks_that_it_does_not_have(book: Book) -> None:
    task_id = book.begun()
    wanted = {"taskIds": [task_id, "theirs", 1], "toolsListChanged": True}

    passed = book.tasks.look("ada", asked("subscriptions/listen", "", notifications=wanted))

    assert isinstance(passed, Passed)
    assert json.loads(passed.text)["params"]["notifications"] == {"taskIds": ["theirs", 1], "toolsListChanged": True}
    assert passed.told(error(5)) == error(5)


@pytest.mark.parametrize("wanted", [None, [], {}, {"taskIds": None}, {"taskIds": ["theirs"]}])
async def test_subscription_without_tasks_of_here_passes_as_it_is(book: Book, wanted: Any) -> None:
    book.begun()

    assert book.tasks.look("ada", asked("subscriptions/listen", "", notifications=wanted)) is None


@pytest.mark.parametrize(
    ("capabilities", "extensions"),
    [
        ({"tools": {}}, {TASKS: {}}),
        ({"extensions": {"a/b": {"x": 1}}}, {"a/b": {"x": 1}, TASKS: {}}),
        ({"extensions": {TASKS: {"x": 1}}}, {TASKS: {"x": 1}}),
        ({"extensions": None}, {TASKS: {}}),
    ],
)
async def test_client_is_told_that_there_may_be_tasks(book: Book, capabilities: Any, extensions: Any) -> None:
    passed = book.tasks.look("ada", Message.parse(b'{"jsonrpc":"2.0","id":1,"method":"server/discover"}'))

    assert isinstance(passed, Passed)
    told = passed.told({"id": 1, "result": {"capabilities": capabilities, "x": 1}})["result"]
    assert told == {"capabilities": capabilities | {"extensions": extensions}, "x": 1}


@pytest.mark.parametrize("answer", [error(-32601), {"id": 1, "result": {}}, {"id": 1, "result": {"capabilities": []}}])
async def test_server_that_does_not_say_what_it_can_do_is_left_alone(book: Book, answer: Any) -> None:
    passed = book.tasks.look("ada", Message.parse(b'{"jsonrpc":"2.0","id":1,"method":"server/discover"}'))

    assert isinstance(passed, Passed)
    assert passed.told(answer) is answer


async def test_end_of_the_gateway_ends_every_task(book: Book) -> None:
    ids = [book.begun() for _ in range(3)]
    await book.end(0)

    await book.tasks.close()

    assert [book.ask("tasks/get", task_id)["status"] for task_id in ids] == ["completed", "cancelled", "cancelled"]
