"""What a peer is: programs to start on the server's core, and where the load generator finds what it does."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from ..machine import cores, free_port

__all__ = ["Missing", "Peer", "Target", "install_debian", "install_python", "running"]

_READY_SECONDS = 60


class Missing(Exception):
    """A peer cannot take part; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running peer, as the load generator sees it. ``{session}`` stands for a session id in paths."""

    port: int
    #: GET gives the event stream.
    stream: str
    #: POST publishes one event, ``{"type", "data"}``.
    publish: str
    #: What a reader has received when it will miss nothing any more.
    ready: str
    #: POST an order here and the server publishes by itself (see ``orders``); without, the generator publishes by POST.
    orders_port: int | None = None
    #: GET gives a WebSocket; then as ``ready``.
    websocket: str = ""
    websocket_ready: str = "\r\n\r\n"
    #: GET gives the events behind the cursor ``{after}``, and waits for them.
    long_poll: str = ""
    #: Whether ``publish`` also takes an array, and an NDJSON stream.
    takes_many: bool = False
    #: How many requests it takes at once on one connection, kept in order: what is fastest for it.
    window: int = 1
    #: All of its processes.
    processes: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports of this machine that a peer may listen on."""

    main: int = field(default_factory=free_port)
    other: int = field(default_factory=free_port)


class Peer(ABC):
    """A server that readers can listen to. Everything of it runs on the server's core."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: The works it cannot do, by name.
    cannot: ClassVar[frozenset[str]] = frozenset()
    #: How many events it gets in a work, next to the others: a slow one is measured as long with fewer.
    share: ClassVar[float] = 1.0

    @abstractmethod
    def prepare(self, *, may_install: bool) -> None:
        """Install what is not there, or raise ``Missing``."""

    @abstractmethod
    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        """The command lines to run, each a process that starts no others; files may be written to ``folder``."""

    @abstractmethod
    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        """Where the load generator finds what."""


@contextmanager
def running(peer: Peer, *, under: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Target]:
    """Run a peer on the server's core, by the command ``under`` if one is given.

    Raises ``RuntimeError`` with its last words when it does not come up.
    """
    core, _ = cores()
    ports, started = Ports(), []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name, Path(name, "output").open("w+b") as output:
        try:
            for program in peer.programs(ports, Path(name)):
                started.append(
                    subprocess.Popen(  # noqa: S603  # the programs of the peers are what this is for
                        [*under, *program],
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        cwd=Path(__file__).parents[2],
                        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
                    )
                )
            target = peer.target(ports, [])
            for port in {ports.main, target.orders_port or ports.main}:
                if not _listens(port, started):
                    output.seek(0)
                    raise RuntimeError(f"{peer.name} did not start: {output.read()[-2000:].decode(errors='replace')}")
            yield peer.target(ports, [process.pid for process in started])
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def python_program(module: str, ports: Ports, *more: str) -> Sequence[str]:
    """A server of this folder, given the port to serve on and the port to take orders on."""
    return [sys.executable, "-m", f"benchmarks.peers.{module}", str(ports.main), str(ports.other), *more]


def install_debian(packages: Sequence[str], programs: Sequence[str], *, may_install: bool) -> None:
    """Have the programs, from Debian's packages if need be and if this is Debian's root."""
    missing = [program for program in programs if not _on_path(program)]
    if not missing:
        return
    apt = shutil.which("apt-get")
    if may_install and apt is not None and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", *packages]):
            subprocess.run([apt, *arguments], env=quiet, check=False, capture_output=True)  # noqa: S603
        missing = [program for program in programs if not _on_path(program)]
    if missing:
        raise Missing(f"sudo apt-get install {' '.join(packages)}")


def install_python(packages: Sequence[str], modules: Sequence[str], *, may_install: bool) -> None:
    """Have the modules in this environment, from PyPI if need be."""

    def missing() -> bool:
        importlib.invalidate_caches()
        return any(importlib.util.find_spec(module) is None for module in modules)

    pip = [sys.executable, "-m", "pip", "install"]
    if missing() and may_install:
        quiet = [*pip, "--quiet", "--disable-pip-version-check", *packages]
        subprocess.run(quiet, check=False, capture_output=True)  # noqa: S603
    if missing():
        raise Missing(f"{' '.join(pip)} {' '.join(packages)}")


def _on_path(program: str) -> bool:
    return shutil.which(program) is not None or Path("/usr/sbin", program).exists() or Path(program).is_file()


def _listens(port: int, processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """Wait until somebody accepts there; False when the time is over or a process has ended."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.02)
    return False
