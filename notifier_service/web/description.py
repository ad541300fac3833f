"""Gives the descriptions of the API to programs, as OpenAPI and AsyncAPI."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from .answers import json_answer
from .request import Call, Query

__all__ = ["ASYNCAPI", "OPENAPI", "asyncapi_json", "openapi_json"]

#: Makes the JSON, once.
OPENAPI: web.AppKey[Callable[[], bytes]] = web.AppKey("openapi")
ASYNCAPI: web.AppKey[Callable[[], bytes]] = web.AppKey("asyncapi")


async def openapi_json(call: Call[Query, None]) -> web.Response:
    """What is asked and answered, as OpenAPI 3.1."""
    return json_answer(call.request.config_dict[OPENAPI]())


async def asyncapi_json(call: Call[Query, None]) -> web.Response:
    """What streams and sockets tell, as AsyncAPI 3."""
    return json_answer(call.request.config_dict[ASYNCAPI]())
