"""The pages that links lead to, in the language of who opens one; they need no script.

Like the console they speak English and Chinese. What nobody has put into Chinese is shown as it is, marked as English.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import web

from ..core.errors import NotifierError
from ..core.events import PermissionRecord, utc_text
from .answers import status_of

__all__ = ["LinkPage", "shown_of"]

Language = Literal["en", "zh"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    # Nobody else learns the address, which is all that it takes.
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Language",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}"
    "h1{font-size:1.5rem}p{margin:.5rem 0}"
    "pre{white-space:pre-wrap;border:1px solid;padding:.75rem}"
    "button{font:inherit;padding:.75rem 1.5rem;margin:.5rem 1rem .5rem 0}"
    "input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem}"
    ":root{color-scheme:light dark}"
)

_CHINESE: Mapping[str, str] = {
    "A decision is asked": "有一项请求等待您的决定",
    "This was not decided": "尚未作出决定",
    "This link leads nowhere any more": "此链接已失效",
    "There is no such link.": "没有这个链接。",
    "This link was used.": "此链接已被使用。",
    "This request is over.": "此请求已结束。",
    "This request is approved already.": "此请求已被批准。",
    "This request is rejected already.": "此请求已被拒绝。",
    "This request is expired already.": "此请求已过期。",
    "This request is cancelled already.": "此请求已撤回。",
    "It is approved": "已批准",
    "It is rejected": "已拒绝",
    "Tool": "工具",
    "Session": "会话",
    "Risk": "风险",
    "low": "低",
    "medium": "中",
    "high": "高",
    "Why": "原因",
    "The agent says": "智能体的说明（未经核实）",
    "Until": "截止时间",
    "Parameters": "参数",
    "Reason": "给智能体的说明（可选）",
    "Approve": "批准",
    "Reject": "拒绝",
    "This is a question: it is answered in the console.": "这是一个提问：请在控制台中回答。",
    "Something is left out here, because previews of messages fetch this page.": (
        "消息预览也会读取此页面，因此这里略去了部分内容。"
    ),
    "Show everything": "显示全部内容",
    # Why something was not decided.
    "The token has expired.": "令牌已过期。",
    "The token was revoked.": "令牌已被吊销。",
    "This needs the right approve.": "这需要批准的权限。",
    "This token is not for that session.": "此令牌不适用于该会话。",
}


class LinkPage:
    """Makes pages for who sends this ``Accept-Language``."""

    def __init__(self, accept_language: str) -> None:
        self._language = _preferred(accept_language)

    def refused(self, title: str, error: NotifierError) -> web.Response:
        """The page that says what is in the way."""
        return self._page(title, f"<p>{self._said(error.message)}</p>", status_of(error))

    def decided(self, record: PermissionRecord) -> web.Response:
        return self._page(f"It is {record.status}", f"<p>{html.escape(_visible(record.tool_name))}</p>", 200)

    def asked(self, session_id: str, record: PermissionRecord, seen: Mapping[str, Any] | None = None) -> web.Response:
        """What is asked: what cannot be seen stands there as an escape.

        A preview of the message that the link is in fetches the page, and keeps it: it gets what the audit log would
        have, ``seen``. All of it, and with something left out also the button that approves, is for who asks for it by
        a POST.
        """
        told = shown_of(record)
        is_part = seen is not None and any(seen.get(name) != text for name, text in told.items())
        seen = told if seen is None else seen
        rows = {
            "Tool": _escaped(seen["tool_name"]),
            "Session": _escaped(session_id),
            "Risk": self._said(record.risk_level),
            "Why": seen.get("reasons") and f'<span lang="en">{_escaped(seen["reasons"])}</span>',
            "The agent says": _escaped(seen.get("description")),
            "Until": None if record.expires_at is None else utc_text(record.expires_at),
        }
        heads = "".join(f"<p><b>{self._said(name)}:</b> {text}</p>" for name, text in rows.items() if text is not None)
        parameters = json.dumps(seen["parameters"], indent=2, ensure_ascii=False)
        answers = self._part(record) if is_part else self._whole(record)
        body = f'{heads}<pre aria-label="{self._said("Parameters")}">{html.escape(_visible(parameters))}</pre>{answers}'
        return self._page("A decision is asked", body, 200)

    def _part(self, record: PermissionRecord) -> str:
        why = self._said("Something is left out here, because previews of messages fetch this page.")
        return (
            f'<p>{why}</p><form method="post"><button name="show" value="all">{self._said("Show everything")}</button>'
            f'</form><form method="post">{self._reason}{self._reject}</form>'
        )

    def _whole(self, record: PermissionRecord) -> str:
        digest = f'<input type="hidden" name="parameters_sha256" value="{html.escape(record.parameters_sha256)}">'
        answers = (
            f'<button name="approved" value="true">{self._said("Approve")}</button>'
            if "approve" in record.allowed_decisions
            else f"<p>{self._said('This is a question: it is answered in the console.')}</p>"
        )
        return f'<form method="post">{self._reason}{digest}{self._reject}{answers}</form>'

    @property
    def _reason(self) -> str:
        return f'<label>{self._said("Reason")} <input name="reason" maxlength="10000"></label>'

    @property
    def _reject(self) -> str:
        return f'<button name="approved" value="false">{self._said("Reject")}</button>'

    def _said(self, text: str) -> str:
        """A text of ours in the page's language, as HTML."""
        if self._language == "en":
            return html.escape(text)
        chinese = _CHINESE.get(text)
        return f'<span lang="en">{html.escape(text)}</span>' if chinese is None else html.escape(chinese)

    def _page(self, title: str, body: str, status: int) -> web.Response:
        head = title if self._language == "en" else _CHINESE.get(title, title)
        lang = "zh-CN" if self._language == "zh" else "en"
        text = (
            f'<!doctype html><html lang="{lang}"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{head}</title><style>{_STYLE}</style><h1>{head}</h1>{body}</html>"
        )
        headers = {**_HEADERS, "Content-Language": lang}
        return web.Response(text=text, status=status, content_type="text/html", charset="utf-8", headers=headers)


def shown_of(record: PermissionRecord) -> dict[str, Any]:
    """What such a page shows of a request."""
    return {
        "tool_name": record.tool_name,
        "reasons": "; ".join(record.risk_reasons) or None,
        "description": record.description,
        "parameters": record.parameters,
    }


def _preferred(accept_language: str) -> Language:
    """Which of the two somebody would rather read (RFC 9110 section 12.5.4): the first of those that weigh most."""
    best: tuple[float, Language] = (0.0, "en")
    for one in accept_language.lower().split(","):
        name, _, weight = one.replace(" ", "").partition(";q=")
        try:
            value = float(weight or 1)
        except ValueError:
            continue
        primary = name.partition("-")[0]
        language: Language | None = "zh" if primary == "zh" else "en" if primary in ("en", "*") else None
        if language is not None and value > best[0]:
            best = value, language
    return best[1]


def _escaped(text: str | None) -> str | None:
    return None if text is None else html.escape(_visible(text))


def _visible(text: str) -> str:
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)
