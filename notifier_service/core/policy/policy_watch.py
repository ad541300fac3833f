"""Reads a file of rules again when it changes, and never on the loop: reading a policy runs its examples."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from ..metrics import Counters
from .learned import LearnedRules
from .policy_file import PolicyFile

__all__ = ["POLICY_SECONDS", "PolicyWatch"]

#: How often the file is looked at.
POLICY_SECONDS = 1.0

_log = logging.getLogger("notifier_service.policy")


class PolicyWatch:
    """Looks at a file of rules when told to, in a thread of its own; what comes of it is counted, and told once."""

    def __init__(
        self,
        file: PolicyFile | LearnedRules,
        counters: Counters,
        *,
        thread: Executor | None = None,
        note: Callable[[str, int, str | None], object] = lambda file, rules, error: None,
    ) -> None:
        self._file = file
        self._counters = counters
        self._note = note
        # Not the loop's own threads, which tools that take long may all have taken.
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="notifier-policy")
        self._looking: Future[bool] | None = None
        self._due_at = 0.0

    def look(self, now: float, *, at_once: bool = False) -> None:
        """Have the file looked at if that is due, or ``at_once``. Never waits."""
        looking = self._looking
        if looking is not None and looking.done():
            self._looking = None
            self._tell(looking)
        if self._looking is None and (at_once or now >= self._due_at):
            self._due_at = now + POLICY_SECONDS
            self._looking = self._thread.submit(self._file.refresh)

    def close(self) -> None:
        """Look no more. Never waits."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tell(self, looked: Future[bool]) -> None:
        file = self._file
        if not looked.result():
            return
        self._counters.policies_read["loaded" if file.error is None else "refused"] += 1
        rules = file.rules if isinstance(file, LearnedRules) else file.policy.rules
        self._note(str(file.path), len(rules), file.error)
        if file.error is None:
            _log.info("%s was read again; rules in force: %d", file.path, len(rules))
        else:
            _log.warning("%s; the rules that were read before stay in force", file.error)
