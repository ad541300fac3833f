"""The load generator of the benchmarks notices what would make a figure worthless."""

from __future__ import annotations

import json
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import pytest

from benchmarks import audit
from benchmarks.chart import draw
from benchmarks.connections import Countdown, Loop, Publisher, Stream, listen, post
from benchmarks.load import WORKS as LOADS
from benchmarks.load import Bench, Failed, Outcome, Task
from benchmarks.peers.orders import Order, carry_out
from benchmarks.peers.peer import Target
from benchmarks.policy import SHAPES, Shape, measure
from benchmarks.report import Results
from benchmarks.sequence import check, delays_ns, numbers, unchunked
from benchmarks.start import Program, cpu_seconds
from benchmarks.switched_on import WAYS
from benchmarks.works import PEERS, WORKS
from notifier_service import PolicyFile, Settings
from tests.test_cost import counting

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def frame(number: int, time_ns: int = 0) -> bytes:
    return b'id: e-%d\ndata: {"type":"bench","data":{"n":%d,"t":%d,"pad":"x"}}\n\n' % (number, number, time_ns)


def stream_of(*sent: int) -> bytes:
    return HEAD + b"".join(frame(number) for number in sent)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ((1, 2, 3, 4), None),
        ((1, 2, 4), "1 lost, the first is 3"),
        ((1, 2, 3), "1 lost, the first is 4"),
        ((), "4 lost, the first is 1"),
        ((1, 2, 2, 3, 4), "1 doubled"),
        ((1, 3, 2, 4), "reordered at 3"),
        ((1, 2, 3, 4, 5), "1 that nobody sent, the first is 5"),
    ],
    ids=["whole", "lost", "last lost", "all lost", "doubled", "reordered", "strange"],
)
def test_reader_is_checked_for_events_that_are_lost_doubled_or_reordered(
    sent: tuple[int, ...], why: str | None
) -> None:
    assert check(numbers(stream_of(*sent)), 1, 4) == why


def test_event_that_two_chunks_share_is_found() -> None:
    whole = frame(1) + frame(2)
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n" % (30, whole[:30], len(whole) - 30, whole[30:])
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")

    assert unchunked(chunks) == whole
    assert numbers(head + chunks) == [1, 2]


def test_delay_counts_until_the_piece_that_completes_the_event() -> None:
    first, second = frame(1, 100), frame(2, 200)

    assert delays_ns([first[:20], first[20:] + second[:20], second[20:]], [1000, 2000, 3000]) == [1900, 2800]


def test_reader_sees_what_it_expects_also_when_it_comes_in_two_pieces() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop, countdown = Loop(), Countdown()
    stream = Stream(ours, listen("/events/b0"))
    stream.expect(b'"n":12,', countdown)
    loop.add(stream)

    for piece in (b'data: {"n":1', b"1}", b'"n":1', b"2,"):
        assert countdown.left == 1
        theirs.send(piece)
        loop.turn()

    assert countdown.over()
    loop.close()
    theirs.close()


def test_reader_whose_connection_ends_is_waited_for_no_longer_than_told() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop, countdown = Loop(), Countdown()
    stream = Stream(ours, listen("/events/b0"))
    stream.expect(b"never", countdown)
    loop.add(stream)
    theirs.close()

    assert not loop.until(countdown.over, silence_seconds=0.05)
    assert stream.ended
    loop.close()
    ours.close()


