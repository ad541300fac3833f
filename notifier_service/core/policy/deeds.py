"""What a call does, where, and whether it can be taken back: words for the person who decides.

They are read from the tool's name, from what its server says, from the shapes of the parameters and from shell text.
Whoever asks may lie in all of these: no rule and no rating becomes milder by what is said here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from .. import later
from ..events import Deed, Deeds, Place, made
from .command_pattern import names_in
from .places import hosts_in, is_path, place_of
from .program_deeds import may_do, use_of
from .reasons import Reason, codes_of
from .shell import CommandReading, read_call
from .tool_names import MAX_NAME_CHARACTERS, bare_name, deed_of_name, words_of

__all__ = [
    "deeds_of",
    "is_address_name",
    "is_path_name",
    "plainly",
    "reasons_of",
    "shapes_of",
    "texts_in",
]

#: Of one list or object.
_MAX_ITEMS = 10_000
_MAX_TEXTS = 200
_MAX_DEPTH = 6
#: Of all texts together, and of each.
_MAX_CHARACTERS = 64 * 1024
_MAX_TEXT = 4096
_MAX_SHOWN = 3
_MAX_SHOWN_CHARACTERS = 200
#: Characters by which a call is remembered.
_MAX_REMEMBERED = 1000

_COMMANDS = frozenset({"argv", "cmd", "command", "commands", "commandline", "script", "shellcommand"})
_CODE = frozenset(
    {"code", "sql", "sql_query", "expression", "function", "javascript", "js", "program", "python", "source_code"}
)
_PATH_WORDS = frozenset({"path", "paths", "file", "files", "filename", "filepath", "dir", "directory", "folder", "cwd"})
_URL_WORDS = frozenset({"url", "urls", "uri", "endpoint", "host", "hostname", "website", "webhook", "domain", "link"})
_AMOUNTS = frozenset({"amount", "price", "total_price", "quantity_usd"})
_RECIPIENTS = frozenset({"bcc", "cc", "recipient", "recipients", "to_email", "to_address", "phone_number", "attendees"})
_MESSAGES = frozenset({"body", "content", "html", "message", "msg", "subject", "text"})
_TARGETS = frozenset({"channel", "channel_id", "chat_id", "thread_ts", "to", "user_id", "email", "phone"})
#: Parameters whose texts are written or said, and lead nowhere.
_DATA = frozenset(
    {"body", "content", "contents", "description", "html", "message", "prompt", "string", "subject", "text"}
)
_SQL = frozenset({"sql", "sql_query", "statement", "statements"})
_FLAT = frozenset({str, int, float, bool, type(None)})
_SQL_DELETES = later.pattern(r"\b(?:delete|drop|truncate)\b", re.I)
_SQL_WRITES = later.pattern(
    r"\b(?:alter|attach|call|copy|create|do|exec|grant|insert|merge|replace|revoke|set|update)\b", re.I
)

#: What the codes of a server's hints say that a tool does, where its name says nothing.
_SAID: Mapping[str, Deed] = {"may_destroy": "deletes", "destroys_nothing": "writes", "only_reads": "reads"}
_ONLY_READS: frozenset[Deed] = frozenset({"reads"})
_NOT_REVERSIBLE: frozenset[Deed] = frozenset({"deletes", "sends", "spends"})
_ORDER: tuple[Deed, ...] = ("reads", "writes", "deletes", "runs", "sends", "spends")
_VERBS: Mapping[Deed, str] = {
    "reads": "reads",
    "writes": "writes",
    "deletes": "deletes",
    "runs": "runs a program",
    "sends": "sends something out",
    "spends": "spends money",
}
_PLACES: Mapping[Place, str] = {
    "workspace": "in the workspace",
    "home": "in a home folder",
    "system": "in the system's folders",
    "elsewhere": "outside of the workspace",
    "network": "over the network",
}


#: What the name of a parameter says of what stands under it.
_Says = Literal[
    "address", "amount", "code", "command", "currency", "data", "message", "path", "program", "recipient", "sql",
    "target",
]  # fmt: skip
_NOTHING: frozenset[_Says] = frozenset()


def _says(name: str) -> frozenset[_Says]:
    return _said_by(name[:MAX_NAME_CHARACTERS])


@lru_cache(maxsize=4096)
def _said_by(name: str) -> frozenset[_Says]:
    words = words_of(name)
    plain = "_".join(words)
    found: dict[_Says, bool] = {
        "address": not _URL_WORDS.isdisjoint(words),
        "amount": plain in _AMOUNTS,
        "code": plain in _CODE,
        "command": "".join(words) in _COMMANDS,
        "currency": "currency" in plain,
        "data": not _DATA.isdisjoint(words),
        "message": plain in _MESSAGES,
        "path": not _PATH_WORDS.isdisjoint(words),
        "program": plain in _CODE and plain not in _SQL,
        "recipient": plain in _RECIPIENTS,
        "sql": plain in _SQL,
        "target": plain in _TARGETS,
    }
    return frozenset(each for each, is_said in found.items() if is_said)


def shapes_of(names: Iterable[str]) -> frozenset[Deed]:
    """What a tool does that takes parameters of these names, as far as they tell."""
    return _done_with(_NOTHING.union(*map(_says, names)))


@lru_cache(maxsize=256)
def _done_with(says: frozenset[_Says]) -> frozenset[Deed]:
    found: set[Deed] = set()
    if "command" in says or "code" in says:
        found.add("runs")
    if "amount" in says and "currency" in says:
        found.add("spends")
    if "recipient" in says or ("message" in says and "target" in says):
        found.add("sends")
    return frozenset(found)


def is_path_name(name: str) -> bool:
    return "path" in _says(name)


def is_address_name(name: str) -> bool:
    """Whether a parameter of this name says where on the network something goes."""
    return "address" in _says(name)


class Texts(NamedTuple):
    """Texts with the nearest name that each stands under; ``is_all`` is False where there are more."""

    found: Sequence[tuple[str, str]]
    is_all: bool


def texts_in(parameters: Mapping[str, Any]) -> Texts:
    """The texts of parameters: the first of them, not too deep, and no more than can be looked at in passing."""
    found: list[tuple[str, str]] = []
    left, is_all = _MAX_CHARACTERS, True
    if len(parameters) <= _MAX_TEXTS:
        for name, value in parameters.items():
            kind = type(value)
            if kind is str:
                found.append((str(name), value))
                left -= len(value)
            elif kind not in _FLAT:
                break
        else:  # as most are
            if left >= 0:
                return Texts(found, is_all)
        found, left = [], _MAX_CHARACTERS
    waiting: list[tuple[str, Any, int]] = [("", parameters, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        if isinstance(value, str):
            left -= min(len(value), _MAX_TEXT)
            if left < 0 or len(found) == _MAX_TEXTS:
                return Texts(found, is_all=False)
            found.append((name, value))
            continue
        is_all = is_all and len(value) <= _MAX_ITEMS
        items = islice(value.items() if isinstance(value, Mapping) else ((name, item) for item in value), _MAX_ITEMS)
        named = [(str(key), item) for key, item in items]
        inner = [(*each, depth + 1) for each in named if isinstance(each[1], str | Mapping | list | tuple)]
        if inner and depth == _MAX_DEPTH:
            is_all = False
        else:
            waiting += inner[::-1]
    return Texts(found, is_all)


def deeds_of(
    tool_name: str, parameters: Mapping[str, Any], *, reasons: Sequence[str] = (), workspace: str | None = None
) -> Deeds:
    """What the call does. Among the reasons is what its server says; ``workspace`` is where who asks works."""
    said = codes_of(reasons)
    says = _NOTHING.union(*map(_says, islice(parameters, _MAX_TEXTS)))
    texts: list[tuple[frozenset[_Says], str]] = []
    for name, text in texts_in(parameters).found:
        each_says = _says(name)
        if "data" not in each_says:  # what is written or said names no place
            texts.append((each_says, text))
    reading = read_call(parameters)
    size = sum([len(text) for _, text in texts]) + len(tool_name) + len(workspace or "")
    found = _found_again if reading is None and size <= _MAX_REMEMBERED else _found
    return found(tool_name, says, tuple(texts), said, workspace, reading)


def _found(
    tool_name: str,
    says: frozenset[_Says],
    texts: tuple[tuple[frozenset[_Says], str], ...],
    said: frozenset[str],
    workspace: str | None,
    reading: CommandReading | None,
) -> Deeds:
    """The deeds of a call whose parameters' names and server say so much, with these texts that are no data."""
    deeds = _Deeds(workspace)
    by_name = deed_of_name(bare_name(tool_name))
    deeds.does |= _done_with(says) - {"runs"}
    if reading is not None:
        deeds.add_command(reading)
    elif "program" in says:
        deeds.does.add("runs")
    for each_says, text in texts:
        deeds.add_text(each_says, text)
    if by_name is not None and not (by_name == "runs" and deeds.commands):
        deeds.does.add(by_name)
    if said:
        deeds.add_hints(said)
    return deeds.told(said)


