"""See in real time what an AI agent does, and be asked before it does something that matters.

One process: an event log per session, read over SSE, WebSocket or polling; permission requests answered with a POST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .broker import Broker
from .chat import ChatTurn
from .errors import NotifierError, ToolDenied
from .limits import Limits
from .notifier import SimpleNotifier
from .permissions import Decision
from .tool_wrapper import ToolWrapper, report_progress

if TYPE_CHECKING:
    from .asking import ask
    from .client import Client
    from .settings import Settings
    from .web import create_app, serve

__all__ = [
    "Broker",
    "ChatTurn",
    "Client",
    "Decision",
    "Limits",
    "NotifierError",
    "Settings",
    "SimpleNotifier",
    "ToolDenied",
    "ToolWrapper",
    "ask",
    "create_app",
    "report_progress",
    "serve",
]

__version__ = "0.1.0"

#: What needs aiohttp or pydantic-settings is imported when it is first asked for: the core runs without.
_LATER = {"ask": ".asking", "Client": ".client", "Settings": ".settings", "create_app": ".web", "serve": ".web"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)
