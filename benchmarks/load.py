"""The load generator, a process of its own: reads a task as JSON, does one work once, prints what it saw as JSON."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any

from .connections import Countdown, LongPoll, Loop, Publisher, Stream, connected, get, listen, post
from .machine import cpu_seconds, open_files, pss_bytes, raise_open_files
from .peers.orders import Order
from .peers.peer import Target
from .sequence import check, delays_ns, numbers

__all__ = ["BUSY_GENERATOR", "Bench", "Failed", "Outcome", "Task"]

#: From this share of its core on, the load generator may have been what was measured.
BUSY_GENERATOR = 0.9

#: So many readers are let in at once: fewer than any server's backlog.
_CONNECT_AT_ONCE = 200

#: A server that had its core for less of the time waited for something, and how fast it can be was not seen.
_BUSY_SERVER = 0.85
#: By so much its time may be read too short: two ticks.
_READ_SHORT_SECONDS = 0.02

#: Connections that publish side by side, where the order between them does not matter.
_PUBLISHERS = 8

_LAST_ID = re.compile(rb"^id: ?([^\r\n]+)\r?$", re.M)
_LAST_EVENT_ID = re.compile(rb'"last_event_id":"([^"]+)"')
_ASKED = re.compile(rb'"type":"permission_request".*?"request_id":"([^"]+)"')

_WEBSOCKET = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)


class Failed(Exception):
    """The figure does not count; the text says why."""


@dataclass(frozen=True, slots=True)
class Task:
    """A work, the server it is done with, and its sizes by name."""

    work: str
    target: Target
    sizes: Mapping[str, int]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(slots=True)
class Outcome:
    """What one work gave. ``figures`` by name; ``invalid`` says why they do not count."""

    figures: dict[str, float] = field(default_factory=dict)
    invalid: str | None = None
    #: The generator's share of its core while it measured; near 1 it measured itself.
    generator_load: float = 0.0
    #: The same of the server and all that belongs to it: in a throughput run near 1, or the figure does not count.
    server_load: float = 0.0


def _event(number: int, pad: int = 64) -> bytes:
    """An event to post, as ``orders.event`` makes it; by hand, because this process must be faster than any server."""
    return b'{"type":"bench","data":{"n":%d,"t":%d,"pad":"%s"}}' % (number, time.monotonic_ns(), b"x" * pad)


def _varied_event(number: int) -> bytes:
    """An event as large as ``_event``'s, that has neither the type nor the names of the one before or behind."""
    if number % 2:
        return _event(number)
    numbers = b",".join([b"%d" % other for other in range(number % 5)])
    return b'{"type":"other","data":{"n":%d,"other":[%b],"pad":"%b"}}' % (number, numbers, b"x" * (80 - len(numbers)))


def raise_failed(publishers: Sequence[Publisher]) -> None:
    """Raise ``Failed`` if something that was published was refused."""
    for publisher in publishers:
        if publisher.failed is not None:
            raise Failed(f"publishing failed: {publisher.failed}")


