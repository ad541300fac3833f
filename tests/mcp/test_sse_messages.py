"""Messages are found in a stream of events however it is cut."""

from __future__ import annotations

import pytest

from notifier_service.mcp.sse_messages import SseMessages, sse_event

STREAM = (
    b": comment\n\nid: 1\ndata: a\n\nevent: message\r\ndata:b\r\ndata:  c\r\nretry: 5\r\n\r\n"
    b"data: d\r\rdata\n\nid: 2\n\ndata: e\n\ndata: the end is missing\n"
)
SAID = [b"a", b"b\n c", b"d", b"", b"e"]


def said(stream: bytes, size: int, longest_bytes: int = 1000) -> list[bytes]:
    messages = SseMessages(longest_bytes)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return [data for piece in pieces for data in messages.take(piece)]


@pytest.mark.parametrize("size", [*range(1, 20), len(STREAM)])
def test_messages_are_the_same_in_whatever_pieces_they_come(size: int) -> None:
    assert said(STREAM, size) == SAID


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "long",
    [b"data: " + b"x" * 100 + b"\n\n", b"data: x\n" * 50 + b"\n", b"x" * 100 + b"\ndata: x\n\n"],
    ids=["a line", "lines", "another field"],
)
def test_event_that_is_too_long_is_passed_over_and_the_next_is_not(long: bytes, size: int) -> None:
    assert said(b"data: a\n\n" + long + b"data: b\n\n", size, longest_bytes=60) == [b"a", b"b"]


def test_stream_tells_whether_one_can_come_back_to_it_and_whether_something_was_missed() -> None:
    messages = SseMessages(10)
    list(messages.take(b"data: a\n\n"))
    assert (messages.has_ids, messages.missed) == (False, False)

    list(messages.take(b"id: 1\ndata: 12345678901\n\n"))
    assert (messages.has_ids, messages.missed) == (True, True)


@pytest.mark.parametrize("message", [b"{}", b'{\n "a": 1\r\n}', b"a\rb"])
def test_message_as_an_event_is_found_again(message: bytes) -> None:
    assert said(sse_event(message), 1) == [message.replace(b"\r\n", b"\n").replace(b"\r", b"\n")]
