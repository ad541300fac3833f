"""Policy files as tests write them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from notifier_service.core.policy.policy import Default, Policy
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.policy.verdict import Call, Effect, Verdict, strictest

__all__ = ["a_policy_file", "rules_text"]

_WORDS = {"deny": "no", "ask": "ask", "allow": "let"}


class _Rule(NamedTuple):
    rule_id: str
    name: str
    effect: Effect
    tool: str


class _Policy(Policy):
    def __init__(self, rules: list[_Rule], default: Default) -> None:
        super().__init__(default=default)
        self.rules = rules

    def judge(self, call: Call) -> Verdict | None:
        return strictest(
            Verdict(rule.effect, (f'rule "{rule.name}"',), rule.rule_id, rule.name, f"because of {rule.tool}")
            for rule in self.rules
            if isinstance(rule, _Rule) and rule.tool == call.tool.tool_name
        )


def a_policy_file(path: Path, *, default: Default = "by-risk", **tools: str) -> PolicyFile:
    """Write a policy of one rule for each effect and tool, and load it."""
    path.write_text(rules_text(default=default, **tools))
    file = PolicyFile(path)
    rules = [_Rule(f"file_{effect}", f"{_WORDS[effect]} {tool}", effect, tool) for effect, tool in tools.items()]  # type: ignore[arg-type]
    file.policy = _Policy(rules, default)
    return file


def rules_text(*, default: str = "by-risk", **tools: str) -> str:
    """One rule for each effect, called "no TOOL", "ask TOOL" or "let TOOL", and justified by "because of TOOL"."""
    rules = "".join(
        f"""
[[rule]]
name = "{_WORDS[effect]} {tool}"
effect = "{effect}"
tool = "{tool}"
justification = "because of {tool}"
"""
        for effect, tool in tools.items()
    )
    return f'default = "{default}"\n{rules}'
