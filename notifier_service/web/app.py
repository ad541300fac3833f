"""The application and its life: start, drain, stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from ..chat import Agent, Chat, load_agent
from ..core.broker import Broker, set_process_broker
from ..core.errors import NotDurable
from ..core.events import dump
from ..core.policy.learned import LearnedRules
from ..core.policy.policy_file import PolicyFile
from ..demo_agent import DemoChat
from ..mcp.tasks import Tasks
from ..settings import Settings
from .ag_ui import AG_UI
from .agents.agent_calls import JOINED_CALLS, JoinedCalls
from .agents.held_hooks import HELD_HOOKS, HeldHooks
from .ai_sdk import AI_SDK
from .answers import answer_errors
from .auth import AUTH, Authenticator, NoAuth, TokenAuth, UseTicket
from .channels import add_channels, keep_channels, keep_links
from .chat import CHAT
from .client_address import CLIENT_ADDRESS, address_by
from .connection import CONNECTIONS, Connections
from .description import ASYNCAPI, OPENAPI
from .devices import DEVICES, Devices
from .devices import InFile as DevicesInFile
from .devices import InJournal as DevicesInJournal
from .guesses import GUESSES, Guesses
from .idempotency import IDEMPOTENCY, IdempotencyKeys
from .jwt_auth import JwtAuth
from .kept_answers import forget_answer, remember_answers
from .keys import AUDIT_KEYS
from .listener import listening, url_of
from .logs import IS_TOKEN
from .mcp.gateway import GATEWAYS, Gateways
from .mcp.prompt_tasks import PROMPT_TASKS
from .mcp.prompt_tool import HELD_CALLS
from .metrics import REGISTRY, registry_of
from .ops import DRAINING
from .origin import CorsHeaders, origin_guard
from .page_stream import PageTurns
from .pages import add_pages
from .pairing import PAIRINGS, Pairings
from .rates import RATES, Rates
from .request import BROKER, SETTINGS
from .revocation import ending_revoked
from .routes import add_routes
from .sockets import SOCKETS, Sockets
from .tickets import TICKETS, Tickets
from .trace import REQUEST_IDS, say_request_id

if TYPE_CHECKING:
    from ..storage.journal import JournalFile

__all__ = ["Site", "create_app", "serve"]


def create_app(
    broker: Broker | None = None, settings: Settings | None = None, *, agent: Agent | None = None
) -> web.Application:
    """Return the service as an aiohttp application, to be run or to be mounted with ``add_subapp``.

    ``broker`` becomes the process's broker, the one that ``SimpleNotifier`` and ``ToolWrapper`` publish to; it is
    closed when the application shuts down, follows the ``policy_file`` of the settings, keeps its sessions in their
    ``journal`` and writes to their ``audit_file`` if it has no other. Without one, and without ``settings``, they are
    made from ``NOTIFIER_*``.
    ``agent`` answers in the chat: an async generator function that takes one ``ChatTurn``. Without one it is that of
    ``settings.agent``, or the demonstration agent.

    Raises ``InvalidInput`` when the ``agent`` of the settings, the ``tokens_file``, the ``policy_file``, the
    ``audit_file``, the ``journal`` or the key of ``auth=jwt`` cannot be used.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    if settings.policy_file is not None and broker.policy is None:
        broker.follow(PolicyFile(settings.policy_file))
    if settings.learned_path is not None and broker.rules.learned is None:
        broker.learn_into(LearnedRules(settings.learned_path))
    app = web.Application(middlewares=[answer_errors(origin_guard(settings))], client_max_size=settings.max_body_bytes)
    app[BROKER] = broker
    app[SETTINGS] = settings
    app[CLIENT_ADDRESS] = address_by(settings.trusted_proxies)
    app[TICKETS] = Tickets()
    app[AUTH] = _authenticator(settings, app[TICKETS].use)
    app[IS_TOKEN] = app[AUTH].is_token
    app[DEVICES] = app[AUTH].devices = Devices(app[AUTH])
    app[PAIRINGS] = Pairings()
    app[DRAINING] = asyncio.Event()
    app[REGISTRY] = registry_of(broker)
    app[OPENAPI] = lambda: _described("openapi", settings.prefix)
    app[ASYNCAPI] = lambda: _described("asyncapi", settings.prefix)
    app[GUESSES] = Guesses(broker.counters.limits_reached)
    app[RATES] = Rates.of(settings, broker.counters.limits_reached)
    app[SOCKETS] = Sockets()
    app[CONNECTIONS] = Connections()
    demo = DemoChat()
    if agent is None:
        agent = demo if settings.agent is None else load_agent(settings.agent)
    app[CHAT] = Chat(broker, agent)
    app[AI_SDK] = PageTurns(app[CHAT])
    app[AG_UI] = PageTurns(app[CHAT])
    app[IDEMPOTENCY] = IdempotencyKeys(
        capacity_bytes=settings.max_idempotency_bytes, forgotten=partial(forget_answer, broker)
    )
    app[JOINED_CALLS] = JoinedCalls()
    app[HELD_HOOKS] = HeldHooks()
    app[HELD_CALLS] = {}
    app[PROMPT_TASKS] = Tasks(after_seconds=settings.mcp_task_seconds)
    app[GATEWAYS] = Gateways(broker, settings, app[JOINED_CALLS])
    app[AUDIT_KEYS] = ()
    app.cleanup_ctx.append(app[GATEWAYS].running)
    app.cleanup_ctx.append(ending_revoked)
    add_routes(app, settings.prefix)
    add_pages(app, settings.prefix)
    app.on_startup.append(_watch)
    app.on_shutdown.append(_close_broker)

    async def clean_up(app: web.Application) -> None:
        # By now aiohttp has closed what it knows of, and nobody is served any more.
        await app[HELD_HOOKS].close()
        await app[PROMPT_TASKS].close()
        await app[CONNECTIONS].closed(settings.shutdown_seconds / 8)
        await app[CHAT].drain(settings.shutdown_seconds / 4)
        demo.close()

    app.on_cleanup.append(clean_up)
    if settings.allowed_origins:
        app.on_response_prepare.append(CorsHeaders(settings))
    if settings.log_format == "json":
        app[REQUEST_IDS] = app[AUTH].is_token
        app.on_response_prepare.append(say_request_id)
    if settings.audit_file is not None and not broker.recorder.is_on:
        _audit(app, settings.audit_file)
    add_channels(app)
    if settings.devices_file is not None and settings.journal is None:
        app[DEVICES].keep_in(DevicesInFile(settings.devices_file))
    if settings.journal is not None and not broker.is_durable:
        app.on_cleanup.append(partial(_close_journal, _kept(app, settings.journal)))
    set_process_broker(broker)
    return app


