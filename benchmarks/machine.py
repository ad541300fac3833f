"""The machine as a benchmark sees it: cores, limits, and what a process used."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable
from pathlib import Path

__all__ = ["cores", "cpu_seconds", "free_port", "open_files", "pss_bytes", "raise_open_files"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[int, int]:
    """The core of the server and the core of the load generator; the same one where there is no other."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def open_files() -> int:
    """How many files a process may open at most."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def raise_open_files() -> None:
    """Let this process, and those it starts, open as many files as it may."""
    most = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_seconds(processes: Iterable[int]) -> float:
    """What the processes have used so far, in the kernel too; in steps of a tick, mostly 10 ms."""
    ticks = 0
    for process in processes:
        # The name stands in brackets and may hold blanks; utime and stime are the 12th and 13th field after it.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def pss_bytes(processes: Iterable[int]) -> int:
    """Memory of the processes, with what they share counted once (proportional set size)."""
    kibibytes = 0
    for process in processes:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kibibytes += int(line.split()[1])
    return kibibytes * 1024
