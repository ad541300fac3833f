"""A person who answers one question after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from notifier_service import Broker, Decision


async def answer_in_order(broker: Broker, answers: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Answer what the session asks in this order, and say what was shown."""
    session, shown = broker.open("s1"), []
    for one in answers:
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
        request = session.desk.pending[0]
        shown.append(request.record)
        broker.decide("s1", Decision(request_id=request.request_id, **one), decided_by="ada")
        await request.decision()
    return shown