def test_publisher_keeps_to_its_window_and_tells_of_a_failure() -> None:
    ours, theirs = socket.socketpair()
    request = post("/publish/b0", b"{}")
    publisher = Publisher(ours, [request] * 3, window=2)
    publisher.fill()

    assert theirs.recv(4096) == request * 2
    theirs.send(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
    publisher.ready()
    assert theirs.recv(4096) == request
    theirs.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno")
    publisher.ready()
    assert publisher.failed is not None
    assert "500 Oh" in publisher.failed
    ours.close()
    theirs.close()


async def test_order_gives_every_session_the_same_numbers_in_turn() -> None:
    published: list[tuple[str, int]] = []
    order = Order.from_json(Order(sessions=2, events=4, first=7).to_json())

    await carry_out(order, lambda session, data: published.append((session, data["n"])))

    assert published == [("b0", 7), ("b1", 7), ("b0", 8), ("b1", 8)]


def test_invalid_round_counts_in_no_ratio_and_is_told() -> None:
    results, work = Results(rounds=3), WORKS[0]
    for ours, theirs, invalid in ((8.0, 2.0, None), (100.0, 1.0, "1 lost"), (6.0, 3.0, None)):
        results.add(work, "notifier", Outcome({"rate": ours}))
        results.add(work, "nchan", Outcome({"rate": theirs}, invalid))

    [comparison] = results.compare(work)

    assert comparison.ratios == [4, 2]
    assert comparison.ratio == median([4, 2])
    assert "nchan, round 2: INVALID, 1 lost" in results.table([work])
    assert json.loads(results.to_json([work]))["works"][0]["ratios"][0]["ratio"] == 3
    assert "3.00 ×" in draw([comparison])


def test_busy_load_generator_is_told() -> None:
    results = Results(rounds=1)
    results.add(WORKS[0], "nchan", Outcome({"rate": 1.0}, generator_load=0.95))

    assert results.remarks(WORKS[0]) == ["nchan, round 1: the load generator was busy 95% of the time"]


@pytest.mark.parametrize(
    ("server_load", "generator_load", "seconds", "counts"),
    [
        (0.99, 0.3, 2.0, True),
        (0.40, 0.3, 2.0, False),
        (0.0, 0.0, 2.0, False),
        (0.40, 0.95, 2.0, True),
        (0.70, 0.3, 0.1, True),
        (0.60, 0.3, 0.1, False),
    ],
    ids=["busy", "idle", "paused", "the generator had no time left", "within two ticks of busy", "idle for a moment"],
)
def test_throughput_of_a_server_that_waited_does_not_count(
    server_load: float, generator_load: float, seconds: float, counts: bool
) -> None:
    bench = Bench(Target(1, "/s", "/p", "hello"), {})
    bench.outcome.server_load, bench.outcome.generator_load = server_load, generator_load

    with nullcontext() if counts else pytest.raises(Failed, match="busy only"):
        bench.require_busy_server(seconds)
    bench.loop.close()


def test_every_work_is_one_that_the_load_generator_knows_and_names_its_peers() -> None:
    assert {work.name for work in WORKS} == set(LOADS)
    assert {name for work in WORKS for name in work.peers} <= {peer.name for peer in PEERS}
    assert {name for peer in PEERS for name in peer.cannot} <= set(LOADS)


def test_task_reaches_the_load_generator_whole() -> None:
    task = Task("fanout", Target(1, "/s", "/p", "hello", processes=[7]), {"readers": 3})
    read = json.loads(task.to_json())

    assert Target(**read["target"]) == task.target
    assert read["sizes"] == {"readers": 3}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
def test_call_among_a_thousand_rules_costs_what_it_costs_among_few(shape: Shape) -> None:
    assert calls_to_judge(shape, rules=1000) < 1.5 * calls_to_judge(shape, rules=30)


def calls_to_judge(shape: Shape, *, rules: int) -> int:
    """How many calls one judgement makes, when its kind was judged before; time is for the benchmark to measure."""
    policy, call = shape.policy(rules), shape.call(rules // 2)
    policy.judge(call)
    with counting() as count:
        assert policy.judge(call) is not None
    return count.calls


def test_benchmark_of_rules_tells_seconds() -> None:
    assert 0 < measure(SHAPES[0], rules=30, rounds=1) < 1


async def test_decisions_on_record_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(audit.os, "fsync", synced.append)

    cost = await audit.measure(tmp_path, rounds=3, deciders=50, sync_ms=30)

    # A question and a decision of each of 51, four times over, are 408 lines.
    assert len(synced) < 200
    assert cost.commit >= 30
    assert cost.alone_recorded >= 30
    assert "commits more" in cost.text(50)


def test_start_of_a_program_that_fails_or_says_nothing_is_no_figure() -> None:
    assert cpu_seconds(Program((sys.executable, "-S", "-c", "print('ready', flush=True); input()"), "", True)) > 0
    for program in (
        Program((sys.executable, "-S", "-c", "raise SystemExit(3)")),
        Program((sys.executable, "-S", "-c", ""), is_ready_by_line=True),
    ):
        with pytest.raises(RuntimeError, match="ended with"):
            cpu_seconds(program)


def test_all_that_is_switched_on_is_what_the_service_can_be_set_to(tmp_path: Path) -> None:
    for way in WAYS:
        settings = Settings(**way.settings(tmp_path), _env_file=None)

        if settings.policy_file is not None:
            assert len(PolicyFile(settings.policy_file).policy.rules) == 1000
    assert {way.settings(tmp_path).get("journal_sync") for way in WAYS} == {None, "normal", "full"}
