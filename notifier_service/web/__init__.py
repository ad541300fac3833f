"""The service over HTTP."""

from .app import Site, create_app, serve
from .logs import AccessLog, server_log

__all__ = ["AccessLog", "Site", "create_app", "serve", "server_log"]
