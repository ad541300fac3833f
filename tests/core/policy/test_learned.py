"""What people decided for always, in a file of rules."""

from __future__ import annotations

import os
import re
import stat
import threading
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier_service.core.errors import InvalidInput, LimitReached, RuleNotFound, RulesNotKept
from notifier_service.core.limits import RiskLevel
from notifier_service.core.policy.command_use import CommandUse, command_use
from notifier_service.core.policy.learned import LearnedRules, rule_table
from notifier_service.core.policy.policy_file import load_policy
from notifier_service.core.policy.verdict import AskedTool, Call

READ = AskedTool("read", "mail", "0a" * 32, "ci", "claude-code")
SHELL = AskedTool("Bash", command=command_use({"command": "git push --force origin"}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.learned.toml"


def call(tool: AskedTool = READ, risk: RiskLevel = "medium", *, session_id: str = "s1", is_whole: bool = True) -> Call:
    return Call(tool, session_id, risk, {}, is_whole)


def effect(learned: LearnedRules, asked: Call | None = None) -> str | None:
    asked = asked or call()
    verdict = learned.judge(asked)
    return verdict.effect if verdict else "doubt" if learned.doubt(asked) else None


def learn(learned: LearnedRules, tool: AskedTool = READ, given: Any = "allow", risk: RiskLevel = "medium") -> str:
    return learned.add(given, tool, risk, created_by="ana").rule_id


def leftovers(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()} - {path.name, f".{path.name}.lock"}


# Written


def test_file_that_is_not_there_holds_no_rule_and_is_not_made(path: Path) -> None:
    learned = LearnedRules(path)

    assert (learned.rules, learned.error, effect(learned), path.exists()) == ((), None, None, False)


def test_rule_is_in_the_file_with_all_that_it_is_bound_to(path: Path) -> None:
    rule = LearnedRules(path).add(
        "allow", READ, "medium", created_by="ana", reason='my "own" mail', sessions=("b*", "a*")
    )

    [table] = tomllib.loads(path.read_text())["rule"]
    created_at = table["learned"].pop("created_at")
    assert created_at == rule.created_at
    assert table == {
        "name": rule.name,
        "effect": "allow",
        "tool": "read",
        "server": "mail",
        "session": ["a*", "b*"],
        "risk": ["low", "medium"],
        "justification": 'my "own" mail',
        "learned": {
            "rule_id": rule.rule_id,
            "created_by": "ana",
            "asked_by": "ci",
            "agent": "claude-code",
            "definition_sha256": "0a" * 32,
        },
    }


def test_rule_about_a_command_holds_its_first_words_and_its_options(path: Path) -> None:
    LearnedRules(path).add("deny", SHELL, "high", created_by="ana")

    [table] = tomllib.loads(path.read_text())["rule"]
    assert (table["command"], "risk" in table) == (["git push *"], False)
    assert {name: table["learned"]["command"][name] for name in ("beginning", "options")} == {
        "beginning": ["git", "push"],
        "options": ["--force"],
    }


def test_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(path: Path) -> None:
    learn(LearnedRules(path))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert leftovers(path) == set()


def test_link_that_leads_to_itself_keeps_no_rule(path: Path) -> None:
    path.symlink_to(path)
    learned = LearnedRules(path)

    assert (learned.error or "").startswith(f"{path}:1: ")
    with pytest.raises(RulesNotKept):
        learn(learned)


def test_file_stays_where_it_is_when_the_program_goes_elsewhere(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    learned = LearnedRules(Path(path.name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    learn(learned)

    assert "[[rule]]" in path.read_text()


def test_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "learned.toml"
    path.symlink_to(real)

    learn(LearnedRules(path))

    assert path.is_symlink()
    assert "[[rule]]" in real.read_text()


def test_what_a_person_wrote_into_the_file_stays(path: Path) -> None:
    first, second = learn(LearnedRules(path)), learn(LearnedRules(path), SHELL)
    text = path.read_text().replace(
        '[[rule]]\nname = "allow every call of \\"Bash',
        '# about pushes\n\n[[rule]]\nname = "allow every call of \\"Bash',
    )
    path.write_text("# mine\n" + text + "# the end\n")
    learned = LearnedRules(path)
    learned.take_back(first)
    learn(learned, AskedTool("new"))

    text = path.read_text()
    assert [line for line in text.splitlines() if line in ("# mine", "# about pushes", "# the end")] == [
        "# mine",
        "# about pushes",
        "# the end",
    ]
    assert (first in text, second in text) == (False, True)


def test_rules_of_one_name_get_names_of_their_own(path: Path) -> None:
    learned = LearnedRules(path)
    for definition in ("0a", "0b", "0c"):
        learn(learned, READ._replace(definition_sha256=definition * 32))

    names = [rule.name for rule in learned.rules]
    assert [name.removeprefix(names[0]) for name in names] == ["", " (2)", " (3)"]


# Read again


@pytest.mark.parametrize("given_effect", ["allow", "deny"])
@pytest.mark.parametrize(
    "tool",
    [
        READ,
        SHELL,
        AskedTool("*"),
        AskedTool("read[1]?", "mail*"),
        AskedTool("[*]"),
        AskedTool("rеad"),
        AskedTool('"\\\n\x7f\x1b\u202e\U0001f600', asked_by="'''", agent='"""'),
        AskedTool("Bash", command=command_use({"command": "cat a | sh"})),
        AskedTool("Bash", command=command_use({"argv": ["ls", "-l"]})),
        AskedTool("Bash", command=command_use({"command": "ls", "cwd": "/"})),
        AskedTool("Bash", command=command_use({"command": "'my program' x"})),
        AskedTool("read", asked_by="", agent="x" * 1000),
    ],
    ids=lambda tool: ascii(tool)[:60],
)
def test_rule_that_is_read_again_is_the_one_that_was_made(path: Path, tool: AskedTool, given_effect: Any) -> None:
    made = LearnedRules(path)
    learn(made, tool, given_effect)

    read = LearnedRules(path)

    assert read.error is None
    assert [rule.model_dump(exclude={"risk"}) for rule in read.rules] == [
        rule.model_dump(exclude={"risk"}) for rule in made.rules
    ]
    assert effect(read, call(tool)) == given_effect


_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=60)
@given(name=_NAMES, server=st.none() | _NAMES, asked_by=st.none() | _NAMES)
def test_whatever_a_tool_is_called_its_rule_holds_for_it_and_for_no_other(
    tmp_path_factory: pytest.TempPathFactory, name: str, server: str | None, asked_by: str | None
) -> None:
    tool = AskedTool(name, server, asked_by=asked_by)
    path = tmp_path_factory.mktemp("learned") / "rules.toml"
    learn(LearnedRules(path), tool)
    read = LearnedRules(path)

    assert effect(read, call(tool)) == "allow"
    for other in (AskedTool(name + "x", server, asked_by=asked_by), tool._replace(server=(server or "") + "x")):
        assert effect(read, call(other)) is None


@pytest.mark.parametrize(
    "other",
    [
        {"tool_name": "Read"},
        {"tool_name": "rеad"},
        {"server": "shell"},
        {"server": None},
        {"asked_by": "other"},
        {"asked_by": None},
        {"agent": None},
        {"command": command_use({"command": "ls"})},
    ],
    ids=ascii,
)
def test_rule_says_nothing_of_another_tool_or_another_asker(path: Path, other: dict[str, Any]) -> None:
    learn(LearnedRules(path))

    assert effect(LearnedRules(path), call(READ._replace(**other))) is None


def test_tool_that_changed_after_it_was_allowed_and_a_riskier_call_are_asked(path: Path) -> None:
    learn(LearnedRules(path))
    read = LearnedRules(path)

    assert effect(read, call(READ._replace(definition_sha256="0b" * 32), "low")) == "doubt"
    assert effect(read, call(READ._replace(definition_sha256=None), "low")) == "doubt"
    assert effect(read, call(risk="high")) == "doubt"
    assert effect(read, call(is_whole=False)) == "doubt"


def test_rule_of_who_may_decide_in_some_sessions_holds_in_those(path: Path) -> None:
    learned = LearnedRules(path)
    learned.add("allow", READ, "low", created_by="ana", sessions=("team-*", "x"))
    learned.add("deny", READ, "low", created_by="ben", sessions=("x",))

    got = [effect(learned, call(risk="low", session_id=session)) for session in ("team-1", "x", "team", "TEAM-1")]

    assert got == ["allow", "deny", None, None]


def test_rule_of_always_is_in_the_place_of_an_earlier_one_about_the_same(path: Path) -> None:
    learned = LearnedRules(path)
    learn(learned)
    latest = learn(learned, given="deny")

    assert [rule.rule_id for rule in learned.rules] == [latest]
    assert [rule.rule_id for rule in LearnedRules(path).rules] == [latest]


def test_rule_that_was_taken_back_is_in_the_file_no_more(path: Path) -> None:
    learned = LearnedRules(path)
    rule_id = learn(learned)
    learned.use(rule_id)
    learned.use("rule_unknown")

    assert learned.rules[0].used == 1
    assert learned.take_back(rule_id).used == 1
    assert effect(learned) is None
    assert LearnedRules(path).rules == ()
    with pytest.raises(RuleNotFound):
        learned.take_back(rule_id)


def test_suggested_rule_is_the_one_that_is_written(path: Path) -> None:
    for tool in (READ, SHELL, AskedTool("[x]*")):
        for given_effect in ("allow", "deny"):
            suggested = rule_table(given_effect, tool, "medium")
            LearnedRules(path).add(given_effect, tool, "medium", created_by="ana")

            written = tomllib.loads(path.read_text())["rule"][-1]
            for name in ("rule_id", "created_by", "created_at"):
                del written["learned"][name]
            written = {name: value for name, value in written.items() if value != {}}
            assert suggested == written


# By hand


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_file_that_was_edited_is_read_again(path: Path) -> None:
    learned = LearnedRules(path)
    rule_id = learn(learned)
    learned.use(rule_id)
    edit(path, 'effect = "allow"', 'effect = "deny"')

    changed = learned.refresh(), learned.refresh()

    assert changed == (True, False)
    assert (effect(learned), learned.rules[0].used) == ("deny", 1)


def test_rule_that_asks_is_asked(path: Path) -> None:
    learn(LearnedRules(path))
    edit(path, 'effect = "allow"', 'effect = "ask"')
    verdict = LearnedRules(path).judge(call())

    assert verdict is not None
    assert (verdict.effect, verdict.reasons) == ("ask", ("ana wants to be asked about this tool",))


@pytest.mark.parametrize(
    ("until", "expected"), [("2020-01-01T00:00:00Z", None), ("2999-01-01T00:00:00+02:00", "allow")]
)
def test_rule_that_is_over_holds_no_more(path: Path, until: str, expected: str | None) -> None:
    learn(LearnedRules(path))
    edit(path, 'effect = "allow"', f'effect = "allow"\nuntil = {until}\nsession = "s*"')
    learned = LearnedRules(path)

    assert learned.error is None
    assert effect(learned) == expected
    assert effect(learned, call(risk="high")) == ("doubt" if expected else None)
    assert learned.rules[0].until is not None


BROKEN: list[tuple[str, str, str]] = [
    ('effect = "allow"', 'effect = "alow"', ":5: effect: Input should be 'allow', 'ask' or 'deny'"),
    ('effect = "allow"', 'effect = "allow"\nregex = "x"', ":5: regex: Extra inputs are not permitted"),
    ('effect = "allow"', "effect = allow", ":7: Invalid value"),
    ('effect = "allow"', 'effect = "allow', ":7: "),
    ("[[rule]]", 'default = "ask"\n[[rule]]', ":1: a learned file has nothing but [[rule]]"),
    ("[[rule]]", "[rule]", ":1: a learned file has nothing but [[rule]]"),
    ('risk = ["low", "medium"]\n', "", ":5: risk: an allowance says at which risk it was given"),
    ('risk = ["low", "medium"]', 'risk = ["medium"]', ":5: risk: low, or low and medium, or all three, in this order"),
    ('risk = ["low", "medium"]', "risk = []", ":5: risk: Tuple should have at least 1 item after validation, not 0"),
    (
        'command = ["git push *"]',
        'command = ["git *"]',
        ":5: command: this is not what learned.command says",
    ),
    ('command = ["git push *"]', "", ":5: command: this is not what learned.command says"),
    ('beginning = ["git", "push"]', "beginning = []", ":5: learned.command: either beginning or parameters_sha256"),
    ("[rule.learned.command]", "[rule.learner]", ":5: learner: Extra inputs are not permitted"),
    ("[rule.learned", "[other.learned", ":1: a learned file has nothing but [[rule]]"),
    ("\n[[rule]]", '\n[[rule]]\nname = "mine"\n[[rule]]', ":5: it has no [rule.learned]: your own rules belong"),
    ('created_by = "ana"', "", ":5: learned.created_by: Field required"),
    ('rule_id = "rule_', 'rule_id = "', ":5: learned.rule_id: String should match pattern"),
    ("[[rule]]", "\u00e9 = 1", ":5: "),
]


@pytest.mark.parametrize(("old", "new", "why"), BROKEN)
def test_file_that_does_not_load_is_told_with_its_line_and_never_written(
    path: Path, old: str, new: str, why: str
) -> None:
    running = LearnedRules(path)
    rule_id = learn(running, SHELL)
    good = path.read_bytes()
    edit(path, old, new)
    broken = path.read_bytes()

    running.refresh()

    assert running.error is not None
    assert running.error.startswith(f"{path}{why}")
    assert effect(running, call(SHELL)) == "allow"  # what was read before stays in force
    for act in (lambda: learn(running), lambda: running.take_back(rule_id)):
        with pytest.raises(RulesNotKept, match=r"Mend the file, and decide again\.$"):
            act()
    assert path.read_bytes() == broken
    assert leftovers(path) == set()
    path.write_bytes(good)
    learn(running)
    assert (running.error, len(running.rules)) == (None, 2)


def test_rules_that_nobody_could_read_yet_have_everything_asked(path: Path) -> None:
    path.write_text("[[rule]\n")
    learned = LearnedRules(path)
    asked = learned.judge(call(risk="low"))
    path.write_text("")
    learned.refresh()

    assert asked is not None
    assert (asked.effect, asked.rule_id) == ("ask", None)
    assert str(path) in asked.reasons[0]
    assert (learned.error, effect(learned)) == (None, None)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff", ":1: it is not UTF-8"),
        (b"# a\n# \xe9\n", ":2: it is not UTF-8"),
        (b"\n" + b"a." * 1000 + b"a = 1", ":2: it is nested too deeply"),
        (b"#" * 5000, ":1: it has more than 4096 bytes"),
        (b"a = " + b"[" * 3000, ":1: "),
        (b"[[rule]]\n" * 4, ":1: it has more than 3 rules"),
        (b"rule = 1", ":1: a learned file has nothing but [[rule]]"),
        (b"rule = [1]", ":1: "),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_hostile_file_is_refused_with_a_reason(path: Path, raw: bytes, why: str) -> None:
    path.write_bytes(raw)

    learned = LearnedRules(path, capacity=3, capacity_bytes=4096)

    assert (learned.error or "").startswith(f"{path}{why}")


def test_two_rules_of_one_id_are_refused(path: Path) -> None:
    learned = LearnedRules(path)
    learn(learned)
    rule = path.read_text().partition("\n\n")[2]
    path.write_text(f"{rule}\n{rule}")
    learned.refresh()

    assert (learned.error or "").endswith(": rule_id: another rule has it already")


def test_folder_a_pipe_and_a_file_that_everybody_may_write_are_no_rules(path: Path, tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    path.write_text("")
    path.chmod(0o666)

    errors = [LearnedRules(each).error or "" for each in (folder, pipe, path)]

    assert errors == [
        f"{folder}:1: Is a directory",
        f"{pipe}:1: it is no file",
        f"{path}:1: everybody may write it: chmod o-w it, and see what it says",
    ]


def test_file_that_vanishes_leaves_the_rules_in_force_and_is_made_anew(path: Path) -> None:
    learned = LearnedRules(path)
    learn(learned)
    path.unlink()
    told = learned.refresh(), learned.refresh()
    error = learned.error
    kept = effect(learned)
    learn(learned, SHELL)

    assert (told, kept) == ((True, False), "allow")
    assert error == f"{path} is not there any more; what was learned stays in force until a restart"
    assert (learned.error, len(LearnedRules(path).rules)) == (None, 2)


def test_rule_is_not_cut_out_at_what_only_looks_like_the_next_one(path: Path) -> None:
    learned = LearnedRules(path)
    rule_id = learned.add("allow", READ, "low", created_by="ana", reason="x").rule_id
    learn(learned, SHELL)
    edit(path, 'justification = "x"', 'justification = """x\n[[rule]]\n"""')
    edit(path, '[[rule]]\nname = "allow every call of \\"Bash', '[["rule"]]\nname = "allow every call of \\"Bash')
    learned.refresh()
    before = path.read_bytes()

    assert (learned.error, len(learned.rules)) == (None, 2)
    with pytest.raises(RulesNotKept, match="remove it there"):
        learned.take_back(rule_id)
    assert path.read_bytes() == before


@pytest.mark.parametrize("header", ["rule = [{}]", '[["rule"]]'])
def test_rule_that_cannot_be_cut_out_is_left_and_told(path: Path, header: str) -> None:
    learned = LearnedRules(path)
    rule_id = learn(learned)
    if header.startswith("[["):
        edit(path, "[[rule]]", header)
    else:
        inline = (
            f'{{name = "n", effect = "deny", tool = "read", learned = {{rule_id = "{rule_id}", created_by = "a", '
            "created_at = 2026-01-01T00:00:00Z}}"
        )
        path.write_text(f"rule = [{inline}]\n")
    before = path.read_bytes()

    with pytest.raises(RulesNotKept, match="remove it there"):
        learned.take_back(rule_id)
    assert path.read_bytes() == before
    assert [rule.rule_id for rule in learned.rules] == [rule_id]


def test_rule_whose_reason_looks_like_a_rule_is_cut_out_whole_or_not_at_all(path: Path) -> None:
    learned = LearnedRules(path)
    rule_id = learned.add("allow", READ, "low", created_by="ana", reason="x").rule_id
    edit(path, 'justification = "x"', 'justification = """x\n[[rule]]\n"""')
    learned.refresh()
    before = path.read_bytes()

    with pytest.raises(RulesNotKept):
        learned.take_back(rule_id)
    assert path.read_bytes() == before


# What cannot be kept


def test_folder_that_is_not_there_keeps_no_rule(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    away, within_a_file = LearnedRules(tmp_path / "away" / "rules.toml"), LearnedRules(tmp_path / "file" / "rules.toml")

    with pytest.raises(RulesNotKept, match="No such file or directory"):
        learn(away)
    with pytest.raises(RulesNotKept, match="Not a directory"):
        learn(within_a_file)
    assert (away.rules, away.error) == ((), None)
    assert within_a_file.error == f"{tmp_path}/file/rules.toml:1: Not a directory"


def test_write_that_fails_leaves_the_file_and_the_rules(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = LearnedRules(path)
    rule_id = learn(learned)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("notifier_service.core.policy.learned.os.fsync", full)
    for act in (lambda: learn(learned, SHELL), lambda: learned.take_back(rule_id)):
        with pytest.raises(RulesNotKept, match="No space left on device"):
            act()

    assert path.read_bytes() == before
    assert [rule.rule_id for rule in learned.rules] == [rule_id]
    assert leftovers(path) == set()


def test_word_that_no_file_can_hold_is_not_kept(path: Path) -> None:
    learned = LearnedRules(path)

    with pytest.raises(RulesNotKept):
        learn(learned, AskedTool("Bash", command=CommandUse(("a\ud800",), frozenset(), None, None)))
    assert not path.exists()


def test_rules_are_bounded_in_number_and_in_bytes(path: Path) -> None:
    learned = LearnedRules(path, capacity=2)
    learn(learned, AskedTool("a"))
    learn(learned, AskedTool("b"))
    with pytest.raises(LimitReached, match="take one back"):
        learn(learned, AskedTool("c"))
    learn(learned, AskedTool("b"), "deny")
    narrow = LearnedRules(path, capacity_bytes=path.stat().st_size + 100)
    before = path.read_bytes()

    with pytest.raises(LimitReached, match="bytes"):
        learn(narrow, AskedTool("c"))
    assert path.read_bytes() == before
    assert len(learned.rules) == 2


# More than one process


def test_two_who_write_one_file_lose_no_rule(path: Path) -> None:
    one, other = LearnedRules(path), LearnedRules(path)
    ids = [learn(one, AskedTool("a")), learn(other, AskedTool("b")), learn(one, AskedTool("c"))]
    other.take_back(ids[0])
    one.refresh()

    assert [rule.rule_id for rule in one.rules] == [rule.rule_id for rule in other.rules] == ids[1:]


def test_many_who_write_at_once_lose_no_rule(path: Path) -> None:
    def write(number: int) -> None:
        learned = LearnedRules(path)
        for step in range(3):
            learn(learned, AskedTool(f"{number}.{step}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(LearnedRules(path).rules) == 12


def test_writer_that_holds_the_file_for_long_refuses_the_decision(path: Path) -> None:
    import fcntl

    learned = LearnedRules(path)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RulesNotKept, match="another process is writing them"):
            learn(learned)

    assert learn(learned)


def test_time_of_a_rule_is_the_one_in_the_file(path: Path) -> None:
    learn(LearnedRules(path))
    created_at = tomllib.loads(path.read_text())["rule"][0]["learned"]["created_at"]

    assert LearnedRules(path).rules[0].created_at == created_at
    assert abs((datetime.now(UTC) - created_at).total_seconds()) < 60


# The same form as a policy file


@pytest.mark.parametrize(
    "tool",
    [READ, SHELL, AskedTool("*"), AskedTool("read[1]?", "mail*"), AskedTool("wr\u0456te"), AskedTool("x" * 256)],
    ids=lambda tool: ascii(tool)[:40],
)
@pytest.mark.parametrize("given_effect", ["allow", "deny"])
def test_file_loads_as_a_policy_too_and_holds_for_the_same_calls(
    path: Path, tool: AskedTool, given_effect: Any
) -> None:
    LearnedRules(path).add(given_effect, tool, "medium", created_by="ana", reason="x" * 9000)
    if tool == AskedTool("read[1]?", "mail*"):
        LearnedRules(path).add("allow", tool, "medium", created_by="ana", sessions=("team-*",))
    policy = load_policy(path)
    parameters: dict[str, Any] = {"command": "git push --force origin"} if tool.command else {}

    asked = Call(tool, "s1", "medium", parameters)
    verdict = policy.judge(asked)

    assert (verdict and verdict.effect) == given_effect
    for other in (
        tool._replace(asked_by="other"),
        tool._replace(agent="other"),
        tool._replace(server="other"),
        tool._replace(tool_name="other"),
        tool._replace(definition_sha256="0c" * 32),
        tool._replace(command=command_use({"command": "git push origin"})),
    ):
        assert policy.judge(asked._replace(tool=other)) is None
    risky = policy.judge(asked._replace(risk_level="high"))
    assert (risky and risky.effect) == (None if given_effect == "allow" else "deny")
    assert policy.rules[0].said["tool"] == tomllib.loads(path.read_text())["rule"][0]["tool"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('tool = "read"', 'tool = ["read"]', "what is learned is about one tool of one server, or of none"),
        ('server = "mail"', 'server = ["mail"]', "what is learned is about one tool of one server, or of none"),
        ('created_by = "ana"', "", "learned.created_by: Field required"),
        ('created_by = "ana"', 'created_by = "ana"\ncolour = "red"', "learned.colour: Extra inputs are not permitted"),
    ],
)
def test_policy_with_a_learned_rule_that_is_bound_to_nothing_does_not_load(
    path: Path, old: str, new: str, why: str
) -> None:
    learn(LearnedRules(path))
    edit(path, old, new)

    with pytest.raises(InvalidInput, match=rf"{re.escape(str(path))}:\d+: .*{re.escape(why)}"):
        load_policy(path)


def test_policy_explains_that_a_call_is_not_the_one_that_was_learned(path: Path) -> None:
    learn(LearnedRules(path))
    [considered] = load_policy(path).explain(call(READ._replace(asked_by="other"))).considered

    assert considered.reason == "it is learned for another asker, another definition of the tool, or other commands"
