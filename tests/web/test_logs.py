"""What may happen thousands of times a second is told in one line a minute."""

from __future__ import annotations

import logging

import pytest

from notifier_service.web.logs import Seldom
from tests.clock import Clock


def test_each_kind_is_told_once_a_minute_with_the_number_of_those_between(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    seldom = Seldom("somewhere", clock=clock)
    for _ in range(1000):
        seldom.warning("a", "a is refused")
    seldom.warning("b", "b is refused")
    clock.advance(60)
    seldom.warning("a", "a is refused")
    seldom.warning("a", "a is refused")

    assert [record.getMessage() for record in caplog.records] == [
        "a is refused",
        "b is refused",
        "a is refused (999 more since the last such line)",
    ]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
