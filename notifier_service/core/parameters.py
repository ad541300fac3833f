"""A tool call's parameters as they are shown, hashed and run: frozen when asked, canonical when compared."""

from __future__ import annotations

import hashlib
import json.encoder
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from .errors import InvalidInput, TooLarge

__all__ = [
    "action_sha256",
    "action_sha256_of",
    "beginning",
    "canonical_json",
    "frozen_json",
    "has_more_values",
    "jsonable",
    "parameters_sha256",
]

_BEGINNING_CHARACTERS = 4096

#: To copy and to hash so many takes a tenth of a second, during which everybody waits.
_MAX_VALUES = 50_000

#: As deep as the parser of what comes in goes; the encoder goes a little deeper, for what stands around parameters.
_MAX_DEPTH = 200


def jsonable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy made of JSON types only, or raise ``InvalidInput``.

    What cannot be shown as it is (an open file, an iterator, NaN, a string that is no Unicode, two keys with the same
    text, a structure deeper than 200) is refused, because nobody could approve it; more than 50,000 values are
    ``TooLarge``.
    """
    return frozen_json(parameters)[0]


def frozen_json(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what ``jsonable`` does, and its canonical form, which costs most."""
    try:
        shown: dict[str, Any] = dict(parameters)
        is_flat = _SIMPLE.issuperset(map(type, shown.values())) and _TEXT.issuperset(map(type, shown))  # as most are
        if len(shown) > _MAX_VALUES if is_flat else has_more_values(shown, _MAX_VALUES):
            raise TooLarge(f"Parameters of more than {_MAX_VALUES} values cannot be asked about.", limit="values")
        if not is_flat:
            shown = _shown(shown, 0)
        text = canonical_json(shown)
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"the parameters cannot be shown as JSON: {_why(error)}") from error
    return shown, text


def has_more_values(value: Any, most: int) -> bool:
    """Whether there are more values than that in a structure, without a look at the rest of them."""
    left, level = most, [value]
    for _ in range(_MAX_DEPTH):  # what is deeper, or goes in a circle, is refused for that
        below: list[Any] = []
        for holder in level:
            left -= len(holder)
            if left < 0:
                return True
            inner = holder.values() if type(holder) is dict or isinstance(holder, Mapping) else holder
            below += [item for item in inner if type(item) not in _SIMPLE and isinstance(item, dict | list | tuple)]
        if not below:
            break
        level = below
    return False


def parameters_sha256(parameters: Any) -> str:
    """SHA-256 in hexadecimal over ``canonical_json`` (contract section 4)."""
    return hashlib.sha256(canonical_json(parameters)).hexdigest()


def action_sha256(*, session_id: str, server: str | None, tool_name: str, parameters: Any) -> str:
    """The same over all that a person decides about: the tool and where it runs too (contract section 4)."""
    return action_sha256_of(canonical_json(parameters), session_id=session_id, server=server, tool_name=tool_name)


def action_sha256_of(parameters: bytes, *, session_id: str, server: str | None, tool_name: str) -> str:
    """The same of parameters in their canonical form. Raises ``InvalidInput`` for a name that is no valid Unicode."""
    named = "null" if server is None else _text(server)
    around = f'"server":{named},"session_id":{_text(session_id)},"tool_name":{_text(tool_name)}}}'
    try:
        return hashlib.sha256(b'{"parameters":%b,%b' % (parameters, around.encode())).hexdigest()
    except UnicodeEncodeError:
        raise InvalidInput("the name of a tool, a server or a session is no valid Unicode") from None


