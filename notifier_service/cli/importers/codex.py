"""Codex: ``.rules`` files, of which only calls with literal values are read; nothing of them runs."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput
from ...core.policy.verdict import Effect
from .draft import Draft
from .patterns import PLAIN_WORD, word_of_a_pattern
from .source_text import strings, wrong

__all__ = ["imported"]

#: As Codex's hooks name its shell, and as Codex itself does.
SHELLS = ("Bash", "shell", "shell_command", "exec_command", "local_shell")

_EFFECTS: Mapping[str, Effect] = {"allow": "allow", "prompt": "ask", "forbidden": "deny"}
_PARAMETERS: Mapping[str, Sequence[str]] = {
    "prefix_rule": ("pattern", "decision", "match", "not_match", "justification"),
    "host_executable": ("name", "paths"),
    "network_rule": ("host", "protocol", "decision", "justification"),
}
#: One rule may stand for so many prefixes.
_MAX_PREFIXES = 256


def imported(text: str, path: Path | None) -> Draft:
    """Raises ``InvalidInput``."""
    draft = Draft("Codex")
    try:
        _read(draft, text)
    except RecursionError:
        raise InvalidInput("no Starlark: it is nested too deeply") from None
    return draft


def _read(draft: Draft, text: str) -> None:
    names: dict[str, Any] = {}
    for statement in _statements(text):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                names[name] = _value(value, names)
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case ast.Expr(value=ast.Call(func=ast.Name(id=function)) as call) if function in _PARAMETERS:
                _add(draft, function, _arguments(call, function, names), statement.lineno)
            case _:
                raise _refused(statement, "what it does is not known without running it")


def _statements(text: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes, which both languages leave as they are
            return ast.parse(text).body
    except SyntaxError as error:
        raise InvalidInput(f"line {error.lineno or 1}: no Starlark: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"no Starlark: {str(error) or 'it is nested too deeply'}") from None


def _refused(node: ast.stmt | ast.expr, why: str) -> InvalidInput:
    known = ", ".join(f"{name}(…)" for name in _PARAMETERS)
    return InvalidInput(f"line {node.lineno}: {why}; only {known} with literal values can be imported")


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """A literal, a name given to one before, or a sum of both."""
    match node:
        case ast.Constant(value=str() | bool() | int() | None as value):
            return value
        case ast.List(elts=elements):
            return [_value(element, names) for element in elements]
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            one, other = _value(left, names), _value(right, names)
            if type(one) is type(other) and isinstance(one, str | list) and len(one) + len(other) <= 100_000:
                return one + other
    raise _refused(node, "a value is not literal")


def _arguments(call: ast.Call, function: str, names: Mapping[str, Any]) -> dict[str, Any]:
    known = _PARAMETERS[function]
    if len(call.args) > len(known):
        raise _refused(call, f"{function} takes fewer arguments")
    given = {name: _value(value, names) for name, value in zip(known, call.args, strict=False)}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in known or keyword.arg in given:
            raise _refused(call, f"{function} takes no {keyword.arg or '**'}, or not twice")
        given[keyword.arg] = _value(keyword.value, names)
    return given


def _add(draft: Draft, function: str, given: Mapping[str, Any], line: int) -> None:
    where = f"line {line}"
    if function == "prefix_rule":
        _add_prefix_rule(draft, given, where)
        return
    if function == "host_executable":
        name = given.get("name")
        if not isinstance(name, str):
            raise wrong(f"{where}: name", "a text", name)
        draft.remark(
            f"{where}: host_executable {name}",
            "where a program lies is not carried over: by its path it is allowed by no rule here, and asked or denied "
            "by every one that is about its name",
        )
    else:
        draft.remark(f"{where}: network_rule {given.get('host')}", "no rule here is about the network of a command")


def _add_prefix_rule(draft: Draft, given: Mapping[str, Any], where: str) -> None:
    decision, why = given.get("decision") or "allow", given.get("justification")
    effect = _EFFECTS.get(decision) if isinstance(decision, str) else None
    if effect is None:
        raise InvalidInput(f"{where}: decision is none of {', '.join(_EFFECTS)}")
    if why is not None and (not isinstance(why, str) or not why.strip()):
        raise InvalidInput(f"{where}: justification is no text")
    prefixes = _prefixes(given.get("pattern"), f"{where}: pattern")
    _check_examples(prefixes, given, where)
    origin = " ".join(prefixes[0]) + (f" (and {len(prefixes) - 1} more)" if len(prefixes) > 1 else "")
    commands = []
    for prefix in prefixes:
        words = [word_of_a_pattern(word) for word in prefix]
        known = words[: words.index(None)] if None in words else words
        if len(known) == len(words) or (known and effect != "allow"):
            commands.append(" ".join([*filter(None, known), "*"]))
        if len(known) < len(words):
            left = "it asks" if effect == "allow" else f"{effect} covers more than there"
            draft.remark(f"{where}: {origin}", f"a word with such quotes cannot be written in a rule: {left}")
        if not known and effect != "allow":
            draft.add(effect, SHELLS, f"{origin} (whatever the command is)", justification=why)
    if commands:
        draft.add(effect, SHELLS, origin, command=commands, justification=why)


def _prefixes(pattern: Any, where: str) -> list[tuple[str, ...]]:
    if not isinstance(pattern, list) or not pattern:
        raise wrong(where, "a list of words", pattern)
    places = [strings(place if isinstance(place, list) else [place], where) for place in pattern]
    if not all(places):
        raise InvalidInput(f"{where}: a list of alternatives is empty")
    number = 1
    for place in places:
        number *= len(place)
        if number > _MAX_PREFIXES:
            raise InvalidInput(f"{where}: it stands for more than {_MAX_PREFIXES} prefixes")
    return list(product(*places))


def _check_examples(prefixes: Sequence[tuple[str, ...]], given: Mapping[str, Any], where: str) -> None:
    """Codex does not load a file whose examples fail: its rules are in force nowhere."""
    for key, should in (("match", True), ("not_match", False)):
        examples = given.get(key)
        if examples is not None and not isinstance(examples, list):
            raise wrong(f"{where}: {key}", "a list of commands", examples)
        for example in examples or ():
            words = example.split() if isinstance(example, str) else tuple(strings(example, f"{where}: {key}"))
            if isinstance(example, str) and not all(map(PLAIN_WORD.fullmatch, words)):
                continue
            if any(tuple(words[: len(prefix)]) == prefix for prefix in prefixes) is not should:
                raise InvalidInput(f"{where}: {key}: {' '.join(words)[:200]} fails, so that Codex loads no rule of it")
