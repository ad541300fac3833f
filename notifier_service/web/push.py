"""Devices over HTTP: the key of this service, and the browsers that may be called (contract section 14)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from ..core.errors import NotFound
from ..core.events import EventData, Many, utc_now
from ..core.label import MAX_AGENT, clean
from .answers import reply
from .reach.push import Push
from .reach.subscriptions import Subscription, id_of
from .request import Call, Query

__all__ = ["PUSH", "SubscribeBody", "forget", "key", "list_devices", "subscribe"]

PUSH: web.AppKey[Push] = web.AppKey("push", Push)


class PushKeys(EventData):
    """The keys of a browser, as ``PushSubscription.toJSON()`` has them."""

    p256dh: Annotated[str, Field(min_length=1, max_length=256)]
    auth: Annotated[str, Field(min_length=1, max_length=64)]


class SubscribeBody(EventData):
    """A ``PushSubscription`` of a browser, what it is called, and of which sessions it wants to hear."""

    endpoint: Annotated[str, Field(min_length=1, max_length=2048)]
    keys: PushKeys
    expirationTime: float | None = None  # noqa: N815  # as browsers send it
    sessions: Annotated[
        Many[Annotated[str, Field(min_length=1, max_length=256)]], Field(min_length=1, max_length=100)
    ] = ("*",)
    label: Annotated[str, Field(max_length=MAX_AGENT)] | None = None
    language: Literal["en", "zh"] = "en"


async def key(call: Call[Query, None]) -> web.Response:
    """The public key of this service, which a page gives to ``pushManager.subscribe``."""
    told = _push(call).key.public
    if call.broker.is_durable:
        await call.broker.on_disk()  # a key that is lost makes all devices useless that have it
    return reply({"key": told})


async def subscribe(call: Call[Query, SubscribeBody]) -> web.Response:
    """Have a browser called about what waits while its person does not look."""
    caller, body, push = call.caller, call.body, _push(call)
    if call.broker.is_durable:
        call.broker.require_durable()
    device = await push.subscribe(
        Subscription(
            id=id_of(body.endpoint),
            endpoint=body.endpoint,
            p256dh=body.keys.p256dh,
            auth=body.keys.auth,
            subject=caller.name,
            reach=caller.sessions,
            sessions=body.sessions,
            label=clean(body.label or ""),
            language=body.language,
            created_at=utc_now(),
            token_sha256=caller.token_sha256,
            expires_at=caller.expires_at,
            device_id=caller.device_id,
            may_approve=caller.may("approve"),
        )
    )
    if call.broker.is_durable:
        await call.broker.on_disk()
    return reply(push.told(device), status=201)


async def list_devices(call: Call[Query, None]) -> web.Response:
    """The devices of the caller; of everybody for an admin."""
    return reply(_push(call).devices(_whose(call)))


async def forget(call: Call[Query, None]) -> web.Response:
    """Call a device no more."""
    device_id = call.request.match_info["device_id"]
    _push(call).unsubscribe(device_id, _whose(call))
    if call.broker.is_durable:
        await call.broker.on_disk()
    return reply({"id": device_id, "status": "forgotten"})


def _push(call: Call[Any, Any]) -> Push:
    push = call.request.config_dict.get(PUSH)
    if push is None:
        raise NotFound("Pushes need the extra push: pip install 'notifier-service[push]'")
    return push


def _whose(call: Call[Any, Any]) -> str | None:
    return None if call.caller.may("admin") else call.caller.name