def beginning(text: bytes, *, max_bytes: int) -> str:
    """The first characters of a JSON text, 4096 at most, and so few that an event needs ``max_bytes`` for them."""
    shown = text[: _BEGINNING_CHARACTERS * 4].decode(errors="ignore")[:_BEGINNING_CHARACTERS]
    while len(to_json(shown)) > max_bytes:
        shown = shown[: len(shown) // 2]
    return shown


#: A text as the encoder of ``json`` writes it beyond ASCII, without the way there.
_text: Callable[[str], str] = json.encoder.encode_basestring


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no white space, in UTF-8: what RFC 8785 gives for the values it admits.

    Integers beyond 2^53, which RFC 8785 does not admit, keep all their digits. Raises ``ValueError`` for NaN,
    Infinity and lone surrogates, ``TypeError`` for what is no JSON.
    """
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces).encode()


def _write(value: Any, pieces: list[str]) -> None:
    kind = type(value)
    if kind is str:
        pieces.append(_text(value))
    elif kind is int:
        pieces.append(int.__repr__(value))
    elif kind is float:
        pieces.append(_ecmascript_number(value))
    elif value is None or value is True or value is False:
        pieces.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, list):
        mark = "["
        for item in value:
            pieces.append(mark)
            _write(item, pieces)
            mark = ","
        pieces.append("[]" if mark == "[" else "]")
    elif isinstance(value, dict):
        mark = "{"
        for key in _ordered(value):
            item = value[key]
            if type(item) is str:  # as most are
                pieces.append(f"{mark}{_text(key)}:{_text(item)}")
            else:
                pieces.append(f"{mark}{_text(key)}:")
                _write(item, pieces)
            mark = ","
        pieces.append("{}" if mark == "{" else "}")
    elif isinstance(value, str):
        pieces.append(_text(value))
    elif isinstance(value, int):
        pieces.append(int.__repr__(value))
    elif isinstance(value, float):
        pieces.append(_ecmascript_number(value))
    else:
        raise TypeError(f"{type(value).__name__} is no JSON type")


def _ordered(keys: Mapping[Any, Any]) -> list[str]:
    """RFC 8785 section 3.2.3: keys are ordered by their UTF-16 code units, as which ASCII is in order already."""
    try:
        is_ascii = "".join(keys).isascii()
    except TypeError:
        raise TypeError("a key that is no text is no JSON") from None
    return sorted(keys) if is_ascii else sorted(keys, key=lambda key: key.encode("utf-16-be"))


def _ecmascript_number(value: float) -> str:
    """Number.prototype.toString of ECMAScript 2025 section 6.1.6.1.20, which RFC 8785 section 3.2.2.3 asks for."""
    if not math.isfinite(value):
        raise ValueError("NaN and Infinity are no JSON")
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e16 and not value.is_integer():  # written alike everywhere
        return float.__repr__(value)
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}e0".partition("e")
    exponent = exponent.partition("e")[0]
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        text = digits + "0" * (point - count)
    elif -6 < point <= 0:
        text = f"0.{'0' * -point}{digits}"
    else:
        tail = f".{digits[1:]}" if count > 1 else ""
        text = f"{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + text


_SIMPLE = frozenset({type(None), str, bool, int, float})
_TEXT = frozenset({str})


def _shown(value: Any, depth: int) -> Any:
    """A copy that shares nothing with the caller, whatever its types do; nothing is read that cannot be read again."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"they are deeper than {_MAX_DEPTH}")
    if type(value) in _SIMPLE:
        return value
    if type(value) is dict or isinstance(value, Mapping):
        shown = {
            key if type(key) is str else _key(key): item if type(item) in _SIMPLE else _shown(item, depth + 1)
            for key, item in value.items()
        }
        if len(shown) != len(value):
            raise ValueError("two keys have the same text")
        return shown
    if isinstance(value, list | tuple | set | frozenset):
        return [item if type(item) in _SIMPLE else _shown(item, depth + 1) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _shown(getattr(value, field.name), depth + 1) for field in fields(value)}
    if isinstance(value, Iterator | AsyncIterator):
        raise TypeError(f"a {type(value).__name__} can be read only once")
    plain = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="constants")
    # What pydantic made of a dataclass, a model, a date is plain JSON by now.
    return plain if plain is value else _shown(plain, depth + 1)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    (text,) = to_jsonable_python({key: None})
    return str(text)


def _why(error: Exception) -> str:
    text = str(error).removeprefix("Error serializing to JSON: ")
    if "surrogates" in text:
        return "a string in them is no valid Unicode"
    return text[:200] or type(error).__name__
