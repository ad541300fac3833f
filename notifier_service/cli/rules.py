"""``rules``: what runs or is denied without a question, taken back, and which rule would have saved questions."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..client import Client
from .answers import ONLY_LOOKS
from .scripts import service_command
from .terminal import in_a_row

__all__ = ["add_commands"]

_COLUMNS = ("EFFECT", "SOURCE", "USED", "RULE", "WHAT")


def add_commands(commands: Any) -> None:
    parser = service_command(
        commands,
        "rules",
        _rules,
        "list the rules that hold in a session, and take one back",
        "List the rules that hold in a session, how often each was used, and which rule would have saved questions. "
        "Without a session: the rules of the policy file, and what was decided for always.",
    )
    parser.add_argument("session", nargs="?")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--revoke", metavar="RULE", help="take this rule back, in every session if it is for always")
    what.add_argument("--take-over", metavar="SUGGESTION", help="make a rule of this suggestion, for the session")
    parser.add_argument("--always", action="store_true", help="with --take-over: for always")
    parser.add_argument("--json", action="store_true", help="print {rules, suggestions}, whole; or the one rule")


async def _rules(arguments: argparse.Namespace) -> int:
    session, suggestion = arguments.session, arguments.take_over
    if suggestion is not None and session is None:
        print("notifier-service: --take-over needs the session that the suggestion is of", file=sys.stderr)
        return 2
    if arguments.always and suggestion is None:
        print("notifier-service: --always goes with --take-over", file=sys.stderr)
        return 2
    async with Client(arguments.url, token=arguments.token) as client:
        if arguments.revoke is not None:
            return _tell("taken back", await client.take_back(arguments.revoke, session), as_json=arguments.json)
        if suggestion is not None:
            scope = "always" if arguments.always else "session"
            made = await client.take_over(session, suggestion, scope=scope)
            return _tell("made", made, as_json=arguments.json)
        rules = await client.rules(session)
        suggestions = [] if session is None else await client.suggestions(session)
    if arguments.json:
        # ASCII: whatever a terminal could act on stays an escape, and a script reads the same value.
        print(json.dumps({"rules": rules, "suggestions": suggestions}, indent=2))
        return 0
    for line in _lines(rules, suggestions):
        print(line)
    if not rules:
        print("No rule holds: people are asked as the settings say.", file=sys.stderr)
    return 0


def _tell(what: str, rule: Mapping[str, Any], *, as_json: bool) -> int:
    print(json.dumps(rule, indent=2) if as_json else f"{what}: {in_a_row(rule['name'], sys.stdout.encoding)}")
    return 0


def _lines(rules: Sequence[Mapping[str, Any]], suggestions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rules:
        rows = [_COLUMNS, *([in_a_row(cell, sys.stdout.encoding) for cell in _cells_of(rule)] for rule in rules)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
        for row in rows:
            yield "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False)) + row[-1]
    for each in suggestions:
        identity, words = (in_a_row(each[name], sys.stdout.encoding) for name in ("suggestion_id", "words"))
        how = "" if each.get("refused") else f" (--take-over {identity})"
        yield f"would have saved {each['would_have_saved']} questions: {words}{how}"
    if any(each.get("refused") == "right" for each in (*rules, *suggestions)):
        yield ONLY_LOOKS


def _cells_of(rule: Mapping[str, Any]) -> Sequence[str]:
    words = [rule["name"]]
    if rule.get("session"):
        words.append(f"in sessions {', '.join(rule['session'])}")
    if rule.get("until"):
        words.append(f"until {rule['until']}")
    if rule.get("created_by"):
        words.append(f"by {rule['created_by']}")
    if rule.get("justification"):
        words.append(f"because: {rule['justification']}")
    return rule["effect"], rule["source"], str(rule["used"]), rule["rule_id"], "  ".join(words)
