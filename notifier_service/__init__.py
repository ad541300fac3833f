"""See in real time what an AI agent does, and be asked before it does something that matters.

One process: an event log per session, read over SSE, WebSocket or polling; permission requests answered with a POST.
"""

from __future__ import annotations

from .version import __version__ as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .calls.asking import ask
    from .calls.notifier import SimpleNotifier
    from .calls.tool_wrapper import ToolWrapper, report_progress
    from .chat import ChatTurn
    from .client import Client
    from .core.broker import Broker
    from .core.errors import NotifierError, ToolDenied
    from .core.limits import Limits
    from .core.policy.policy_file import PolicyFile
    from .core.question import Decision
    from .settings import Settings
    from .web import create_app, serve

__all__ = [
    "Broker",
    "ChatTurn",
    "Client",
    "Decision",
    "Limits",
    "NotifierError",
    "PolicyFile",
    "Settings",
    "SimpleNotifier",
    "ToolDenied",
    "ToolWrapper",
    "ask",
    "create_app",
    "report_progress",
    "serve",
]


#: Imported when it is first asked for: the core runs without aiohttp, and `notifier-service hook`, for which an agent
#: waits before each of its calls, without all of it.
_LATER = {
    "Broker": ".core.broker",
    "ChatTurn": ".chat",
    "Client": ".client",
    "Decision": ".core.permissions",
    "Limits": ".core.limits",
    "NotifierError": ".core.errors",
    "PolicyFile": ".core.policy.policy_file",
    "Settings": ".settings",
    "SimpleNotifier": ".calls.notifier",
    "ToolDenied": ".core.errors",
    "ToolWrapper": ".calls.tool_wrapper",
    "ask": ".calls.asking",
    "create_app": ".web",
    "report_progress": ".calls.tool_wrapper",
    "serve": ".web",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)
