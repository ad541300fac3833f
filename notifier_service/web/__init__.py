"""The service over HTTP."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .app import Site, create_app, serve
    from .descriptors import raise_soft_limit, without_accept_errors
    from .listener import listening, url_of
    from .logs import AccessLog, server_log
    from .mcp.gateway import create_gateway_app

__all__ = [
    "AccessLog",
    "Site",
    "create_app",
    "create_gateway_app",
    "listening",
    "raise_soft_limit",
    "serve",
    "server_log",
    "url_of",
    "without_accept_errors",
]

#: Imported when it is first asked for: some commands need a module of this room, and no service.
_LATER = {
    "AccessLog": ".logs",
    "Site": ".app",
    "create_app": ".app",
    "create_gateway_app": ".mcp.gateway",
    "listening": ".listener",
    "raise_soft_limit": ".descriptors",
    "serve": ".app",
    "server_log": ".logs",
    "url_of": ".listener",
    "without_accept_errors": ".descriptors",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name], __name__), name)
