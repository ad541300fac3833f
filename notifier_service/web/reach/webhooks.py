"""Tells what waits to other programs: signed as Standard Webhooks, or in the form of Slack or ntfy."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from pydantic_core import from_json

from ...core.events import PermissionRecord, dump, utc_now, utc_text
from ...core.journal import Journal
from ...core.notices import Notice
from ...settings import Settings, Webhook
from ...storage.audit_lines import written_form
from ...storage.redaction import Redaction
from .outbox import Letter, Outbox, Outcome
from .outside import LOOPBACK, Outside, clock_hint, is_not_outside, seconds_to_wait
from .words import headline, name_of, page_of, summary

__all__ = ["MakeLink", "Webhooks", "keyed"]

_TYPES = {"requested": "permission.requested", "settled": "permission.settled", "session_ended": "session.ended"}
_PRIORITIES = {"low": "3", "medium": "4", "high": "5"}
#: What of a record other programs are told, beside its parameters.
_FIELDS = (
    "request_id", "tool_name", "server", "risk_level", "risk_reasons", "description", "timestamp", "expires_at",
    "parameters_sha256", "action_sha256", "status", "decision", "approved", "reason", "decided_by", "decided_at",
)  # fmt: skip

#: Beyond so many characters it takes some milliseconds to take the secrets out.
_MOST_AT_ONCE = 1000

#: Makes the link of a message, by which its reader decides; None where there is none.
MakeLink = Callable[[str, Webhook, Notice], str | None]

_log = logging.getLogger("notifier_service.notices")


class Webhooks:
    """The channel ``webhook``. Nobody waits for it: what a receiver does not take is kept, and tried again."""

    name = "webhook"
    is_on = True

    def __init__(
        self,
        settings: Settings,
        count: Callable[[str, str], object],
        make_link: MakeLink = lambda key, hook, notice: None,
        **outbox: Any,
    ) -> None:
        self._hooks = keyed(settings.webhooks)
        self._settings = settings
        self._make_link = make_link
        is_here = any(urlsplit(hook.url).hostname == "localhost" for hook in settings.webhooks)
        self._outside = Outside((*settings.webhook_networks, *(LOOPBACK if is_here else ())))
        self._redaction = Redaction(settings.redact_keys)
        where = {key: f"{at} ({urlsplit(hook.url).hostname})" for at, (key, hook) in enumerate(self._hooks.items(), 1)}
        self._outbox = Outbox(self.name, self._deliver, count, where=where.get, **outbox)
        self._http: aiohttp.ClientSession | None = None
        #: What is to be written for which hooks, in order, and who does that.
        self._unwritten: deque[_Unwritten] = deque()
        self._writer: asyncio.Task[None] | None = None

    @property
    def is_failing(self) -> bool:
        """Whether a receiver does not take what it is sent."""
        return self._outbox.is_failing

    def keep_in(self, journal: Journal) -> None:
        """Go on with what was not sent before, and keep what comes."""
        self._outbox.keep_in(journal, self._hooks)

    def tell(self, notice: Notice) -> Collection[str]:
        """Have the hooks told that this is for."""
        keys = [
            key
            for key, hook in self._hooks.items()
            if (key in notice.told if notice.kind == "settled" else _is_for(hook, notice))
        ]
        if keys:
            self._write(_Unwritten(notice, keys, utc_text(utc_now()), _data(notice)))
        return keys

    def _write(self, unwritten: _Unwritten) -> None:
        """Have it written: at once where that is quick, else in a thread, so that no request waits for it."""
        is_quick = self._writer is None and len(repr(unwritten.data)) <= _MOST_AT_ONCE
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            is_quick = True  # nobody waits before the service runs
        if is_quick:
            self._put(unwritten, written_form(unwritten.data, self._redaction))
            return
        self._unwritten.append(unwritten)
        if self._writer is None:
            self._writer = loop.create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._unwritten:
            data = await asyncio.to_thread(written_form, self._unwritten[0].data, self._redaction)
            self._put(self._unwritten.popleft(), data)
        self._writer = None

    def _put(self, unwritten: _Unwritten, data: Mapping[str, Any]) -> None:
        for key in unwritten.keys:
            self._outbox.put(self._letter(key, unwritten, data))

    def begin(self) -> None:
        """Send what waits from now on, on the loop that runs."""
        if self._settings.public_url is None:
            _log.warning("webhooks have no link to the page: set public_url to where people reach the service")
        self._outbox.begin()

    async def close(self, within_seconds: float) -> None:
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            while self._unwritten:  # so that it is kept
                unwritten = self._unwritten.popleft()
                self._put(unwritten, written_form(unwritten.data, self._redaction))
        await self._outbox.close(within_seconds)
        if self._http is not None:
            await self._http.close()

    def _letter(self, key: str, unwritten: _Unwritten, data: Mapping[str, Any]) -> Letter:
        hook, notice = self._hooks[key], unwritten.notice
        page = page_of(self._settings, notice)
        link = self._make_link(key, hook, notice) if hook.links_as is not None and notice.kind == "requested" else None
        topic = None if notice.record is None else notice.record.request_id
        if hook.format == "json":
            if notice.kind == "settled" and topic is not None:
                # What waits for a receiver that was down says then how it ended.
                self._outbox.amend(key, topic, lambda content: _settled(content, data))
            body, headers = _json(unwritten, data, page, link)
        else:
            body, headers = {"slack": _slack, "ntfy": _ntfy}[hook.format](notice, data, page, link)
        content = {"message_id": f"msg_{secrets.token_hex(12)}", "body": body, "headers": headers}
        # People are told how it ended, and not first that it waits; programs are told all, in order.
        is_over = notice.kind != "requested"
        return Letter(key, content, topic, replaces=hook.format != "json", is_over=is_over)

    async def _deliver(self, letter: Letter) -> Outcome:
        hook, content = self._hooks[letter.target], letter.content
        if self._http is None:
            self._http = self._outside.session()
        body: bytes = content["body"].encode()
        headers = {**content["headers"], **_signed(hook, content["message_id"], body, str(int(time.time())))}
        try:
            # An address in the settings is meant; a name must lead to where it may.
            async with self._http.post(hook.url, data=body, headers=headers, allow_redirects=False) as response:
                return _outcome(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if is_not_outside(error):
                return Outcome("refused", "its name leads to a private address: name the network in webhook_networks")
            return Outcome("again", type(error).__name__)


class _Unwritten(NamedTuple):
    """What is told to some hooks, before the secrets are taken out."""

    notice: Notice
    keys: Sequence[str]
    timestamp: str
    data: Mapping[str, Any]


def keyed(hooks: Sequence[Webhook]) -> dict[str, Webhook]:
    """Hooks by a name that each has over a restart, too, and that tells nobody where it leads."""
    found: dict[str, Webhook] = {}
    for hook in hooks:
        told = dump([hook.url, hook.format, hook.sessions, hook.to])
        key = "hook_" + hashlib.sha256(told).hexdigest()[:24]
        while key in found:
            key += "_"
        found[key] = hook
    return found


def _is_for(hook: Webhook, notice: Notice) -> bool:
    if not any(fnmatchcase(notice.session_id, pattern) for pattern in hook.sessions):
        return False
    return notice.kind == "session_ended" or hook.to == notice.to


def _outcome(response: aiohttp.ClientResponse) -> Outcome:
    status = response.status
    if status < 300:
        return Outcome("sent")
    if status in (408, 425, 429) or status >= 500:
        return Outcome("again", f"status {status}", seconds_to_wait(response.headers))
    hint = "; are the secret and the clock of this machine right?" if status in (400, 401, 403) else ""
    return Outcome("refused", f"status {status}{hint}{clock_hint(response.headers) if hint else ''}")


def _signed(hook: Webhook, message_id: str, body: bytes, timestamp: str) -> dict[str, str]:
    """The headers of Standard Webhooks; the time is that of this try, so that a receiver may refuse an old one."""
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
    if hook.key is not None:
        digest = hmac.new(hook.key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _data(notice: Notice) -> dict[str, Any]:
    """What other programs are told, before what the audit log would take out is."""
    record = notice.record
    label = {name: text for name, text in notice.label._asdict().items() if text is not None}
    told: dict[str, Any] = {"session_id": notice.session_id, **label}
    if record is not None:
        told |= _fields(record)
        if notice.step is not None:
            told["step"] = notice.step
        if notice.to is not None:
            told["to"] = notice.to
    return told


def _fields(record: PermissionRecord) -> dict[str, Any]:
    dumped = record.model_dump(mode="json", include={*_FIELDS, "parameters"})
    return {name: value for name, value in dumped.items() if value is not None}


def _json(
    unwritten: _Unwritten, data: Mapping[str, Any], page: str | None, link: str | None
) -> tuple[str, Mapping[str, str]]:
    more = {"page": page} if link is None else {"page": page, "link": link}
    kind, timestamp = _TYPES[unwritten.notice.kind], unwritten.timestamp
    told = {"type": kind, "timestamp": timestamp, "data": {**data, **more}}
    return dump(told).decode(), {"Content-Type": "application/json"}


def _settled(content: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A message that a request waits, with how that ended meanwhile."""
    told = from_json(content["body"])
    told["data"] |= {name: value for name, value in data.items() if name in _FIELDS}
    return {**content, "body": dump(told).decode()}


