"""Rules that hold back what leads to certain places."""

from __future__ import annotations

from typing import Any

import pytest

from notifier_service.core.errors import InvalidInput
from notifier_service.core.policy.policy import Policy
from notifier_service.core.policy.reach import Reach
from notifier_service.core.policy.verdict import AskedTool, Call

WORKSPACE = "/home/ana/shop"
RULE = f"""
workspace = "{WORKSPACE}"
[[rule]]
name = "elsewhere asks"
effect = "ask"
reach = "PLACE"
"""


def holds(parameters: dict[str, Any], place: str = "home") -> bool:
    policy = Policy.loads(RULE.replace("PLACE", place), "policy.toml")
    return policy.judge(Call(AskedTool("any"), "s1", "low", parameters)) is not None


@pytest.mark.parametrize(
    "command",
    [
        "cat /home/ana/notes.txt", "cat ../x", "cat src/../../x", "ls ..", "git -C /home/ana/other log", "cat ~/x",
        "cat $HOME/x", 'cat "${HOME}/x"', "cd /home/ana/other && ls", "head --file=/root/x", "gcc -I/home/ana/x a.c",
        "ls `cat /root/x`", "echo $(cat /root/x)", "PATH=a:/root/bin ls", ["cat", "/Users/ana/x"],
        "timeout 5 cat /root/x",
    ],
)  # fmt: skip
def test_command_that_names_a_home_folder_is_held_back(command: Any) -> None:
    assert holds({"command": command})


@pytest.mark.parametrize(
    "command",
    [
        "cat src/a.py",
        f"head {WORKSPACE}/README.md",
        "pytest -q",
        "ls /etc /tmp",
        "git log -- src",
        "echo ...",
        "wc -l a/b",
    ],
)
def test_command_that_names_none_is_not(command: str) -> None:
    assert not holds({"command": command})


@pytest.mark.parametrize(
    ("place", "parameters"),
    [
        ("home", {"file_path": "/home/ana/.bashrc"}),
        ("home", {"edits": [{"path": "~/x"}]}),
        ("system", {"path": "/etc/hosts"}),
        ("workspace", {"path": "src/a.py"}),
        ("elsewhere", {"path": "/data/a"}),
        ("network", {"url": "https://example.org"}),
        ("network", {"host": "example.org"}),
        ("network", {"command": "curl https://example.org/a"}),
        ("home", {"items": [{"n": str(number)} for number in range(5000)]}),
    ],
)
def test_parameter_that_leads_there_is_held_back(place: str, parameters: dict[str, Any]) -> None:
    assert holds(parameters, place)
    assert not holds({"note": "nothing of that kind"}, place)


def test_each_call_of_a_tool_is_looked_at() -> None:
    policy = Policy.loads(RULE.replace("PLACE", "home"), "policy.toml")
    calls = [Call(AskedTool("any"), "s1", "low", {"path": path}) for path in ("a", "/root/a", "a")]

    assert [policy.judge(call) is not None for call in calls] == [False, True, False]


def test_place_allows_nothing() -> None:
    assert not Reach(frozenset({"home"}), None).allows(Call(AskedTool("any"), "s1", "low", {"path": "/root/a"}))


def test_reason_tells_the_places() -> None:
    policy = Policy.loads(RULE.replace("PLACE", "home"), "policy.toml")
    (rule,) = policy.explain(Call(AskedTool("any"), "s1", "low", {})).considered

    assert rule.reason == "nothing that it names is in home"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('effect = "allow"\nreach = "home"', "reach only holds back"),
        ('effect = "ask"\nreach = "moon"', 'there is no place "moon"'),
        ('effect = "ask"\nreach = []', ""),
    ],
)
def test_reach_that_says_nothing_does_not_load(rule: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"^policy.toml:4: .*{why}"):
        Policy.loads(f'[[rule]]\nname = "a"\n{rule}', "policy.toml")
