"""How risky the agents' own tools are, by their names, by what they are given, and by where that lies.

A tool that is not named here may do anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...calls.risk import RatedRisk, risk_of_name
from ...core.policy.deeds import is_path_name, plainly, texts_in
from ...core.policy.places import guards_the_agent, holds_secrets, is_workspace, patched_files, place_of
from ...core.policy.program_deeds import use_of
from ...core.policy.reasons import Reason
from ...core.policy.shell import read_call
from ...core.policy.tool_names import bare_name

__all__ = ["risk_by_agent"]

#: They change nothing and reach nobody; what a sub-agent does is told like everything else.
_HARMLESS = frozenset(
    {
        # Claude Code
        "Agent", "AskUserQuestion", "BashOutput", "EnterPlanMode", "ExitPlanMode", "ListMcpResourcesTool", "Task",
        "TaskCreate", "TaskGet", "TaskList", "TaskOutput", "TaskUpdate", "TodoRead", "TodoWrite", "ToolSearch",
        # Gemini CLI, Codex, opencode, Copilot CLI
        "ask_user", "get_internal_docs", "write_todos",
        "update_plan",
        "question", "task", "todoread", "todowrite",
        "report_intent", "update_todo",
    }
)  # fmt: skip
_READING = frozenset(
    {
        "Glob", "Grep", "LS", "NotebookRead", "Read",
        "glob", "grep_search", "list_directory", "read_file", "read_many_files", "search_file_content",
        "grep_files", "list_dir", "view_image",
        "list", "read",
        "grep", "view",
        # Cursor
        "codebase_search", "file_search", "read_lints",
    }
)  # fmt: skip
_EDITING = frozenset(
    {
        "Edit", "MultiEdit", "NotebookEdit", "Write",
        "replace", "save_memory", "write_file",
        "apply_patch",
        "multiedit", "patch", "write",
        "create", "edit",
        "edit_file", "search_replace",
    }
)  # fmt: skip
_ASKING_THE_WEB = frozenset(
    {"WebFetch", "WebSearch", "google_web_search", "web_fetch", "web_search", "webfetch", "websearch"}
)
_SHELLS = frozenset(
    {
        "Bash", "PowerShell", "bash", "exec_command", "local_shell", "powershell", "run_shell_command",
        "run_terminal_cmd", "shell",
    }
)  # fmt: skip
#: Parameters beside a command that say where it runs.
_FOLDERS = ("cwd", "dir_path", "directory", "workdir", "working_directory")
#: Parameters beside paths that say which files are meant.
_PATTERNS = frozenset({"exclude", "glob", "include"})


def risk_by_agent(
    tool_name: str, parameters: Mapping[str, Any], *, folder: object = None, is_of_server: bool = False
) -> RatedRisk:
    """Rate a call that an agent tells of; ``folder`` is where it says that it works.

    Of a server's tool an agent tells no hints.
    """
    if is_of_server or tool_name.startswith("mcp__"):
        return risk_of_name(bare_name(tool_name), parameters)
    workspace = folder if isinstance(folder, str) and is_workspace(folder) else None
    if tool_name in _HARMLESS:
        return RatedRisk("low", ())
    if tool_name in _READING or tool_name in _EDITING:
        texts = texts_in(parameters)
        files = _files(tool_name, texts.found)
        if tool_name in _READING:
            rated, most = _of_reading(files, workspace), RatedRisk("medium", (Reason("not_looked_through"),))
        else:
            rated, most = _of_editing(files, workspace), RatedRisk("high", (Reason("not_looked_through"),))
        return rated if texts.is_all or rated.reasons else most
    if tool_name in _ASKING_THE_WEB:
        return RatedRisk("medium", (Reason("asks_the_web"),))
    if tool_name in _SHELLS:
        return _of_command(parameters, workspace)
    return RatedRisk("high", ())


def _of_reading(files: Iterator[str], workspace: str | None) -> RatedRisk:
    outside: Reason | None = None
    for file in files:
        if holds_secrets(file):
            return RatedRisk("medium", (Reason("reads_secret_file", path=f'"{plainly(file)}"'),))
        place = place_of(file, workspace)
        if place == "system" or (workspace is not None and place not in (None, "workspace")):
            outside = outside or Reason("reads_outside", path=f'"{plainly(file)}"')
    return RatedRisk("low", ()) if outside is None else RatedRisk("medium", (outside,))


def _of_editing(files: Iterator[str], workspace: str | None) -> RatedRisk:
    for file in files:
        place = place_of(file, workspace)
        path = f'"{plainly(file)}"'
        if guards_the_agent(file):
            return RatedRisk("high", (Reason("changes_guards", path=path),))
        if place == "system" or holds_secrets(file) or (workspace is not None and place not in (None, "workspace")):
            return RatedRisk("high", (Reason("writes_outside", path=path),))
    return RatedRisk("medium", ())


def _of_command(parameters: Mapping[str, Any], workspace: str | None) -> RatedRisk:
    """A command that is known to read only is as harmless as what it reads."""
    reading = read_call(parameters)
    if reading is None or reading.not_understood is not None or parameters.get("dangerouslyDisableSandbox"):
        return RatedRisk("high", ())
    if not all(use_of(words).only_reads for words in reading.parts):
        return RatedRisk("high", ())
    words = [word for words in reading.parts for word in words[1:]]
    folders = [str(parameters[name]) for name in _FOLDERS if parameters.get(name)]
    rated = _of_reading(filter(None, map(_file_in, folders + words)), workspace)
    return rated._replace(level="medium") if workspace is None else rated


def _file_in(word: str) -> str | None:
    """What may be a file of a command's word: all of it, or what an option is given."""
    if word.startswith("-"):
        value = word.partition("=")[2] or word[word.find("/") :] if "/" in word or "=" in word else ""
        return value or None
    return None if word == "/dev/null" else word


def _files(tool_name: str, texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in texts:
        if tool_name == "apply_patch" or "patch" in name.lower():
            yield from patched_files(text)
        elif is_path_name(name) or name in _PATTERNS or (name == "pattern" and tool_name in ("Glob", "glob")):
            yield text
