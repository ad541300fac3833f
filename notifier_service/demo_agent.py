"""The demonstration agent: a small job done over and over, with tools that are real and ask where it matters."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from .broker import Broker
from .errors import ToolDenied
from .limits import RiskLevel
from .tool_wrapper import ToolWrapper, report_progress

__all__ = ["DemoAgent", "Workspace"]

_PROGRAM = """\
import pathlib
for note in sorted(pathlib.Path("notes").glob("*.md")):
    print(note.name, len(note.read_text().split()), "words")
"""


class Workspace:
    """A folder, and the tools that work in it and nowhere else. Every path is relative to it."""

    RISKS: ClassVar[dict[str, RiskLevel]] = {
        "list_folder": "low",
        "read_file": "low",
        "write_file": "medium",
        "run_program": "high",
    }

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        (self.folder / "notes").mkdir(parents=True, exist_ok=True)
        (self.folder / "count_words.py").write_text(_PROGRAM, encoding="utf-8")
        (self.folder / "notes" / "welcome.md").write_text("This folder belongs to the demo agent.\n", encoding="utf-8")

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run one of the four tools, as an MCP client session would."""
        if name not in self.RISKS:
            raise ValueError(f"there is no tool {name}")
        return await getattr(self, name)(**arguments)

    async def list_folder(self, path: str) -> list[str]:
        return sorted(entry.name + ("/" if entry.is_dir() else "") for entry in self._inside(path).iterdir())

    async def read_file(self, path: str) -> str:
        return self._inside(path).read_text(encoding="utf-8")

    async def write_file(self, path: str, text: str) -> dict[str, Any]:
        file = self._inside(path)
        file.write_text(text, encoding="utf-8")
        return {"path": path, "bytes": file.stat().st_size}

    async def run_program(self, argv: list[str], timeout_seconds: float = 10) -> dict[str, Any]:
        report_progress(0, 1, "starting")
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout_seconds):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        report_progress(1, 1, "done")
        return {"exit_code": process.returncode, "output": output.decode(errors="replace")}

    def _inside(self, path: str) -> Path:
        found = (self.folder / path).resolve()
        if not found.is_relative_to(self.folder):
            raise ValueError("the path leads out of the workspace")
        return found


class DemoAgent:
    """Lists, reads, writes and runs, round after round, and says what it does; ``say`` hears every sentence too."""

    def __init__(
        self,
        broker: Broker,
        workspace: Workspace,
        *,
        session_id: str = "demo",
        pause_seconds: float = 5,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._broker = broker
        self._session_id = session_id
        self._pause_seconds = pause_seconds
        self._say = say
        self._tools = ToolWrapper(
            workspace,
            session_id=session_id,
            broker=broker,
            risk_level=Workspace.RISKS,
            description="One step of the demonstration.",
        )

    async def run(self) -> None:
        """Work until cancelled."""
        number = 0
        while True:
            number += 1
            await self.round(number)
            await asyncio.sleep(self._pause_seconds)

    async def round(self, number: int) -> None:
        """Do the job once."""
        await self.tell(f"Round {number}: I look at my notes.")
        for note in await self._use("list_folder", path="notes") or ():
            await self._use("read_file", path=f"notes/{note}")
        path = f"notes/round-{number}.md"
        await self.tell(f"I would like to write {path}.")
        await self._use("write_file", path=path, text=f"# Round {number}\n\nA person said that I may write this.\n")
        await self.tell("I would like to count the words with a program.")
        await self._use("run_program", argv=[sys.executable, "count_words.py"])
        await self.tell(f"Round {number} is over.")

    async def tell(self, sentence: str) -> None:
        self._say(sentence)
        await self._broker.publish(self._session_id, "agent_message", {"text": sentence})

    async def _use(self, tool: str, **arguments: Any) -> Any:
        """Call a tool; a denial and a failure are told, and the job goes on."""
        try:
            result = await self._tools.call_tool(tool, arguments)
        except ToolDenied as denial:
            await self.tell(f"Denied: {denial}")
        except Exception as error:
            await self.tell(f"{tool} failed: {type(error).__name__}: {error}")
        else:
            self._say(f"{tool} gave {str(result)[:200]!r}")
            return result
        return None
