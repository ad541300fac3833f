"""Claude Code: ``permissions`` of a ``settings.json``, of which deny beats ask beats allow there, too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput
from ...core.policy.verdict import Effect
from .draft import ANY_SERVER, Draft
from .file_rules import FileRule
from .patterns import NO_OUTSIDE, NO_OUTSIDE_NO_OPTIONS, PLAIN_WORD, anything_with, escape, mentions_path, set_of
from .source_text import json_object, strings, wrong

__all__ = ["imported"]

_EFFECTS: tuple[Effect, ...] = ("deny", "ask", "allow")
_KNOWN_KEYS = {*_EFFECTS, "defaultMode", "additionalDirectories", "disableBypassPermissionsMode", "disableAutoMode"}

#: What happens there with a call that no rule matches; None is to ask.
_MODES: Mapping[str, str | None] = {
    "default": None,
    "acceptEdits": "edits are accepted in no folder here: a rule has to name it",
    "plan": "it only reads and plans there: what no rule allows is denied here",
    "dontAsk": None,
    "bypassPermissions": "everything is allowed there, and nothing without a rule here",
    "auto": "a model decides there, and a person here",
    "manual": None,
}
_DENYING_MODES = {"dontAsk", "plan"}

_RULE = re.compile(r"(?P<tool>[^()]+)(?:\((?P<content>.*)\))?", re.DOTALL)
_MCP_NAME = re.compile(r"mcp__(?P<server>.+?)(?:__(?P<tool>.+))?", re.DOTALL)
_DOMAIN = re.compile(r"(?:\*\.)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")

#: Names under which one tool went, and goes.
_ALIASES = {"Task": ("Agent", "Task"), "Agent": ("Agent", "Task"), "KillShell": ("KillShell", "TaskStop")}
#: Tools that are asked about nowhere, unless a rule says so.
_NEVER_ASKED = ("Agent", "Task", "TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "TodoWrite", "ToolSearch")
#: Tools whose rules with a path do nothing: those of Read and of Edit are for them too.
_FILE_TOOLS_WITHOUT_RULES = {
    "Write": "Edit", "MultiEdit": "Edit", "NotebookEdit": "Edit", "Glob": "Read", "Grep": "Read", "LS": "Read",
    "NotebookRead": "Read",
}  # fmt: skip

#: Commands whose paths are checked there, whatever allows them, and those of them that write.
_WITH_PATHS = set_of(
    """
    awk base64 cat cd cmp column comm cp cut diff egrep expand export fgrep file find fmt fold gawk git grep head
    hexdump jq ls man mawk md5sum mkdir mv nawk nl numfmt od paste pr rev rg rm rmdir sed sha1sum sha256sum sort stat
    strings tac tail tee touch tr tsort unexpand uniq wc
    """
)
_WITHOUT_OPTIONS = frozenset(("cd", "cp", "export", "man", "mv"))
#: What is asked about there before it is written, whatever allows that.
_PROTECTED = (
    r"(?:\.(?:git|vscode|idea|claude|husky|cargo|devcontainer|yarn|mvn|gitconfig|gitmodules|bash[a-z_]*|z[a-z]+|profile"
    r"|envrc|ripgreprc|mcp\.json|claude\.json|npmrc|yarnrc[.a-z]*|pnp[.a-z]+|pnpmfile\.cjs|bunfig\.toml|bazel[a-z]+"
    r"|pre-commit-config\.yaml|lefthook\.ya?ml|devcontainer\.json|config)|bunfig\.toml|lefthook\.ya?ml"
    r"|(?:gradle|maven)-wrapper\.properties|pyrightconfig\.json)"
)


def imported(text: str, path: Path | None) -> Draft:
    """Raises ``InvalidInput``."""
    settings = json_object(text)
    permissions = settings.get("permissions", settings if settings.keys() & {*_EFFECTS, "defaultMode"} else {})
    if not isinstance(permissions, dict):
        raise wrong("permissions", "an object", permissions)
    draft = Draft("Claude Code")
    if not permissions:
        draft.remark("permissions", "the file has none")
    for key in permissions.keys() - _KNOWN_KEYS:
        draft.remark(f"permissions.{key}", "this key is not known, and not carried over")
    _Import(draft, _project(path)).permissions(permissions)
    return draft


def _project(path: Path | None) -> Path | None:
    """The folder that the file is for: none for settings that hold in every folder, or lie somewhere else."""
    if path is None or path.parent.name != ".claude" or path.parent.parent == Path.home():
        return None
    return path.parent.parent


class _Import:
    def __init__(self, draft: Draft, project: Path | None) -> None:
        self._draft = draft
        self._project = project
        self._guarded: list[str] = []
        self._writes_files = False
        self._writes_by_shell = False
        #: What becomes of a call that would be asked about.
        self._asking: Effect = "ask"

    def permissions(self, permissions: Mapping[str, Any]) -> None:
        self._mode(permissions.get("defaultMode", "default"))
        for effect in _EFFECTS:
            for text in strings(permissions.get(effect, []), f"permissions.{effect}"):
                self._rule(self._asking if effect == "ask" else effect, text)
        self._working_folders(strings(permissions.get("additionalDirectories", []), "additionalDirectories"))
        self._allow(_NEVER_ASKED, "what Claude Code never asks about")
        self._guards()

    def _mode(self, mode: Any) -> None:
        if not isinstance(mode, str) or mode not in _MODES:
            raise InvalidInput(f"permissions.defaultMode: one of {', '.join(_MODES)} is needed")
        if mode in _DENYING_MODES:
            self._draft.default = "deny"
        if mode == "dontAsk":
            self._asking = "deny"
        if (remark := _MODES[mode]) is not None:
            self._draft.remark(f"defaultMode {mode}", remark)

    def _working_folders(self, more: Sequence[str]) -> None:
        if self._project is None:
            self._draft.remark(
                "its working folder",
                'Claude Code reads there without asking; this file does not say where it is: set workspace = "/…" and '
                'allow Read with parameters = { "/file_path" = { glob = "/…/**" } }',
            )
        else:
            self._draft.workspace = str(self._project)
            more = [f"{self._project}", *more]
        for folder in more:
            where = FileRule(f"{folder}/**" if folder.startswith("~") else f"/{folder}/**", has_project=True).allowed
            if not folder.startswith(("/", "~/")) or where is None or "*" in folder:
                self._draft.remark(f"working folder {folder}", "from where it is counted is not known: it asks")
                continue
            self._allow(("Read",), f"reading in {folder}", parameters={"/file_path": {"glob": where}})

    def _guards(self) -> None:
        """What is asked about whatever allows it; and tools of servers that have the names of Claude Code's own."""
        add = self._draft.add
        if self._guarded:
            namesake = "a server's tool with the name of one of Claude Code's own"
            add(self._asking, self._guarded, namesake, server=ANY_SERVER)
        if self._writes_files:
            protected = {"regex": rf"(?is)(?:.*[/\\])?{_PROTECTED}(?:[/\\].*)?"}
            add(self._asking, ("Edit", "Write", "MultiEdit"), "writing settings", parameters={"/file_path": protected})
        if self._writes_by_shell:
            named = {"regex": rf"(?is)(?:.*[^A-Za-z0-9_.-])?{_PROTECTED}(?:[^A-Za-z0-9_.-].*)?"}
            add(self._asking, "Bash", "a command about settings", parameters={"/command": named})

    def _allow(self, tools: Sequence[str], origin: str, **conditions: Any) -> None:
        self._draft.add("allow", tools, origin, **conditions)
        if conditions.get("server") is None:
            self._guarded += [tool for tool in tools if not tool.startswith("mcp__")]

    def _add(self, effect: Effect, tools: Sequence[str], origin: str, **conditions: Any) -> None:
        if effect == "allow":
            self._allow(tools, origin, **conditions)
        else:
            self._draft.add(effect, tools, origin, **conditions)

    def _nothing(self, origin: str, why: str) -> None:
        self._draft.remark(origin, f"it does nothing in Claude Code: {why}")

    def _left_out(self, origin: str, why: str) -> None:
        self._draft.remark(origin, f"not carried over: {why}")

    # one rule

    def _rule(self, effect: Effect, origin: str) -> None:
        found = _RULE.fullmatch(origin.strip())
        if found is None:
            self._nothing(origin, "it is no Tool and no Tool(…)")
            return
        tool, content = found["tool"].strip(), found["content"]
        if content is not None and content.strip() in ("", "*"):
            content = None
        if tool.startswith("mcp__"):
            self._server_tool(effect, tool, content, origin)
        elif not re.fullmatch(r"[A-Z*][A-Za-z0-9_*-]*", tool):
            self._nothing(origin, "no tool has such a name")
        elif content is None:
            self._whole_tool(effect, tool, origin)
        elif tool in ("Bash", "Monitor"):
            self._command(effect, tool, content, origin)
        elif tool in ("Read", "Edit"):
            self._files(effect, tool, content, origin)
        elif tool in _FILE_TOOLS_WITHOUT_RULES:
            self._nothing(origin, f"only {_FILE_TOOLS_WITHOUT_RULES[tool]}(…) is about paths, and for this tool too")
        elif tool == "WebFetch":
            self._domain(effect, content, origin)
        elif tool in ("Agent", "Task"):
            self._named(effect, _ALIASES[tool], "/subagent_type", content, origin)
        elif tool == "Skill":
            self._named(effect, ("Skill",), "/skill", content, origin)
        elif effect == "allow":
            self._left_out(origin, f"what it says of {tool} is not known here: it asks")
        else:
            self._draft.remark(origin, f"what it says of {tool} is not known here: {effect} holds for all of its calls")
            self._add(effect, _ALIASES.get(tool, (tool,)), origin)

    def _whole_tool(self, effect: Effect, tool: str, origin: str) -> None:
        if effect != "allow":
            self._add(effect, _ALIASES.get(tool, (tool,)), origin)
        elif "*" in tool:
            self._left_out(origin, "it would allow tools that it does not name")
        elif tool == "Bash":
            # Most of it is allowed there; what leads out of the folder is not, if it removes it.
            self._writes_by_shell = True
            inside = {"/command": {"regex": NO_OUTSIDE}}
            self._allow(("Bash",), origin, command=("*",), parameters=inside)
        else:
            self._writes_files |= tool in ("Edit", "Write", "MultiEdit", "NotebookEdit")
            self._allow(_ALIASES.get(tool, (tool,)), origin)

    def _server_tool(self, effect: Effect, name: str, content: str | None, origin: str) -> None:
        if content is not None:
            if effect == "allow":
                self._left_out(origin, "what a tool of a server is called with is no part of a rule there: it asks")
                return
            self._draft.remark(origin, f"{effect} holds for all calls of the tool, whatever they are called with")
        found = _MCP_NAME.fullmatch(name)
        if found is None:
            self._nothing(origin, "it names no server")
            return
        server, tool = found["server"], found["tool"]
        if effect != "allow":
            self._add(effect, [_covering(name if tool else f"{name}__*")], origin)
            parts = name.removeprefix("mcp__").split("__")
            for at in range(1, len(parts) + 1):
                behind = _covering("__".join(parts[at:]) or "*", "_-")
                one_server = _covering("__".join(parts[:at]), "_")
                self._add(effect, [behind], f"{origin} through a gateway", server=one_server)
            return
        if re.search(r"[?\[\]]", name) or "*" in server:
            self._left_out(origin, "it would allow servers or tools that it does not name")
            return
        self._add(effect, [name if tool else f"{name}__*"], origin)
        if tool is None or "__" not in tool:
            self._add(effect, [tool or "*"], f"{origin} through a gateway", server=server)

    def _command(self, effect: Effect, tool: str, content: str, origin: str) -> None:
        if content.endswith(":*"):
            words, is_prefix, has_stars = content[:-2].split(), True, "*" in content[:-2]
        else:
            is_prefix = content.endswith(" *")
            words = (content[:-2] if is_prefix else content).split()
            has_stars = any("*" in word for word in words)
        if not words:
            self._nothing(origin, "it names no command")
            return
        is_plain = [PLAIN_WORD.fullmatch(word.replace("*", "") or "x") is not None for word in words]
        if effect == "allow":
            if not all(is_plain) or (has_stars and content.endswith(":*")) or words[0] == "*":
                self._left_out(origin, "it is more than words and * for some of them: it asks")
            else:
                self._allow_command(tool, words, is_prefix, origin)
            return
        known = words[: is_plain.index(False)] if False in is_plain else words
        if not known:
            self._draft.remark(origin, f"{effect} holds for every command: what it says is not carried over")
            self._add(effect, [tool], origin)
            return
        if known != words:
            self._draft.remark(origin, f"{effect} holds for every command that begins with {' '.join(known)}")
        is_open = is_prefix or known != words or "*" in known[-1]
        command = [" ".join(known) + " *" if is_open and known[-1] != "*" else " ".join(known)]
        self._add(effect, [tool], origin, command=command)

    def _allow_command(self, tool: str, words: list[str], is_prefix: bool, origin: str) -> None:
        pattern = " ".join(words)
        if (is_prefix or "*" in words[-1]) and words[-1] != "*":
            pattern += " *"
        parameters = {}
        checked = {name for name in _WITH_PATHS if fnmatchcase(name, words[0].rpartition("/")[2])}
        if checked:
            self._writes_by_shell = True
            strict = checked & _WITHOUT_OPTIONS
            parameters = {"/command": {"regex": NO_OUTSIDE_NO_OPTIONS if strict else NO_OUTSIDE}}
        self._allow([tool], origin, command=[pattern], parameters=parameters)

    def _files(self, effect: Effect, tool: str, content: str, origin: str) -> None:
        rule = FileRule(content, has_project=self._project is not None)
        writing = ("Edit", "Write", "MultiEdit")
        if effect == "allow":
            if rule.allowed is None:
                self._left_out(origin, f"{rule.why}: it asks")
                return
            self._writes_files |= tool == "Edit"
            tools = writing if tool == "Edit" else ("Read",)
            if self._project is None and not rule.allowed.startswith(("/", "~")):
                self._draft.remark(origin, "it holds for relative paths; for others, set workspace = to the folder")
            self._allow(tools, origin, parameters={"/file_path": {"glob": rule.allowed}})
            return
        path = {"glob": rule.covering}
        # Who may not read a file may not write it either.
        reading = () if tool == "Edit" else ("Read",)
        self._add(effect, (*reading, *writing), origin, parameters={"/file_path": path})
        notebooks = ("NotebookEdit", "NotebookRead")
        self._add(effect, notebooks, f"{origin} of notebooks", parameters={"/notebook_path": path})
        if tool == "Read":
            self._add(effect, ("Glob", "Grep", "LS"), f"{origin} in searches", parameters={"/path": path})
        if rule.name is None:
            self._draft.remark(origin, f"{effect} holds for every command, too: which paths one names is not known")
            self._add(effect, ("Bash", "Monitor"), f"{origin} by a command")
        else:
            mention = {"regex": mentions_path(rule.name, begins=rule.name_begins, ends=rule.name_ends)}
            self._add(effect, ("Bash", "Monitor"), f"{origin} by a command", parameters={"/command": mention})

    def _domain(self, effect: Effect, content: str, origin: str) -> None:
        if not content.startswith("domain:"):
            self._nothing(origin, "only WebFetch(domain:…) is about what is fetched")
            return
        domain = content.removeprefix("domain:").strip().lower()
        if effect == "allow":
            if not _DOMAIN.fullmatch(domain):
                self._left_out(origin, "it is no domain: it asks")
                return
            host = escape(domain).replace(r"\*\.", "(?:[a-z0-9-]+\\.)+")
            url = rf"https?://{host}(?::[0-9]{{1,5}})?(?:[/?#][!-\[\]-~]*)?"
            self._allow(("WebFetch",), origin, parameters={"/url": {"regex": url}})
            return
        parts = [part for part in domain.split("*") if part.strip(".")] or ["."]
        self._add(effect, ["WebFetch"], origin, parameters={"/url": {"regex": anything_with(parts, ignore_case=True)}})
        if effect == "deny":
            hidden = r"(?s)[^:/?#]*:?[/\\]*(?:[^/?#]*[^A-Za-z0-9.:@/?#_-]).*"
            self._add(effect, ["WebFetch"], f"{origin} where it may be hidden", parameters={"/url": {"regex": hidden}})

    def _named(self, effect: Effect, tools: Sequence[str], pointer: str, name: str, origin: str) -> None:
        """Rules about one value of a parameter."""
        if re.fullmatch(r"[A-Za-z0-9_.:/-]+", name):
            self._add(effect, tools, origin, parameters={pointer: {"equals": name}})
        elif effect == "allow":
            self._left_out(origin, "it is no name: it asks")
        else:
            self._draft.remark(origin, f"{effect} holds for all calls of {tools[0]}")
            self._add(effect, tools, origin)


def _covering(name: str, also: str = "") -> str:
    """A glob that matches at least what this does."""
    return re.sub(rf"[\[\]{re.escape(also)}]", "?", name) if also else re.sub(r"[\[\]]", "?", name)
