"""``connect`` shows what it would change in which file, changes it on yes, and takes it back."""

from __future__ import annotations

import argparse
import difflib
import os
import stat
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...bare import DEFAULT_URL
from ..hook import commands_of
from .agents import AGENTS, Agent, Place
from .changes import Kept, Original, take_away, write
from .jsonc import Jsonc, NotJson

__all__ = ["add_commands"]

_MAX_BYTES = 16 * 1024 * 1024


def add_commands(commands: Any) -> None:
    connect = commands.add_parser(
        "connect",
        help="have the agents of this machine ask here",
        description="Find the agents, editors and MCP clients of this machine, show what would have to change in which "
        "file so that they ask here, and change it after a yes. Nothing is touched unasked; --undo gives back every "
        "byte.",
        epilog="Known: " + ", ".join(agent.name for agent in AGENTS) + ".",
    )
    connect.add_argument("agents", nargs="*", metavar="AGENT", help="only these (all that are found)")
    url = os.environ.get("NOTIFIER_URL", DEFAULT_URL)
    connect.add_argument("--url", default=url, help=f"the service that they are to ask (NOTIFIER_URL; {url})")
    how = connect.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="show the changes, and make none")
    how.add_argument("--yes", action="store_true", help="make the changes without asking")
    connect.add_argument("--undo", action="store_true", help="give the files back as they were")
    connect.set_defaults(command=_connect)


#: How long another process may take to write what it was allowed to.
_LOCK_SECONDS = 10.0


class _Change(NamedTuple):
    title: str
    path: Path
    before: bytes | None
    #: None takes the file away.
    after: bytes | None
    note: str = ""
    #: The folders that go with a file that is taken away.
    made: Sequence[Path] = ()
    #: The same change to a file that is another one by now, as text.
    again: Callable[[bytes | None], bytes] | None = None


async def _connect(arguments: argparse.Namespace) -> int:
    known = {agent.name: agent for agent in AGENTS}
    unknown = [name for name in arguments.agents if name not in known]
    if unknown:
        print(f"notifier-service: {unknown[0]} is not known; known are {', '.join(known)}", file=sys.stderr)
        return 2
    kept = Kept(_state_folder() / "connect.json")
    chosen = [known[name] for name in arguments.agents] or AGENTS
    place = Place(
        Path.home(), os.environ, arguments.url, _program(), lambda dialect: commands_of(dialect, arguments.url)
    )
    try:
        if arguments.undo:
            by_path = {agent.path(place): agent for agent in AGENTS}
            changes, problems = _undone(
                kept, by_path, [agent.path(place) for agent in chosen] if arguments.agents else None
            )
        else:
            changes, problems = _changes(chosen, place, is_named=bool(arguments.agents))
        for problem in problems:
            print(f"notifier-service: {problem}", file=sys.stderr)
        if not changes:
            if not problems:
                print("Nothing is to be changed.")
            return 1 if problems else 0
        for change in changes:
            _show(change)
        if arguments.dry_run:
            return 1 if problems else 0
        if not arguments.yes and not _agreed(len(changes)):
            print("Nothing was changed.")
            return 0 if sys.stdin.isatty() else 2
        for change in changes:
            try:
                with kept.held(_LOCK_SECONDS):
                    _make(change, kept, is_undone=arguments.undo, is_any=arguments.yes)
            except (OSError, NotJson) as error:
                problems.append(_said(error) if isinstance(error, OSError) else f"{change.path}: {error}")
                print(f"notifier-service: {problems[-1]}", file=sys.stderr)
    except OSError as error:
        print(f"notifier-service: {_said(error)}", file=sys.stderr)
        return 1
    return 1 if problems else 0


def _changes(agents: Sequence[Agent], place: Place, *, is_named: bool) -> tuple[list[_Change], list[str]]:
    changes: list[_Change] = []
    problems: list[str] = []
    for agent in agents:
        path = agent.path(place)
        try:
            if not (is_named or (agent.is_here(place) and agent.name != "copilot")):
                continue  # the hooks of Copilot CLI go into a repository, which others share: only where it is named
            before = _content(path)
            change_of = partial(_changed, agent, place)
            after = change_of(before)
        except OSError as error:
            problems.append(f"{_said(error)}; {agent.title} is left as it is")
            continue
        except NotJson as error:
            problems.append(f"{path}: {error}; {agent.title} is left as it is")
            continue
        if after != before and _read(after).value != {}:
            if _is_read_only(path):
                problems.append(f"{path} is read-only; {agent.title} is left as it is")
            else:
                changes.append(_Change(agent.title, path, before, after, agent.note, again=change_of))
    return changes, problems


