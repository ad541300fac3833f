"""Has imported all of the service, and forks a command for each line that comes over a socket: see ``forks.py``.

A line is JSON: arguments, environment and folder. With it come the three ends of the new process, and a pipe in which
its number is said, and how it ended.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import notifier_service
from notifier_service.cli import main


def _load_everything() -> None:
    names = [module.name for module in walk_packages(notifier_service.__path__, "notifier_service.")]
    for name in [*names, "uvloop"]:
        if not name.endswith("__main__"):
            with suppress(ImportError):  # of an extra, or of somebody else's that is not here
                import_module(name)
    gc.collect()
    gc.freeze()  # what all share, nobody need look through or copy


def _line(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next command and its four pipes; nothing when nobody will ask any more."""
    read, ends, _, _ = socket.recv_fds(asked, 1 << 20, 4)
    while read and not read.endswith(b"\n"):
        read += asked.recv(1 << 20)
    return (json.loads(read) if read else {}), ends


def _become(command: dict[str, Any], ends: list[int]) -> None:
    """What a process is that was started anew with these."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    sys.argv = ["notifier-service", *command["arguments"]]


def _run(asked: socket.socket) -> dict[str, Any]:
    """Fork until nobody asks any more, then end what still runs. Comes back in each fork, too, with its command."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asked, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _say(running[pid], os.waitstatus_to_exitcode(status))
                    os.close(running.pop(pid))
        if asked in ready:
            command, ends = _line(asked)
            if not command:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return {}
            if not (pid := os.fork()):
                asked.detach()
                _become(command, ends[:3])
                return command
            running[pid] = ends.pop()
            _say(running[pid], pid)
            for end in ends:
                os.close(end)


def _say(pipe: int, number: int) -> None:
    with suppress(BrokenPipeError):  # who asked has gone
        os.write(pipe, b"%d\n" % number)


if __name__ == "__main__":
    _load_everything()
    if _run(socket.socket(fileno=int(sys.argv[1]))):
        raise SystemExit(main())