@dataclass(frozen=True, slots=True)
class Site:
    """A running service."""

    broker: Broker
    settings: Settings
    host: str
    port: int
    authenticator: Authenticator | None = None

    def read_again(self) -> None:
        """Look at the files now that say who may do what and which calls run; those that changed are read again."""
        self.broker.read_again()
        if self.authenticator is not None:
            _ = self.authenticator.source

    @property
    def url(self) -> str:
        """Where it listens, without the prefix; ``unix:PATH`` where that is a Unix socket alone."""
        if not self.port:
            return f"unix:{self.settings.unix or ''}"
        return url_of(self.host, self.port)


@asynccontextmanager
async def serve(
    broker: Broker | None = None,
    settings: Settings | None = None,
    *,
    agent: Agent | None = None,
    sockets: Sequence[socket.socket] = (),
) -> AsyncIterator[Site]:
    """Run the service inside any asyncio program, listening where the settings say.

    ``sockets`` that listen already are taken in the place of these.

    On leaving, readiness says 503 for ``drain_seconds``, then the listener closes, streams get ``bye``, pending
    requests are cancelled, and within ``shutdown_seconds`` everything has ended. Raises ``OSError`` when the address is
    taken.
    """
    settings = Settings() if settings is None else settings
    broker = Broker(settings) if broker is None else broker
    app = create_app(broker, settings, agent=agent)
    async with listening(app, settings, sockets) as port:
        yield Site(broker, settings, settings.host, port, app[AUTH])
        if settings.drain_seconds:
            app[DRAINING].set()
            await asyncio.sleep(settings.drain_seconds)


def _audit(app: web.Application, path: Path) -> None:
    """Have all that is asked, decided and run from now on be put on record, and the heads of that signed."""
    from ..storage.audit_log import open_audit
    from .signing import Signing

    broker, settings = app[BROKER], app[SETTINGS]
    signing: Signing | None = None
    if settings.audit_key_file is None:
        audit = open_audit(path, settings)
    else:
        signing = Signing(path, settings.audit_key_file, settings.audit_heads_to)
        audit = open_audit(path, settings, rotated=signing.rotated)
        app[AUDIT_KEYS] = (signing.key,)
    broker.recorder.audit = audit

    async def begin(app: web.Application) -> None:
        if signing is not None:
            signing.begin(lambda: audit.tree)

    async def end(app: web.Application) -> None:
        await asyncio.to_thread(audit.close)
        if signing is not None:
            await signing.end(audit.tree, within_seconds=settings.shutdown_seconds / 8)

    app.on_startup.append(begin)
    app.on_cleanup.append(end)
    if broker.policy is not None:
        broker.recorder.policy_loaded(str(broker.policy.path), len(broker.policy.policy.rules), None)


def _kept(app: web.Application, path: Path) -> JournalFile:
    """Go on with the sessions of the journal, and have all that happens be kept there. Raises ``JournalUnusable``."""
    from ..storage.journal import JournalFile
    from ..storage.journal_lock import JournalUnusable

    journal = JournalFile(path, sync=app[SETTINGS].journal_sync)
    try:
        app[DEVICES].keep_in(DevicesInJournal(journal))
        keep_channels(app, journal)  # before requests go on: who is to be called is known then
        app[BROKER].keep_in(journal)
        keep_links(app, journal)
    except BaseException as error:
        journal.close()
        if isinstance(error, NotDurable):
            raise JournalUnusable(
                f"journal {path}: {error.message} See notifier-service journal check, and move that file away to begin "
                "another."
            ) from error
        raise
    return journal


async def _close_journal(journal: JournalFile, app: web.Application) -> None:
    await asyncio.to_thread(journal.close, within_seconds=app[SETTINGS].shutdown_seconds / 2)


@cache
def _described(form: Literal["openapi", "asyncapi"], prefix: str) -> bytes:
    from . import openapi

    return dump(getattr(openapi, form)(prefix))


async def _watch(app: web.Application) -> None:
    app[BROKER].watch()
    remember_answers(app[BROKER], app[IDEMPOTENCY])
    app[CHAT].go_on()


async def _close_broker(app: web.Application) -> None:
    app[BROKER].close()
    app[SOCKETS].end_in(app[SETTINGS].shutdown_seconds / 16)


def _authenticator(settings: Settings, use_ticket: UseTicket) -> Authenticator:
    """The way of authentication that the settings name."""
    if settings.auth == "tokens" and settings.tokens_file is not None:
        return TokenAuth(settings.tokens_file, use_ticket)
    if settings.auth == "jwt":
        return JwtAuth(settings, use_ticket)
    return NoAuth(use_ticket)