#: An agent writes into one file again and again.
_found_again = lru_cache(maxsize=512)(_found)


class _Deeds:
    """Collects what is found."""

    def __init__(self, workspace: str | None) -> None:
        self.does: set[Deed] = set()
        self.where: dict[Place, None] = {}
        self.commands = 0
        self._workspace = workspace
        self._paths: dict[str, None] = {}
        self._hosts: dict[str, None] = {}
        self._takes_back: list[bool | None] = []

    def add_hints(self, said: Collection[str]) -> None:
        """What the tool's server says of it, where nothing else says more."""
        hinted = next((deed for code, deed in _SAID.items() if code in said), None)
        if not self.does and hinted is not None:
            self.does.add(hinted)
        if "may_destroy" in said and self.does == {"reads"}:
            self.does.add("deletes")
        if "reaches_out" in said:
            self.where.setdefault("network")

    def add_command(self, reading: CommandReading) -> None:
        """Shell text, or a program and its arguments, as far as it is understood."""
        if reading.not_understood is not None:
            may = may_do(names_in(reading.text[:_MAX_CHARACTERS]))
            self.does |= may | {"runs"}
            self._takes_back.append(False if "deletes" in may else None)
        self.commands += 1
        for words in reading.parts[:_MAX_TEXTS]:
            use = use_of(words)
            self.does.add(use.does)
            if use.does == "sends":
                self.where.setdefault("network")
            if not use.only_reads:
                self._takes_back.append(use.reversible)
            for word in words[1:_MAX_TEXTS]:
                if is_path(word) or (use.does in ("deletes", "writes") and not word.startswith("-")):
                    self._add_path(word)

    def add_text(self, says: frozenset[_Says], text: str) -> None:
        """A text of the parameters that is no data, under a name that ``says`` what it is."""
        is_address = "address" in says
        hosts = hosts_in(text) if is_address or "command" in says or "://" in text[:16] else []
        if hosts or (is_address and text):
            self.where.setdefault("network")
        for host in hosts:
            self._hosts.setdefault(plainly(host))
        if not hosts and (is_path(text) or ("path" in says and text and "\n" not in text)):
            self._add_path(text)
        if "sql" in says:
            self.does.add(_deed_of_sql(text))

    def told(self, said: Collection[str]) -> Deeds:
        does = tuple(self.does)
        return _deeds(
            does if len(does) < 2 else tuple(sorted(does, key=_ORDER.index)),
            tuple(self.where),
            tuple(self._paths)[:_MAX_SHOWN] or None,
            tuple(self._hosts)[:_MAX_SHOWN] or None,
            self._reversible(said),
        )

    def _reversible(self, said: Collection[str]) -> bool | None:
        if self.does == _ONLY_READS:
            return None if "network" in self.where else True
        if not _NOT_REVERSIBLE.isdisjoint(self.does):
            return False
        if self.commands:
            return False if False in self._takes_back else True if set(self._takes_back) == {True} else None
        return True if "destroys_nothing" in said and self.does == {"writes"} else None

    def _add_path(self, path: str) -> None:
        place = place_of(path, self._workspace)
        if place is not None:
            self.where.setdefault(place)
        self._paths.setdefault(plainly(path))


