"""``audit``: what a log says is told as it is, and who judges such gates finds in it what went wrong."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agentack.engine import evaluate_events
from agentack.models import TraceEvent

from notifier_service import Broker, ToolDenied, ToolWrapper
from notifier_service.cli import main
from notifier_service.cli.audit_export import FORMATS
from notifier_service.core.notices import Escalation, Notice
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.question import Decision
from notifier_service.storage.audit_chain import Head, chained
from notifier_service.storage.audit_file import AuditFile
from tests.clock import Clock

Run = Callable[..., tuple[int, str, str]]

HOSTILE = "rm\x1b[2J\u202egnp\r\n2026 decided by admin"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def one(*arguments: object) -> tuple[int, str, str]:
        code = main(["audit", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return one


async def asked(broker: Broker, count: int = 1) -> PermissionRequest:
    async with asyncio.timeout(10):
        while len(broker.look("s1").desk.pending) < count:  # noqa: ASYNC110  # a core has no event for it
            await asyncio.sleep(0.001)
    return broker.look("s1").desk.pending[-1]


async def mixed_session(path: Path) -> None:
    """Calls that people approve, edit, reject, answer and let expire, that rules settle, and that need nobody."""
    audit = AuditFile(path)
    broker = Broker(audit=audit)

    async def run_tool(command: str = "", n: int = 0) -> str:
        if n == 13:
            raise ValueError("bad luck")
        return command

    def tool(risk: Any, **more: Any) -> ToolWrapper:
        return ToolWrapper(run_tool, session_id="s1", risk_level=risk, broker=broker, **more)

    async def decided(call: Any, **decision: Any) -> Any:
        task = asyncio.ensure_future(call)
        request = await asked(broker)
        await broker.answer(
            "s1", Decision(request_id=request.request_id, **decision), decided_by="ana", through="page", right="approve"
        )
        try:
            return await task
        except (ToolDenied, ValueError) as error:
            return error

    for n in range(20):
        await decided(tool("high")(command=f"git status {n}"), approved=True)
    await decided(tool("high")(command="rm x"), approved=True, parameters={"command": "rm y"})
    await decided(tool("high")(command="rm z"), approved=False, reason="=HYPERLINK(1)")
    await decided(tool("high")(command="ask"), approved=False, response="no need")
    await decided(tool("high")(command="fails", n=13), approved=True)
    with pytest.raises(ToolDenied):
        await tool("high", timeout_seconds=0.01)(command="late")
    await tool("low")(command="ls")
    await tool("low")(command="ls")
    await decided(tool("medium")(n=1), approved=True, scope="session")
    await tool("medium")(n=2)
    await tool("medium")(n=2)
    await decided(tool("high")(n=5), approved=False, scope="session")
    with pytest.raises(ToolDenied):
        await tool("high")(n=6)
    gone = asyncio.ensure_future(tool("high")(command="gone"))
    await asked(broker)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    broker.ask("s2", tool_name="other", parameters={})
    open_request = broker.ask("s1", tool_name=HOSTILE, parameters={"a": 1})
    await open_request.recorded()
    await asyncio.to_thread(audit.close)
    broker.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    asyncio.run(mixed_session(path))
    return path


def judged(trace: list[dict[str, Any]]) -> tuple[str, set[str]]:
    report = evaluate_events([TraceEvent.from_dict(event, line=n) for n, event in enumerate(trace, 1)])
    return report.status, {finding.rule_id for finding in report.findings}


@pytest.fixture
def trace(log: Path, run: Run) -> list[dict[str, Any]]:
    code, out, err = run("export", log, "--format", "agentack", "--session", "s1")
    assert code == 0
    assert err == "Calls left out, because what became of them is not in the log: 1\n"
    return [json.loads(line) for line in out.splitlines()]


def the_first(trace: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(event for event in trace if event["type"] == kind)


def test_an_outside_judge_passes_a_long_mixed_session(trace: list[dict[str, Any]]) -> None:
    assert judged(trace) == ("PASS", set())
    kinds = [event["type"] for event in trace]
    assert kinds.count("action_executed") >= 27
    assert kinds.count("action_blocked") >= 7
    assert kinds[-1] == "session_end"


def test_the_judge_finds_a_parameter_that_was_changed_after_it_was_approved(trace: list[dict[str, Any]]) -> None:
    executed = the_first(trace, "action_executed")
    executed["action"]["parameters"]["shown"]["command"] = "git push"

    assert judged(trace) == ("FAIL", {"ACK003"})


def test_the_judge_finds_an_approval_that_was_used_twice(trace: list[dict[str, Any]]) -> None:
    executed = the_first(trace, "action_executed")
    trace.insert(trace.index(executed) + 1, dict(executed))

    assert judged(trace) == ("FAIL", {"ACK004"})


def test_the_judge_finds_an_approval_that_had_expired(trace: list[dict[str, Any]]) -> None:
    executed = the_first(trace, "action_executed")
    late = datetime.fromisoformat(executed["timestamp"]) + timedelta(hours=1)
    executed["timestamp"] = late.isoformat()

    assert judged(trace) == ("FAIL", {"ACK005"})


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"parameters": {"command": "other"}, "parameters_sha256": "0" * 64}, "ACK003"),
        ({}, "ACK004"),
    ],
    ids=["with other parameters", "again"],
)
def test_the_judge_finds_in_a_log_a_run_that_was_not_approved_so(
    log: Path, tmp_path: Path, run: Run, change: dict[str, Any], rule: str
) -> None:
    """What a program tells that runs something else than was approved, or runs it again."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    start = next(line for line in lines if line["kind"] == "started")
    lines = [{**line, **change} if line is start and change else line for line in lines]
    if not change:
        lines.append(start)
    path = tmp_path / "changed.jsonl"
    audit = AuditFile(path)
    audit.commit(*({k: v for k, v in line.items() if k not in ("seq", "prev", "hash")} for line in lines)).result()
    audit.close()
    _, out, _ = run("export", path, "--format", "agentack", "--session", "s1")

    status, rules = judged([json.loads(line) for line in out.splitlines()])
    assert (status, rules) == ("FAIL", {rule})


