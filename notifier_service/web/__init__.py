"""The service over HTTP."""

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
