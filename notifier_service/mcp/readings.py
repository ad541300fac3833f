"""What some reader may take a key, a method or a whole text for.

Readers fold case, trim, cut a string at NUL, take a number of characters for one, or scan for a word. What one of them
could take for something else than it says is found here, so that it passes nobody.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection

__all__ = ["METHODS", "Skim", "calls_tool", "is_harmless", "is_method_key", "likeness", "method_problem", "one_line"]

#: The methods of every version of the protocol from 2024-11-05 to 2026-07-28, in both directions.
METHODS = frozenset(
    {
        "initialize", "ping", "server/discover",
        "tools/list", "tools/call",
        "resources/list", "resources/templates/list", "resources/read", "resources/subscribe", "resources/unsubscribe",
        "prompts/list", "prompts/get", "completion/complete", "logging/setLevel",
        "sampling/createMessage", "elicitation/create", "roots/list",
        "tasks/get", "tasks/list", "tasks/result", "tasks/cancel", "tasks/update",
        "subscriptions/listen",
        "notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/message",
        "notifications/roots/list_changed", "notifications/tools/list_changed",
        "notifications/prompts/list_changed", "notifications/resources/list_changed",
        "notifications/resources/updated", "notifications/elicitation/complete",
        "notifications/tasks/status", "notifications/tasks", "notifications/subscriptions/acknowledged",
    }
)  # fmt: skip

#: What a method that the protocol does not know may be made of.
_METHOD = re.compile(r"[A-Za-z0-9_.:/$-]{1,256}")
#: Calls a tool, whatever stands around it: who compares only the beginning or the end takes it for the call.
_CALLS = ("toolscall", "toolcall", "calltool")

#: The ends of lines that JSON lets stand in a string, and who splits a text into lines may split at.
_LINE_ENDS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
#: A key and its value, as text; they may begin at any quotation mark.
_PAIR = re.compile(rb"""(?="((?:[^"\\]|\\.){1,80})" ?: ?"((?:[^"\\]|\\.){1,80})")""", re.DOTALL)
_MAX_PAIR = 400
#: Nobody mends what is longer, and to look through it takes a second.
_MAX_MENDED = 1024 * 1024
_SPACES = re.compile(rb"[ \t\r\n]+")
_NO_LETTERS = re.compile(r"[^a-z0-9]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\\]")


def likeness(key: str, names: Collection[str]) -> str | None:
    """The name that a reader may take this key for, or None; a character beyond ASCII may be any to him, or none."""
    if key in names:
        return None
    form = _form(key)
    bare = form.replace("?", "")
    for name in names:
        word = _form(name)
        if bare == word or (len(form) == len(word) and all(a in (b, "?") for a, b in zip(form, word, strict=True))):
            return name
    return None


def method_problem(method: str) -> str | None:
    """Why a method may not pass, in words; None for a known one, and for one that nobody takes for a known one."""
    if method in METHODS:
        return None
    form = _form(method)
    known = _FORMS.get(form)
    if known is not None:
        return f"The method looks like {known} and is not: it is taken letter for letter only."
    if _names_call(method) or form.startswith("tool"):
        return "The method may call a tool, and is none that is known here: only tools/call is."
    if not _METHOD.fullmatch(method):
        return "A method is made of at most 256 letters, digits and _ . : / $ - only."
    return None


def calls_tool(value: object) -> bool:
    """Whether a reader who finds this as the method of a message may take it for a call."""
    return isinstance(value, str) and _names_call(value[:1024])


def is_method_key(key: str) -> bool:
    """Whether a reader who looks at the keys of every depth may take this one for ``method``."""
    return _form(key).replace("?", "").startswith("method")


def one_line(text: bytes) -> bytes:
    """A message that is one line for everybody: of the ends of lines in its strings, escapes are made."""
    for end, escape in _LINE_ENDS:
        if end in text:
            text = text.replace(end, escape)
    return text


def is_harmless(text: bytes) -> bool:
    """Whether a text that is no JSON is a call for nobody, however he mends it."""
    if len(text) > _MAX_MENDED:
        return False
    try:
        return _CONTROLS.search(text) is None and not _names_call(text.decode())
    except UnicodeDecodeError:
        return False


def _names_call(text: str) -> bool:
    """Whether a text names the call to who drops what is no ASCII, or keeps the low byte of it."""
    low = _NO_LETTERS.sub("", "".join(chr(ord(character) & 0xFF) for character in text).lower())
    return any(word in form for form in (_form(text).replace("?", ""), low) for word in _CALLS)


class Skim:
    """Looks through what is too long to be kept for anything that a reader may take for a call."""

    def __init__(self) -> None:
        self._last = b""

    def is_harmless(self, piece: bytes) -> bool:
        """Whether nothing is found up to the end of this piece."""
        text = self._last + _SPACES.sub(b" ", piece)
        self._last = text[-_MAX_PAIR:]
        return b"\0" not in text and not any(
            is_method_key(_unescaped(key)) and calls_tool(_unescaped(value)) for key, value in _PAIR.findall(text)
        )


def _unescaped(text: bytes) -> str:
    try:
        return str(json.loads(b'"%b"' % text, strict=False))
    except ValueError:
        return text.decode(errors="replace")


def _form(text: str) -> str:
    """A text as the most careless reader has it: letters and digits of ASCII; what is beyond is a question mark."""
    if text.isascii():
        return _NO_LETTERS.sub("", text.lower())
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Two units of UTF-16 are two characters to some.
    return "".join(_letter(character) if character <= "\uffff" else "??" for character in text)


def _letter(character: str) -> str:
    return (character if character.isalnum() else "") if character.isascii() else "?"


_FORMS = {_form(method): method for method in METHODS}
