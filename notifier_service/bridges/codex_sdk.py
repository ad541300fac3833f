"""The approvals of the Codex SDK (PyPI ``openai-codex``), which accepts everything when nobody gives it a handler.

Read in ``openai-codex`` 0.163 with the app-server of Codex 0.163 and 0.169. The SDK is imported where a client is made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import sync
from ..calls.report import new_call_id, usable_name
from ..core.errors import NotifierError, ToolDenied
from ..core.limits import RiskLevel

if TYPE_CHECKING:
    from ..sync import Service

__all__ = ["CodexApprovals", "codex_client"]

_log = logging.getLogger("notifier_service.bridge")

#: What says nothing of what runs: ids, Codex's own reading of the command, and what it offers to remember.
_NOT_SHOWN = {
    "threadId", "turnId", "itemId", "approvalId", "startedAtMs", "reason", "commandActions", "availableDecisions",
    "proposedExecpolicyAmendment", "proposedNetworkPolicyAmendments",
}  # fmt: skip
#: What may be missing, because it is so anyway.
_USUAL = {"kind": "command", "environmentId": "local"}
_MAX_ITEMS = 1000
#: What is refused in whichever words each request is refused.
_REFUSALS: Mapping[str, dict[str, Any]] = {
    "item/commandExecution/requestApproval": {"decision": "decline"},
    "item/fileChange/requestApproval": {"decision": "decline"},
    "item/permissions/requestApproval": {"permissions": {}, "scope": "turn"},
    "item/tool/requestUserInput": {"answers": {}},
    "item/tool/call": {"contentItems": [], "success": False},
    "mcpServer/elicitation/request": {"action": "decline"},
    "execCommandApproval": {"decision": "denied"},
    "applyPatchApproval": {"decision": "denied"},
}


class _Asked(NamedTuple):
    tool_name: str
    parameters: dict[str, Any]
    risk_level: RiskLevel
    approved: dict[str, Any]


class CodexApprovals:
    """An ``approval_handler`` for ``CodexClient``: what Codex asks is asked in the session, and nothing else allowed.

    People may approve or reject, and not edit: Codex takes no changed call. Nothing is accepted for a session there:
    what is remembered is remembered here. What nobody was shown is declined, such as a change of files of which
    ``saw`` was not told; ``codex_client`` sees to that. ``service``, ``token`` and ``timeout_seconds`` are those of
    ``notifier_service.sync.ask``.
    """

    def __init__(
        self,
        session_id: str,
        *,
        service: str | Service | None = None,
        token: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self._session_id = session_id
        self._how: dict[str, Any] = {"service": service, "token": token, "timeout_seconds": timeout_seconds}
        self._changes: dict[tuple[Any, Any], Any] = {}
        self._closed: Future[None] = Future()

    def __call__(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """What Codex is answered, once a person or a rule has."""
        told = params if isinstance(params, Mapping) else {}
        refusal = dict(_REFUSALS.get(method, {}))
        asked = self._asked(method, told)
        if asked is None:
            _log.warning("Codex was refused %s: it did not tell what a person could judge", method)
            return refusal
        reason = told.get("reason")
        try:
            sync.ask(
                self._session_id,
                asked.tool_name,
                asked.parameters,
                risk_level=asked.risk_level,
                tool_call_id=usable_name(told.get("approvalId") or told.get("itemId")) or new_call_id(),
                description=reason[:4000] if isinstance(reason, str) and reason else None,
                may_edit=False,
                until=self._closed,
                **self._how,
            )
        except ToolDenied as denial:
            _log.info("%s", denial)  # Codex takes no reason
            return refusal
        except NotifierError as error:
            _log.warning("Codex was refused %s: %s", method, error.message)
            return refusal
        return asked.approved

    def saw(self, method: str, params: Any) -> None:
        """Take note of a notification: the changes of files come with these, and not with the question."""
        if method not in ("item/started", "item/fileChange/patchUpdated", "item/completed"):
            return
        told = params if isinstance(params, Mapping) else {}
        item = told.get("item", {"id": told.get("itemId"), "type": "fileChange", "changes": told.get("changes")})
        if not isinstance(item, Mapping) or item.get("type") != "fileChange" or not isinstance(item.get("id"), str):
            return
        key = told.get("threadId"), item["id"]
        self._changes.pop(key, None)
        if method != "item/completed":
            self._changes[key] = item.get("changes")
        while len(self._changes) > _MAX_ITEMS:
            del self._changes[next(iter(self._changes))]

    def close(self) -> None:
        """Withdraw what waits: Codex has gone, and takes no answer."""
        if not self._closed.done():
            self._closed.set_result(None)

    def _asked(self, method: str, told: Mapping[str, Any]) -> _Asked | None:
        """What a person is asked; None for what nobody could judge."""
        shown = {
            name: value
            for name, value in told.items()
            if name not in _NOT_SHOWN and value is not None and _USUAL.get(name) != value
        }
        if method == "item/commandExecution/requestApproval":
            # More than a command in a folder is no matter of rules about commands.
            name = "Bash" if shown.keys() <= {"command", "cwd"} else "codex_escalation"
            is_told = _is_text(shown.get("command")) or bool(shown.get("networkApprovalContext"))
            return _Asked(name, shown, "high", {"decision": "accept"}) if is_told else None
        if method == "item/fileChange/requestApproval":
            changes = self._changes.get((told.get("threadId"), told.get("itemId")))
            if not _are_changes(changes) or "grantRoot" in shown:  # that would let it write more than these
                return None
            return _Asked("apply_patch", {**shown, "changes": changes}, "medium", {"decision": "accept"})
        if method == "item/permissions/requestApproval" and shown.get("permissions"):
            return _Asked("codex_permissions", shown, "high", {"permissions": shown["permissions"], "scope": "turn"})
        return None


def codex_client(
    session_id: str,
    config: Any = None,
    *,
    service: str | Service | None = None,
    token: str | None = None,
    timeout_seconds: float | None = None,
) -> Any:
    """A ``CodexClient`` that asks here, and shows the changes of files that it asks about.

    It asks what Codex asks: start threads with ``{"approvalPolicy": "untrusted", "approvalsReviewer": "user"}``.
    Closed, it withdraws what waits.
    """
    from openai_codex.client import CodexClient  # who has no Codex does without

    approvals = CodexApprovals(session_id, service=service, token=token, timeout_seconds=timeout_seconds)

    class AskingCodexClient(CodexClient):  # type: ignore[misc]  # of a package without which this one does
        def _coerce_notification(self, method: str, params: object) -> Any:
            approvals.saw(method, params)
            return super()._coerce_notification(method, params)

        def close(self) -> None:
            approvals.close()
            super().close()

    return AskingCodexClient(config, approval_handler=approvals)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_changes(changes: Any) -> bool:
    """Whether each says which file changes, and how."""
    return (
        isinstance(changes, list)
        and bool(changes)
        and all(
            isinstance(change, Mapping) and _is_text(change.get("path")) and isinstance(change.get("diff"), str)
            for change in changes
        )
    )
