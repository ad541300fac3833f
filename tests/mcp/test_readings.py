"""No call reaches a server as something else, whoever reads it: one like C, one that mends, one that only looks."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifier_service.mcp.message import Message, MessageRefused, ToolCall
from notifier_service.mcp.readings import METHODS, Skim, is_harmless

Pairs = list[tuple[str, Any]]
Reading = Callable[[bytes], Any]


def reading(word: Callable[[str], str] = str, *, first_wins: bool = False, flat: bool = False) -> Reading:
    """A reader who sees each key and method as ``word`` makes it, and of two keys the first or the last."""

    def read(text: bytes) -> Any:
        calls: list[Any] = []

        def members(pairs: Pairs) -> dict[str, Any]:
            ordered = pairs[::-1] if first_wins else pairs
            value = {word(key): word(item) if isinstance(item, str) else item for key, item in ordered}
            calls.append(value.get("method"))
            return value

        # A reader who mends takes what stands before the first message, and behind it, for nothing.
        start = text.find(b"{")
        value, _ = json.JSONDecoder(object_pairs_hook=members, strict=False).raw_decode(
            text[max(start, 0) :].decode(errors="replace")
        )
        return calls if flat else [value.get("method") if isinstance(value, dict) else None]

    return read


def like_c(text: str) -> str:
    return text.partition("\0")[0].lower()


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)) if "/" not in text else text


READINGS: dict[str, Reading] = {
    "last wins": reading(),
    "first wins": reading(first_wins=True),
    "cJSON": reading(like_c, first_wins=True),
    "Go": reading(str.casefold),
    "strips": reading(str.strip),
    "strips all": reading(lambda text: re.sub(r"[\s\x00-\x20\u200b\ufeff]", "", text)),
    "NFKC": reading(lambda text: unicodedata.normalize("NFKC", text)),
    "drops what is no ASCII": reading(lambda text: text.encode("ascii", "ignore").decode()),
    "takes the low byte": reading(lambda text: "".join(chr(ord(character) & 0xFF) for character in text)),
    "drops controls": reading(lambda text: "".join(filter(str.isprintable, text))),
    "prefix": reading(lambda text: text[:10] if text.startswith("tools/call") else text),
    "flat": reading(flat=True),
    "flat C": reading(like_c, flat=True),
}

ODD = [
    "\0", "\0x", "\t", "\n", "\r", " ", "\x0b", "\x1f", "\x7f", "\x85", "\xa0", "\xad", "\u200b", "\u2028", "\u3000",
    "\ufeff", "\u0301", "é", "\u0174", "x", "/", "-", "_", ".",
]  # fmt: skip


@st.composite
def spellings(draw: st.DrawFn, word: str) -> str:
    """A word as somebody writes it who wants only some to read it."""
    characters = list(word)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(characters) - 1))
        kind = draw(st.sampled_from(["insert", "append", "prepend", "upper", "wide", "high"]))
        odd = draw(st.sampled_from(ODD))
        if kind == "insert":
            characters.insert(at, odd)
        elif kind == "append":
            characters.append(odd)
        elif kind == "prepend":
            characters.insert(0, odd)
        elif kind == "upper":
            characters[at] = characters[at].upper()
        elif kind == "wide" and 0x21 <= ord(characters[at][0]) <= 0x7E:
            characters[at] = chr(ord(characters[at][0]) + 0xFEE0)
        elif kind == "high":
            characters[at] = chr((ord(characters[at][0]) & 0xFF) + 0x100)
    return "".join(characters)


def quoted(text: str, escapes: str) -> str:
    """The text as a string of JSON: plain, in ASCII, or all of it in escapes."""
    if escapes == "all":
        return '"' + "".join(f"\\u{ord(character):04x}" for character in text if ord(character) < 0x10000) + '"'
    return json.dumps(text, ensure_ascii=escapes == "ascii")


HOW = st.sampled_from(["plain", "ascii", "all"])
AROUND = st.sampled_from(["", " ", "\ufeff", "\0", "\r", "x", "[", "\u2028"])


@st.composite
def disguised_calls(draw: st.DrawFn) -> bytes:
    """A message in which somebody may find a call."""
    members = [
        f"{quoted(draw(spellings('method')), draw(HOW))}:{quoted(draw(spellings('tools/call')), draw(HOW))}",
        '"params":{"name":"write"}',
        '"jsonrpc":"2.0"',
        '"id":1',
    ]
    if draw(st.booleans()):
        members.insert(draw(st.integers(0, 4)), '"method":"ping"')
    if draw(st.booleans()):
        members.append('"result":{}')
    text = "{" + ",".join(draw(st.permutations(members))) + "}"
    if draw(st.booleans()):
        text = '{"jsonrpc":"2.0","id":2,"method":"ping","params":' + text + "}"
    return (draw(AROUND) + text + draw(AROUND)).encode()


@settings(max_examples=200)
@given(disguised_calls())
def test_no_reader_finds_a_call_in_what_a_client_sends_as_something_else(sent: bytes) -> None:
    try:
        message = Message.parse(sent)
    except MessageRefused:
        return

    if message.is_tool_call:
        assert message.text.isascii()
        return
    for name, read in READINGS.items():
        with suppress(ValueError):
            assert "tools/call" not in read(message.text), name


@settings(max_examples=200)
@given(disguised_calls())
@example('{"method":"Ŵools/call","params":{"name":"write"},"id":1}\ufeff'.encode())
def test_no_reader_finds_a_call_in_what_a_server_sends(sent: bytes) -> None:
    try:
        passed = Message.of_server(sent).text
    except (MessageRefused, RecursionError):
        return
    except ValueError:
        if not is_harmless(sent):
            return
        passed = sent

    for name, read in READINGS.items():
        with suppress(ValueError):
            # In a result there may stand anything: who reads messages in results has no gate.
            assert "flat" in name or "tools/call" not in read(passed), name


@settings(max_examples=200)
@given(disguised_calls(), st.integers(1, 50))
def test_what_is_too_long_to_be_kept_is_no_call_for_anybody(sent: bytes, size: int) -> None:
    skim = Skim()
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    if not all(skim.is_harmless(piece) for piece in pieces):
        return

    for name in ("last wins", "first wins", "Go", "strips", "flat"):
        with suppress(ValueError):
            assert "tools/call" not in READINGS[name](sent), name


@pytest.mark.parametrize("method", sorted(METHODS - {"tools/call"}))
def test_every_method_of_the_protocol_passes_in_its_own_bytes(method: str) -> None:
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}).encode()

    assert Message.parse(sent).text == sent
    assert Message.of_server(sent).text == sent


@pytest.mark.parametrize("method", ["vendor/odd", "$/cancelRequest", "rpc.discover", "x-vendor/open_2", "my:method"])
def test_method_that_nobody_takes_for_another_passes(method: str) -> None:
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "x-vendor": 1}).encode()

    assert Message.parse(sent).text == sent
    assert Message.of_server(sent).text == sent


@pytest.mark.parametrize(
    "method",
    [
        "tools/call\0", "tools/call ", " tools/call", "Tools/Call", "tools_call", "tools//call", "toolsCall",
        "tools/call/2", "v1/tools/call", "tools/run", "callTool", "\ufefftools/call", "tools\u2215call",
        "tools/ca\u200bll", "ｔools/call", "Ping", "ping\0", "tasks/result\0", "Notifications/cancelled",
        "notifications/tools/list-changed", "", "a b", "vendor/ö", "x" * 257,
    ],
)  # fmt: skip
def test_method_that_somebody_may_take_for_another_is_refused_in_words(method: str) -> None:
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "write"}}).encode()

    for read in (Message.parse, Message.of_server):
        with pytest.raises(MessageRefused) as refused:
            read(sent)
        told = json.loads(refused.value.answer)
        assert told["id"] == 1
        assert "method" in told["error"]["message"].lower()


@pytest.mark.parametrize(
    "key", ["method\0", "\0method", "Method", " method", "meth\u00f8d", "ｍethod", "met\x1bhod", "m.e.thod"]
)
@pytest.mark.parametrize("others", [{"method": "ping"}, {"result": {}}])
def test_key_that_somebody_may_take_for_the_method_is_refused(key: str, others: dict[str, Any]) -> None:
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, **others, key: "tools/call"}).encode()

    with pytest.raises(MessageRefused):
        Message.parse(sent)
    with pytest.raises(MessageRefused):
        Message.of_server(sent)


@pytest.mark.parametrize(
    "params",
    [
        {"name": "write\0"}, {"name": "wr\x08ite"}, {"name": "write "}, {"name": "wri\u200bte"},
        {"name": "write\u202e"},
        {"name": "write", "Name\0": "x"}, {"name": "read", "name\0": "write"}, {"name": "read", "ｎame": "write"},
        {"name": "write", "arguments\0": {}}, {"name": "write", "arguments": {"path\0": "a"}},
        {"name": "write", "arguments": {"deep": [{"a": {"pa\x1bth": 1}}]}},
    ],
)  # fmt: skip
def test_call_with_a_character_that_nobody_sees_is_refused(params: dict[str, Any]) -> None:
    sent = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()

    with pytest.raises(MessageRefused) as refused:
        ToolCall(Message.parse(sent))

    assert json.loads(refused.value.answer)["id"] == 1


@pytest.mark.parametrize("message_id", [2**53, -(2**60), "1\0", "a\nb"])
def test_id_that_a_server_would_answer_as_another_is_refused(message_id: Any) -> None:
    message = {"jsonrpc": "2.0", "id": message_id, "method": "tools/call", "params": {"name": "write"}}

    with pytest.raises(MessageRefused, match="id"):
        ToolCall(Message.parse(json.dumps(message).encode()))


def test_escapes_of_what_says_which_message_it_is_are_written_out() -> None:
    sent = rb'{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/list"}'

    assert Message.parse(sent).text == b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    call = Message.parse(rb'{"jsonrpc":"2.0","id":1,"method":"\u0074ools/call","params":{"name":"write"}}')
    assert call.is_tool_call
    assert b'"method":"tools/call"' in call.text


def test_line_end_in_a_string_becomes_an_escape_and_all_else_stays() -> None:
    sent = '{"jsonrpc":"2.0", "id":1.50,"result":{"n":1.10,"x":"é\u2028\u2029\x85"}}'

    expected = sent.replace("\u2028\u2029\x85", r"\u2028\u2029\u0085").encode()
    assert Message.of_server(sent.encode()).text == Message.parse(sent.encode()).text == expected


def test_result_of_a_tool_may_have_any_keys_and_numbers() -> None:
    for sent in (
        b'{"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"method":"tools/call","a\\u0000":1,"Result":NaN}}}',
        b'{"jsonrpc":"2.0","id":1,"result":null,"x":1e999}',
    ):
        assert Message.of_server(sent).text == sent


def test_bytes_that_are_no_utf8_are_replaced_before_anybody_else_does() -> None:
    message = Message.of_server(b'{"jsonrpc":"2.0","id":1,"result":{"text":"caf\xe9"}}')

    assert message.text == b'{"jsonrpc":"2.0","id":1,"result":{"text":"caf\\ufffd"}}'
