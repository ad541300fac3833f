"""Gemini CLI: a policy file in TOML, where of the rules that match the one of the highest priority decides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput
from ...core.policy.verdict import Effect
from .draft import ANY_SERVER, Draft, Rule
from .patterns import PLAIN_WORD, anything_with, set_of, verbatim
from .precedence import Ranked, settle
from .source_text import strings, toml_table, wrong

__all__ = ["imported"]

_SHELL = "run_shell_command"
_EFFECTS: Mapping[str, Effect] = {"allow": "allow", "ask_user": "ask", "deny": "deny"}
_MODES = frozenset({"default", "autoEdit", "yolo", "plan"})
_MOST_PRIORITY = 999

_NEEDED = ("toolName", "decision", "priority")
#: Conditions of which nothing is known here.
_CONDITIONS = ("subagent", "modes", "interactive", "toolAnnotations")
_KNOWN_KEYS = {
    *_NEEDED, *_CONDITIONS, "mcpName", "argsPattern", "commandPrefix", "commandRegex", "allowRedirection",
    "allow_redirection", "denyMessage", "deny_message",
}  # fmt: skip
_TYPES: Mapping[str, tuple[type, str]] = {
    "subagent": (str, "a text"), "mcpName": (str, "a text"), "argsPattern": (str, "a text"),
    "commandRegex": (str, "a text"), "interactive": (bool, "true or false"), "toolAnnotations": (dict, "a table"),
    "allowRedirection": (bool, "true or false"), "allow_redirection": (bool, "true or false"),
    "denyMessage": (str, "a text"), "deny_message": (str, "a text"),
}  # fmt: skip

_BUILT_IN = set_of(
    """
    activate_skill ask_user complete_task enter_plan_mode exit_plan_mode get_internal_docs glob google_web_search
    grep_search invoke_agent list_directory list_mcp_resources read_file read_many_files read_mcp_resource replace
    run_shell_command search_file_content tracker_add_dependency tracker_create_task tracker_get_task tracker_list_tasks
    tracker_update_task tracker_visualize update_topic web_fetch write_file write_todos
    """
)
_ALIASES = {"search_file_content": "grep_search", "grep_search": "search_file_content"}

#: Names of tools that write, and of files that build: such a call is asked about there, whatever allows it.
_WRITING = re.compile(r"\*|(?:^|[^a-z0-9])(?:write|edit|replace|patch|update|create|append|save)(?:$|[^a-z0-9])", re.I)
_BUILDING = (
    r"(?s)(?:.*[/\\])?(?:BUILD|WORKSPACE|\.bazelrc|\.blazerc|[Mm]akefile|GNUmakefile|CMakeLists\.txt|package(?:-lock)?"
    r"\.json|pnpm-lock\.yaml|yarn\.lock|bun\.lockb|setup\.(?:py|cfg)|pyproject\.toml|go\.(?:mod|sum)|Cargo\.(?:toml|lock)"
    r"|pom\.xml|(?:build|settings)\.gradle(?:\.kts)?|(?:Docker|Container)file(?:\.[^/]*)?"
    r"|[^/]*\.(?:[Bb][Zz][Ll]|[Bb][Aa][Zz][Ee][Ll]|[Bb][Zz][Ll][Mm][Oo][Dd]|[Mm][Kk]|[Cc][Mm][Aa][Kk][Ee]))[\s/\\.\x00]*"
)
_PATH_PARAMETERS = ("file_path", "path", "filePath", "file")


def imported(text: str, path: Path | None) -> Draft:
    """Raises ``InvalidInput``."""
    table = toml_table(text)
    draft = Draft("Gemini CLI")
    for key in table.keys() - {"rule", "safety_checker"}:
        draft.remark(str(key), "this key is not known, and not carried over")
    given = [_GivenRule(rule, number) for number, rule in enumerate(_tables(table, "rule"), 1)]
    given.sort(key=lambda rule: -rule.priority)
    ranked = [one for rule in given for one in rule.ranked(draft)]
    settle(draft, ranked)
    _guard(draft)
    for number, checker in enumerate(_tables(table, "safety_checker"), 1):
        tools = _tool_names(checker, f"safety_checker {number}")
        draft.remark(f"safety_checker {number}", "what it checks is not known here: every such call asks")
        draft.add("ask", ["*"] if "mcpName" in checker else tools, f"safety_checker {number}")
    return draft


def _tables(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    tables = table.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise wrong(key, "a list of tables", tables)
    return tables


def _tool_names(rule: Mapping[str, Any], where: str) -> list[str]:
    given = rule.get("toolName")
    names = strings(given if isinstance(given, list) else [given], f"{where}: toolName")
    if not all(names):
        raise InvalidInput(f"{where}: toolName is empty")
    return names


class _GivenRule:
    """One rule of the file. Raises ``InvalidInput`` where Gemini CLI would not load the file for it."""

    def __init__(self, rule: Mapping[str, Any], number: int) -> None:
        self._rule = rule
        where = self._where = f"rule {number}"
        for key in _NEEDED:
            if key not in rule:
                raise InvalidInput(f"{where}: {key} is needed")
        self._tools = _tool_names(rule, where)
        decision = rule["decision"]
        if not isinstance(decision, str) or decision not in _EFFECTS:
            raise InvalidInput(f"{where}: decision: one of {', '.join(_EFFECTS)} is needed")
        self.effect = _EFFECTS[decision]
        self.priority = rule["priority"]
        if type(self.priority) is not int or not 0 <= self.priority <= _MOST_PRIORITY:
            raise InvalidInput(f"{where}: priority: a whole number from 0 to {_MOST_PRIORITY} is needed")
        for key, (needed, words) in _TYPES.items():
            if key in rule and not isinstance(rule[key], needed):
                raise wrong(f"{where}: {key}", words, rule[key])
        if "mcpName" in rule and not rule["mcpName"]:
            raise InvalidInput(f"{where}: mcpName is empty")
        if not set(strings(rule.get("modes", []), f"{where}: modes")) <= _MODES:
            raise InvalidInput(f"{where}: modes: of {', '.join(sorted(_MODES))}")
        prefix = rule.get("commandPrefix", [])
        self._prefixes = strings(prefix if isinstance(prefix, list) else [prefix], f"{where}: commandPrefix")
        strings([value for key, value in rule.items() if isinstance(value, str)], where)
        server = f"{rule['mcpName']}: " if "mcpName" in rule else ""
        self._origin = f"{server}{' '.join(self._tools)} ({where})"
        self._why = rule.get("denyMessage", rule.get("deny_message"))

    def ranked(self, draft: Draft) -> list[Ranked]:
        """What it becomes, in parts that are ranked alike."""
        if self.effect == "allow" and (why := self._unknown_condition()) is not None:
            draft.remark(self._origin, f"not carried over: {why} is not known here, so that it asks")
            return []
        if self.effect != "allow" and (why := self._unknown_condition()) is not None:
            draft.remark(self._origin, f"{why} is not known here: {self.effect} holds whatever that is")
        return [one for tool in self._tools for one in self._of_tool(tool, draft)]

    def _unknown_condition(self) -> str | None:
        unknown = sorted(self._rule.keys() - _KNOWN_KEYS)
        if unknown:
            return unknown[0]
        for key in _CONDITIONS:
            value = self._rule.get(key)
            if value is not None and value != [] and value != {} and (key != "modes" or set(value) != _MODES):
                return key
        return None

    def _of_tool(self, tool: str, draft: Draft) -> list[Ranked]:
        server = self._rule.get("mcpName")
        name = tool if server is None else _qualified(server, tool)
        patterns = [key for key in ("argsPattern", "commandPrefix", "commandRegex") if self._rule.get(key)]
        names = self._names(name, server, tool)
        if not names:
            draft.remark(self._origin, f"it does nothing in Gemini CLI: no tool is called {name}")
            return []
        if name == _SHELL or patterns:
            return self._with_patterns(name, names, patterns, draft)
        if self.effect == "allow" and name == "*":
            draft.remark(self._origin, "not carried over: it would allow every tool; name those that it is for")
            return []
        return [self._one(self._rules(names))]

    def _names(self, name: str, server: str | None, tool: str) -> list[tuple[tuple[str, ...], str | None]]:
        """Which tools, of which server."""
        if name == "*":
            return [(("*",), None)]
        is_strict = self.effect != "allow"
        if name == "mcp_*":
            return [(("*",), ANY_SERVER)] + ([(("mcp_*",), None)] if is_strict else [])
        if name.startswith("mcp_") and name.endswith("_*") and "*" not in name[:-2]:
            of_server = name[4:-2]
            if re.search(r"[?\[\]]", of_server) and not is_strict:
                return []
            exact = [(("*",) if is_strict else (_literal(name[:-1]) + "*",), _literal(of_server))]
            return exact + ([((_literal(name[:-1]) + "*",), None)] if is_strict else [])
        if "*" in name:
            return []
        if re.search(r"[?\[\]]", name) and not is_strict:
            return []
        if server is not None:
            return [((_literal(name), _literal(tool)), _literal(server))]
        named = [_literal(name)] + ([_ALIASES[name]] if name in _ALIASES else [])
        found: list[tuple[tuple[str, ...], str | None]] = [(tuple(named), None)]
        if is_strict and name.startswith("mcp_"):
            # However the name is divided into a server and its tool.
            parts = name[4:].split("_")[:9]
            for at in range(1, len(parts)):
                found.append(((_literal("_".join(name[4:].split("_")[at:])),), _literal("_".join(parts[:at]))))
        return found

    def _with_patterns(
        self,
        name: str,
        names: Sequence[tuple[tuple[str, ...], str | None]],
        patterns: Sequence[str],
        draft: Draft,
    ) -> list[Ranked]:
        if patterns == ["commandPrefix"] and name == _SHELL:
            return [one for prefix in self._prefixes for one in self._of_prefix(prefix, draft)]
        exact = _exact_parameter(self._rule["argsPattern"]) if patterns == ["argsPattern"] else None
        if exact is not None and (name != _SHELL or self.effect != "allow"):
            return [self._one(self._rules(names, parameters={f"/{exact[0]}": {"equals": exact[1]}}))]
        if self.effect == "allow":
            what = f"what {patterns[0]} says" if patterns else "to allow every command"
            draft.remark(self._origin, f"not carried over: {what} cannot be said here without allowing more: it asks")
            return []
        literal = _beginning_of_command(self._rule.get(patterns[0]), patterns[0]) if patterns and name == _SHELL else ""
        if literal:
            draft.remark(self._origin, f"{self.effect} holds for every command with {json.dumps(literal)} in it")
            contains = {"/command": {"regex": anything_with([literal])}}
            return [self._one(self._rules(names, parameters=contains))]
        if patterns:
            draft.remark(self._origin, f"what {patterns[0]} says is not known here: {self.effect} is for all calls")
        return [self._one(self._rules(names))]

    def _of_prefix(self, prefix: str, draft: Draft) -> list[Ranked]:
        words = prefix.split(" ")
        origin = f"{_SHELL} {prefix} ({self._where})"
        known = []
        for word in words:
            if not PLAIN_WORD.fullmatch(word):
                break
            known.append(word)
        shell = [((_SHELL,), None)]
        if self.effect != "allow":
            if known != words:
                draft.remark(origin, f"{self.effect} holds for every command that begins with {' '.join(known)}")
            command = (" ".join([*known, "*"]),) if known else ()
            return [self._one(self._rules(shell, command=command), known[0] if known else None, origin)]
        if known != words or len(prefix) > 200:
            draft.remark(origin, "not carried over: it is more than words with a blank between them: it asks")
            return []
        is_open = self._rule.get("allowRedirection", self._rule.get("allow_redirection"))
        if is_open:
            draft.remark(origin, "redirections ask here")
        parameters = {"/command": {"regex": verbatim(prefix)}}
        rules = self._rules(shell, command=(f"{prefix} *",), parameters=parameters)
        return [self._one(rules, words[0], origin)]

    def _rules(
        self,
        names: Sequence[tuple[tuple[str, ...], str | None]],
        command: tuple[str, ...] = (),
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[Rule]:
        rules = [
            Rule(self.effect, tools, self._origin, server, parameters or {}, command, self._why or None)
            for tools, server in names
        ]
        tool = names[0][0][0]
        if self.effect != "allow" and names[0][1] is None and "*" not in tool and tool not in _BUILT_IN:
            # A sub-agent is called by its name as a tool, and as what invoke_agent is to call.
            called = {"/agent_name": {"equals": tool}}
            origin = f"{self._origin} as an agent"
            rules.append(Rule(self.effect, ("invoke_agent",), origin, None, called, (), self._why))
        return rules

    def _one(self, rules: Sequence[Rule], program: str | None = None, origin: str | None = None) -> Ranked:
        tools = tuple(tool for rule in rules for tool in rule.tools)
        named = tuple(rule._replace(origin=origin or rule.origin) for rule in rules)
        return Ranked(self.effect, origin or self._origin, tools, named, program)


def _qualified(server: str, tool: str) -> str:
    if tool == "*":
        return "mcp_*" if server == "*" else f"mcp_{server}_*"
    return f"mcp_*_{tool}" if server == "*" else f"mcp_{server}_{tool}"


def _literal(name: str) -> str:
    """A name that stands for itself in a glob, or for a little more."""
    return re.sub(r"[\[\]*]", "?", name)


def _exact_parameter(pattern: str) -> tuple[str, str | int] | None:
    r"""What an ``argsPattern`` of the form ``\0"name":value\0`` says, with which Gemini CLI keeps what is allowed."""
    if not (pattern.startswith("\\0") and pattern.endswith("\\0") and len(pattern) > 4):
        return None
    inner = pattern[2:-2]
    if re.fullmatch(r"(?:\\[^A-Za-z0-9]|[^\\.^$*+?()\[\]{}|])+", inner) is None:
        return None
    try:
        pairs = json.loads("{" + re.sub(r"\\(.)", r"\1", inner) + "}", object_pairs_hook=lambda pairs: pairs)
    except ValueError:
        return None
    name, value = pairs[0] if len(pairs) == 1 else ("/", None)
    return None if re.search("[~/]", name) or not isinstance(value, str | int) else (name, value)


def _beginning_of_command(pattern: str | None, key: str) -> str:
    """Plain characters that a command has in it which matches; none where that is not known."""
    if not isinstance(pattern, str):
        return ""
    if key == "argsPattern":
        if not pattern.startswith('"command":"'):
            return ""
        pattern = pattern.removeprefix('"command":"')
    if "|" in pattern:
        return ""
    plain = re.match(r"(?:[A-Za-z0-9_@%=:,/ -]|\\[.-])*", pattern)
    found = "" if plain is None else plain[0]
    if re.match(r"[*?{]", pattern[len(found) :]):
        found = re.sub(r"(?:\\.|.)\Z", "", found)
    return found.replace("\\", "")


def _guard(draft: Draft) -> None:
    """What is asked about there, whatever allows it; and tools of servers with the names of Gemini CLI's own."""
    allowed = [rule for rule in draft.rules if rule.effect == "allow"]
    own = [tool for rule in allowed if rule.server is None for tool in rule.tools if not tool.startswith("mcp_")]
    if own:
        draft.add("ask", own, "a server's tool with the name of one of Gemini CLI's own", server=ANY_SERVER)
    writing = [tool for rule in allowed for tool in rule.tools if _WRITING.search(tool)]
    for parameter in _PATH_PARAMETERS if writing else ():
        build_file = {f"/{parameter}": {"regex": _BUILDING}}
        draft.add("ask", writing, f"writing what builds ({parameter})", parameters=build_file)
    if any(_SHELL in rule.tools for rule in allowed):
        for what in ("read", "write"):
            more = {f"/additional_permissions/fileSystem/{what}/0": {"regex": "(?s).*"}}
            draft.add("ask", _SHELL, f"a command with more permissions to {what}", parameters=more)
