"""The ways to people who do not look that the settings name, and the links by which they decide."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from ..core.broker import Broker
from ..core.errors import LimitReached, NotifierError
from ..core.journal import Journal
from ..core.notices import Notice
from ..settings import Webhook
from .auth import AUTH, Authenticator
from .devices import DEVICES, Devices
from .links import LINKS, Links, Maker, link_path
from .origin import is_served_under
from .push import PUSH
from .reach.push import Push
from .reach.push_crypto import can_push
from .reach.subscriptions import InFile, Subscription
from .request import BROKER, SETTINGS

__all__ = ["add_channels", "keep_channels", "keep_links"]

_log = logging.getLogger("notifier_service.notices")

_CHANNELS: web.AppKey[Sequence[Any]] = web.AppKey("channels", Sequence)


def add_channels(app: web.Application) -> None:
    """Have people called who do not look, over what the settings name."""
    broker, settings = app[BROKER], app[SETTINGS]
    notices = broker.notices
    notices.escalate, notices.quiet = settings.escalate, settings.quiet_hours
    app[LINKS] = Links(partial(_is_open, broker))
    if settings.public_url is not None and not is_served_under(settings.public_url, settings):
        _log.warning(
            "who comes by the public_url is refused, unless a proxy sends another Host: the setting allowed_hosts must "
            "name it, with auth=tokens or auth=jwt"
        )

    def count(channel: str, result: str) -> None:
        broker.counters.notifications[channel, result] += 1

    channels: list[Any] = []
    if settings.webhooks:
        from .reach.webhooks import Webhooks

        channels.append(Webhooks(settings, count, partial(_link_of_hook, app)))
    if can_push():
        push = app[PUSH] = Push(settings, count, partial(_reach_of, app[AUTH], app[DEVICES]))
        if settings.push_file is not None and settings.journal is None:
            push.keep_on(InFile(settings.push_file))
        channels.append(push)
    for channel in channels:
        notices.channels.append(channel)
        app.on_startup.append(partial(_begin, channel))
        app.on_cleanup.append(partial(_end, channel))
    app[_CHANNELS] = channels


def keep_channels(app: web.Application, journal: Journal) -> None:
    """Go on with whom to call and what was not sent when an earlier run ended, and keep what comes."""
    for channel in app[_CHANNELS]:
        channel.keep_in(journal)


def keep_links(app: web.Application, journal: Journal) -> None:
    """Go on with the links whose requests wait again, and keep what comes."""
    hooks: Mapping[str, Webhook] = {}
    if app[SETTINGS].webhooks:
        from .reach.webhooks import keyed

        hooks = keyed(app[SETTINGS].webhooks)
    app[LINKS].keep_in(journal, is_good=partial(_is_good, hooks))


def _is_open(broker: Broker, session_id: str, request_id: str) -> bool:
    """Whether a request waits for an answer."""
    try:
        return broker.get(session_id).desk.find(request_id).pending
    except NotifierError:
        return False


def _link_of_hook(app: web.Application, key: str, hook: Webhook, notice: Notice) -> str | None:
    """A link for the readers of a hook, who decide in the name that the settings say; None where there is none."""
    if notice.record is None or hook.links_as is None:
        return None
    maker = Maker(owner=key, name=hook.links_as, rights=frozenset({"approve"}), sessions=hook.sessions)
    settings = app[SETTINGS]
    try:
        return f"{settings.public_url}{link_path(settings, app[LINKS].make(maker, notice.session_id, notice.record))}"
    except LimitReached:
        return None  # the page is left, where all of it waits


def _is_good(hooks: Mapping[str, Webhook], maker: Maker) -> bool:
    """Whether a link of before is one still: one of a hook is, as long as the settings say so."""
    return not maker.is_hook or (maker.owner in hooks and hooks[maker.owner].links_as == maker.name)


def _reach_of(auth: Authenticator, devices: Devices, subscription: Subscription) -> tuple[str, ...] | None:
    """In which sessions the token is good now that a browser subscribed with; None for in none."""
    if subscription.device_id:
        return devices.reach_of(subscription.device_id)
    return auth.reach_of(subscription.token_sha256, subscription.reach, subscription.expires_at)


async def _begin(channel: Any, app: web.Application) -> None:
    channel.begin()


async def _end(channel: Any, app: web.Application) -> None:
    await channel.close(app[SETTINGS].shutdown_seconds / 8)
