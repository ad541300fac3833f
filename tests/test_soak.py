"""Who comes and goes leaves nothing behind; `python -m benchmarks.soak` does the same ten thousand times."""

from __future__ import annotations

from benchmarks.soak import soak, works


async def test_memory_tasks_and_descriptors_are_back_when_everybody_has_left() -> None:
    said: list[str] = []

    grown = await soak(works(connections=60, sessions=50, requests=60), said.append)

    assert (grown["tasks"], grown["descriptors"]) == (0, 0), said
    assert grown["objects"] < 0.05, said
    # So few find pools that the allocator has not filled yet: half a MiB more or less is none of theirs.
    assert grown["memory_bytes"] < 0.1, said
