"""Letters to many targets: one that is down or silent holds up no other, and what is dropped is counted and told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from notifier_service.web.reach.outbox import LETTER_KIND, Letter, Outbox, Outcome
from tests.core.memory_journal import MemoryJournal

from .conftest import until


class Post:
    """A simulated clock, and targets that take letters or not."""

    def __init__(self) -> None:
        self.now = 0.0
        self.outcomes: dict[str, Callable[[], Outcome]] = {}
        self.sent: list[tuple[str, Any]] = []
        self.tries: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self.gone: list[str] = []
        self.silent: set[str] = set()
        self.box = Outbox(
            "test", self.deliver, self.count, capacity=3, capacity_all=5, clock=lambda: self.now, sleep=self.sleep,
            gone=self.gone.append,
        )  # fmt: skip

    async def deliver(self, letter: Letter) -> Outcome:
        self.tries[letter.target] += 1
        if letter.target in self.silent:
            await asyncio.Event().wait()
        outcome = self.outcomes.get(letter.target, lambda: Outcome("sent"))()
        if outcome.result == "sent":
            self.sent.append((letter.target, letter.content))
        return outcome

    def count(self, channel: str, result: str) -> None:
        self.counted[result] += 1

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def put(self, target: str, *contents: Any, **more: Any) -> None:
        for content in contents:
            self.box.put(Letter(target, content, **more))


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    post = Post()
    yield post
    await post.box.close(0)


async def test_letters_of_one_target_arrive_in_order_each_once(post: Post) -> None:
    post.put("a", 1, 2, 3)
    await until(lambda: not post.box.waiting)

    assert post.sent == [("a", 1), ("a", 2), ("a", 3)]
    assert post.counted == {"sent": 3}


async def test_target_that_is_down_for_an_hour_is_tried_ever_more_seldom_and_gets_all_when_it_is_back(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "status 500") if post.now < 3600 else Outcome("sent")
    post.put("a", 1, 2, 3)
    post.put("b", 1)
    await until(lambda: not post.box.waiting)

    assert post.sent[0] == ("b", 1)
    assert post.sent[1:] == [("a", 1), ("a", 2), ("a", 3)]
    assert 60 <= post.tries["a"] <= 140  # about once a minute, with jitter
    assert [record.message for record in caplog.records] == [
        "a notice over test cannot be sent: status 500; it is tried again",
        "notices over test are sent again",
    ]


async def test_target_says_itself_when_to_come_back(post: Post) -> None:
    answers = [Outcome("again", "status 429", 120.0), Outcome("sent")]
    post.outcomes["a"] = lambda: answers.pop(0)
    post.put("a", 1)
    await until(lambda: not post.box.waiting)

    assert post.now >= 120


async def test_target_that_never_answers_holds_up_nobody_else(post: Post) -> None:
    post.silent.add("a")
    post.put("a", 1)
    post.put("b", 1)
    await until(lambda: post.sent == [("b", 1)])

    assert post.box.waiting == 1


async def test_oldest_give_way_when_more_wait_than_are_kept_which_is_counted_and_told(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    post.silent.add("a")
    post.put("a", 1, 2, 3, 4, 5)
    assert (post.box.waiting, post.counted) == (3, {"dropped": 2})
    post.silent.add("b")
    post.put("b", 1, 2, 3)
    await asyncio.sleep(0)

    assert post.box.waiting == 5
    assert post.counted == {"dropped": 3}
    assert caplog.text.count("some are dropped") >= 1


async def test_what_is_over_gives_way_first(post: Post) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "down") if post.now < 10 else Outcome("sent")
    post.put("a", "waits", topic="t", replaces=False)
    for number in range(5):
        post.put("a", f"asked {number}", topic=f"{number}", replaces=False)
        post.box.amend("a", f"{number}", lambda content: f"{content} and cancelled")
        post.put("a", f"cancelled {number}", topic=f"{number}", replaces=False, is_over=True)
    post.put("a", "waits too", topic="u", replaces=False)
    await until(lambda: not post.box.waiting)

    assert [content for _, content in post.sent] == ["waits", "cancelled 4", "waits too"]
    assert post.counted == {"sent": 3, "dropped": 9}


async def test_letter_that_nobody_needs_any_more_is_not_sent(post: Post) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "status 503")
    post.put("a", 1, until=30.0)
    await until(lambda: not post.box.waiting)

    assert (post.sent, post.counted) == ([], {"expired": 1})


async def test_letter_that_cannot_be_sent_for_a_day_is_given_up(post: Post) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "status 500")
    post.put("a", 1)
    await until(lambda: not post.box.waiting)

    assert post.counted == {"expired": 1}
    assert 24 * 3600 <= post.now < 25 * 3600


async def test_letter_of_the_same_topic_gives_way_to_the_newer(post: Post) -> None:
    post.silent.add("a")
    post.put("a", "first")
    post.put("a", "old", topic="t")
    post.put("a", "new", topic="t")
    assert post.box.waiting == 2


async def test_letter_that_is_on_its_way_when_a_newer_one_comes_is_not_tried_again(post: Post) -> None:
    answers = [Outcome("again", "status 503"), Outcome("sent")]

    def fail_once() -> Outcome:
        if len(answers) == 2:
            post.put("a", "new", topic="t")
        return answers.pop(0)

    post.outcomes["a"] = fail_once
    post.put("a", "old", topic="t")
    await until(lambda: not post.box.waiting)

    assert post.sent == [("a", "new")]
    assert post.counted == {"sent": 1, "expired": 1}


async def test_letters_that_replace_nothing_are_all_sent_and_say_what_is_so_by_then(post: Post) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "down") if post.now < 60 else Outcome("sent")
    post.put("a", "asked", topic="t", replaces=False)
    post.put("a", "other", topic="u", replaces=False)
    await until(lambda: post.tries["a"])
    post.box.amend("a", "t", lambda content: f"{content}, and settled")
    post.put("a", "settled", topic="t", replaces=False)
    await until(lambda: not post.box.waiting)

    assert [content for _, content in post.sent] == ["asked, and settled", "other", "settled"]


async def test_letter_that_breaks_its_receiver_holds_up_no_other(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(letter: Letter) -> Outcome:
        if letter.content == "poison":
            post.tries["poison"] += 1
            return Outcome("again", "status 500")
        post.sent.append((letter.target, letter.content))
        return Outcome("sent")

    box = Outbox("test", deliver, post.count, clock=lambda: post.now, sleep=post.sleep)
    for content in ("poison", 1, 2):
        box.put(Letter("a", content))
    await until(lambda: not box.waiting)

    assert post.sent == [("a", 1), ("a", 2)]
    assert post.now < 60
    assert post.counted == {"sent": 2, "failed": 1}
    assert "was refused: status 500, while others are taken" in caplog.text


async def test_receiver_that_is_down_gets_all_in_order_though_others_are_tried(post: Post) -> None:
    post.outcomes["a"] = lambda: Outcome("again", "down") if post.tries["a"] < 15 else Outcome("sent")
    post.put("a", 1, 2, 3)
    await until(lambda: not post.box.waiting)

    assert [content for _, content in post.sent] == [1, 2, 3]


# Over a restart


async def test_what_was_not_sent_is_sent_by_the_next_run_in_order_once_and_while_it_is_of_use() -> None:
    journal = MemoryJournal()
    before = Post()
    before.box.keep_in(journal, ("a", "b"))
    before.silent |= {"a", "b", "gone"}
    before.put("a", "first", topic="t", replaces=False)
    before.put("a", "second", topic="t", replaces=False)
    before.put("b", "late", until=1e-6)
    before.put("gone", 1)
    before.box.amend("a", "t", lambda content: f"{content}!")
    await before.box.close(0)
    journal.named[LETTER_KIND, "other 00000000000000000001"] = b"{}"
    journal.named[LETTER_KIND, "test 00000000000000000001"] = b"{}"
    after = Post()
    again = journal.again()
    after.box.keep_in(again, ("a", "b"))
    after.box.put(Letter("a", "third"))
    await until(lambda: not after.box.waiting)
    await after.box.close(0)

    assert after.sent == [("a", "first!"), ("a", "second!"), ("a", "third")]
    assert after.counted == {"sent": 3, "expired": 1}
    assert [change.name for change in again.kept(LETTER_KIND)] == ["other 00000000000000000001"]


async def test_refused_letter_is_not_tried_again_and_a_target_that_is_gone_is_forgotten(post: Post) -> None:
    answers = [Outcome("refused", "status 400"), Outcome("gone")]
    post.outcomes["a"] = lambda: answers.pop(0)
    post.put("a", 1, 2, 3)
    await until(lambda: not post.box.waiting)

    assert post.counted == {"failed": 1, "gone": 1}
    assert post.gone == ["a"]


async def test_way_that_fails_in_itself_loses_one_letter_and_goes_on(post: Post) -> None:
    outcomes: list[Any] = [RuntimeError("bug"), Outcome("sent")]

    def outcome() -> Outcome:
        found = outcomes.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    post.outcomes["a"] = outcome
    post.put("a", 1, 2)
    await until(lambda: not post.box.waiting)

    assert post.counted == {"failed": 1, "sent": 1}


async def test_what_waits_at_the_end_is_told(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    post.silent.add("a")
    post.put("a", 1)
    await post.box.close(0)

    assert "1 notices over test were not sent" in caplog.text


def test_letter_that_is_put_before_a_loop_runs_is_sent_when_one_does() -> None:
    post = Post()
    post.put("a", 1)

    async def run() -> None:
        post.box.begin()
        await until(lambda: not post.box.waiting)

    asyncio.run(run())
    assert post.sent == [("a", 1)]
