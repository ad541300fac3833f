"""What a person writes at a terminal: a line, or a text in their editor."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from rich.text import Text

from .keyboard import Keyboard
from .screen import Screen
from .terminal import one_line

__all__ = ["in_editor", "line_of"]


async def line_of(prompt: str, keyboard: Keyboard, screen: Screen) -> str:
    """Let the person write a line; nothing comes in between."""
    screen.hold()
    with keyboard.lines():
        screen.print_now(Text(prompt), end="")
        typed = await keyboard.next()
    screen.disturb()  # by the echo
    screen.release()
    return typed.text.strip() if typed is not None else ""


async def in_editor(text: str, keyboard: Keyboard, screen: Screen, *, name: str = "parameters.json") -> str:
    """Let the person edit ``text`` in a file of this name, or raise ``ValueError`` that says why not."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="notifier-edit-") as folder:
        path = Path(folder) / name
        path.write_bytes(text.encode())
        screen.hold()
        try:
            with keyboard.lent():
                command = [*shlex.split(editor), str(path)]
                exit_code = await asyncio.to_thread(
                    subprocess.call, command, stdin=keyboard.fileno(), stdout=screen.fileno()
                )
            if exit_code == 0:
                return path.read_bytes().decode()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"{one_line(f'{editor}: {why}')}; set EDITOR.") from None
        finally:
            screen.disturb()
            screen.release()
        raise ValueError(f"{one_line(editor)} ended with {exit_code}.")
