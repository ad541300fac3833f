"""opencode: ``permission`` of an ``opencode.json``, of which the last rule that matches decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.policy.regex import BadRegex, Regex
from ...core.policy.verdict import Effect
from .draft import ANY_SERVER, Draft, Rule
from .patterns import LEADS_OUTSIDE, NO_OUTSIDE, PLAIN_WORD, anything_with, escape, verbatim
from .precedence import Ranked, settle
from .source_text import jsonc_object, strings, wrong

__all__ = ["imported"]

_EFFECTS: Mapping[str, Effect] = {"allow": "allow", "ask": "ask", "deny": "deny"}
#: Of each permission the tools that ask for it, and the parameter that its patterns are about.
_TOOLS: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "bash": (("bash",), "command"),
    "edit": (("edit", "write", "multiedit"), "filePath"),
    "read": (("read",), "filePath"),
    "list": (("list",), "path"),
    "glob": (("glob",), "pattern"),
    "grep": (("grep",), "pattern"),
    "webfetch": (("webfetch",), "url"),
    "websearch": (("websearch",), "query"),
    "task": (("task",), "subagent_type"),
    "skill": (("skill",), "name"),
}
_PATCHING = ("apply_patch", "patch")
_PATHS = frozenset({"edit", "read", "list"})
#: Permissions that no call of a tool asks for.
_NOT_OF_TOOLS = frozenset({"doom_loop"})
_OUTSIDE = "external_directory"
#: What tools of paths take beside the parameter that a permission is about.
_PATH_PARAMETERS = ("filePath", "path", "workdir")


def imported(text: str, path: Path | None) -> Draft:
    """Raises ``InvalidInput``."""
    config = jsonc_object(text)
    draft = Draft("opencode")
    given = list(_of_tools(config.get("tools", {}))) + list(_flat(config.get("permission", {}), "permission", draft))
    if not given:
        draft.remark("permission", "the file has none")
    importing = _Import(draft, _project(path))
    importing.agents(config.get("agent", config.get("mode", {})))
    # The last that matches decides.
    ranked = [one for origin, permission, pattern, effect in reversed(given)
              for one in importing.ranked(origin, permission, pattern, effect)]  # fmt: skip
    settle(draft, [*importing.of_agents, *ranked])
    importing.guard()
    draft.remark("what it allows by itself", "opencode allows most of what no rule is about: here it asks")
    return draft


def _project(path: Path | None) -> Path | None:
    """The folder from which the paths of its patterns are counted; None for a file that holds in every project."""
    if path is None or path.parent == Path.home() or Path.home() / ".config" in path.parents:
        return None
    folder = path.parent.parent if path.parent.name == ".opencode" else path.parent
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)


_Given = tuple[str, str, str, Effect]


def _of_tools(tools: Any) -> Iterator[_Given]:
    if not isinstance(tools, dict):
        raise wrong("tools", "an object", tools)
    for name, is_there in tools.items():
        if not isinstance(is_there, bool):
            raise wrong(f"tools.{name}", "true or false", is_there)
        permission = "edit" if name in ("write", "edit", "patch", "multiedit") else name
        strings([permission], "tools")
        yield f"tools.{name}", permission, "*", "allow" if is_there else "deny"


def _flat(permission: Any, where: str, draft: Draft) -> Iterator[_Given]:
    if isinstance(permission, str):
        permission = {"*": permission}
    if not isinstance(permission, dict):
        raise wrong(where, "an effect or an object", permission)
    for name, patterns in _in_order(permission, where, draft):
        strings([name], where)
        for pattern, effect in _in_order({"*": patterns} if isinstance(patterns, str) else patterns, where, draft):
            strings([pattern], where)
            if not isinstance(effect, str) or effect not in _EFFECTS:
                raise wrong(f"{where}.{name}", f"one of {', '.join(_EFFECTS)}", effect)
            yield f"{where}.{name}" + (f" {pattern}" if pattern != "*" else ""), name, pattern, _EFFECTS[effect]


def _in_order(given: Any, where: str, draft: Draft) -> Sequence[tuple[str, Any]]:
    if not isinstance(given, dict):
        raise wrong(where, "an effect or an object", given)
    # JavaScript puts keys that are whole numbers first.
    numbers = sorted((key for key in given if re.fullmatch(r"0|[1-9][0-9]{0,9}", key)), key=int)
    return [(key, given[key]) for key in (*numbers, *(key for key in given if key not in numbers))]


class _Import:
    def __init__(self, draft: Draft, project: Path | None) -> None:
        self._draft = draft
        self._project = project
        self.of_agents: list[Ranked] = []

    def agents(self, agents: Any) -> None:
        """What single agents may: which of them calls is not known, so that only what holds back is for all."""
        if not isinstance(agents, dict):
            raise wrong("agent", "an object", agents)
        for name, agent in agents.items():
            if not isinstance(agent, dict):
                raise wrong(f"agent.{name}", "an object", agent)
            where = f"agent.{name}.permission"
            given = [*_of_tools(agent.get("tools", {})), *_flat(agent.get("permission", {}), where, self._draft)]
            for origin, permission, pattern, effect in given:
                if effect == "allow":
                    self._draft.remark(origin, "not carried over: which agent calls is not known here: it asks")
                else:
                    self._draft.remark(origin, f"which agent calls is not known here: {effect} is for all of them")
                    self.of_agents += self.ranked(origin, permission, pattern, effect)

    def ranked(self, origin: str, permission: str, pattern: str, effect: Effect) -> list[Ranked]:
        if permission in _NOT_OF_TOOLS:
            self._draft.remark(origin, "no call of a tool is about it")
            return []
        if permission == _OUTSIDE:
            return self._outside(origin, pattern, effect)
        if "*" in permission or "?" in permission:
            return self._several(origin, permission, pattern, effect)
        if permission == "bash":
            return self._command(origin, pattern, effect)
        tools, parameter = _TOOLS.get(permission, ((permission,), None))
        if pattern == "*":
            return self._whole(origin, permission, tools, effect)
        if parameter is None:
            if effect == "allow":
                return self._left_out(origin, "what its pattern is about is not known here")
            self._draft.remark(origin, f"what its pattern is about is not known here: {effect} holds for all calls")
            return self._whole(origin, permission, tools, effect)
        if permission in _PATHS:
            return self._paths(origin, permission, tools, pattern, effect, parameter)
        rule = Rule(effect, tools, origin, None, {f"/{parameter}": {"regex": _wildcards(pattern)}})
        return [Ranked(effect, origin, tools, (rule,))]

    def _left_out(self, origin: str, why: str) -> list[Ranked]:
        self._draft.remark(origin, f"not carried over: {why}: it asks")
        return []

    def _whole(self, origin: str, permission: str, tools: tuple[str, ...], effect: Effect) -> list[Ranked]:
        if permission == "edit":
            tools = (*tools, *_PATCHING) if effect != "allow" else tools
        tools = tuple(re.sub(r"[\[\]]", "?", tool) for tool in tools)
        parameters: Mapping[str, Mapping[str, Any]] = {}
        if effect == "allow":
            if any("?" in tool for tool in tools):
                return self._left_out(origin, "such a name cannot be said here")
            if permission in _PATHS:
                inside = self._inside("**")
                if inside is None:
                    return self._left_out(origin, "the folder of the project is not known, and it is for no other")
                parameters = {f"/{_TOOLS[permission][1]}": {"glob": inside}}
        return [Ranked(effect, origin, tools, (Rule(effect, tools, origin, None, parameters),))]

    def _several(self, origin: str, permission: str, pattern: str, effect: Effect) -> list[Ranked]:
        if effect == "allow":
            if permission != "*" or pattern != "*":
                return self._left_out(origin, "it would allow tools that it does not name")
            return [one for name in _TOOLS for one in self.ranked(f"{origin} ({name})", name, "*", "allow")]
        if permission == "*" and pattern == "*":
            if effect == "deny":
                self._draft.default = "deny"
            # What no rule before it decides has the default; what comes behind it is never reached.
            every = Ranked("ask", origin, ("*",), (Rule(effect, ("*",), origin),))
            return [every._replace(effect="deny")] if effect == "deny" else [every]
        if pattern != "*":
            self._draft.remark(origin, f"{effect} holds for all calls of these tools")
        named = [tool for name, (tools, _) in _TOOLS.items() if _matches(permission, name) for tool in tools]
        if _matches(permission, "edit"):
            named += _PATCHING
        tools = tuple(dict.fromkeys((re.sub(r"[\[\]]", "?", permission), *named)))
        return [Ranked(effect, origin, tools, (Rule(effect, tools, origin),))]

    def _command(self, origin: str, pattern: str, effect: Effect) -> list[Ranked]:
        words = pattern.split(" ")
        if words[-1] == "*" and len(words) > 1:
            words, is_open = words[:-1], True
        else:
            is_open = "*" in words[-1]
        known = []
        for word in words:
            if not PLAIN_WORD.fullmatch(re.sub("[*?]", "", word) or "x"):
                break
            known.append(word)
        program = known[0] if known and not re.search("[*?]", known[0]) else None
        if effect != "allow":
            if known != words:
                self._draft.remark(origin, f"{effect} holds for every command that begins with {' '.join(known)}")
            is_open |= known != words
            # A * stands for any words there.
            command = (" ".join(known) + (" *" if is_open and known[-1] != "*" else ""),) if known else ()
            return [Ranked(effect, origin, ("bash",), (Rule(effect, ("bash",), origin, None, {}, command),), program)]
        if known != words:
            return self._left_out(origin, "it is more than words and * for some of them")
        if known == ["*"]:
            parameters = {"/command": {"regex": NO_OUTSIDE}}
            rule = Rule(effect, ("bash",), origin, None, parameters, ("*",))
            return [Ranked(effect, origin, ("bash",), (rule,))]
        if program is None or any(re.search("[*?]", word) for word in known[:-1]) or "?" in known[-1]:
            return self._left_out(origin, "it has a * that is not at its end")
        plain = " ".join(word for word in known if "*" not in word)
        text = " ".join(known) + (" *" if is_open else "")
        # Both hold: how it is written, and that no word leads out of the folder.
        written = Rule(effect, ("bash",), origin, None, {"/command": {"regex": verbatim(plain, inside=True)}}, (text,))
        return [Ranked(effect, origin, ("bash",), (written,), program)]

    def _paths(
        self, origin: str, permission: str, tools: tuple[str, ...], pattern: str, effect: Effect, parameter: str
    ) -> list[Ranked]:
        if effect == "allow":
            inside = None if re.search(r"[?\[\]\\{}~$]|\.\.", pattern) else self._inside(_glob(pattern))
            if inside is None:
                return self._left_out(origin, "it is more than names and *, or from where it is counted is not known")
            rule = Rule(effect, tools, origin, None, {f"/{parameter}": {"glob": inside}})
            return [Ranked(effect, origin, tools, (rule,))]
        rules = [Rule(effect, tools, origin, None, {f"/{parameter}": {"regex": _covering(pattern)}})]
        if permission == "edit":
            parts = [part for part in re.split(r"[*?]+", pattern) if part]
            text = {"/patchText": {"regex": anything_with(parts)}} if parts else {}
            rules.append(Rule(effect, _PATCHING, f"{origin} in a patch", None, text))
        named = (*tools, *_PATCHING) if permission == "edit" else tools
        return [Ranked(effect, origin, named, tuple(rules))]

    def _outside(self, origin: str, pattern: str, effect: Effect) -> list[Ranked]:
        if effect != "deny":
            if effect == "allow":
                self._left_out(origin, "outside of the project's folder")
            return []
        if self._project is None or pattern != "*":
            self._draft.remark(origin, "deny holds for every path that is absolute or leads upwards")
        path = LEADS_OUTSIDE
        if self._project is not None and pattern == "*":
            path = _outside_of(str(self._project))
        paths = [("read", "edit", "write", "multiedit"), ("list", "glob", "grep"), ("bash",)]
        rules = [
            Rule("deny", tools, f"{origin} ({parameter})", None, {f"/{parameter}": {"regex": path}})
            for tools, parameter in zip(paths, _PATH_PARAMETERS, strict=True)
        ]
        word = {"/command": {"regex": r"(?s)(?:.*[ \t\n'\"=;|&<>():,])?[/~].*|.*\.\..*"}}
        rules.append(Rule("deny", ("bash",), f"{origin} (a word of a command)", None, word))
        # No allow is about such paths, so that its rank does not matter.
        self._draft.rules += rules
        return []

    def _inside(self, glob: str) -> str | None:
        if self._project is None or re.search(r"[*?\[\]\\]", str(self._project)):
            return None
        self._draft.workspace = str(self._project)
        return glob

    def guard(self) -> None:
        """What asks there whatever allows it; and tools of servers with the names of opencode's own."""
        allowed = {tool for rule in self._draft.rules if rule.effect == "allow" for tool in rule.tools}
        own = [tool for tools, _ in _TOOLS.values() for tool in tools if tool in allowed]
        if own:
            self._draft.add("ask", own, "a server's tool with the name of one of opencode's own", server=ANY_SERVER)
        outside = {"regex": LEADS_OUTSIDE}
        for tool, parameters in (("bash", ("workdir",)), ("glob", ("path", "pattern")), ("grep", ("path", "include"))):
            for parameter in parameters if tool in allowed else ():
                origin = f"{tool} in another folder ({parameter})"
                self._draft.add("ask", tool, origin, parameters={f"/{parameter}": outside})


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(_wildcards(pattern), name) is not None


