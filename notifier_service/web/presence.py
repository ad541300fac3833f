"""Who looks: what pages say of themselves, on their streams or by POST (contract section 14)."""

from __future__ import annotations

from typing import Annotated, Any, Self

from aiohttp import web
from pydantic import Field, StringConstraints, model_validator

from ..core.events import EventData
from ..core.presence import PRESENCE_SECONDS, Page
from ..core.session import SESSION_ID
from .answers import reply
from .auth import Caller, Right
from .request import Call, Query

__all__ = ["PresenceBody", "page_of", "state", "tell"]

_MAX_PAGE = 64
_VIEW = frozenset[Right]({"view"})


class PresenceBody(EventData):
    """``visible`` is for a minute, in all sessions or in one, and for the streams of the same ``page``.

    ``away`` is for all pages of the caller, until it is taken back.
    """

    visible: bool | None = None
    page: Annotated[str, Field(min_length=1, max_length=_MAX_PAGE)] | None = None
    session_id: Annotated[str, StringConstraints(pattern=SESSION_ID)] | None = None
    away: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.visible is None and self.away is None:
            raise ValueError("visible or away says something")
        return self


async def tell(call: Call[Query, PresenceBody]) -> web.Response:
    """Say whether a page is visible, which counts for a minute, and whether the caller is away."""
    presence, body, caller = call.broker.presence, call.body, call.caller
    if body.session_id is not None:
        caller = caller.require(_VIEW, body.session_id).only_in(body.session_id)
    if body.away is not None and presence.set_away(caller.name, is_away=body.away):
        call.broker.recorder.away(caller.name, is_away=body.away)
        if call.broker.is_durable:
            await call.broker.on_disk()
    if body.visible is not None:
        presence.tell(caller.name, body.page or "", is_visible=body.visible, sees=caller.sees)
    return reply({"visible": bool(body.visible), "away": presence.is_away(caller.name), "expires_in": PRESENCE_SECONDS})


async def state(call: Call[Query, None]) -> web.Response:
    """Say whether the caller is away."""
    return reply({"away": call.broker.presence.is_away(call.caller.name)})


def page_of(call: Call[Any, None], caller: Caller) -> Page | None:
    """The page that a stream says it is, and whether that is visible; None where it says nothing."""
    visible = call.query.visible
    if visible is None:
        return None
    page_id = (call.query.page or "")[:_MAX_PAGE]
    return call.broker.presence.stream(caller.name, page_id, is_visible=visible in ("1", "true"))
