"""What people are told who do not look, in few words and without any parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ...core.label import clean
from ...core.notices import Notice
from ...settings import Settings

__all__ = ["headline", "page_of", "summary"]

_ENDED = {
    "approved": "was approved",
    "rejected": "was rejected",
    "expired": "was answered by nobody in time",
    "cancelled": "was withdrawn",
}


def headline(notice: Notice, data: Mapping[str, Any]) -> str:
    """One line; ``data`` is what may be told."""
    if notice.record is None:
        return f"The session {_name(notice)} has ended"
    tool = clean(str(data.get("tool_name", "")))
    if notice.kind == "settled":
        return f"{tool} {_ENDED.get(notice.record.status, notice.record.status)}"
    return f"{tool} waits for your decision ({notice.record.risk_level} risk)"


def summary(notice: Notice, data: Mapping[str, Any]) -> str:
    """Where it is asked, and why it is."""
    reasons = "" if notice.record is None else "; ".join(map(str, data.get("risk_reasons", ())))
    return f"{_name(notice)}: {reasons}" if reasons else _name(notice)


def page_of(settings: Settings, notice: Notice) -> str | None:
    """Where people decide; None where nobody has said under which address."""
    if settings.public_url is None:
        return None
    session = quote(notice.session_id, safe="")
    place = f"session/{session}"
    if notice.record is not None:
        place = f"request/{session}/{quote(notice.record.request_id, safe='')}"
    return f"{settings.public_url}{settings.prefix}/#/{place}"


def _name(notice: Notice) -> str:
    title, agent = notice.label.title, notice.label.agent
    return " · ".join(part for part in (title, agent, notice.session_id) if part)


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


def pushed_summary(notice: Notice, tool: str, language: str) -> str:
    """One line for a notification, in the words of its receiver."""
    words = _PUSHED[language]
    record = notice.record
    if record is None:
        return _name(notice)
    form = words["requested" if notice.kind == "requested" else record.status]
    # Filled in one go: nothing in a name is taken for a place to fill.
    said = form.replace("{risk}", words[record.risk_level]).replace("{tool}", tool)
    return f"{said} · {notice.label.title or notice.session_id}"
