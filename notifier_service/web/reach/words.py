"""What people are told who do not look, in few words and without any parameter."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ...core.events import PermissionRecord
from ...core.label import clean
from ...core.notices import Notice
from ...settings import Settings

__all__ = ["cut", "headline", "name_of", "page_of", "pushed_summary", "summary"]

_ENDED = {
    "approved": "was approved",
    "rejected": "was rejected",
    "expired": "was answered by nobody in time",
    "cancelled": "was withdrawn",
}


def headline(notice: Notice, data: Mapping[str, Any]) -> str:
    """One line; ``data`` is what may be told."""
    if notice.record is None:
        return f"The session {name_of(data)} has ended"
    tool = clean(str(data.get("tool_name", "")))
    if notice.kind == "settled":
        return f"{tool} {_ENDED.get(notice.record.status, notice.record.status)}"
    return f"{tool} waits for your decision ({notice.record.risk_level} risk)"


def summary(notice: Notice, data: Mapping[str, Any]) -> str:
    """Where it is asked, and why it is."""
    reasons = "" if notice.record is None else "; ".join(map(str, data.get("risk_reasons", ())))
    return f"{name_of(data)}: {reasons}" if reasons else name_of(data)


def page_of(settings: Settings, notice: Notice) -> str | None:
    """Where people decide; None where nobody has said under which address."""
    if settings.public_url is None:
        return None
    session = quote(notice.session_id, safe="")
    place = f"session/{session}"
    if notice.record is not None:
        place = f"request/{session}/{quote(notice.record.request_id, safe='')}"
    return f"{settings.public_url}{settings.prefix}/#/{place}"


def name_of(data: Mapping[str, Any]) -> str:
    """What a session is called."""
    return " · ".join(str(data[name]) for name in ("title", "agent", "session_id") if data.get(name))


def cut(text: str, most_bytes: int) -> str:
    """The beginning of a text that has so many bytes at most, with … where something is left out.

    It ends behind a whole character: what only marks, joins or follows the one before stays with it, or goes with it.
    """
    if len(text.encode()) <= most_bytes:
        return text
    kept = text.encode()[: most_bytes - len("…".encode())].decode(errors="ignore")
    end = len(kept)
    while end and (_goes_on(text[end]) or text[end - 1] == _JOINER):
        end -= 1
    return f"{kept[:end] or kept}…"


_JOINER = "\u200d"


def _goes_on(character: str) -> bool:
    """Whether it belongs to the character before it: a mark, a joiner, a colour of skin, or the second of a flag."""
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me")
        or character == _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U0001f1e6" <= character <= "\U0001f1ff"
    )


_PUSHED = {
    "en": {
        "requested": "{tool} waits for your decision ({risk} risk)",
        "low": "low",
        "medium": "medium",
        "high": "high",
        "approved": "{tool} was approved",
        "rejected": "{tool} was rejected",
        "expired": "{tool} was answered by nobody in time",
        "cancelled": "{tool} was withdrawn",
    },
    "zh": {
        "requested": "{tool} 等待您的决定（{risk}风险）",
        "low": "低",
        "medium": "中",
        "high": "高",
        "approved": "{tool} 已批准",
        "rejected": "{tool} 已拒绝",
        "expired": "{tool} 无人按时答复",
        "cancelled": "{tool} 已撤回",
    },
}


def pushed_summary(notice: Notice, record: PermissionRecord, tool: str, name: str, language: str) -> str:
    """One line for a notification, in the words of its receiver."""
    words = _PUSHED[language]
    form = words["requested" if notice.kind == "requested" else record.status]
    # Filled in one go: nothing in a name is taken for a place to fill.
    said = form.replace("{risk}", words[record.risk_level]).replace("{tool}", tool)
    return f"{said} · {name}"