class Bench:
    """One work under way: the target, its sizes, the connections."""

    def __init__(self, target: Target, sizes: Mapping[str, int]) -> None:
        self.target = target
        self.sizes = sizes
        self.loop = Loop()
        self.outcome = Outcome()
        self._started = (0.0, 0.0, 0.0)

    def streams(self, sessions: Sequence[str], *, timed: bool = False, websocket: bool = False) -> list[Stream]:
        """Open a stream to each session, and wait until none of them will miss anything."""
        target, opened = self.target, []
        ready = (target.websocket_ready if websocket else target.ready).encode()
        for at in range(0, len(sessions), _CONNECT_AT_ONCE):
            countdown = Countdown()
            for session in sessions[at : at + _CONNECT_AT_ONCE]:
                if websocket:
                    request = get(target.websocket.format(session=session), *_WEBSOCKET)
                else:
                    request = listen(target.stream.format(session=session))
                opened.append(Stream(connected(target.port), request, timed=timed))
                opened[-1].expect(ready, countdown)
                self.loop.add(opened[-1])
            if not self.loop.until(countdown.over):
                raise Failed(f"{countdown.left} of {len(sessions)} readers were not let in")
        return opened

    def publish(self, order: Order) -> Callable[[], bool]:
        """Have the order carried out, by the server itself if it can; the answer says whether it is done."""
        target = self.target
        if target.orders_port is not None:
            publishers = [Publisher(connected(target.orders_port), [post("/orders", order.to_json())])]
        elif order.sessions == 1:
            publishers = [Publisher(connected(target.port), self._posts(order, 0, 1), window=target.window)]
        else:
            publishers = [
                Publisher(connected(target.port), self._posts(order, number, _PUBLISHERS), window=target.window)
                for number in range(_PUBLISHERS)
            ]
        return self.started(publishers)

    def post_one_by_one(self, order: Order) -> Callable[[], bool]:
        """Publish by POST, one under way."""
        return self.started([Publisher(connected(self.target.port), self._posts(order, 0, 1))])

    def pace(self, order: Order) -> None:
        """Publish at the order's pace and wait until it is done; ``t`` is the moment of publishing, whoever does it."""
        if self.target.orders_port is not None:
            self.wait(self.publish(order), "the publisher")
            return
        publishers = [Publisher(connected(self.target.port)) for _ in range(min(_PUBLISHERS, order.sessions))]
        for publisher in publishers:
            self.loop.add(publisher)
        posts = self._posts(order, 0, 1)
        start = time.monotonic()
        for number in range(order.events):
            while (early := start + number / order.per_second - time.monotonic()) > 0:
                self.loop.turn(early)
            publishers[number % len(publishers)].send(next(posts))
            self.loop.turn(0)
        self.wait(lambda: all(publisher.done for publisher in publishers), "the publisher")
        raise_failed(publishers)

    def wait(self, done: Callable[[], bool], who: str) -> None:
        if not self.loop.until(done):
            raise Failed(f"{who} came to no end")

    def _posts(self, order: Order, remainder: int, publishers: int) -> Iterator[bytes]:
        """The requests of one of so many publishers: those of the sessions whose number leaves ``remainder``."""
        for done in range(order.events):
            session = done % order.sessions
            if session % publishers == remainder:
                body = _event(order.first + done // order.sessions, order.pad)
                yield post(self.target.publish.format(session=f"b{session}"), body)

    def started(self, publishers: Sequence[Publisher]) -> Callable[[], bool]:
        """Let them send; the answer says whether they are done, and raises ``Failed`` when one is refused."""
        for publisher in publishers:
            self.loop.add(publisher)
            publisher.fill()

        def done() -> bool:
            raise_failed(publishers)
            return all(publisher.done for publisher in publishers)

        return done

    def start_clock(self) -> None:
        self._started = (time.monotonic(), time.process_time(), cpu_seconds(self.target.processes))

    def stop_clock(self, events: int) -> float:
        """The seconds since the start; notes what it cost the server per event, and this process."""
        began, own, server = self._started
        seconds = time.monotonic() - began
        self.outcome.generator_load = (time.process_time() - own) / seconds
        used = cpu_seconds(self.target.processes) - server
        self.outcome.server_load = used / seconds
        self.outcome.figures["server_cpu_us"] = used * 1e6 / events
        return seconds

    def require_busy_server(self, seconds: float) -> None:
        """Raise ``Failed`` if the server idled in the ``seconds`` of a throughput run.

        Readers that were paused, a publisher that waited, or somebody else on its core looks like a slow server. Where
        this process is what had no time left, the server may be capable of more, which the report says. A work of
        which only the CPU counts, its size ``may_wait`` says so, is one in which the server may wait for a disk.
        """
        if self.sizes.get("may_wait"):
            return
        load = self.outcome.server_load + _READ_SHORT_SECONDS / seconds
        if load < _BUSY_SERVER and self.outcome.generator_load < BUSY_GENERATOR:
            raise Failed(f"the server was busy only {self.outcome.server_load:.0%} of the time")


def fanout(bench: Bench, *, by_post: bool = False, websocket: bool = False) -> None:
    """One session, many readers, published as fast as possible."""
    order = Order(sessions=1, events=bench.sizes["events"], pad=bench.sizes.get("pad", 64))
    streams = bench.streams(["b0"] * bench.sizes["readers"], websocket=websocket)
    _deliver(bench, order, streams, bench.post_one_by_one if by_post else bench.publish, one_under_way=by_post)


def sessions(bench: Bench) -> None:
    """Many sessions, one reader each."""
    count = bench.sizes["sessions"]
    order = Order(sessions=count, events=bench.sizes["events"] * count, yield_every=bench.sizes["yield_every"])
    _deliver(bench, order, bench.streams([f"b{number}" for number in range(count)]), bench.publish)


def long_poll(bench: Bench) -> None:
    """One session, readers that poll it and wait."""
    path = bench.target.long_poll

    def following(body: bytes) -> bytes:
        found = _LAST_EVENT_ID.search(body)
        assert found is not None
        return get(path.format(session="b0", after=found[1].decode()))

    polls = []
    for _ in range(bench.sizes["readers"]):
        polls.append(
            LongPoll(connected(bench.target.port), get(path.format(session="b0", after="earliest")), following)
        )
        bench.loop.add(polls[-1])
    # Nothing tells that a poll has begun to wait, and none is lost that comes late.
    bench.loop.until(lambda: False, silence_seconds=0.5)
    _deliver(bench, Order(sessions=1, events=bench.sizes["events"]), polls, bench.publish)


def _deliver(
    bench: Bench,
    order: Order,
    readers: Sequence[Stream] | Sequence[LongPoll],
    publish: Callable[[Order], Callable[[], bool]],
    *,
    one_under_way: bool = False,
) -> None:
    """Publish and wait until every reader has the last event; then see whether it has them all.

    With ``one_under_way`` the server waits for the next event between two.
    """
    each = order.events // order.sessions
    countdown = Countdown()
    for reader in readers:
        reader.expect(b'"n":%d,' % each, countdown)
    deliveries = each * len(readers)
    bench.start_clock()
    published = publish(order)
    complete = bench.loop.until(lambda: countdown.left == 0 and published())
    seconds = bench.stop_clock(deliveries)
    _check(readers, 1, each)
    if not complete:
        raise Failed(f"{countdown.left} readers, or the publisher, came to no end in time")
    if not one_under_way:
        bench.require_busy_server(seconds)
    bench.outcome.figures["rate"] = deliveries / seconds


def _check(readers: Sequence[Stream] | Sequence[LongPoll], first: int, last: int) -> None:
    wrong = [why for reader in readers if (why := check(numbers(reader.received()), first, last))]
    if wrong:
        raise Failed(f"{len(wrong)} of {len(readers)} readers: {wrong[0]}")


def paced(bench: Bench) -> None:
    """Many sessions, one reader each, at a pace that leaves the server idle most of the time."""
    count, rate = bench.sizes["sessions"], bench.sizes["per_second"]
    each = rate * bench.sizes["seconds"] // count
    order = Order(sessions=count, events=each * count, per_second=rate)
    streams = bench.streams([f"b{number}" for number in range(count)], timed=True)
    delays = _paced_delays(bench, order, streams, 1, each)
    bench.outcome.figures |= {"p50": delays[49] / 1e3, "p99": delays[98] / 1e3}


def stalled(bench: Bench) -> None:
    """One session at a pace; at first all read, then a tenth of the readers has stopped."""
    readers, rate = bench.sizes["readers"], bench.sizes["per_second"]
    each, few = rate * bench.sizes["seconds"], readers // 10
    streams = bench.streams(["b0"] * readers, timed=True)
    pad = bench.sizes["pad"]
    before = _paced_delays(bench, Order(1, each, per_second=rate, pad=pad), streams, 1, each)
    for stream in streams[:few]:
        bench.loop.remove(stream)
        stream.socket.close()
    request = listen(bench.target.stream.format(session="b0"))
    idle = [connected(bench.target.port, segment_bytes=1400, receive_bytes=4096) for _ in range(few)]
    for connection in idle:
        connection.send(request)
    # They have joined when the server has had time to answer them; what they got is never read.
    bench.loop.until(lambda: False, silence_seconds=0.5)
    healthy = streams[few:]
    after = _paced_delays(bench, Order(1, each, each + 1, per_second=rate, pad=pad), healthy, each + 1, 2 * each)
    for connection in idle:
        connection.close()
    bench.outcome.figures |= {"p99_before": before[98] / 1e3, "p99": after[98] / 1e3, "times": after[98] / before[98]}


def _paced_delays(bench: Bench, order: Order, streams: Sequence[Stream], first: int, last: int) -> list[float]:
    """Publish at a pace; the percentiles 1 to 99 of the delays of all events, in ns."""
    countdown = Countdown()
    places = []
    for stream in streams:
        places.append(len(stream.pieces))
        stream.expect(b'"n":%d,' % last, countdown)
    bench.start_clock()
    bench.pace(order)
    bench.loop.until(countdown.over)
    bench.stop_clock((last - first + 1) * len(streams))
    _check(streams, 1, last)
    delays: list[int] = []
    for stream, place in zip(streams, places, strict=True):
        delays.extend(delays_ns(stream.pieces[place:], stream.times_ns[place:]))
    return quantiles(delays, n=100)


def idle(bench: Bench) -> None:
    """Streams to which nothing is sent; the first hundred pay for what the server makes once."""
    count = min(bench.sizes["connections"], open_files() - 200)
    bench.streams([f"b{number}" for number in range(100)])
    time.sleep(1)
    before = pss_bytes(bench.target.processes)
    bench.start_clock()
    bench.streams([f"b{number}" for number in range(100, count)])
    seconds = bench.stop_clock(count - 100)
    time.sleep(1)
    used = pss_bytes(bench.target.processes) - before
    bench.outcome.figures |= {"kib": used / 1024 / (count - 100), "connect_seconds": seconds, "connections": count}


def publish(bench: Bench, *, form: str) -> None:
    """Publishing over HTTP to sessions that nobody reads: ``single``, ``array`` or ``stream``, where it is taken.

    Those of an array and of a stream are alike, those of a ``varied`` array are not.
    """
    form = form if bench.target.takes_many else "single"
    many = bench.sizes["events"]

    def requests(session: str, count: int) -> Iterator[bytes]:
        path = bench.target.publish.format(session=session)
        if form == "single":
            for number in range(count):
                yield post(path, _event(number))
        elif form in ("array", "varied"):
            event = _event if form == "array" else _varied_event
            array = b"[%s]" % b",".join([event(number) for number in range(100)])
            for _ in range(count // 100):
                yield post(path, array)
        else:
            yield post(path, b"\n".join([_event(number) for number in range(count)]), "application/x-ndjson")

    count = 1 if form == "stream" else _PUBLISHERS
    each = many // count // 100 * 100
    prepared = [list(requests(f"b{number}", each)) for number in range(count)]
    publishers = [Publisher(connected(bench.target.port), mine) for mine in prepared]
    bench.start_clock()
    done = bench.started(publishers)
    bench.wait(done, "publishing")
    seconds = bench.stop_clock(each * count)
    done()
    answers = sum(len(publisher.bodies) for publisher in publishers)
    if answers != sum(map(len, prepared)):
        raise Failed(f"{answers} answers to {sum(map(len, prepared))} requests")
    if form == "stream" and b'"count":%d,' % each not in publishers[0].bodies[0]:
        raise Failed(f"the stream was not taken whole: {publishers[0].bodies[0][:200]!r}")
    bench.require_busy_server(seconds)
    bench.outcome.figures["rate"] = each * count / seconds


def permission(bench: Bench) -> None:
    """Ask, see it announced over SSE, decide, be answered; where there are no permissions, an empty POST instead."""
    times = bench.sizes["times"]
    if not bench.target.takes_many:
        publisher = Publisher(
            connected(bench.target.port), [post(bench.target.publish.format(session="b0"), b"")] * times
        )
        bench.start_clock()
        bench.wait(bench.started([publisher]), "posting")
        bench.stop_clock(times)
        spent = quantiles(publisher.spent_ns, n=100)[49] / 1e3
        bench.outcome.figures |= {"whole": spent, "answer": spent}
        return
    [stream] = bench.streams(["b0"])
    bench.loop.remove(stream)
    asker, decider = Publisher(connected(bench.target.port)), Publisher(connected(bench.target.port))
    stream.socket.setblocking(True)
    prefix = bench.target.stream.partition("/api/")[0]
    ask = post(
        f"{prefix}/api/permissions/b0?wait=30",
        b'{"tool_name":"write_file","parameters":{"path":"draft.txt","text":"some text"},"risk_level":"high"}',
    )
    whole, answer, seen = [], [], set()
    bench.start_clock()
    for _ in range(times):
        asked_ns = time.monotonic_ns()
        asker.send(ask)
        text = b""
        while (found := _ASKED.search(text)) is None:
            text += stream.socket.recv(65536)
        seen.add(found[1])
        decision = b'{"approved":true,"request_id":"%s"}' % found[1]
        decided_ns = time.monotonic_ns()
        decider.send(post(f"{prefix}/api/sse/permission-response/b0", decision))
        while not asker.done:
            asker.ready()
        answered_ns = time.monotonic_ns()
        while not decider.done:
            decider.ready()
        raise_failed([asker, decider])
        if b'"status":"approved"' not in asker.bodies[-1]:
            raise Failed(f"not approved: {asker.bodies[-1][:200]!r}")
        whole.append(answered_ns - asked_ns)
        answer.append(answered_ns - decided_ns)
    bench.stop_clock(times)
    if len(seen) != times:
        raise Failed(f"{times - len(seen)} requests were announced twice")
    bench.outcome.figures |= {"whole": quantiles(whole, n=100)[49] / 1e3, "answer": quantiles(answer, n=100)[49] / 1e3}


def storm(bench: Bench) -> None:
    """Readers that all drop, miss the second half of the events, and all come back at once with their last id."""
    readers, each = bench.sizes["readers"], bench.sizes["events"]
    countdown = Countdown()
    streams = bench.streams(["b0"] * readers)
    for stream in streams:
        stream.expect(b'"n":%d,' % each, countdown)
    published = bench.publish(Order(sessions=1, events=each))
    bench.loop.until(lambda: countdown.left == 0 and published())
    _check(streams, 1, each)
    # The id of a stream's last event; nchan puts it before the data, as most do.
    last_ids = [_LAST_ID.findall(stream.received())[-1].decode() for stream in streams]
    for stream in streams:
        bench.loop.remove(stream)
        stream.socket.close()
    bench.loop.until(lambda: False, silence_seconds=0.5)
    bench.wait(bench.publish(Order(sessions=1, events=each, first=each + 1)), "the publisher")
    bench.start_clock()
    back = []
    for last_id in last_ids:
        request = listen(bench.target.stream.format(session="b0"), f"Last-Event-ID: {last_id}")
        back.append(Stream(connected(bench.target.port), request))
        back[-1].expect(b'"n":%d,' % (2 * each), countdown)
        bench.loop.add(back[-1])
    bench.loop.until(countdown.over)
    seconds = bench.stop_clock(each * readers)
    _check(back, each + 1, 2 * each)
    bench.outcome.figures["seconds"] = seconds


WORKS: Mapping[str, Callable[[Bench], None]] = {
    "fanout": fanout,
    "fanout-post": lambda bench: fanout(bench, by_post=True),
    "websocket": lambda bench: fanout(bench, websocket=True),
    "long-poll": long_poll,
    "sessions-1": sessions,
    "sessions-100": sessions,
    "paced": paced,
    "idle": idle,
    "publish": lambda bench: publish(bench, form="single"),
    "publish-array": lambda bench: publish(bench, form="array"),
    "publish-varied": lambda bench: publish(bench, form="varied"),
    "publish-stream": lambda bench: publish(bench, form="stream"),
    "permission": permission,
    "stalled": stalled,
    "storm": storm,
}


def main() -> None:
    """Do the task that stands on the standard input."""
    task: dict[str, Any] = json.load(sys.stdin)
    raise_open_files()
    bench = Bench(Target(**task["target"]), task["sizes"])
    try:
        WORKS[task["work"]](bench)
    except (Failed, OSError) as error:
        bench.outcome.invalid = str(error)
    finally:
        with suppress(OSError):
            bench.loop.close()
    print(json.dumps(asdict(bench.outcome)))


if __name__ == "__main__":
    main()
