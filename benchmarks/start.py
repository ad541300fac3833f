"""``python -m benchmarks.start``: what a command costs to start, as a ratio to a Python that does nothing.

CPU of the whole program, the kernel's part included, in rounds that alternate. The commands run as where the package is
installed with what it needs: in an environment in which nothing else is loaded at each start.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .__main__ import positive

__all__ = ["Program", "cpu_seconds", "main"]

_ROOT = Path(__file__).parents[1]
_SCRIPT = "#!{python}\nimport sys\nfrom notifier_service.cli import main\nsys.exit(main())\n"
_CALL = {"session_id": "s1", "hook_event_name": "PreToolUse", "tool_name": "Read", "tool_input": {"file_path": "/x"}}
_NOTHING = "`python -c pass`"
#: Compiled code is kept, as where a package is installed, even if this Python is told not to.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, what it reads, and whether it is stopped when it has said its first line."""

    command: tuple[str, ...]
    typed: str = ""
    is_ready_by_line: bool = False


def cpu_seconds(program: Program) -> float:
    """What one run uses, user and system. Raises ``RuntimeError`` if it fails."""
    with subprocess.Popen(  # noqa: S603  # the commands below
        program.command,
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(program.typed.encode())
        process.stdin.close()
        said = process.stdout.readline() if program.is_ready_by_line else process.stdout.read()
        if program.is_ready_by_line:
            os.kill(process.pid, signal.SIGKILL)  # not process.kill, which may wait for its end
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if not said if program.is_ready_by_line else process.returncode:
        raise RuntimeError(f"{' '.join(program.command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def _programs(python: str, script: str, url: str) -> Mapping[str, Program]:
    """The commands by what the table calls them; the first does nothing."""
    serve = (script, "serve", "--port", "0", "--log-level", "error")
    call = json.dumps(_CALL)
    return {
        _NOTHING: Program((python, "-c", "pass")),
        "`hook` that asks a service on this machine": Program((script, "hook", "--url", url), call),
        "the same as `python -m notifier_service hook`": Program(
            (python, "-m", "notifier_service", "hook", "--url", url), call
        ),
        "`--version`": Program((script, "--version")),
        "`ask --help`": Program((script, "ask", "--help")),
        "`serve` until it is ready": Program(serve, is_ready_by_line=True),
        "aiohttp, pydantic and pydantic-settings alone": Program(
            (python, "-c", "import aiohttp.web, pydantic, pydantic_settings")
        ),
    }


@contextmanager
def _installed() -> Iterator[tuple[str, str]]:
    """Python and the command, as paths, in an environment of their own."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder, packages = Path(name), sysconfig.get_path("purelib")
        venv.create(folder, symlinks=True)
        python, script = folder / "bin/python", folder / "bin/notifier-service"
        (folder / Path(packages).relative_to(sys.prefix) / "packages.pth").write_text(f"{_ROOT}\n{packages}\n")
        script.write_text(_SCRIPT.format(python=python))
        script.chmod(0o755)
        yield str(python), str(script)


@contextmanager
def _service(script: str) -> Iterator[str]:
    """Its address."""
    with subprocess.Popen(  # noqa: S603  # our own command
        [script, "serve", "--port", "0", "--log-level", "error"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def main() -> None:
    """Print a table, in Markdown; medians of the rounds, the smallest and the largest in brackets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="how often each is started, in turn (5)")
    rounds = parser.parse_args().rounds
    with _installed() as (python, script), _service(script) as url:
        programs = _programs(python, script, url)
        for program in programs.values():  # what is compiled at the first start is not counted
            cpu_seconds(program)
        found: dict[str, list[float]] = {title: [] for title in programs}
        for _ in range(rounds):
            for title, program in programs.items():
                found[title].append(cpu_seconds(program))
    print("| command | as a ratio | ms of CPU |\n|---|---|---|")
    for title, seconds in found.items():
        ratios = [one / nothing for one, nothing in zip(seconds, found[_NOTHING], strict=True)]
        print(
            f"| {title} | {median(ratios):.1f} × ({min(ratios):.1f}-{max(ratios):.1f}) | {median(seconds) * 1e3:.0f} |"
        )


if __name__ == "__main__":
    main()
