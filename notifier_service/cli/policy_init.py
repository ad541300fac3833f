"""``policy init``: write a policy for the folder of a project, from ``starter_policy.toml``."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from ..core.policy.binding import escaped
from ..core.policy.places import is_workspace
from ..core.policy.policy import Policy

__all__ = ["add_init", "starter_policy"]

_FILE = "notifier-policy.toml"
_EDITS = "# --edits allow\n"


def add_init(steps: Any) -> None:
    parser = steps.add_parser(
        "init",
        help="write a policy for the folder that one stands in",
        description="Write a policy for a project's folder: what an agent does there all day (looks around, builds and "
        "tests) runs without asking, everything else asks. The file has examples, and is meant to be changed.",
        epilog=f"Then: notifier-service serve --policy-file {_FILE}",
    )
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help=f"the file to write ({_FILE} in the folder); - prints it"
    )
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="the project's folder (this one)")
    parser.add_argument(
        "--edits",
        choices=["ask", "allow"],
        default="ask",
        help="whether the agent may edit files of the folder without asking; its tests and builds then run what nobody "
        "has seen (ask)",
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.set_defaults(command=_init)


async def _init(arguments: argparse.Namespace) -> int:
    folder = Path(os.path.abspath(arguments.folder))
    is_printed = str(arguments.file) == "-"
    file = folder / _FILE if arguments.file is None or is_printed else Path(os.path.abspath(arguments.file))
    try:
        if not folder.is_dir():
            raise InvalidInput(f"{folder} is no folder")
        text = starter_policy(folder, file, may_edit=arguments.edits == "allow")
        if not is_printed:
            _write(file, text, over=arguments.force)
    except FileExistsError:
        print(f"notifier-service: {file} is there already: name another file, or --force", file=sys.stderr)
        return 1
    except (InvalidInput, OSError) as error:
        why = error.message if isinstance(error, InvalidInput) else f"{file} cannot be written: {error.strerror}"
        print(f"notifier-service: {why}", file=sys.stderr)
        return 1
    if is_printed:
        print(text, end="")
        return 0
    named = arguments.file or (file if arguments.folder != Path() else _FILE)
    print(f"Wrote {named}: {len(Policy.loads(text, str(file)).rules)} rules for {folder}")
    print(f"Serve with it:  notifier-service serve --policy-file {named}")
    print("Ask what it says:  notifier-service policy explain Bash", end="")
    print(f' --parameters \'{{"command": "git push"}}\' --policy-file {named}')
    return 0


def _write(file: Path, text: str, *, over: bool) -> None:
    with file.open("w" if over else "x", encoding="utf-8") as opened:
        opened.write(text)


def starter_policy(folder: Path, file: Path, *, may_edit: bool = False) -> str:
    """The text of a policy for this folder, which is kept in this file.

    With ``may_edit`` the agent may edit what is in the folder, too. Raises ``InvalidInput`` for a folder that holds
    more than a project, and for names that no rule can name.
    """
    if not is_workspace(str(folder)):
        raise InvalidInput(
            f"{folder} holds more than a project: stand in the project's folder, or name it with --folder"
        )
    for path in (folder, file):
        if not str(path).isprintable() or "'" in str(path) or "\\" in str(path):
            raise InvalidInput(f"{str(path)!r} has characters in its name that no rule can name")
    template = files(__package__).joinpath("starter_policy.toml").read_text(encoding="utf-8")
    rules, _, edits = template.partition(_EDITS)
    text = rules + ("".join(line.removeprefix("# ") for line in edits.splitlines(keepends=True)) if may_edit else edits)
    placed = {
        "{folder}": _in_text(str(folder)),
        "{files}": _in_text(escaped(str(folder))),
        "{policy}": _in_text(escaped(str(file))),
        "{policy_path}": _in_text(str(file)),
        "{shell}": f"'{_in_text(str(folder))}'",
    }
    for name, value in placed.items():
        text = text.replace(name, value)
    return text


def _in_text(value: str) -> str:
    """As it stands within a text of TOML."""
    return value.replace('"', '\\"')
