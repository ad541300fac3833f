"""Tokens that could be guessed, and those who guess (contract section 8)."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Settings, create_app
from notifier_service.core.errors import InvalidInput, LimitReached
from notifier_service.web import guesses
from notifier_service.web.guesses import Guesses
from tests.clock import Clock

from .conftest import API, Client, WriteTokens, bearer, error_of

HEALTH = f"{API}/sse/health/team-1"
VIEWER = {"rights": ["view"], "sessions": ["*"]}


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        create_app(Broker(), Settings(auth="tokens", tokens_file=path))
    return caught.value.message


@pytest.mark.parametrize("token", ["a", "#", "é"])
def test_token_that_is_soon_guessed_is_refused_in_words(write_tokens: WriteTokens, token: str) -> None:
    told = refusal(write_tokens([{"token": token, **VIEWER}]))

    assert "a token of fewer than 2 characters is soon guessed" in told


@pytest.mark.parametrize("token", ["abc", "1234567", "agent-secret"])
def test_short_token_is_told_of(write_tokens: WriteTokens, caplog: pytest.LogCaptureFixture, token: str) -> None:
    caplog.set_level("INFO")
    create_app(Broker(), Settings(auth="tokens", tokens_file=write_tokens([{"token": token, **VIEWER}])))

    assert "1 of the tokens in tokens_file are shorter than 16 characters" in caplog.text
    assert token not in caplog.text


def test_file_that_a_group_may_write_is_told_of(write_tokens: WriteTokens, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tokens([{"token": "long-enough-a-token", **VIEWER}])
    path.chmod(0o660)
    create_app(Broker(), Settings(auth="tokens", tokens_file=path))

    assert "tokens_file may be written by all of its group" in caplog.text


@pytest.mark.parametrize("setting", ["tokens_file", "jwt_key_file"])
def test_file_that_everybody_may_write_is_refused(write_tokens: WriteTokens, setting: str) -> None:
    path = write_tokens([{"token": "long-enough-a-token", **VIEWER}])
    path.chmod(0o666)
    how: dict[str, Any] = {"auth": "tokens"} if setting == "tokens_file" else {"auth": "jwt", "jwt_algorithms": "HS256"}

    with pytest.raises(InvalidInput, match=f"^{setting} may be written by everybody: chmod o-w it"):
        create_app(Broker(), Settings(**{**how, setting: path}))


def test_file_in_a_folder_that_everybody_may_write_is_refused_unless_it_is_sticky(
    write_tokens: WriteTokens, tmp_path: Path
) -> None:
    path = write_tokens([{"token": "long-enough-a-token", **VIEWER}])
    tmp_path.chmod(0o777)
    told = refusal(path)
    tmp_path.chmod(0o1777)

    create_app(Broker(), Settings(auth="tokens", tokens_file=path))

    assert told == "tokens_file is in a folder that everybody may write: chmod o-w that, or move it"


def test_answers_to_guesses_take_longer_and_longer_and_are_forgotten(clock: Clock) -> None:
    wrong = Guesses(Counter(), clock=clock)

    assert [wrong.delay_seconds("a") for _ in range(107)] == [0] * 100 + [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert wrong.delay_seconds("b") == 0
    clock.advance(60)
    assert wrong.delay_seconds("a") == 0


def test_so_many_addresses_and_no_more_are_remembered(clock: Clock) -> None:
    wrong = Guesses(Counter(), clock=clock, max_addresses=3)
    for _ in range(102):
        wrong.delay_seconds("a")
    for n in range(3):
        wrong.delay_seconds(f"b{n}")

    assert wrong.delay_seconds("a") == 0


async def test_many_guesses_at_once_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: Counter[str] = Counter()
    wrong = Guesses(refused)
    for _ in range(110):
        wrong.delay_seconds("a")
    held = [asyncio.create_task(wrong.slow_down("a")) for _ in range(16)]
    await asyncio.sleep(0)

    with pytest.raises(LimitReached) as caught:
        await wrong.slow_down("a")

    assert (caught.value.limit, caught.value.retry_after_seconds) == ("wrong_tokens", 2.0)
    assert refused == {"wrong_tokens": 1}
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def test_right_token_is_answered_at_once_while_others_guess_from_its_address(
    guarded: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "_FIRST_DELAY_SECONDS", 1000)
    monkeypatch.setattr(guesses, "_MAX_DELAY_SECONDS", 1000)
    for n in range(100):
        wrong = await guarded.get(HEALTH, headers={"Authorization": f"Bearer guess-{n}"})
        assert await error_of(wrong) == (401, "unauthenticated")
    held = asyncio.create_task(guarded.get(HEALTH, headers={"Authorization": "Bearer guess"}).__aenter__())
    await asyncio.sleep(0.05)

    assert (await guarded.get(HEALTH, headers=bearer("view"))).status == 200
    assert not held.done()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
