"""What was asked and how it ended, over all sessions (contract section 12)."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from ..core.events import dump
from ..core.session import check_session_id
from .answers import json_answer
from .auth import Right
from .request import Call, Query

__all__ = ["HistoryQuery", "read_history"]

_VIEW = frozenset[Right]({"view"})


class HistoryQuery(Query):
    """Which of the settled requests: ``before`` is the ``next`` of an earlier answer, ``limit`` the most of them."""

    session_id: str | None = None
    tool: str | None = Field(default=None, max_length=256)
    decided_by: str | None = Field(default=None, max_length=256)
    before: str | None = Field(
        default=None, max_length=64, json_schema_extra={"pattern": "^[0-9a-z]{1,24}-[0-9a-z]{1,12}$"}
    )
    limit: int = Field(default=50, ge=1, le=200)


async def read_history(call: Call[HistoryQuery, None]) -> web.Response:
    """The settled requests of the sessions that the caller's patterns cover, newest first."""
    query = call.query
    if query.session_id is not None:
        call.caller.require(_VIEW, check_session_id(query.session_id))
    page = call.broker.history.page(
        call.caller.sees,
        session_id=query.session_id,
        tool_name=query.tool,
        decided_by=query.decided_by,
        before=query.before,
        limit=query.limit,
    )
    records = b",".join(page.records)
    return json_answer(b'{"success":true,"data":{"requests":[%b],"next":%b}}' % (records, dump(page.next)))
