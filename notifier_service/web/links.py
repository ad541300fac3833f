"""Links to one decision: who opens one is shown what is asked, and only who then answers has decided (section 14)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError

from ..core.errors import (
    Gone,
    InvalidInput,
    LimitReached,
    NotFound,
    NotifierError,
    RequestNotFound,
    UnsupportedMediaType,
)
from ..core.events import EventData, PermissionRecord, dump, utc_text
from ..core.journal import NO_JOURNAL, Change, Journal
from ..core.permission_request import PermissionRequest
from ..core.question import MAX_REASON, Decision
from ..core.session import SESSION_ID
from ..settings import Settings
from .answers import reply
from .auth import AUTH, TICKET_PREFIX, Caller, Right, digest_of
from .devices import DEVICES
from .link_page import LinkPage, shown_of
from .request import Call, Query, checked, read_body, read_json

__all__ = ["LINKS", "LINK_KIND", "LinkBody", "Links", "Maker", "decide", "link_path", "make", "show"]

#: What a journal keeps as this: the links that were not used yet, by a digest.
LINK_KIND = "link"

_APPROVE = frozenset[Right]({"approve"})
_AT_MOST, _AT_MOST_EACH = 10_000, 100
_MAX_FORM_BYTES = 64 * 1024


class Maker(BaseModel):
    """In whose name a link decides; ``owner`` is who has made it, a caller or a webhook."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    owner: str
    name: str
    rights: frozenset[Right]
    sessions: tuple[str, ...]
    expires_at: float | None = None
    token_sha256: str = Field(default="", repr=False)
    signed_with: str = Field(default="", repr=False)
    #: The paired device whose token it was.
    device_id: str = ""

    @property
    def is_hook(self) -> bool:
        return not self.owner.startswith("caller ")

    @classmethod
    def of(cls, caller: Caller) -> Maker:
        return cls(
            owner=f"caller {caller.name}",
            name=caller.name,
            rights=caller.rights,
            sessions=caller.sessions,
            expires_at=caller.expires_at,
            token_sha256=caller.token_sha256,
            signed_with=caller.signed_with,
            device_id=caller.device_id,
        )


class _Link(BaseModel):
    """A link, as a journal keeps it too."""

    model_config = ConfigDict(defer_build=True, extra="forbid")

    maker: Maker
    session_id: str
    request_id: str
    parameters_sha256: str
    is_used: bool = False
    #: Who came to make it, as long as this run lasts.
    _caller: Caller | None = PrivateAttr(default=None)

    @property
    def caller(self) -> Caller | None:
        return self._caller


