"""The policy that an import makes: rules, and remarks about what they do not say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...core.policy.policy import Default
from ...core.policy.verdict import Effect
from ..terminal import one_line

__all__ = ["ANY_SERVER", "Draft", "Remark", "Rule"]

#: As the ``server`` of a rule: the tool is one of some MCP server.
ANY_SERVER = "*"

_MAX_NAME = 100
_MAX_JUSTIFICATION = 1000
_MAX_ORIGIN = 200
#: What TOML wants escaped in a basic string, and what an editor may show as something else.
_TO_ESCAPE = re.compile(r'[\x00-\x1f\x7f-\x9f"\\\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]')
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Remark(NamedTuple):
    """What a person should know of one rule of the source; ``origin`` is that rule as it stands there."""

    origin: str
    text: str

    def __str__(self) -> str:
        origin = self.origin if len(self.origin) <= _MAX_ORIGIN else f"{self.origin[:_MAX_ORIGIN]}…"
        return one_line(f"{origin}: {self.text}")


class Rule(NamedTuple):
    """A rule as it will be written; ``origin`` is the source's, and becomes its name."""

    effect: Effect
    tools: tuple[str, ...]
    origin: str
    server: str | None = None
    parameters: Mapping[str, Mapping[str, Any]] = {}
    command: tuple[str, ...] = ()
    justification: str | None = None


@dataclass
class Draft:
    """What an importer fills; ``source`` is what the rules were for, in words."""

    source: str
    default: Default = "ask"
    #: Where relative paths begin.
    workspace: str | None = None
    rules: list[Rule] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    def add(
        self,
        effect: Effect,
        tools: str | Sequence[str],
        origin: str,
        *,
        server: str | None = None,
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
        command: Sequence[str] = (),
        justification: str | None = None,
    ) -> None:
        named = (tools,) if isinstance(tools, str) else tuple(dict.fromkeys(tools))
        self.rules.append(Rule(effect, named, origin, server, parameters or {}, tuple(command), justification))

    def remark(self, origin: str, text: str) -> None:
        self.remarks.append(Remark(origin, text))

    def toml(self) -> str:
        """The policy file; remarks are comments in it."""
        lines = [
            f"# The rules of {self.source}, as rules of notifier-service: never wider than they were there.",
            "# A call that no rule matches has the default; deny beats ask, and ask beats allow.",
        ]
        if self.remarks:
            lines += ["#", "# Not carried over, or not as it was:"]
            lines += [f"#   {remark}" for remark in self.remarks]
        lines += ["", f"default = {_toml(self.default)}"]
        if self.workspace is not None:
            lines.append(f"workspace = {_toml(self.workspace)}")
        rules = _different(self.rules)
        for rule, name in zip(rules, _names(rules), strict=True):
            lines += ["", "[[rule]]", f"name = {_toml(name)}", f"effect = {_toml(rule.effect)}"]
            lines.append(f"tool = {_toml(rule.tools[0] if len(rule.tools) == 1 else rule.tools)}")
            for key in ("server", "command", "parameters", "justification"):
                if value := getattr(rule, key):
                    lines.append(f"{key} = {_toml(value)}")
        return "\n".join(lines) + "\n"


def _different(rules: Sequence[Rule]) -> list[Rule]:
    """Of rules that say the same only the first, and each thing once in a list."""
    said: dict[str, Rule] = {}
    for rule in rules:
        rule = rule._replace(
            tools=tuple(dict.fromkeys(rule.tools)),
            command=tuple(dict.fromkeys(rule.command)),
            justification=(rule.justification or "")[:_MAX_JUSTIFICATION] or None,
        )
        what = (rule.effect, sorted(rule.tools), rule.server, sorted(rule.command), rule.parameters)
        said.setdefault(json.dumps(what, sort_keys=True), rule)
    return list(said.values())


def _names(rules: Sequence[Rule]) -> list[str]:
    """A name for each, as the source has it; unique, and safe to show."""
    taken: set[str] = set()
    names = []
    for rule in rules:
        base = one_line(f"{rule.effect} {rule.origin}")
        base = base if len(base) <= _MAX_NAME else f"{base[: _MAX_NAME - 1]}…"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base[: _MAX_NAME - 8]} ({number})"
        taken.add(name)
        names.append(name)
    return names


def _toml(value: Any) -> str:
    if isinstance(value, str):
        escaped = _TO_ESCAPE.sub(_escape, value)
        # Expressions are full of backslashes: where nothing else is to be escaped, they stand as they are.
        is_literal = "\\" in value and "'" not in value and escaped == re.sub(r'["\\]', r"\\\g<0>", value)
        return f"'{value}'" if is_literal else f'"{escaped}"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _toml_key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _toml(key)


def _escape(found: re.Match[str]) -> str:
    mark = found[0]
    return {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}.get(mark, f"\\u{ord(mark):04x}")
