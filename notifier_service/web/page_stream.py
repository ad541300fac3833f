"""A turn of the chat as a stream for a page of another protocol: what it has and gets, until it ends or only waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web
from pydantic import ValidationError

from ..chat import Answer, AnswerReader, Chat
from ..core.errors import (
    AlreadyDecided,
    CursorLost,
    Forbidden,
    InvalidInput,
    RequestNotFound,
    SessionNotFound,
    Unauthenticated,
)
from ..core.question import Decision
from ..core.session import Session
from ..frontends.page_turn import PageTurn, Words
from .auth import Right
from .peer import ConnectionPeer, Stalled, written
from .permissions import through
from .request import Call, invalid
from .sse import STREAM_HEADERS

__all__ = [
    "APPROVE",
    "PageTurns",
    "check_decisions",
    "decide_for_page",
    "page_decision",
    "settled_otherwise",
    "stream_end",
    "stream_turn",
]

APPROVE = frozenset[Right]({"approve"})

#: Calls that an agent makes side by side are asked about together.
_SETTLE_SECONDS = 0.1


class PageTurns:
    """The last turn of each session that a page of one protocol began."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._turns: WeakKeyDictionary[Session, PageTurn] = WeakKeyDictionary()

    def begin(
        self, call: Call[Any, Any], query: str, attachments: list[bytes], words: Callable[[Answer], Words]
    ) -> PageTurn:
        """Have the agent answer. Raises what ``Chat.begin`` does."""
        session = call.broker.open(call.session_id, opened_by=call.caller.name)
        seq = session.log.last_seq
        answer = self._chat.begin(call.session_id, query, asked_by=call.caller.name, attachments=attachments)
        turn = PageTurn(answer, session, seq, words(answer), session.limits)
        self._turns[session] = turn
        return turn

    def find(self, call: Call[Any, Any]) -> PageTurn | None:
        """The last turn of the session; somebody else's is as if there were none."""
        try:
            turn = self._turns.get(call.broker.get(call.session_id))
        except SessionNotFound:
            return None
        return turn if turn is not None and turn.answer.asked_by == call.caller.name else None


def page_decision(where: str, **said: Any) -> Decision:
    """What a page's person answers to one request. Raises ``InvalidInput`` for what is no answer."""
    try:
        return Decision(**said)
    except ValidationError as error:
        raise invalid(error, where) from None


def check_decisions(call: Call[Any, Any], turn: PageTurn, decisions: Sequence[Decision]) -> None:
    """Raise before any of them counts: for two answers to one request, and for a request that nobody was asked."""
    named = [str(decision.request_id) for decision in decisions]
    if len(set(named)) < len(named):
        raise InvalidInput("A request is answered twice; nothing was decided.")
    desk = call.broker.get(call.session_id).desk
    for request_id in set(named) - turn.asked:
        desk.find(request_id)


async def decide_for_page(call: Call[Any, Any], decision: Decision) -> bool:
    """Answer a request as the page's person says; False where it was settled otherwise before, or is not known.

    Raises what a decision raises that cannot be taken, and leaves the request open.
    """
    caller = call.caller
    call.spend("decide_rate")
    try:
        await call.broker.answer(
            call.session_id,
            decision,
            **caller.decider(via="page", through=through(call.request)),
        )
    except (AlreadyDecided, RequestNotFound):
        return False
    return True


def settled_otherwise(call: Call[Any, Any], decision: Decision) -> None:
    """Raise ``AlreadyDecided`` unless the request was settled as ``decision`` says, or ``RequestNotFound``."""
    record = call.broker.get(call.session_id).desk.find(str(decision.request_id)).record
    if record.approved is not decision.approved or decision.parameters is not None:
        raise AlreadyDecided("Somebody else has settled this request meanwhile.")


async def stream_end(call: Call[Any, Any], pieces: Sequence[bytes]) -> web.StreamResponse:
    """A stream that only says why there is none."""
    response = web.StreamResponse(headers=dict(STREAM_HEADERS))
    await response.prepare(call.request)
    response.force_close()
    await response.write(b"".join(b"data: %s\n\n" % piece for piece in pieces))
    return response


async def stream_turn(
    call: Call[Any, Any],
    turn: PageTurn,
    seq: int,
    *,
    headers: Mapping[str, str],
    first: Sequence[bytes] = (),
    leaves: Callable[[PageTurn], Iterator[bytes]] | None,
    ends: Callable[[PageTurn], Iterator[bytes]] = lambda _: iter(()),
    last: bytes = b"",
    knows: Callable[[bytes], bool] = lambda _: True,
    failed: Callable[[str], Iterator[bytes]],
) -> web.StreamResponse:
    """Stream the turn from place ``seq``.

    ``leaves`` says what the stream ends with when the turn only waits for a person, so that the page can answer; None
    holds it open. ``ends`` says what it ends with when the turn has ended, and ``last`` comes behind everything.
    What the page does not know (``knows``) is left out.
    """
    call.spend("connect_rate")
    settings, peer = call.settings, ConnectionPeer(call.request)
    with call.holding(), turn.answer.reading(turn.answer.log.last_seq) as reader:
        response = web.StreamResponse(headers=dict(STREAM_HEADERS) | dict(headers))
        await response.prepare(call.request)
        response.force_close()

        async def write(pieces: Iterator[bytes]) -> None:
            frames = b"".join(b"data: %s\n\n" % piece for piece in pieces)
            if frames:
                await written(response.write(frames), peer, settings.stalled_seconds)

        try:
            await write(iter(first))
            async with asyncio.timeout(call.caller.seconds_left):
                async for frames in _frames(call, turn, seq, reader, leaves, knows):
                    call.caller.require(APPROVE, call.session_id)
                    await written(response.write(frames), peer, settings.stalled_seconds)
            if turn.log.closed:
                await write(ends(turn))
            if last:
                await written(response.write(last), peer, settings.stalled_seconds)
        except TimeoutError:
            await write(failed("The token has expired."))
        except CursorLost:
            await write(failed("The connection was too slow."))
        except (Unauthenticated, Forbidden) as error:
            await write(failed(error.message))
        except Stalled:
            peer.cut()
        except ConnectionError:
            pass  # the answer goes on, and waits for who comes back
    return response


async def _frames(
    call: Call[Any, Any],
    turn: PageTurn,
    seq: int,
    reader: AnswerReader,
    leaves: Callable[[PageTurn], Iterator[bytes]] | None,
    knows: Callable[[bytes], bool],
) -> AsyncIterator[bytes]:
    beat = call.settings.heartbeat_seconds
    while not (turn.log.closed and seq >= turn.log.last_seq):
        is_to_leave = leaves is not None and turn.only_waits and seq >= turn.log.last_seq
        pieces = await turn.log.wait_after(seq, timeout_seconds=_SETTLE_SECONDS if is_to_leave else beat)
        if pieces:
            seq = pieces[-1].seq
            yield b"".join(b"data: %s\n\n" % piece.json for piece in pieces if knows(piece.json))
        elif is_to_leave and leaves is not None and turn.only_waits:
            turn.left_at = seq
            yield b"".join(b"data: %s\n\n" % piece for piece in leaves(turn))
            return
        elif not is_to_leave and not turn.log.closed:
            yield b": heartbeat\n\n"
        # What this page has read, the agent need not wait for.
        while seq >= turn.log.last_seq and not reader.over and await reader.next(timeout_seconds=0):
            pass