class Links:
    """Links that were made, by a digest: at most 10,000, the oldest give way, and 100 of one owner that wait.

    ``is_open`` says whether a request waits still.
    """

    def __init__(self, is_open: Callable[[str, str], bool]) -> None:
        self._is_open = is_open
        self._made: OrderedDict[str, _Link] = OrderedDict()
        #: Those that may still be used, by owner.
        self._held: dict[str, set[str]] = {}
        self._journal: Journal = NO_JOURNAL

    def keep_in(self, journal: Journal, *, is_good: Callable[[Maker], bool]) -> None:
        """Go on with the links of before whose requests wait, of those whose maker is good still; keep what comes."""
        self._journal = journal
        for change in journal.kept(LINK_KIND):
            try:
                link = _Link.model_validate_json(change.body or b"")
            except ValidationError:
                _log.error("a link cannot be read from the journal, and is forgotten")
            else:
                if is_good(link.maker) and self._is_open(link.session_id, link.request_id):
                    self._take(change.name, link)
                    continue
            journal.note(Change(LINK_KIND, change.name, None))

    def make(self, maker: Maker, session_id: str, record: PermissionRecord, caller: Caller | None = None) -> str:
        """Return a link's secret. Raises ``LimitReached``."""
        held = self._held.get(maker.owner, set())
        if len(held) >= _AT_MOST_EACH:
            for digest in [one for one in held if not self._is_waiting(self._made[one])]:
                self._let_go(digest)
            if len(held) >= _AT_MOST_EACH:
                raise LimitReached("links", f"{len(held)} links of yours wait to be used.")
        while len(self._made) >= _AT_MOST:
            oldest = next(iter(self._made))
            self._let_go(oldest)
            del self._made[oldest]
        # As a ticket it is taken out of whatever is written down.
        secret = TICKET_PREFIX + secrets.token_urlsafe(24)
        digest = digest_of(secret)
        link = _Link(
            maker=maker,
            session_id=session_id,
            request_id=record.request_id,
            parameters_sha256=record.parameters_sha256,
        )
        link._caller = caller
        self._take(digest, link)
        self._journal.note(Change(LINK_KIND, digest, dump(link.model_dump(mode="json"))))
        return secret

    def find(self, secret: str) -> _Link:
        """Raises ``NotFound`` for one that nobody made, and ``Gone`` for one that was used."""
        link = self._made.get(digest_of(secret))
        if link is None:
            raise NotFound("There is no such link.")
        if link.is_used:
            raise Gone("This link was used.")
        return link

    def end(self, secret: str) -> None:
        """It was used."""
        if digest_of(secret) in self._made:
            self._let_go(digest_of(secret))

    def _is_waiting(self, link: _Link) -> bool:
        return self._is_open(link.session_id, link.request_id)

    def _take(self, digest: str, link: _Link) -> None:
        self._made[digest] = link
        self._held.setdefault(link.maker.owner, set()).add(digest)

    def _let_go(self, digest: str) -> None:
        """It is not to be used any more."""
        owner = self._made[digest].maker.owner
        held = self._held.get(owner, set())
        held.discard(digest)
        if not held:
            self._held.pop(owner, None)
        self._journal.note(Change(LINK_KIND, digest, None))


LINKS = web.AppKey("links", Links)

_log = logging.getLogger("notifier_service.web")


class LinkBody(EventData):
    """The request that a link is for."""

    session_id: Annotated[str, StringConstraints(pattern=SESSION_ID)]
    request_id: Annotated[str, Field(min_length=1, max_length=256)]


class _Answer(BaseModel):
    """What is answered by a link; ``parameters_sha256`` says that the whole was shown."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True)

    approved: bool
    reason: Annotated[str, Field(max_length=MAX_REASON)] | None = None
    parameters_sha256: Annotated[str, Field(max_length=256)] | None = None


async def make(call: Call[Query, LinkBody]) -> web.Response:
    """Make a link by which one request can be decided once, in the caller's name, until it is settled."""
    caller = call.caller.require(_APPROVE, call.body.session_id)
    request = call.broker.look(call.body.session_id).desk.find(call.body.request_id)
    if not (request.pending and request.announced):
        raise RequestNotFound("This request waits no longer.")
    secret = call.request.config_dict[LINKS].make(Maker.of(caller), call.body.session_id, request.record, caller)
    if call.broker.is_durable:
        await call.broker.on_disk()
    path = link_path(call.settings, secret)
    base = call.settings.public_url or f"{call.request.scheme}://{call.request.host}"
    expires_at = request.record.expires_at
    return reply(
        {"url": base + path, "path": path, "expires_at": None if expires_at is None else utc_text(expires_at)},
        status=201,
    )


def link_path(settings: Settings, secret: str) -> str:
    """Where a link leads, behind the address of the service."""
    return f"{settings.prefix}/api/links/{secret}"


async def show(call: Call[Query, None]) -> web.Response:
    """Show what is asked, and settle nothing, however often and by whomever this is fetched."""
    try:
        link, request = _found(call)
    except NotifierError as error:
        if not _is_browser(call):
            raise
        return _page(call).refused("This link leads nowhere any more", error)
    # It takes long to take secrets out of a long text.
    seen = await asyncio.to_thread(_seen, call, request.record)
    return _page(call).asked(link.session_id, request.record, seen)


