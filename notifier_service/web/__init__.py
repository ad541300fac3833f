"""The service over HTTP."""

from .app import AccessLog, Site, create_app, serve, server_log

__all__ = ["AccessLog", "Site", "create_app", "serve", "server_log"]
