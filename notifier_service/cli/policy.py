"""``policy``: write a policy file, see what it says of a call, and what becomes of other programs' rules."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from ..calls.risk import RatedRisk
from ..core.errors import InvalidInput, NotifierError
from ..core.limits import RiskLevel
from ..core.parameters import jsonable
from ..core.policy.by_risk import judge as judge_by_risk
from ..core.policy.policy import Considered, Explanation, Policy
from ..core.policy.policy_file import load_policy
from ..core.policy.reasons import Reason, is_of_more_than_the_tool
from ..core.policy.tool_names import server_of
from ..core.policy.verdict import AskedTool, Call, Verdict, is_riskier
from ..core.session import check_session_id
from ..settings import ENV_PREFIX
from .importers import IMPORTERS, imported
from .policy_init import add_init
from .policy_replay import add_replay
from .terminal import one_line

__all__ = ["add_commands"]

_RISKS = get_args(RiskLevel)


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "policy",
        help="write a policy file, check it, explain what it says of a call, or make one of another program's rules",
        description="Work with policy files: rules in TOML that say which calls are allowed, asked about or denied. "
        "No service needs to run.",
    )
    steps = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_check(steps)
    _add_explain(steps)
    add_init(steps)
    _add_import(steps)
    add_replay(steps, _ask_from_risk)


def _add_check(steps: Any) -> None:
    parser = steps.add_parser(
        "check",
        help="see whether a policy file loads",
        description="Read a policy file as the service does, and run its examples. Exits with 0 and prints the number "
        "of rules, or with 1 and FILE:LINE: reason on standard error.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the policy file")
    parser.set_defaults(command=_check)


async def _check(arguments: argparse.Namespace) -> int:
    policy = _loaded(arguments.file)
    if policy is None:
        return 1
    for warning in policy.warnings:
        print(f"{warning} (warning)", file=sys.stderr)
    print(f"{len(policy.rules)} rule{'' if len(policy.rules) == 1 else 's'}")
    return 0


def _add_explain(steps: Any) -> None:
    parser = steps.add_parser(
        "explain",
        help="say what a policy says of a call, and why",
        description="Say whether a call would be allowed, asked about or denied, which rules match, and of each other "
        "rule the first condition that does not hold. What people decided in a session is not looked at.",
        epilog='Example: notifier-service policy explain Bash --parameters \'{"command": "git status"}\' '
        "--policy-file policy.toml",
    )
    parser.add_argument("tool", metavar="TOOL", help="the name of the tool")
    parser.add_argument("--parameters", default="{}", metavar="JSON", help="what it is called with, an object ({})")
    parser.add_argument("--session", default="session", metavar="S", help="the session's id (session)")
    parser.add_argument("--server", metavar="N", help="the MCP server that has the tool (that of mcp__N__tool)")
    parser.add_argument("--agent", metavar="A", help="who asks: the kind of agent, or the subject of its token")
    parser.add_argument(
        "--risk",
        choices=_RISKS,
        help="how risky the call is; without, as the file rates the tool, or the service a call that an agent's hook "
        "tells of",
    )
    file = os.environ.get(f"{ENV_PREFIX}POLICY_FILE") or None
    parser.add_argument(
        "--policy-file",
        type=Path,
        default=file,
        metavar="FILE",
        help=f"the policy ({ENV_PREFIX}POLICY_FILE); without one calls are judged by risk alone",
    )
    parser.add_argument("--json", action="store_true", help="print one object for programs")
    parser.set_defaults(command=_explain)


class _Answer(NamedTuple):
    effect: str
    rule: str | None
    reasons: Sequence[str]
    matched: Sequence[Considered]
    considered: Sequence[Considered]
    #: Which risk counted where none was told.
    assumed: str | None


async def _explain(arguments: argparse.Namespace) -> int:
    try:
        parameters, is_whole = _parameters(arguments.parameters)
        session_id = check_session_id(arguments.session)
        ask_from = _ask_from_risk()
        for flag in ("tool", "server", "agent"):
            value = getattr(arguments, flag)
            if value is not None and not 1 <= len(value) <= 256:
                raise InvalidInput(f"{flag} has 1 to 256 characters")
    except NotifierError as error:
        print(f"notifier-service: {error.message}", file=sys.stderr)
        return 2
    policy = Policy() if arguments.policy_file is None else _loaded(arguments.policy_file)
    if policy is None:
        return 1
    server = arguments.server or server_of(arguments.tool)
    rated = _rated(policy, arguments.tool, server, parameters)
    risk = arguments.risk or rated.level
    tool = AskedTool(arguments.tool, server, agent=arguments.agent)
    call = Call(tool, session_id, risk, parameters, is_whole)
    explained = policy.explain(call)
    verdict = _settled(policy, explained, call, ask_from)
    assumed = None
    if arguments.risk is None:
        basis = "for a call that an agent's hook tells of" if server is None else "without what its server says of it"
        why = "".join(f"; {reason}" for reason in rated.reasons)
        assumed = f"Without --risk, risk {risk} is assumed, {basis}{why}."
    answer = _Answer(verdict.effect, verdict.rule, verdict.reasons, explained.matched, explained.considered, assumed)
    if arguments.json:
        print(_as_json(answer))
        if assumed is not None:
            print(f"notifier-service: {one_line(assumed)}", file=sys.stderr)
    else:
        print(_as_text(answer))
    return 0


def _rated(policy: Policy, tool_name: str, server: str | None, parameters: dict[str, Any]) -> RatedRisk:
    """The risk as the service rates a call that an agent's hook tells of, which works in this folder.

    What a server says of its tools is known to a gateway only.
    """
    from ..web.agents.built_ins import risk_by_agent  # the service's half, which no other command here needs

    rated = risk_by_agent(tool_name, parameters, folder=os.getcwd(), is_of_server=server is not None)
    level = policy.risk_of(tool_name, server)
    if level is None or (is_riskier(rated.level, level) and is_of_more_than_the_tool(rated.reasons)):
        return rated
    return RatedRisk(level, (Reason("rated_by_policy", risk=level),))


def _settled(policy: Policy, explained: Explanation, call: Call, ask_from: RiskLevel) -> Verdict:
    """What holds in a session in which nobody decided anything."""
    if explained.verdict is not None:
        return explained.verdict
    if policy.default == "deny":
        return Verdict("deny", (Reason("default_denies"),))
    if explained.doubt is not None or not call.is_whole:
        return Verdict("ask", (explained.doubt or Reason("not_whole"),))
    if policy.default == "ask":
        return Verdict("ask", (Reason("default_asks"),))
    return judge_by_risk(call.risk_level, ask_from_risk=ask_from)


def _add_import(steps: Any) -> None:
    parser = steps.add_parser(
        "import",
        help="make a policy of another program's rules",
        description="Print another program's rules as a policy file, never wider than they are there. What cannot be "
        "carried over, and what does nothing there, is told in comments and on standard error.",
        epilog="Example: notifier-service policy import claude .claude/settings.json > policy.toml",
    )
    parser.add_argument("source", choices=tuple(IMPORTERS), help="whose rules they are")
    parser.add_argument("file", metavar="FILE", help="where they are; - is standard input")
    parser.set_defaults(command=_import)


async def _import(arguments: argparse.Namespace) -> int:
    whose = "standard input" if arguments.file == "-" else one_line(arguments.file)
    try:
        draft = imported(arguments.source, arguments.file)
    except InvalidInput as error:
        print(f"notifier-service: {whose}: {one_line(error.message)}", file=sys.stderr)
        return 1
    for remark in draft.remarks:
        print(f"notifier-service: {whose}: {remark}", file=sys.stderr)
    sys.stdout.write(draft.toml())
    return 0


def _loaded(path: Path) -> Policy | None:
    try:
        return load_policy(path)
    except InvalidInput as error:
        print(error.message, file=sys.stderr)
        return None


def _parameters(text: str) -> tuple[dict[str, Any], bool]:
    """What the flag says, and whether it can be read in one way only."""
    doubled: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        read = dict(pairs)
        if len(read) < len(pairs):
            doubled.append("")
        return read

    def refused(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        parameters = json.loads(text, object_pairs_hook=once, parse_constant=refused)
        if not isinstance(parameters, dict):
            raise ValueError("it is no object")
        return jsonable(parameters), not doubled
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"--parameters is a JSON object: {error or 'it is nested too deeply'}") from None


def _ask_from_risk() -> RiskLevel:
    text = os.environ.get(f"{ENV_PREFIX}ASK_FROM_RISK", "medium")
    for risk in _RISKS:
        if risk == text:
            found: RiskLevel = risk
            return found
    raise InvalidInput(f"{ENV_PREFIX}ASK_FROM_RISK is {', '.join(_RISKS)}")


def _as_json(answer: _Answer) -> str:
    rules = {"matched": answer.matched, "considered": answer.considered}
    return json.dumps(
        {
            "effect": answer.effect,
            "rule": answer.rule,
            "reasons": [str(reason) for reason in answer.reasons],
            **{key: [rule._asdict() for rule in some] for key, some in rules.items()},
        },
        indent=2,
    )


def _as_text(answer: _Answer) -> str:
    lines = [answer.effect, *(f"  {one_line(reason)}" for reason in answer.reasons)]
    for title, rules in (("matches:", answer.matched), ("does not match:", answer.considered)):
        if rules:
            lines += ["", title]
            lines += [
                f"  line {rule.line}, {rule.effect} {json.dumps(rule.rule)}: {one_line(rule.reason)}" for rule in rules
            ]
    return "\n".join(lines if answer.assumed is None else [*lines, "", one_line(answer.assumed)])
