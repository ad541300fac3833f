"""The permissions of the Copilot SDK (PyPI ``github-copilot-sdk``).

Read in ``github-copilot-sdk`` 1.0.27 with the runtime 1.0.102. The SDK is imported where it is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..calls.asking import ask
from ..calls.report import usable_name
from ..core.broker import Broker
from ..core.errors import NotifierError, ToolDenied
from ..core.limits import RiskLevel

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["copilot_approval"]

#: What says nothing of what runs: what stands elsewhere on the card, what Copilot read from the command, and what it
#: would remember.
_NOT_SHOWN = {
    "kind", "intention", "toolCallId", "canOfferSessionApproval", "commands", "commandSegments", "possiblePaths",
    "possibleUrls", "hasWriteFileRedirection", "assistedApproval", "permissionRecommendation",
}  # fmt: skip
_RISKS: Mapping[str, RiskLevel] = {"read": "medium", "write": "medium", "url": "medium", "memory": "medium"}


def copilot_approval(
    session_id: str, *, service: Broker | Client | None = None, timeout_seconds: float | None = None
) -> Callable[[Any, Any], Awaitable[Any]]:
    """An ``on_permission_request`` for Copilot sessions: what Copilot asks is asked in the session.

    People may approve or reject, and not edit: Copilot takes no changed call. It is approved once and never for
    longer: what is remembered is remembered here. A denial tells the model who denied the call, and why. ``service``
    is as in ``ask``.
    """

    async def on_permission_request(request: Any, invocation: Any) -> Any:
        from copilot.rpc import PermissionDecisionApproveOnce, PermissionDecisionReject

        told = request.to_dict()
        name, parameters, server = _shown(told)
        intention = told.get("intention") or told.get("hookMessage")
        if parameters is None:
            return PermissionDecisionReject(feedback=f"{name} did not run: it was not told what it would do.")
        try:
            await ask(
                session_id,
                name,
                parameters,
                service=service,
                risk_level=_RISKS.get(told["kind"], "high"),
                tool_call_id=usable_name(told.get("toolCallId")),
                description=intention[:4000] if isinstance(intention, str) and intention else None,
                timeout_seconds=timeout_seconds,
                server=server,
                may_edit=False,
            )
        except ToolDenied as denial:
            return PermissionDecisionReject(feedback=str(denial))
        except NotifierError as error:
            return PermissionDecisionReject(feedback=f"{name} did not run: {error.message}")
        return PermissionDecisionApproveOnce()

    return on_permission_request


def _shown(told: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None, str | None]:
    """The tool, all that Copilot tells of what it does (None for nothing), and the MCP server that has it."""
    kind = told["kind"]
    if kind in ("mcp", "custom-tool", "hook"):
        given = told.get("toolArgs" if kind == "hook" else "args")
        parameters = given if isinstance(given, dict) else {} if given is None else {"input": given}
        return usable_name(told.get("toolName")) or kind, parameters, usable_name(told.get("serverName"))
    shown = {
        name: value
        for name, value in told.items()
        if name not in _NOT_SHOWN and value is not None and value is not False
    }
    if kind == "shell":
        command = shown.pop("fullCommandText", "")
        # Outside of its sandbox a command is no matter of rules about commands.
        is_usual = not any(name.startswith(("requestSandbox", "sandbox")) for name in shown)
        name = "shell" if is_usual else "shell_without_sandbox"
        return name, {"command": command, **shown} if command.strip() else None, None
    return kind, shown or None, None
