"""What people decided for a session comes back after a restart as it was, bound to what it was bound to."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service.core.errors import RuleNotFound
from notifier_service.core.events import dump
from notifier_service.core.limits import RiskLevel
from notifier_service.core.policy.command_use import command_use
from notifier_service.core.policy.grants import Grants
from notifier_service.core.policy.kept_grants import grants_from, grants_text
from notifier_service.core.policy.verdict import AskedTool, Call

READ = AskedTool("read", "mail", "0a" * 32, "ci", "claude-code")


def shell(command: str, **beside: Any) -> AskedTool:
    return AskedTool("bash", asked_by="ci", command=command_use({"command": command, **beside}))


def again(grants: Grants) -> Grants:
    """The rules as another run of the service has them."""
    after = Grants()
    after.go_on(grants_from(grants_text(grants.entries)))
    return after


def effect(grants: Grants, tool: AskedTool, risk: RiskLevel = "medium") -> str | None:
    verdict = grants.judge(Call(tool, "s", risk, {}, True))
    return None if verdict is None else verdict.effect


@pytest.mark.parametrize("given", ["allow", "deny"])
@pytest.mark.parametrize(
    "tool",
    [
        AskedTool("read"),
        READ,
        AskedTool("lösche\u2028 \0 \U0001f5d1", "Sërver", None, "ann", None),
        shell("git push --force --no-verify origin main"),
        shell("git push origin main", cwd="/srv"),
        shell("ls"),
        shell("curl x | sh"),
        shell("python -c 'print(1)'"),
    ],
)
def test_rule_comes_back_as_it_was(given: Any, tool: AskedTool) -> None:
    grants = Grants()
    grants.add(given, tool, "medium", created_by="ana", reason="as you \u2028 like")

    after = again(grants)

    assert after.entries == grants.entries
    assert effect(after, tool) == given


def test_rules_come_back_in_their_order() -> None:
    grants = Grants()
    names = [grants.add("allow", AskedTool(name), "low", created_by="ana").name for name in "cab"]

    assert [rule.name for rule in again(grants).rules] == names
    assert again(Grants()).rules == ()


def test_rule_that_came_back_holds_for_no_more_than_before() -> None:
    grants = Grants()
    grants.add("allow", READ, "medium", created_by="ana")
    grants.add("allow", shell("git push origin main"), "medium", created_by="ana")
    grants.add("allow", shell("python -c 'print(1)'"), "medium", created_by="ana")
    after = again(grants)

    doubt = after.doubt(Call(READ._replace(definition_sha256="0b" * 32), "s", "low", {}, True))

    assert doubt is not None
    assert doubt.code == "changed_since_decided"
    assert effect(after, READ, "high") is None
    assert effect(after, READ._replace(asked_by="other")) is None
    assert effect(after, READ._replace(agent="codex")) is None
    assert effect(after, READ._replace(server=None)) is None
    assert effect(after, shell("git push origin dev")) == "allow"
    assert effect(after, shell("git push --force origin main")) is None
    assert effect(after, shell("git push origin main", cwd="/srv")) is None
    assert effect(after, shell("git fetch")) is None
    assert effect(after, shell("python -c 'print(1)'")) == "allow"
    assert effect(after, shell("python -c 'print(2)'")) is None


def test_rule_that_came_back_is_taken_back_and_decided_anew() -> None:
    grants = Grants(capacity=1)
    rule = grants.add("allow", READ, "medium", created_by="ana")
    after = Grants(capacity=1)
    after.go_on(grants_from(grants_text(grants.entries)))

    after.add("deny", READ, "medium", created_by="bo")
    denied = effect(after, READ)
    with pytest.raises(RuleNotFound):
        after.take_back(rule.rule_id)
    after.take_back(after.rules[0].rule_id)

    assert denied == "deny"
    assert effect(after, READ) is None


def told(**changes: Any) -> bytes:
    grants = Grants()
    grants.add("allow", shell("ls -l"), "medium", created_by="ana")
    [entry] = grants.entries
    tool = {**entry.tool._asdict(), "command": {**entry.tool.command._asdict(), "options": ["-l"]}}  # type: ignore[union-attr]
    return dump([{"rule": entry.rule, "tool": tool, **changes}])


#: Their texts hold random ids, which no test is named by.
NO_RULES = [
    b"",
    b"[",
    b"7",
    b"[7]",
    b'["rule"]',
    b"[{}]",
    told(tool=None),
    told(tool="read"),
    told(tool=[]),
    told(tool={"tool_name": "read"}),
    told(tool={"command": None}),
    told(tool={"tool_name": "read", "command": None, "of_a_later_version": 1}),
    told(tool={"tool_name": "read", "command": "ls"}),
    told(tool={"tool_name": "read", "command": {}}),
    told(tool={"tool_name": "read", "command": {"beginning": 1, "options": []}}),
    told(tool={"tool_name": "read", "command": {"beginning": [], "options": [[]]}}),
    told(rule=None),
    told(rule={}),
    told(rule={"effect": "allow"}),
]


@pytest.mark.parametrize("text", NO_RULES, ids=range(len(NO_RULES)))
def test_what_is_no_rule_is_told_as_that(text: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        grants_from(text)


def test_what_stands_in_the_journal_is_what_is_read() -> None:
    [entry] = grants_from(told())

    assert entry.tool == shell("ls -l")
