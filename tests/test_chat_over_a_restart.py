"""A chat goes on after a restart: its turns, the rest of an answer, and that a turn was cut and is not run again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from notifier_service import Broker, ChatTurn, Limits
from notifier_service.chat import Agent, Answer, Chat, PastTurn
from notifier_service.core.errors import NotDurable
from tests.core.memory_journal import MemoryJournal
from tests.test_chat import DONE, Slow, content, saying, taken, told, turns, until


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


def chat_on(journal: MemoryJournal, agent: Agent, broker: Broker | None = None, **limits: Any) -> Chat:
    """The chat of a run of the service on this journal."""
    chat = Chat(broker or Broker(Limits(**limits), journal=journal), agent)
    chat.go_on()
    return chat


def begin(chat: Chat, query: str = "q", session_id: str = "s", **how: Any) -> Answer:
    return chat.begin(session_id, query, **{"asked_by": "ada", **how})


async def rest(answer: Answer, cursor: str) -> list[Any]:
    with answer.reading(answer.log.locate(cursor)) as reader:
        return await taken(reader)


def beside(journal: MemoryJournal, session_id: str = "s") -> list[str]:
    kept = journal.sessions.get(session_id)
    return [] if kept is None else [name for name, _ in kept.beside()]


class Listening:
    """An agent that says what it was told, and remembers it."""

    def __init__(self) -> None:
        self.turns: list[ChatTurn] = []

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[str]:
        self.turns.append(turn)
        yield f"answer to {turn.query}"


async def cut(journal: MemoryJournal, query: str = "q") -> tuple[Answer, MemoryJournal]:
    """An answer that has said something when the service is killed, and what that leaves."""
    answer = begin(chat_on(journal, Slow()), query)
    await until(lambda: answer.log.last_seq)
    await until_said(journal)
    return answer, journal.again()


async def until_said(journal: MemoryJournal) -> None:
    async with asyncio.timeout(10):
        while not any(name.startswith("said/") for name in beside(journal)):  # noqa: ASYNC110  # what is kept wakes nobody
            await asyncio.sleep(0.01)


async def test_agent_is_told_the_turns_of_before(journal: MemoryJournal) -> None:
    agent = Listening()
    first = chat_on(journal, agent)
    for query in ("one", "two"):
        await told(begin(first, query))
    left = journal.again()

    await told(begin(chat_on(left, agent), "three"))
    await told(begin(chat_on(left.again(), agent), "four"))

    assert agent.turns[-1].history == tuple(
        PastTurn(query, f"answer to {query}", "done") for query in ("one", "two", "three")
    )


async def test_reader_gets_the_rest_of_an_answer_that_was_over(journal: MemoryJournal) -> None:
    pieces = ("a", b"\0\n\xff", {"type": "sources", "urls": ["\n"]}, "b")
    answer = begin(chat_on(journal, saying(*pieces)))
    before = await told(answer)

    again = chat_on(journal.again(), saying()).find(answer.log.id_of(1))

    assert again is not None
    assert (again.asked_by, again.session_id, again.outcome) == ("ada", "s", "done")
    assert await rest(again, answer.log.id_of(1)) == before[1:]
    assert await rest(again, answer.log.last_event_id) == []


async def test_answer_that_was_cut_says_so_and_is_not_run_again(journal: MemoryJournal) -> None:
    answer, left = await cut(journal)
    agent = Listening()
    chat = chat_on(left, agent)

    again = chat.find(answer.log.last_event_id)
    assert again is not None
    [end] = await rest(again, answer.log.last_event_id)

    assert end["type"] == "error"
    assert "restarted" in end["message"]
    assert (again.outcome, agent.turns) == ("error", [])
    await told(begin(chat, "and now?"))
    assert agent.turns[0].history == (PastTurn("q", "began", "error"),)


async def test_reader_who_was_told_more_than_was_kept_hears_that_the_answer_was_cut(journal: MemoryJournal) -> None:
    answer, left = await cut(journal)
    answer.log.append("content", encoded=b'{"type":"content","content":"told, and not kept"}')
    seen = answer.log.last_event_id

    again = chat_on(left, Slow()).find(seen)
    assert again is not None
    [end] = await rest(again, seen)
    third = chat_on(left.again(), Slow()).find(seen)

    assert end["type"] == "error"
    assert third is not None
    assert await rest(third, seen) == [end]
    assert await rest(third, again.log.last_event_id) == []


async def test_browser_that_asks_again_by_itself_hears_once_that_its_turn_was_cut(journal: MemoryJournal) -> None:
    _, left = await cut(journal)
    agent = Listening()
    chat = chat_on(left, agent)

    other = begin(chat_on(left.again(), agent), rejoin=True, asked_by="bob")
    assert (await told(other))[-1] == DONE
    first, second = begin(chat, rejoin=True), begin(chat, rejoin=True)

    assert (await told(first))[-1]["type"] == "error"
    assert await told(second) == [content("answer to q"), DONE]
    assert [turn.query for turn in agent.turns] == ["q", "q"]


async def test_turn_that_was_cut_before_the_agent_said_anything_is_told_too(journal: MemoryJournal) -> None:
    answer = begin(chat_on(journal, Slow()))
    chat = chat_on(journal.again(), Slow())

    again = chat.find(answer.log.last_event_id)

    assert again is not None
    [end] = await rest(again, answer.log.last_event_id)
    assert end["type"] == "error"


async def test_no_agent_hears_of_a_turn_that_cannot_be_kept(journal: MemoryJournal) -> None:
    agent = Listening()
    chat = chat_on(journal, agent)
    journal.is_held = True
    answer = begin(chat)
    await turns()
    assert agent.turns == []
    journal.error = "the disk is full"
    journal.is_held = False
    journal.note()

    [end] = await told(answer)

    assert "the disk is full" in end["message"]
    assert agent.turns == []
    journal.works_again()
    assert (await told(begin(chat)))[-1] == DONE


async def test_only_the_last_answer_and_the_newest_turns_are_kept(journal: MemoryJournal) -> None:
    chat = chat_on(journal, saying("x" * 7000), log_bytes=16 * 1024, max_event_bytes=16 * 1024)
    answers = []
    for _ in range(5):
        answers.append(begin(chat))
        await told(answers[-1])

    assert [name.partition("/")[0] for name in beside(journal)] == ["said", "turn", "turn", "turn"]
    left = chat_on(journal.again(), saying("y"))
    assert [left.find(answer.log.last_event_id) is not None for answer in answers] == [False] * 4 + [True]
    await told(begin(left))
    assert left.find(answers[-1].log.last_event_id) is None


async def test_what_the_log_of_a_long_answer_has_dropped_is_not_kept_either(journal: MemoryJournal) -> None:
    answer = begin(chat_on(journal, saying(*["x" * 1000] * 200), log_bytes=16 * 1024, max_event_bytes=16 * 1024))
    with answer.reading() as reader:
        while not reader.over:
            await reader.next()
            await until_said(journal)

    kept = journal.sessions["s"].beside()
    assert sum(len(body) for name, body in kept if name.startswith("said/")) < 100_000


async def test_session_that_ends_takes_its_chat_with_it(journal: MemoryJournal) -> None:
    broker = Broker(journal=journal)
    chat = chat_on(journal, saying("a"), broker)
    answer = begin(chat)
    await told(answer)
    broker.end_session("s")

    after = chat_on(journal.again(), saying("b"))

    assert after.find(answer.log.last_event_id) is None
    assert beside(journal) == []
    assert not [name for kind, name in journal.named if kind == "answer"]
    await told(begin(chat))
    assert len(beside(journal)) == 2


async def test_answer_in_a_session_that_was_not_kept_is_forgotten_at_the_next_start(journal: MemoryJournal) -> None:
    journal.named["answer", "e1"] = b"never there"
    chat = chat_on(journal, saying())

    assert chat.find("e1-1") is None
    assert ("answer", "e1") not in journal.named


async def test_chat_goes_on_in_the_session_in_which_it_was(journal: MemoryJournal) -> None:
    await told(begin(chat_on(journal, saying("a"))))
    broker = Broker(journal=journal.again())

    assert [head.session_id for head in broker.dormant] == ["s"]
    assert broker.get("s").log.last_seq == 0


@pytest.mark.parametrize("body", [b"", b"{}", b"[1,2,3,4,5,6]", b"no JSON"])
@pytest.mark.parametrize("name", ["turn/000000000001", "turn/x", "said/x", "said/000000000001", "other"])
async def test_part_of_a_chat_that_cannot_be_read_is_left_out(journal: MemoryJournal, name: str, body: bytes) -> None:
    agent = Listening()
    chat = chat_on(journal, agent)
    await told(begin(chat, "one"))
    await told(begin(chat, "two"))
    journal.sessions["s"].named[name] = body

    await told(begin(chat_on(journal.again(), agent), "three"))

    assert PastTurn("two", "answer to two", "done") in agent.turns[-1].history


async def test_chat_that_cannot_be_read_is_refused_and_not_begun_anew(journal: MemoryJournal) -> None:
    answer = begin(chat_on(journal, saying("a")))
    await told(answer)
    left = journal.again()
    left.unreadable.add("s")
    chat = chat_on(left, saying("b"))

    for come_back in (lambda: begin(chat), lambda: chat.find(answer.log.last_event_id)):
        with pytest.raises(NotDurable):
            come_back()