def _changed(agent: Agent, place: Place, before: bytes | None) -> bytes:
    """The settings with what makes the agent ask. Raises ``NotJson``."""
    settings = _read(before)
    agent.change(settings, place)
    return settings.text.encode()


def _undone(kept: Kept, agents: Mapping[Path, Agent], only: Collection[Path] | None) -> tuple[list[_Change], list[str]]:
    changes: list[_Change] = []
    problems: list[str] = []
    for path, original in kept:
        if only is not None and path not in only:
            continue
        try:
            now = _content(path)
            if original.is_as_left(now) or now == original.content:
                change = _Change("given back", path, now, original.content, made=original.made)
            else:
                change = _taken_out(path, now, original, agents.get(path))
        except (OSError, NotJson) as error:
            said = _said(error) if isinstance(error, OSError) else f"{path}: {error}"
            problems.append(f"{said}; it is left as it is, and what it was is kept in {kept.path}")
            continue
        if now is not None and _is_read_only(path):
            problems.append(f"{path} is read-only, and is left as it is")
        else:
            changes.append(change)
    return changes, problems


def _taken_out(path: Path, now: bytes | None, original: Original, agent: Agent | None) -> _Change:
    """What gives back a file that a person has changed since: only what was put in goes. Raises ``NotJson``."""
    if now is None:
        return _Change("is gone", path, None, None)
    if agent is None:
        raise NotJson("it was changed since")
    settings = _read(now)
    agent.restore(settings)
    is_empty = original.content is None and not (settings.value.keys() - {"version"})
    after = None if is_empty else settings.text.encode()
    title = "taken out; what else was changed since stays"
    return _Change(title, path, now, after, made=original.made)


def _read(content: bytes | None) -> Jsonc:
    """The settings; none and nothing are empty ones. Raises ``NotJson``."""
    try:
        settings = Jsonc("{}\n" if content is None or not content.strip() else content.decode())
    except UnicodeDecodeError:
        raise NotJson("it is no text in UTF-8") from None
    if not isinstance(settings.value, dict):
        raise NotJson("line 1: there is no object")
    return settings


def _show(change: _Change) -> None:
    old, new = (change.before or b"").decode(errors="replace"), (change.after or b"").decode(errors="replace")
    print(f"{change.title}: {change.path}" + (" (taken away)" if change.after is None else ""))
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        "/dev/null" if change.before is None else str(change.path),
        "/dev/null" if change.after is None else str(change.path),
    )
    for line in lines:
        print(_visible(line.rstrip("\r\n")))
    if change.note:
        print(f"  {change.note}")
    print()


def _visible(line: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\t" else f"\\u{ord(letter):04x}" for letter in line)


def _agreed(count: int) -> bool:
    files = "this file" if count == 1 else f"these {count} files"
    if not sys.stdin.isatty():
        print(f"notifier-service: to change {files} without a terminal, give --yes", file=sys.stderr)
        return False
    try:
        return input(f"Change {files}? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _make(change: _Change, kept: Kept, *, is_undone: bool, is_any: bool) -> None:
    """Make a change of what is there now; ``is_any`` makes it also of a file that is another one than was shown."""
    now = _content(change.path)
    if now == change.after and now is not None and not is_undone:
        print(f"{change.path} is so already")
        return
    if now != change.before:
        if change.again is None or not is_any:
            raise OSError(0, "it was changed meanwhile; nothing was written to", str(change.path))
        change = change._replace(before=now, after=change.again(now))
    if is_undone:
        if change.after is not None:
            write(change.path, change.after)
        elif change.before is not None:
            take_away(change.path, change.made)
        kept.forget(change.path)
    else:
        assert change.after is not None  # only what is given back is taken away
        take_back = kept.keep(change.path, change.before, change.after)
        try:
            write(change.path, change.after)
        except OSError:
            take_back()
            raise
    print(f"{'Gave back' if is_undone else 'Changed'} {change.path}")


def _content(path: Path) -> bytes | None:
    """What is in a file, or None where there is none. Raises ``OSError`` for what is no file, or far too large."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "This is no file", str(path))
    if status.st_size > _MAX_BYTES:
        raise OSError(0, f"This is larger than {_MAX_BYTES} bytes", str(path))
    return path.read_bytes()


def _is_read_only(path: Path) -> bool:
    """Whether nobody may write it: its user has said so, though its folder would let it be replaced."""
    return path.exists() and not path.stat().st_mode & 0o222


def _said(error: OSError) -> str:
    return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")


def _state_folder() -> Path:
    named = os.environ.get("XDG_STATE_HOME")
    return (Path(named) if named else Path.home() / ".local" / "state") / "notifier-service"


def _program() -> list[str]:
    """How to start this program again, from wherever an agent is started."""
    return [sys.executable, "-P", "-m", "notifier_service"]
