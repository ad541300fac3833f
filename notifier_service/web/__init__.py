"""The service over HTTP."""

from .app import Site, create_app, serve
from .listener import listening, url_of
from .logs import AccessLog, server_log
from .mcp_gateway import create_gateway_app

__all__ = [
    "AccessLog",
    "Site",
    "create_app",
    "create_gateway_app",
    "listening",
    "serve",
    "server_log",
    "url_of",
]
