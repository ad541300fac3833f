"""The demonstration agent: a small job done over and over, with tools that are real and ask where it matters."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar

from .calls.tool_wrapper import ToolWrapper, report_progress
from .chat import ChatTurn
from .core.broker import Broker
from .core.errors import ToolDenied
from .core.limits import RiskLevel

__all__ = ["ChatWorkspace", "DemoAgent", "DemoChat", "Workspace"]

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


class ChatWorkspace(Workspace):
    """The tools of the chat: whoever may chat may also edit what is asked, so none of them can do harm elsewhere."""

    RISKS: ClassVar[dict[str, RiskLevel]] = {
        "list_folder": "low",
        "read_file": "low",
        "write_file": "medium",
        "count_words": "high",
    }
    _MAX_FILES = 100
    _MAX_CHARACTERS = 10_000

    async def write_file(self, path: str, text: str) -> dict[str, Any]:
        notes = self.folder / "notes"
        if self._inside(path).parent != notes or not path.endswith(".md"):
            raise ValueError("notes are written as notes/NAME.md")
        if len(text) > self._MAX_CHARACTERS or len(list(notes.iterdir())) >= self._MAX_FILES:
            raise ValueError(f"at most {self._MAX_FILES} notes of {self._MAX_CHARACTERS} characters are kept")
        return await super().write_file(path, text)

    async def count_words(self) -> str:
        # Not by the file in the folder: what runs is nothing that was written here.
        result = await self.run_program([sys.executable, "-I", "-c", _PROGRAM])
        return str(result["output"])


class DemoChat:
    """The agent that answers in the chat when nobody gave another: a few commands, with tools that really run and ask.

    Each session has notes of its own, in a temporary folder that ``close`` removes, or the hundredth session after it.
    """

    _MAX_FOLDERS = 100
    _HELP = (
        "Hello! I am the demonstration agent of notifier_service. I know these commands:\n"
        "list; read NAME; write NAME TEXT; count (a program counts the words of all notes); talk SECONDS.\n"
        "Before I write a note or run a program I ask you, in the events of this session."
    )
    _HELP_CHINESE = (
        "你好！我是 notifier_service 的演示助手。我懂这些命令：\n"
        "list（列出笔记）、read 名称、write 名称 内容、count（用程序统计字数）、talk 秒数。\n"
        "写笔记或运行程序之前，我会在本会话的事件里请求你的许可。"
    )

    def __init__(self, *, pause_seconds: float = 0.02) -> None:
        self._pause_seconds = pause_seconds
        # By session, the one that was used last at the end.
        self._notes: OrderedDict[str, tuple[tempfile.TemporaryDirectory[str], ChatWorkspace]] = OrderedDict()

    def close(self) -> None:
        """Remove the notes."""
        while self._notes:
            self._notes.popitem()[1][0].cleanup()

    async def __call__(self, turn: ChatTurn) -> AsyncIterator[str]:
        """Answer one turn, word by word."""
        async with aclosing(self._answer(turn)) as sentences:
            async for sentence in sentences:
                for word in re.findall(r"\S+\s*|\s+", sentence):
                    yield word
                    await asyncio.sleep(self._pause_seconds)

    async def _answer(self, turn: ChatTurn) -> AsyncGenerator[str, None]:
        command, _, rest = turn.query.strip().partition(" ")
        name, _, text = rest.strip().partition(" ")
        for attachment in turn.attachments:
            yield f"You sent me {len(attachment)} bytes. "
        try:
            match command.lower():
                case "list":
                    yield "\n".join(await self._use(turn, "list_folder", path="notes"))
                case "read" if name:
                    yield await self._use(turn, "read_file", path=f"notes/{_file_name(name)}")
                case "write" if name and text:
                    yield f"I would like to write {_file_name(name)}. "
                    written = await self._use(turn, "write_file", path=f"notes/{_file_name(name)}", text=f"{text}\n")
                    yield f"Written: {written['bytes']} bytes."
                case "count":
                    yield "I would like to run a program. "
                    yield await self._use(turn, "count_words")
                case "talk":
                    for number in range(min(600, int(name) if name.isdecimal() else 10) * 10):
                        yield f"{number / 10:.1f} "
                        await asyncio.sleep(0.1)
                case _:
                    yield self._HELP_CHINESE if re.search("[\u4e00-\u9fff]", turn.query) else self._HELP
        except ToolDenied as denial:
            yield f"I did not do it: {denial}"
        except OSError as error:
            yield f"That did not work: {error.strerror or type(error).__name__}"
        except (ValueError, TypeError) as error:
            yield f"That did not work: {error}"  # a person's edit may be of any shape

    async def _use(self, turn: ChatTurn, tool: str, **arguments: Any) -> Any:
        notes = self._notes.pop(turn.session_id, None)
        if notes is None:
            folder = tempfile.TemporaryDirectory(prefix="notifier-chat-")
            notes = folder, ChatWorkspace(Path(folder.name))
        self._notes[turn.session_id] = notes
        if len(self._notes) > self._MAX_FOLDERS:
            self._notes.popitem(last=False)[1][0].cleanup()
        tools = turn.tools(
            notes[1], risk_level=ChatWorkspace.RISKS, description=f"Asked in the chat: {turn.query[:200]}"
        )
        return await tools.call_tool(tool, arguments)


def _file_name(name: str) -> str:
    return name if name.endswith(".md") else f"{name}.md"
