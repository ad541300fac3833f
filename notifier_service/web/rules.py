"""The rules of a session, wherever they come from: listed, taken back, and made of what people approve (section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from ..core.errors import Forbidden, SelfApproval
from ..core.events import EventData, FileRule, Rule, made
from ..core.policy.rule_book import require_revocable
from ..core.question import MAX_REASON
from .answers import reply
from .auth import Caller
from .models import Refused, RuleToCaller, SuggestionToCaller
from .request import Call, Query

__all__ = ["TakeOverBody", "list_learned", "list_rules", "revoke_learned", "take_back", "take_over"]


class TakeOverBody(BaseModel):
    """A suggestion that somebody makes a rule of."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True)

    suggestion_id: Annotated[str, Field(max_length=256)]
    scope: Literal["session", "always"]
    reason: Annotated[str, Field(max_length=MAX_REASON)] | None = None


async def list_rules(call: Call[Query, None]) -> web.Response:
    """The rules that hold in a session, oldest first, and which ones would have saved questions."""
    session, caller = call.broker.look(call.session_id), call.caller
    refused: Refused | None = None if caller.may("approve") else "right"
    suggestions = [
        _to_caller(SuggestionToCaller, suggestion, refused or (None if may_take_over else "asker"))
        for suggestion, may_take_over in session.desk.suggestions_to(caller.name, caller.token_sha256)
    ]
    return _listed(session.all_rules(), call, suggestions=suggestions)


async def list_learned(call: Call[Query, None]) -> web.Response:
    """The rules that hold beyond a session, in sessions that the caller may see."""
    rules, sessions = call.broker.rules.listed(), set(call.caller.sessions)
    if "*" not in sessions:
        rules = [rule for rule in rules if isinstance(rule, FileRule) or sessions & set(rule.session or sessions)]
    return _listed(rules, call)


def _listed(rules: Sequence[Rule | FileRule], call: Call[Query, None], **beside: Any) -> web.Response:
    told = [
        rule if isinstance(rule, FileRule) else _to_caller(RuleToCaller, rule, _revoking_refused(rule, call.caller))
        for rule in rules
    ]
    return reply(told, **beside)


def _to_caller(model: type[EventData], what: EventData, refused: Refused | None) -> EventData:
    """A rule or a suggestion, and why the caller may do nothing with it."""
    return made(model, {**what.__dict__, "refused": refused})


def _revoking_refused(rule: Rule, caller: Caller) -> Refused | None:
    """Why this caller may not take a rule back; None where they may."""
    if not caller.may("approve"):
        return "right"
    try:
        require_revocable(rule, caller.name, caller.token_sha256, caller.sessions)
    except SelfApproval:  # which is ``Forbidden`` too
        return "asker"
    except Forbidden:
        return "sessions"
    return None


async def take_back(call: Call[Query, None]) -> web.Response:
    """Forget a rule of the session, or a learned one: the next call that it held for is asked again."""
    rule_id = call.request.match_info["rule_id"]
    rule = call.broker.look(call.session_id).take_back(rule_id, **_revoked_by(call))
    if call.broker.is_durable:
        await call.broker.on_disk()  # or it would hold again after a restart
    return reply(rule)


async def revoke_learned(call: Call[Query, None]) -> web.Response:
    """Forget a learned rule, in all sessions."""
    rule = call.broker.rules.take_back(call.request.match_info["rule_id"], **_revoked_by(call))
    call.broker.recorder.rule("rule_revoked", None, dict(rule), decided_by=call.caller.name)
    return reply(rule)


def _revoked_by(call: Call[Query, None]) -> dict[str, Any]:
    caller = call.caller
    return {"revoked_by": caller.name, "revoked_with": caller.token_sha256, "reach": caller.sessions}


async def take_over(call: Call[Query, TakeOverBody]) -> web.Response:
    """Make a rule of a suggestion."""
    body = call.body
    caller = call.caller
    rule = call.broker.look(call.session_id).desk.take_over(
        body.suggestion_id,
        body.scope,
        decided_by=caller.name,
        decided_with=caller.token_sha256,
        reason=body.reason,
        reach=caller.sessions,
    )
    if call.broker.is_durable:
        await call.broker.on_disk()
    return reply(rule, status=201)
