"""``policy replay``: the requests of an audit log, judged anew by another policy before that is put in force."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InvalidInput
from ..core.limits import RiskLevel
from ..core.policy.by_risk import judge as judge_by_risk
from ..core.policy.command_use import command_use
from ..core.policy.policy import Policy
from ..core.policy.policy_file import load_policy
from ..core.policy.verdict import AskedTool, Call, Effect, Verdict, is_riskier, strictest
from ..storage.audit_chain import BadLine
from ..storage.redaction import REDACTED
from .audit_lines import Line, refused, shown, told_lines

__all__ = ["add_replay"]

_EFFECTS: Mapping[str, Effect] = {"asked": "ask", "allowed": "allow", "denied": "deny"}
_NOW = {"allow": "now_allowed", "ask": "now_asked", "deny": "now_denied"}


def add_replay(steps: Any, ask_from_risk: Callable[[], RiskLevel]) -> None:
    parser = steps.add_parser(
        "replay",
        help="judge the requests of an audit log anew",
        description="Judge every request of an audit log by another policy, and say which would be allowed, asked or "
        "denied now. What people decided in a session, or for always, holds as it did. A request whose parameters are "
        "not whole in the log, because there were secrets in them or they are long, is marked: nobody can judge it "
        "exactly.",
    )
    parser.add_argument("file", nargs="+", type=Path, metavar="AUDIT", help="the log, or all files of one")
    parser.add_argument("--policy-file", type=Path, required=True, metavar="FILE", help="the other policy")
    parser.add_argument("--json", action="store_true", help="print one object for programs")
    parser.add_argument("--fail-on-wider", action="store_true", help="exit with 3 if any request became allowed")
    parser.set_defaults(command=_replay, ask_from_risk=ask_from_risk)


async def _replay(arguments: argparse.Namespace) -> int:
    try:
        policy = load_policy(arguments.policy_file)
        ask_from = arguments.ask_from_risk()
        judged = list(_judged(arguments.file, policy, ask_from))
    except BadLine as error:
        return refused(error)
    except InvalidInput as error:
        print(error.message, file=sys.stderr)
        return 1
    told = _told(judged)
    print(json.dumps(told, indent=2) if arguments.json else _in_words(told))
    return 3 if arguments.fail_on_wider and told["now_allowed"] else 0


class _Judged(NamedTuple):
    line: Line
    before: Effect
    now: Effect
    rule: str | None
    is_exact: bool


def _judged(files: list[Path], policy: Policy, ask_from: RiskLevel) -> Iterator[_Judged]:
    seen: set[str] = set()
    for line in told_lines(files):
        before = _EFFECTS.get(line["kind"])
        if before is None or "tool_name" not in line or line.get("continues") or line.get("request_id") in seen:
            continue  # the twin of a call that was approved for the session was asked before
        if line.get("request_id"):
            seen.add(line["request_id"])
        is_exact = _is_exact(line)
        verdict = _verdict(policy, line, before, ask_from, is_exact=is_exact)
        yield _Judged(line, before, verdict.effect, verdict.rule, is_exact)


def _is_exact(line: Line) -> bool:
    """Whether the log has the parameters as they were."""
    parameters = line.get("parameters")
    if not isinstance(parameters, dict) or line.get("parameters_truncated"):
        return False
    return REDACTED not in json.dumps(parameters, ensure_ascii=False)


def _verdict(policy: Policy, line: Line, before: Effect, ask_from: RiskLevel, *, is_exact: bool) -> Verdict:
    codes = set(line.get("reason_codes", ()))
    call = _call(policy, line, is_whole="not_whole" not in codes)
    decided = None
    if before != "ask" and str(line.get("rule_id", "")).startswith("rule_"):
        decided = Verdict(before, (), rule=line.get("rule"))
    by_rule = strictest((policy.judge(call), decided))
    if by_rule is not None and not (by_rule.effect == "allow" and not call.is_whole):
        return by_rule
    default = policy.default if line.get("by_policy", True) else "ask"
    if default == "deny":
        return Verdict("deny", ())
    if default == "ask" or not call.is_whole or policy.doubt(call) is not None:
        return Verdict("ask", ())
    if before == "ask" and line.get("rule") is None and not codes & {"default_asks", "risk_asks"}:
        return Verdict("ask", ())  # it was asked for a reason that no policy changes
    return judge_by_risk(call.risk_level, ask_from_risk=ask_from)


def _call(policy: Policy, line: Line, *, is_whole: bool) -> Call:
    told: RiskLevel = line.get("risk_level", "high")
    rated = policy.risk_of(line["tool_name"], line.get("server"))
    risk = told if rated is None or is_riskier(told, rated) else rated
    parameters = line.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    tool = AskedTool(
        line["tool_name"],
        line.get("server"),
        line.get("definition_sha256"),
        line.get("asked_by"),
        line.get("agent"),
        command_use(parameters),
    )
    return Call(tool, str(line.get("session_id")), risk, parameters, is_whole)


def _told(judged: list[_Judged]) -> dict[str, Any]:
    changed = [each for each in judged if each.before != each.now]
    counts = {name: sum(_NOW[each.now] == name for each in changed) for name in _NOW.values()}
    return {
        "requests": len(judged),
        "same": len(judged) - len(changed),
        **counts,
        "not_exact": sum(not each.is_exact for each in judged),
        "changes": [_change(each) for each in changed],
    }


def _change(each: _Judged) -> dict[str, Any]:
    names = ("seq", "time", "session_id", "request_id", "tool_name", "server", "agent", "risk_level", "parameters")
    told = {name: each.line[name] for name in names if name in each.line}
    return {**told, "before": each.before, "now": each.now, "rule": each.rule, "exact": each.is_exact}


def _in_words(told: Mapping[str, Any]) -> str:
    lines = [
        f"{told['requests']} requests: {told['same']} the same, {told['now_allowed']} now allowed, "
        f"{told['now_asked']} now asked, {told['now_denied']} now denied"
    ]
    for change in told["changes"]:
        by = f" by rule {change['rule']}" if change["rule"] else ""
        doubt = "" if change["exact"] else " (not exactly: the log has not all of its parameters)"
        parameters = json.dumps(change.get("parameters"), ensure_ascii=False)[:120]
        lines.append(shown(f"  {change['before']} -> {change['now']}{by}  {change['tool_name']}  {parameters}{doubt}"))
    if told["not_exact"]:
        lines.append(f"{told['not_exact']} requests cannot be judged exactly: the log has not all of their parameters.")
    return "\n".join(lines)
