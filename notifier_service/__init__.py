"""See in real time what an AI agent does, and be asked before it does something that matters.

One process: an event log per session, and permission requests beside it.
"""

from __future__ import annotations

from .broker import Broker
from .errors import NotifierError, ToolDenied
from .limits import Limits
from .notifier import SimpleNotifier
from .permissions import Decision
from .tool_wrapper import ToolWrapper, report_progress

__all__ = [
    "Broker",
    "Decision",
    "Limits",
    "NotifierError",
    "SimpleNotifier",
    "ToolDenied",
    "ToolWrapper",
    "report_progress",
]

__version__ = "0.1.0"