async def decide(call: Call[Query, None]) -> web.Response:
    """Decide the request of a link, once."""
    is_form = call.request.content_type == "application/x-www-form-urlencoded"
    try:
        told = await _body(call, is_form=is_form)
        if is_form and told == {"show": "all"}:
            link, request = _found(call)
            return _page(call).asked(link.session_id, request.record)
        record = await _decided(call, checked(_Answer, told))
    except NotifierError as error:
        if not _is_browser(call):
            raise
        return _page(call).refused("This was not decided", error)
    if not _is_browser(call):
        return reply(record)
    return _page(call).decided(record)


async def _decided(call: Call[Query, None], answer: _Answer) -> PermissionRecord:
    link, request = _found(call)
    caller = _caller(call, link).require(_APPROVE, link.session_id)
    if answer.parameters_sha256 == link.parameters_sha256:
        request.note_reader(caller.name)  # the page that asks so has shown all of them
    link.is_used = True  # before anything is waited for: of two at once one decides
    try:
        record = await call.broker.answer(
            link.session_id,
            Decision(
                approved=answer.approved,
                reason=answer.reason,
                request_id=link.request_id,
                parameters_sha256=link.parameters_sha256,
            ),
            **caller.decider(via="link", through="link"),
        )
    except (NotifierError, asyncio.CancelledError):
        link.is_used = False
        raise
    call.request.config_dict[LINKS].end(call.request.match_info["link"])
    return record


def _caller(call: Call[Query, None], link: _Link) -> Caller:
    """In whose name is decided, with the rights that they have now."""
    if link.caller is not None:
        return link.caller
    maker = link.maker
    if maker.device_id:
        return call.request.config_dict[DEVICES].again(maker.device_id)
    caller = Caller(
        maker.name,
        maker.rights,
        maker.sessions,
        maker.expires_at,
        token_sha256=maker.token_sha256,
        signed_with=maker.signed_with,
    )
    return call.request.config_dict[AUTH].again(caller) if maker.token_sha256 else caller


async def _body(call: Call[Query, None], *, is_form: bool) -> Any:
    if not is_form:
        if call.request.content_type != "application/json":
            raise UnsupportedMediaType("The body must come as a form or as Content-Type: application/json.")
        return await read_json(call.request, _MAX_FORM_BYTES)
    text = (await read_body(call.request, _MAX_FORM_BYTES)).decode("utf-8", "replace")
    try:
        fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise InvalidInput("The form has more than 10 fields.") from None
    if set(fields) == {"show"}:
        return fields
    approved = {"true": True, "false": False}.get(fields.pop("approved", ""))
    if approved is None:
        raise InvalidInput("approved: true or false")
    return {**{name: value for name, value in fields.items() if value}, "approved": approved}


def _is_browser(call: Call[Query, None]) -> bool:
    return "text/html" in call.request.headers.get("Accept", "")


def _found(call: Call[Query, None]) -> tuple[_Link, PermissionRequest]:
    link = call.request.config_dict[LINKS].find(call.request.match_info["link"])
    try:
        request = call.broker.look(link.session_id).desk.find(link.request_id)
    except RequestNotFound:
        raise Gone("This request is over.") from None
    if not request.pending:
        raise Gone(f"This request is {request.record.status} already.")
    return link, request


def _page(call: Call[Query, None]) -> LinkPage:
    return LinkPage(call.request.headers.get("Accept-Language", ""))


def _seen(call: Call[Query, None], record: PermissionRecord) -> Mapping[str, Any]:
    """What of a request may be kept by whoever fetches its page."""
    from ..storage.audit_lines import written_form  # both take long to load, and few open a link
    from ..storage.redaction import Redaction

    return written_form(shown_of(record), Redaction(call.settings.redact_keys))
