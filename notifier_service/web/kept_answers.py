"""Keeps over a restart what was answered under which ``Idempotency-Key``, in one piece with the events."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from ..core.broker import Broker
from ..core.events import dump
from ..core.journal import Change
from .idempotency import IdempotencyKeys, Scope

__all__ = ["fingerprint_of", "forget_answer", "kept_answer", "remember_answers"]

_KIND = "published"

_log = logging.getLogger("notifier_service.journal")


def fingerprint_of(body: Any) -> bytes:
    """What tells one body from another."""
    return hashlib.sha256(dump(body)).digest()


def kept_answer(scope: Sequence[str], fingerprint: bytes, answer: bytes) -> Change:
    """An answer as the journal keeps it."""
    body = {"scope": list(scope), "fingerprint": fingerprint.hex(), "answer": answer.decode()}
    return Change(_KIND, _name(scope), dump(body))


def forget_answer(broker: Broker, scope: Scope) -> None:
    """Nobody comes back for this one any more."""
    if broker.is_durable and scope[0] == "publish":
        broker.journal.note(Change(_KIND, _name(scope), None))


def remember_answers(broker: Broker, keys: IdempotencyKeys) -> None:
    """Have those who come back after a restart get the answer of before, for as long as any."""
    for change in broker.journal.kept(_KIND):
        try:
            told = from_json(change.body or b"")
            answer = told["answer"].encode()
            fingerprint = bytes.fromhex(told["fingerprint"])
            scope = tuple(map(str, told["scope"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            _log.exception("the answer to an Idempotency-Key cannot be read from the journal, and is forgotten")
            broker.journal.note(change._replace(body=None))
            continue
        keys.claim(scope, fingerprint)
        keys.answered(scope, answer, len(answer))


def _name(scope: Sequence[str]) -> str:
    return hashlib.sha256(dump(list(scope))).hexdigest()
