"""Tells what waits to other programs: signed as Standard Webhooks, or in the form of Slack or ntfy."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ...core.events import PermissionRecord, dump, utc_now, utc_text
from ...core.notices import Notice
from ...settings import Settings, Webhook
from ...storage.audit_lines import written_form
from ...storage.redaction import Redaction
from .outbox import Letter, Outbox, Outcome
from .outside import NotOutside, Outside
from .words import headline, page_of, summary

__all__ = ["Webhooks"]

_TYPES = {"requested": "permission.requested", "settled": "permission.settled", "session_ended": "session.ended"}
#: Of a request that was told, the hooks that must hear of its end; of more the oldest are forgotten.
_MOST_TOLD = 10_000
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1"))
_PRIORITIES = {"low": "3", "medium": "4", "high": "5"}
#: What of a record other programs are told, beside its parameters.
_FIELDS = (
    "request_id", "tool_name", "server", "risk_level", "risk_reasons", "description", "timestamp", "expires_at",
    "parameters_sha256", "action_sha256", "status", "decision", "approved", "reason", "decided_by", "decided_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Post:
    """One message to a hook: the same id at each try."""

    message_id: str
    hook: Webhook
    body: bytes
    headers: Mapping[str, str]


class Webhooks:
    """The channel ``webhook``. Nobody waits for it: what a receiver does not take is kept, and tried again."""

    name = "webhook"
    is_on = True

    def __init__(self, settings: Settings, count: Callable[[str, str], object], **outbox: Any) -> None:
        self._hooks = {str(place): hook for place, hook in enumerate(settings.webhooks)}
        self._settings = settings
        is_here = any(urlsplit(hook.url).hostname == "localhost" for hook in settings.webhooks)
        self._outside = Outside((*settings.webhook_networks, *(_LOOPBACK if is_here else ())))
        self._redaction = Redaction(settings.redact_keys)
        self._outbox = Outbox(self.name, self._deliver, count, **outbox)
        self._http: aiohttp.ClientSession | None = None
        #: The hooks that were told of a request.
        self._told: OrderedDict[str, set[str]] = OrderedDict()

    def tell(self, notice: Notice) -> int:
        """Have the hooks told that this is for."""
        request_id = "" if notice.record is None else notice.record.request_id
        before = self._told.pop(request_id, set()) if notice.kind == "settled" else None
        told = 0
        for key, hook in self._hooks.items():
            if before is not None and key not in before:
                continue
            if before is None and not _is_for(hook, notice):
                continue
            self._outbox.put(Letter(key, self._post(hook, notice)))
            told += 1
            if notice.kind == "requested":
                self._told.setdefault(request_id, set()).add(key)
        while len(self._told) > _MOST_TOLD:
            self._told.popitem(last=False)
        return told

    def begin(self) -> None:
        """Send what waits from now on, on the loop that runs."""
        self._outbox.begin()

    async def close(self, within_seconds: float) -> None:
        await self._outbox.close(within_seconds)
        if self._http is not None:
            await self._http.close()

    def _post(self, hook: Webhook, notice: Notice) -> _Post:
        data = _data(notice, self._redaction)
        page = page_of(self._settings, notice)
        make = {"json": _json, "slack": _slack, "ntfy": _ntfy}[hook.format]
        body, headers = make(notice, data, page)
        return _Post(f"msg_{secrets.token_hex(12)}", hook, body, headers)

    async def _deliver(self, letter: Letter) -> Outcome:
        post: _Post = letter.content
        if self._http is None:
            self._http = self._outside.session()
        headers = {**post.headers, **_signed(post, str(int(time.time())))}
        try:
            # An address in the settings is meant; a name must lead to where it may.
            async with self._http.post(
                post.hook.url, data=post.body, headers=headers, allow_redirects=False
            ) as response:
                return _outcome(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, NotOutside) or isinstance(getattr(error, "os_error", None), NotOutside):
                return Outcome("refused", "its name leads to a private address: name the network in webhook_networks")
            return Outcome("again", type(error).__name__)


def _is_for(hook: Webhook, notice: Notice) -> bool:
    if not any(fnmatchcase(notice.session_id, pattern) for pattern in hook.sessions):
        return False
    return notice.kind == "session_ended" or hook.to == notice.to


def _outcome(response: aiohttp.ClientResponse) -> Outcome:
    status = response.status
    if status < 300:
        return Outcome("sent")
    said = response.headers.get("Retry-After", "")
    wait = float(said) if re.fullmatch(r"[0-9]{1,5}", said) else 0.0
    if status in (408, 425, 429) or status >= 500:
        return Outcome("again", f"status {status}", min(wait, 3600.0))
    return Outcome("refused", f"status {status}")


def _signed(post: _Post, timestamp: str) -> dict[str, str]:
    """The headers of Standard Webhooks; the time is that of this try, so that a receiver may refuse an old one."""
    headers = {"webhook-id": post.message_id, "webhook-timestamp": timestamp}
    if post.hook.key is not None:
        text = f"{post.message_id}.{timestamp}.".encode() + post.body
        digest = hmac.new(post.hook.key, text, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _data(notice: Notice, redaction: Redaction) -> dict[str, Any]:
    """What other programs are told, without what the audit log would take out."""
    record = notice.record
    label = {name: text for name, text in notice.label._asdict().items() if text is not None}
    told: dict[str, Any] = {"session_id": notice.session_id, **label}
    if record is not None:
        told |= _fields(record)
        if notice.step is not None:
            told["step"] = notice.step
        if notice.to is not None:
            told["to"] = notice.to
    return written_form(told, redaction)


def _fields(record: PermissionRecord) -> dict[str, Any]:
    dumped = record.model_dump(mode="json", include={*_FIELDS, "parameters"})
    return {name: value for name, value in dumped.items() if value is not None}


def _json(notice: Notice, data: Mapping[str, Any], page: str | None) -> tuple[bytes, Mapping[str, str]]:
    told = {"type": _TYPES[notice.kind], "timestamp": utc_text(utc_now()), "data": {**data, "page": page}}
    return dump(told), {"Content-Type": "application/json"}


def _slack(notice: Notice, data: Mapping[str, Any], page: str | None) -> tuple[bytes, Mapping[str, str]]:
    link = f"\n<{page}|Open>" if page else ""
    text = f"*{_escaped(headline(notice, data))}*\n{_escaped(summary(notice, data))}{link}"
    body = {
        "text": _escaped(headline(notice, data)),
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}}],
    }
    return dump(body), {"Content-Type": "application/json"}


def _escaped(text: str) -> str:
    """So that nobody mentions a channel or hides a link in a message to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _ntfy(notice: Notice, data: Mapping[str, Any], page: str | None) -> tuple[bytes, Mapping[str, str]]:
    """A topic is read by whoever knows its name: who asks for which tool, and nothing of its parameters."""
    risk = "" if notice.record is None else notice.record.risk_level
    is_call = notice.kind == "requested"
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": _in_header(headline(notice, data)),
        "Priority": _PRIORITIES.get(risk, "3") if is_call else "2",
        "Tags": "raised_hand" if is_call else "white_check_mark",
    }
    if page:
        headers["Click"] = page
    return f"{notice.label.title or notice.session_id}".encode()[:2000], headers


def _in_header(text: str) -> str:
    text = text[:200]
    return text if text.isascii() else f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="
