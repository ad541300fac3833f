"""The command ``notifier-service``: the only place that reads its arguments and configures logging."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    import asyncio
    from collections.abc import Awaitable, Callable, Sequence

    Command = Callable[[argparse.Namespace], Awaitable[int]]

__all__ = ["main"]

_EXIT_CODES = """\
exit codes:
  0  done; for ask --wait: approved
  1  refused by the service; for ask --wait: not approved
  2  wrong usage or a wrong setting
  3  the service does not answer
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] == "hook":
        from . import hook

        exit_code = hook.main(given[1:])  # an agent waits for it before each of its calls: nothing else is loaded
        if argv is None:  # nor does it wait until everything is taken apart
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(exit_code)
        return exit_code
    if list(given) == ["--version"]:
        from ..version import __version__

        print(f"notifier-service {__version__}")
        return 0
    if argv is None:
        _start_lightly()
    arguments = _parser(given[0] if given else "").parse_args(given)
    import asyncio

    from ..core.errors import NotifierError, ServiceUnavailable, ServiceUnproven

    if argv is None:
        _collect()
    command: Command = arguments.command
    try:
        with asyncio.Runner(loop_factory=_fast_loop() if arguments.is_server else None) as runner:
            exit_code = runner.run(_run(command, arguments))
        sys.stdout.flush()  # here, where a reader who has left is caught
        return exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output (head, grep -q) has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ServiceUnproven as error:
        return _complain(error.message, 3)
    except ServiceUnavailable as error:
        return _complain(f"{error.message}\nIs it running? Start it with: notifier-service serve", 3)
    except NotifierError as error:
        return _complain(f"{error.message} ({error.code})", 1)


def _start_lightly() -> None:
    """Have a process of our own load what it needs at once: nothing that is loaded becomes garbage."""
    import gc

    from .certificates import read_when_used

    gc.disable()
    read_when_used()


def _collect() -> None:
    """Collect garbage from now on, and never look for it among what is loaded."""
    import gc

    gc.freeze()
    gc.enable()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of the extra ``fast``, or None where it is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(command: Command, arguments: argparse.Namespace) -> int:
    return await command(arguments)


def _complain(text: str, exit_code: int) -> int:
    print(f"notifier-service: {text}", file=sys.stderr)
    return exit_code


#: Which module has which commands, in the order in which they are listed.
_MODULES = {
    "service": ("serve", "demo"),
    "scripts": ("watch", "publish", "ask", "decide"),
    "desk": ("sessions", "pending"),
    "away": ("away",),
    "history": ("history",),
    "rules": ("rules",),
    "token": ("token",),
    "pair": ("pair",),
    "devices": ("devices",),
    "schema": ("schema",),
    "gateway": ("gateway",),
    "connect": ("connect",),
    "bridge": ("bridge",),
    "resume": ("resume",),
    "policy": ("policy",),
    "audit": ("audit",),
    "journal": ("journal",),
    "proxy_config": ("proxy-config",),
    "doctor": ("doctor",),
    "hook": ("hook",),
}


def _parser(name: str) -> argparse.ArgumentParser:
    """What reads the arguments of one command, loading only that; of all, where ``name`` is none of them."""
    import argparse
    from importlib import import_module

    from ..version import __version__

    parser = argparse.ArgumentParser(
        prog="notifier-service",
        description="See in real time what an AI agent does, and be asked before it does something that matters.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"notifier-service {__version__}")
    parser.set_defaults(is_server=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in [module for module, names in _MODULES.items() if name in names] or _MODULES:
        import_module(f".{module}", __name__).add_commands(commands)
    return parser