@lru_cache(maxsize=512)
def _deeds(
    does: tuple[Deed, ...],
    where: tuple[Place, ...],
    paths: tuple[str, ...] | None,
    hosts: tuple[str, ...] | None,
    reversible: bool | None,
) -> Deeds:
    """Calls that do the same to the same have the same ones, which are encoded once."""
    told = {"does": does, "where": where, "paths": paths, "hosts": hosts, "reversible": reversible}
    return made(Deeds, told)


def reasons_of(deeds: Deeds, parameters: Mapping[str, Any]) -> tuple[Reason, ...]:
    """The deeds as a reason to ask, and what of a command nobody can tell."""
    reading = read_call(parameters)
    why = None if reading is None else reading.not_understood
    does = _as_reason(deeds)
    return (does,) if why is None else (does, Reason(why.code, **why.values))


@lru_cache(maxsize=512)
def _as_reason(deeds: Deeds) -> Reason:
    return Reason("deeds", what=in_words(deeds.__dict__)) if deeds.does else Reason("deeds_unknown")


def in_words(deeds: Mapping[str, Any]) -> str:
    """Deeds as a record has them, as the end of a sentence that begins with "it"."""
    verbs = [_VERBS.get(deed, str(deed)) for deed in deeds["does"]]
    text = " and ".join([", ".join(verbs[:-1]), verbs[-1]] if len(verbs) > 1 else verbs)
    where = [_PLACES.get(place, str(place)) for place in deeds["where"]]
    named = [f'"{path}"' for path in deeds.get("paths") or ()] + [*(deeds.get("hosts") or ())]
    if where:
        text += ", " + " and ".join(where)
    if named:
        text += f" ({', '.join(named)})"
    if deeds["reversible"] is False:
        text += "; this cannot be taken back"
    elif deeds["reversible"] and list(deeds["does"]) != ["reads"]:
        text += "; this can be taken back"
    return text


def plainly(text: str) -> str:
    """Text that somebody else chose, on one short line, in which nothing is unseen or turns the reading direction."""
    if len(text) > _MAX_SHOWN_CHARACTERS:
        half = _MAX_SHOWN_CHARACTERS // 2
        text = f"{text[:half]}…{text[-half:]}"
    if text.isprintable() and '"' not in text:
        return text
    return "".join(letter if letter.isprintable() and letter != '"' else f"\\u{ord(letter):04x}" for letter in text)


def _deed_of_sql(text: str) -> Deed:
    beginning = text[:4096]
    return "deletes" if _SQL_DELETES.search(beginning) else "writes" if _SQL_WRITES.search(beginning) else "reads"