def test_a_trace_is_of_one_session(log: Path, run: Run) -> None:
    code, out, err = run("export", log, "--format", "agentack")

    assert (code, out) == (2, "")
    assert "choose it with --session" in err
    assert "s1, s2" in err


def test_csv_has_a_row_for_each_line_and_no_formula_and_moves_no_cursor(log: Path, run: Run) -> None:
    _, out, _ = run("export", log, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))

    assert len(rows) == len(log.read_text().splitlines())
    assert "'=HYPERLINK(1)" in {row["reason"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_json_lines_are_those_of_the_file(log: Path, run: Run) -> None:
    _, out, _ = run("export", log, "--format", "jsonl")

    assert [json.loads(line) for line in out.splitlines()] == [
        json.loads(each) for each in log.read_text().splitlines()
    ]
    assert out.isascii()


def test_verify_prints_records_and_head_or_the_first_bad_line(log: Path, tmp_path: Path, run: Run) -> None:
    lines = log.read_text().splitlines(keepends=True)
    code, out, err = run("verify", log)
    assert (code, out, err) == (0, f"{len(lines)} records, head {json.loads(lines[-1])['hash']}\n", "")

    later = tmp_path / "later.jsonl"
    opened, head = chained({"time": "2026-01-01T00:00:00Z", "kind": "audit_opened"}, Head(7, "ab" * 32))
    later.write_bytes(opened)
    assert run("verify", later) == (
        0, f"1 records, head {head.hash}\n", "It goes on behind 7 older lines, which are not in these files.\n"
    )  # fmt: skip

    changed = tmp_path / "changed.jsonl"
    changed.write_text("".join(lines[:5]) + lines[5].replace("s1", "s9") + "".join(lines[6:]))
    code, out, err = run("verify", changed)
    assert (code, out) == (1, "")
    assert err == f"{changed}:6: its hash is not that of what it says\n"
    for command in (["show"], ["summary"], ["export", "--format", "csv"]):
        code, _, err = run(*command, changed)
        assert (code, err) == (1, f"{changed}:6: its hash is not that of what it says\n")


def test_show_tells_who_decided_through_what_and_nothing_that_moves_the_cursor(log: Path, run: Run) -> None:
    code, out, _ = run("show", log)

    assert code == 0
    assert len(out.splitlines()) == len(log.read_text().splitlines())
    assert "decided        s1  run_tool  approve  by ana  through page  after 0.0 s" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\x1b[2J\\u202egnp" in out


def test_show_tells_each_step_by_which_people_were_called_and_who_was_away(tmp_path: Path, run: Run) -> None:
    class Phone:
        name, is_on, is_failing = "push", True, False

        def tell(self, notice: Notice) -> list[str]:
            return ["one", "two"] if notice.to != "boss" else []

    audit, clock = AuditFile(tmp_path / "log"), Clock()
    broker = Broker(audit=audit, clock=clock)
    broker.notices.channels.append(Phone())
    broker.notices.escalate = [Escalation(60, "oncall"), Escalation(90, "boss")]
    broker.recorder.away("ana", is_away=True)
    broker.ask("s1", tool_name="rm", parameters={})
    clock.now += 100
    broker.sweep()
    audit.close()
    told = [line.split("  ", 1)[1] for line in run("show", tmp_path / "log")[1].splitlines()]

    for line in (
        "away           -  by ana",
        "notified       s1  rm  unseen  2 over push",
        "notified       s1  rm  escalated  to oncall  2 over push",
        "notified       s1  rm  escalated  to boss  nobody",
    ):
        assert line in told


def test_show_is_of_the_lines_that_are_chosen(log: Path, run: Run) -> None:
    _, out, _ = run("show", log, "--session", "s2", "--json")
    assert {json.loads(line)["session_id"] for line in out.splitlines()} == {"s2"}
    _, out, _ = run("show", log, "--tool", "other*", "--json")
    assert {json.loads(line)["tool_name"] for line in out.splitlines()} == {"other"}
    assert run("show", log, "--since", "1h")[1] == run("show", log)[1]
    assert run("show", log, "--since", "2999-01-01")[1] == ""
    for never in ("yesterday", "", "999999d", "0001-01-01T00:00:00+10:00"):
        with pytest.raises(SystemExit) as refused:
            run("show", log, "--since", never)
        assert refused.value.code == 2


@pytest.mark.parametrize(
    "strange",
    [{"request_id": []}, {"tool_name": {}}, {"waited_ms": "long"}, {"risk_level": "huge"}, {"reason_codes": True},
     {"time": 1}],
)  # fmt: skip
def test_a_line_that_no_service_has_written_is_refused_by_every_command_that_reads_it(
    tmp_path: Path, run: Run, strange: dict[str, Any]
) -> None:
    path, policy = tmp_path / "strange.jsonl", tmp_path / "policy.toml"
    policy.write_text("")
    told = {
        "time": "2026-01-01T00:00:00Z",
        "kind": "asked",
        "session_id": "s1",
        "request_id": "pr_1",
        "tool_name": "rm",
    }
    opened, head = chained({"time": told["time"], "kind": "audit_opened"}, Head())
    path.write_bytes(opened + chained({**told, **strange}, head)[0])

    for command in (["show", path], ["summary", path], *(["export", path, "--format", each] for each in FORMATS)):
        code, _, err = run(*command)
        assert (code, err) == (1, f"{path}:2: no service writes its {next(iter(strange))} like that\n")
    assert main(["policy", "replay", str(path), "--policy-file", str(policy)]) == 1
    assert run("verify", path)[0] == 0


def test_a_log_may_come_through_a_pipe(log: Path, tmp_path: Path, run: Run) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    whole = run("verify", log)

    writer = threading.Thread(target=lambda: pipe.write_bytes(log.read_bytes()))
    writer.start()
    assert run("verify", pipe) == whole
    writer.join()


def test_summary_says_how_often_people_were_asked_and_what_would_have_saved_that(log: Path, run: Run) -> None:
    code, out, _ = run("summary", log, "--json")
    told = json.loads(out)
    tool = next(row for row in told["tools"] if row["tool"] == "run_tool")

    assert code == 0
    assert told["tools"][0] == tool
    assert (tool["asked"], tool["approved"], tool["edited"], tool["rejected"]) == (28, 23, 1, 3)
    assert (tool["expired"], tool["cancelled"], tool["allowed"], tool["denied"]) == (1, 1, 4, 1)
    assert tool["under_one_second"] == 26
    assert tool["median_answer_ms"] < 1000
    rule = {"effect": "allow", "tool": "run_tool", "risk": ["low", "medium", "high"], "command": ["git status *"]}
    assert told["rules"][0] == {"rule": rule, "saved": 20}

    code, out, _ = run("summary", log)
    assert code == 0
    assert "run_tool" in out
    assert "4 allowed, 1 denied" in out
    assert 'command = ["git status *"]' in out
    assert ("█" in out) or ("#" in out)


def test_summary_of_nothing_says_so(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "empty.jsonl"
    AuditFile(path).close()

    assert run("summary", path) == (0, "Nobody was asked, and nothing was let run or denied.\n", "")


def test_replay_judges_the_requests_of_a_log_by_another_policy(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.toml"

    def replay(text: str, *more: str) -> tuple[int, Any]:
        policy.write_text(text)
        code = main(["policy", "replay", str(log), "--policy-file", str(policy), *more])
        out, _ = capsys.readouterr()
        return code, json.loads(out) if "--json" in more else out

    code, told = replay('default = "by-risk"\n', "--json", "--fail-on-wider")
    assert (code, told["requests"], told["same"], told["changes"]) == (0, 35, 35, [])

    status = '[[rule]]\nname = "look"\neffect = "allow"\ntool = "run_tool"\ncommand = "git status *"\n'
    code, told = replay(status, "--json", "--fail-on-wider")
    assert (code, told["now_allowed"], told["same"]) == (3, 20, 15)
    assert {(each["rule"], each["before"], each["now"], each["exact"]) for each in told["changes"]} == {
        ("look", "ask", "allow", True)
    }
    assert replay(status)[0] == 0

    code, told = replay('[[rule]]\nname = "no"\neffect = "deny"\ntool = "run_tool"\n', "--json", "--fail-on-wider")
    assert (code, told["now_denied"], told["same"]) == (0, 32, 3)
    code, out = replay('[[rule]]\nname = "no"\neffect = "deny"\ntool = "rm*"\n')
    assert (code, "1 now denied" in out, "\x1b" in out) == (0, True, False)

    code, told = replay('default = "ask"\n', "--json")
    assert (told["now_asked"], told["now_allowed"]) == (2, 0)  # those that were harmless; what people decided holds


def test_replay_says_which_requests_it_cannot_judge_exactly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, policy = tmp_path / "audit.jsonl", tmp_path / "policy.toml"
    audit = AuditFile(path)
    asked = {
        "kind": "asked",
        "session_id": "s1",
        "tool_name": "t",
        "risk_level": "high",
        "time": "2026-01-01T00:00:00Z",
    }
    audit.commit(
        {**asked, "request_id": "one", "parameters": {"to": "[redacted]"}},
        {**asked, "request_id": "two", "parameters": {"beginning": "{"}, "parameters_truncated": True},
        {**asked, "request_id": "three", "parameters": {"to": "x"}},
    ).result()
    audit.close()
    policy.write_text('[[rule]]\nname = "all"\neffect = "allow"\ntool = "t"\n')

    assert main(["policy", "replay", str(path), "--policy-file", str(policy), "--json"]) == 0
    told = json.loads(capsys.readouterr()[0])

    assert (told["requests"], told["now_allowed"], told["not_exact"]) == (3, 3, 2)
    assert [each["exact"] for each in told["changes"]] == [False, False, True]
    main(["policy", "replay", str(path), "--policy-file", str(policy)])
    assert "2 requests cannot be judged exactly" in capsys.readouterr()[0]
