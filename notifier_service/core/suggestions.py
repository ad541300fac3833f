"""Which rule would have saved how many of the questions that people answered with yes (contract section 11)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .events import EventData, Many, Scope
from .parameters import canonical_json
from .permission_request import PermissionRequest
from .policy.grants import described
from .policy.learned import rule_table
from .policy.verdict import AskedTool, Verdict, is_riskier
from .question import Question

__all__ = ["Proposal", "Suggestion", "proposals"]

#: A rule is worth having from the second question on that it would have saved.
_MIN_QUESTIONS = 2
#: More than this nobody looks through; of the requests of one the newest are named.
_MOST = 10
_MOST_REQUESTS = 100


class Suggestion(EventData):
    """A rule that somebody may make of what people approved again and again; it is never made by itself.

    ``words`` say for which calls it would hold, ``rule`` is that as the file of the learned rules has it;
    ``would_have_saved`` is how many questions of this session it would have answered, ``requests`` are the newest.
    ``scopes`` are those for which a person may make it.
    """

    suggestion_id: str
    words: str
    rule: dict[str, Any]
    would_have_saved: int
    scopes: Many[Scope]
    requests: Many[str]


class Proposal(NamedTuple):
    """A suggestion, and the riskiest of the requests for which its rule would have been made."""

    suggestion: Suggestion
    request: PermissionRequest


def proposals(
    settled: Iterable[PermissionRequest], judge: Callable[[Question], Verdict], *, scopes: Sequence[Scope]
) -> Sequence[Proposal]:
    """The rules that would have saved the most questions first; ``judge`` says what the rules of today would do.

    Only of calls that people approved as they were asked, every time: who once rejected, changed, answered or did not
    answer such a call is not told to allow them all. Nor of a tool that is risky only now and then, or that its server
    defines otherwise by now.
    """
    asked: dict[AskedTool, list[PermissionRequest]] = {}
    newest: dict[AskedTool, AskedTool] = {}
    spoiled: set[AskedTool] = set()
    for request in settled:
        record, tool = request.record, request.tool
        if record.decided_by == "policy" or record.status == "cancelled" or "session" not in record.scopes:
            continue
        newest[tool.whichever_definition] = tool
        if record.decision != "approve":
            spoiled.add(tool.whichever_definition)
        elif record.scope == "once" and record.suggested_policy_rule is not None and _is_whole(request):
            asked.setdefault(tool, []).append(request)
    made = (
        _proposal(tool, requests, scopes)
        for tool, requests in asked.items()
        if len(requests) >= _MIN_QUESTIONS
        and tool.whichever_definition not in spoiled
        and newest[tool.whichever_definition] == tool
        and not _is_mixed(requests)
    )
    open_ones = [each for each in made if _asks_by_no_rule(judge(each.request.question))]
    return sorted(open_ones, key=lambda each: -each.suggestion.would_have_saved)[:_MOST]


def _proposal(tool: AskedTool, requests: Sequence[PermissionRequest], scopes: Sequence[Scope]) -> Proposal:
    riskiest = requests[0]
    for request in requests:
        if is_riskier(request.record.risk_level, riskiest.record.risk_level):
            riskiest = request
    risk_level = riskiest.record.risk_level
    rule = rule_table("allow", tool, risk_level)
    suggestion = Suggestion(
        suggestion_id="sug_" + hashlib.sha256(canonical_json(rule)).hexdigest()[:32],
        words=described(tool, risk_level),
        rule=rule,
        would_have_saved=len(requests),
        scopes=tuple(scopes),
        requests=tuple(request.request_id for request in requests[-_MOST_REQUESTS:]),
    )
    return Proposal(suggestion, riskiest)


def _is_whole(request: PermissionRequest) -> bool:
    return request.question.is_whole and request.preview is None and not request.record.parameters_truncated


def _is_mixed(requests: Sequence[PermissionRequest]) -> bool:
    risks = Counter(request.record.risk_level for request in requests)
    return "high" in risks and len(risks) > 1


def _asks_by_no_rule(verdict: Verdict) -> bool:
    return verdict.effect == "ask" and verdict.rule is None