def _slack(
    notice: Notice, data: Mapping[str, Any], page: str | None, link: str | None
) -> tuple[str, Mapping[str, str]]:
    places = [f"<{url}|{text}>" for url, text in ((link, "Decide by this link"), (page, "Open")) if url]
    text = f"*{_escaped(headline(notice, data))}*\n{_escaped(summary(notice, data))}"
    # Cut here, so that no link and no escape is: a section has room for 3000 characters.
    room = 2900 - sum(map(len, places))
    text = re.sub(r"&[a-z]{0,3}\Z", "", text[:room])
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join([text, *places])}}
    body = {"text": _escaped(headline(notice, data)), "blocks": [section]}
    return dump(body).decode(), {"Content-Type": "application/json"}


def _escaped(text: str) -> str:
    """So that nobody mentions a channel or hides a link in a message to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ntfy(notice: Notice, data: Mapping[str, Any], page: str | None, link: str | None) -> tuple[str, Mapping[str, str]]:
    """A topic is read by whoever knows its name: who asks for which tool, and nothing of its parameters."""
    risk = "" if notice.record is None else notice.record.risk_level
    is_call = notice.kind == "requested"
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": _in_header(headline(notice, data)),
        "Priority": _PRIORITIES.get(risk, "3") if is_call else "2",
        "Tags": "raised_hand" if is_call else "white_check_mark",
    }
    if notice.record is not None:
        # What is said later of a request stands in the place of what was said first.
        headers["X-Sequence-ID"] = hashlib.sha256(notice.record.request_id.encode()).hexdigest()[:32]
    if place := link or page:
        headers["Click"] = place
        if is_call:
            headers["Actions"] = "; ".join([f"view, Open, {place}, clear=true", *_answers(link, notice.record)])
    return name_of(data)[:1000], headers


def _answers(link: str | None, record: PermissionRecord | None) -> Iterable[str]:
    """Buttons that answer on the notification: what is risky is read first, and may be refused unread."""
    if link is not None and record is not None:
        form = "method=POST, headers.Content-Type=application/x-www-form-urlencoded"
        if record.risk_level != "high" and "approve" in record.allowed_decisions:
            yield f"http, Approve, {link}, {form}, body='approved=true', clear=true"
        yield f"http, Reject, {link}, {form}, body='approved=false', clear=true"


def _in_header(text: str) -> str:
    text = text[:200]
    return text if text.isascii() else f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="