def _wildcards(pattern: str) -> str:
    escaped = escape(pattern.replace("\\", "/")).replace(r"\*", ".*").replace(r"\?", ".")
    return "(?s)" + (f"{escaped[:-3]}(?: .*)?" if escaped.endswith(" .*") else escaped)


def _glob(pattern: str) -> str:
    """A glob that matches no more: ``*`` crosses folders there, and here only where it is all of a name."""
    segments = pattern.removeprefix("./").split("/")
    if len(segments) == 1 and segments[0].startswith("*"):
        return "**" if segments[0] in ("*", "**") else f"**/{segments[0]}"
    return "/".join([*segments[:-1], "**" if segments[-1] == "*" else segments[-1]])


def _covering(pattern: str) -> str:
    """A regular expression that matches at least these paths, however they are written."""
    segments = [segment for segment in pattern.replace("\\", "/").split("/") if segment not in ("", ".", "~", "$HOME")]
    pieces = [escape(segment).replace(r"\*", ".*").replace(r"\?", ".") for segment in segments or ["*"]]
    before = "".join(f"{piece}/(?:.*/)?" for piece in pieces[:-1])
    if before and segments[-1].strip("*"):
        return rf"(?s)(?:\./)*(?:(?:.*/)?{before})?{pieces[-1]}"
    return rf"(?s)(?:.*/)?{before}{pieces[-1]}"


def _outside_of(folder: str) -> str:
    """Absolute paths that are neither this folder nor in it, and all that may lead out of it."""
    before, names = "/", folder.strip("/").split("/")
    paths = []
    for at, name in enumerate(names):
        others = [rf"{escape(name[:end])}(?:[^{_in_class(name[end])}].*)?" for end in range(len(name))]
        others.append(f"{escape(name)}[^/].*" if at == len(names) - 1 else f"{escape(name)}(?:[^/].*)?")
        paths.append(f"{escape(before)}(?:{'|'.join(others)})")
        before += f"{name}/"
    expression = "|".join(("(?s)" + paths[0], *paths[1:], r"[~\\].*", r".*\.\..*"))
    try:
        Regex(expression)
    except BadRegex:  # the folder's name is too long for one
        return LEADS_OUTSIDE
    return expression


def _in_class(mark: str) -> str:
    return mark if mark.isalnum() else f"\\{mark}"
