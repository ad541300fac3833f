"""Policy files as tests write them."""

from __future__ import annotations

from pathlib import Path

from notifier_service.core.policy.policy_file import PolicyFile

__all__ = ["a_policy_file", "rules_text"]

_WORDS = {"deny": "no", "ask": "ask", "allow": "let"}


def a_policy_file(path: Path, *, default: str = "by-risk", **tools: str) -> PolicyFile:
    """Write a policy of one rule for each effect and tool, and load it."""
    path.write_text(rules_text(default=default, **tools))
    return PolicyFile(path)


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
