"""What people decided for always: a file of rules, each bound to what was shown, that outlives the service."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .. import later
from ..errors import LimitReached, RulesNotKept
from ..events import Many, Rule, utc_now, utc_text
from ..file_lock import locked
from ..limits import RiskLevel
from .binding import Learned, bindings, escaped, without_nothing
from .command_use import CommandUse
from .grants import Entry, Remembered, Shelf, about, named, rule_from
from .reasons import Reason
from .toml_lines import line_that_is_too_deep
from .verdict import AskedTool, Call, Effect, Verdict, is_riskier

__all__ = ["LearnedRules", "rule_table"]

#: More are not read at a glance, and each is read again whenever the file changes.
_MAX_RULES = 1000
_MAX_BYTES = 1024 * 1024
#: What a policy file takes as a justification.
_MAX_REASON = 1000
#: How long a person's click waits for another process that writes the file.
_LOCK_SECONDS = 0.25

_HEAD = """\
# What people decided for always: notifier-service writes it, and reads it again when it changes.
# A rule holds for just what its [rule.learned] says it was shown for. To take one back, remove it here, or use
# notifier-service rules. Conditions of your own belong into the policy file.
"""

_RISKS: Sequence[RiskLevel] = ("low", "medium", "high")
_HEADER = later.pattern(r"^[ \t]*\[\[[ \t]*rule[ \t]*\]\]", re.MULTILINE)
_PLAIN = later.pattern(r"[A-Za-z0-9_./,:+@%=^-]+")
_TOML_LINE = later.pattern(r" ?\(at (?:line (\d+), column \d+|end of document)\)")


class _LearnedRule(BaseModel):
    """One ``[[rule]]`` of the file: the names are those of a policy file."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1)]
    effect: Effect
    tool: Annotated[str, Field(min_length=1)]
    server: Annotated[str, Field(min_length=1)] | None = None
    session: Many[str] | str | None = None
    risk: Annotated[Many[RiskLevel], Field(min_length=1)] | None = None
    command: Many[str] | None = None
    justification: str | None = None
    until: AwareDatetime | None = None
    learned: Learned

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.effect == "allow" and self.risk is None:
            raise ValueError("risk: an allowance says at which risk it was given")
        if self.risk is not None and list(self.risk) != list(_RISKS[: len(self.risk)]):
            raise ValueError("risk: low, or low and medium, or all three, in this order")
        if list(self.command or ()) != _command_globs(self.entry().tool.command):
            raise ValueError("command: this is not what learned.command says")
        return self

    def entry(self) -> Entry:
        learned = self.learned
        tool = learned.tool(self.tool, self.server)
        return Entry(
            tool,
            Rule(
                rule_id=learned.rule_id,
                source="learned",
                name=self.name,
                effect=self.effect,
                **about(tool),
                session=(self.session,) if isinstance(self.session, str) else self.session,
                risk=_RISKS[-1] if self.risk is None else self.risk[-1],
                justification=self.justification,
                until=self.until,
                created_by=learned.created_by,
                created_at=learned.created_at,
            ),
        )


class LearnedRules(Remembered):
    """The rules of one file, made by decisions with ``scope: always``; every session of a broker asks them.

    A file that is not there is made with the first rule. One that cannot be read is never written: what was read
    before stays in force, ``error`` says why, and where nothing was read yet every call is asked, because nobody knows
    what was denied. All methods may be called in any thread.
    """

    def __init__(self, path: Path, *, capacity: int = _MAX_RULES, capacity_bytes: int = _MAX_BYTES) -> None:
        super().__init__()
        self.path = path.absolute()  # wherever the program goes
        #: Why the newest text of the file does not load; None where it did.
        self.error: str | None = None
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._guard = threading.RLock()
        self._seen: tuple[int, ...] | None = None
        self._text = ""
        self._is_known = False
        self.refresh()

    def refresh(self) -> bool:
        """Read the file if it has changed, and tell whether ``rules`` or ``error`` may be others now. Never raises."""
        with self._guard:
            stamp = self._stamp()
            if self._is_known and stamp == self._seen:
                return False
            before = self.error
            if stamp is None and self._text:
                self.error = f"{self.path} is not there any more; what was learned stays in force until a restart"
                return self.error != before
            try:
                text = "" if stamp is None else self._read()
                shelf = Shelf(self._parsed(text))
            except _Unreadable as error:
                # Looked at each time: a file that may not be read looks the same when it may be.
                self.error = str(error)
                return self.error != before
            self._shelf, self._text, self._seen = shelf, text, stamp
            self._is_known, self.error = True, None
            return True

    def judge(self, call: Call) -> Verdict | None:
        """What the rules say of a call; of every call that it is asked, as long as nobody knows the rules."""
        if not self._is_known:
            return Verdict("ask", (Reason("learned_unread", problem=self.error or ""),))
        return super().judge(call)

    def add(
        self,
        effect: Effect,
        tool: AskedTool,
        risk_level: RiskLevel,
        *,
        created_by: str,
        reason: str | None = None,
        sessions: Sequence[str] = ("*",),
    ) -> Rule:
        """Write a decision as a rule, in the place of an earlier one about the same; it holds when it is on disk.

        ``sessions`` are the patterns of those in which the person may decide. Raises ``LimitReached`` or
        ``RulesNotKept``; the file and the rules are as before then.
        """
        with self._writing():
            reason = reason and reason[:_MAX_REASON]
            rule = rule_from("learned", effect, tool, risk_level, created_by=created_by, reason=reason)
            reach = None if "*" in sessions else tuple(sorted(sessions))
            text = self._text
            entries = list(self._shelf.entries.values())
            for before in [entry for entry in entries if entry.tool == tool and entry.rule.session == reach]:
                text = self._without(text, before.rule.rule_id)
                entries.remove(before)
            if len(entries) >= self._capacity:
                raise LimitReached(
                    "learned_rules", f"{self.path.name} has {len(entries)} rules: take one back, or decide for less."
                )
            name = _unused(rule.name, {entry.rule.name for entry in entries})
            rule = rule.model_copy(update={"name": name, "session": reach})
            entry = Entry(tool, rule)
            block = _written(_table(entry))
            if not self._says(block, entry):
                raise RulesNotKept("What this rule is bound to cannot be written down exactly.")
            text = f"{text.rstrip()}\n\n{block}" if text.strip() else f"{_HEAD}\n{block}"
            if len(text.encode()) > self._capacity_bytes:
                raise LimitReached(
                    "learned_rules",
                    f"{self.path.name} would have more than {self._capacity_bytes} bytes: take a rule back.",
                )
            self._write(text)
            self._shelf = Shelf((*entries, entry))
            return rule

    def take_back(self, rule_id: str) -> Rule:
        """Take a rule out of the file, and return it. Raises ``RuleNotFound`` or ``RulesNotKept``."""
        with self._writing():
            shelf = Shelf(self._shelf.entries.values())
            rule = self._counted(shelf.take(rule_id).rule)
            self._write(self._without(self._text, rule_id))
            self._shelf = shelf
            self._uses.pop(rule_id, None)
            return rule

    def in_session(self, session_id: str | None) -> Sequence[Rule]:
        """Those that hold in a session, oldest first; without one all."""
        rules = self.rules
        return rules if session_id is None else [rule for rule in rules if _is_for(rule, session_id)]

    def _is_in_force(self, rule: Rule, call: Call) -> bool:
        if rule.until is not None and rule.until <= utc_now():
            return False
        return _is_for(rule, call.session_id)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the file, as it is now, against everybody else who writes it."""
        with self._guard:
            try:
                with locked(self._target, _LOCK_SECONDS):
                    self.refresh()
                    if self.error is not None and self._stamp() is not None:
                        raise RulesNotKept(f"The rules cannot be kept: {self.error}. Mend the file, and decide again.")
                    yield
            except TimeoutError:
                raise RulesNotKept("The rules cannot be kept: another process is writing them.") from None
            except OSError as error:
                raise RulesNotKept(f"The rules cannot be kept in {self.path}: {error.strerror or error}.") from error

    @property
    def _target(self) -> Path:
        """The file itself: where the path is a link, that stays one."""
        return Path(os.path.realpath(self.path))

    def _write(self, text: str) -> None:
        """Put the text in the place of the file, whole or not at all."""
        target = self._target
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        try:
            with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._text, self._seen = text, self._stamp()
        self._is_known, self.error = True, None

    def _without(self, text: str, rule_id: str) -> str:
        """The text without one rule, and as it was otherwise."""
        tables = _tables(text) or []
        at = next(index for index, table in enumerate(tables) if table["learned"]["rule_id"] == rule_id)
        headers = [header.start() for header in _HEADER.finditer(text)]
        if len(headers) == len(tables):
            begin, end = headers[at], [*headers, len(text)][at + 1]
            lines = text[begin:end].splitlines(keepends=True)
            while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
                end -= len(lines.pop())  # it stands before the next rule, and is about that
            rest = text[:begin] + text[end:]
            if _tables(rest) == tables[:at] + tables[at + 1 :]:
                return rest
        raise RulesNotKept(f"{self.path} is written in a way in which a rule cannot be cut out: remove it there.")

    def _says(self, block: str, entry: Entry) -> bool:
        """Whether who reads the text gets this rule and nothing else."""
        try:
            return [_comparable(read) for read in self._parsed(block)] == [_comparable(entry)]
        except _Unreadable:
            return False

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode

    def _read(self) -> str:
        try:
            # Of a pipe that nobody writes, nothing ever comes.
            with open(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    raise _Unreadable(f"{self.path}:1: it is no file")
                if mode & stat.S_IWOTH:
                    raise _Unreadable(f"{self.path}:1: everybody may write it: chmod o-w it, and see what it says")
                raw = file.read(self._capacity_bytes + 1)
        except OSError as error:
            raise _Unreadable(f"{self.path}:1: {error.strerror}") from None
        if len(raw) > self._capacity_bytes:
            raise _Unreadable(f"{self.path}:1: it has more than {self._capacity_bytes} bytes")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise _Unreadable(f"{self.path}:{raw[: error.start].count(10) + 1}: it is not UTF-8") from None

    def _parsed(self, text: str) -> list[Entry]:
        """The rules of a text, or ``_Unreadable`` with the line and what is wrong there."""
        if (deep := line_that_is_too_deep(text)) is not None:
            raise _Unreadable(f"{self.path}:{deep}: it is nested too deeply")
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_LINE.search(str(error))
            line = place[1] if place is not None and place[1] else text.count("\n") + 1
            raise _Unreadable(f"{self.path}:{line}: {_TOML_LINE.sub('', str(error))}") from None
        except RecursionError:
            raise _Unreadable(f"{self.path}:1: it is nested too deeply") from None
        tables = document.pop("rule", [])
        if document or not isinstance(tables, list):
            raise _Unreadable(f"{self.path}:1: a learned file has nothing but [[rule]]")
        if len(tables) > self._capacity:
            raise _Unreadable(f"{self.path}:1: it has more than {self._capacity} rules")
        lines = [text.count("\n", 0, header.start()) + 1 for header in _HEADER.finditer(text)]
        entries: list[Entry] = []
        ids: set[str] = set()
        for index, table in enumerate(tables):
            line = lines[index] if len(lines) == len(tables) else 1
            if isinstance(table, dict) and "learned" not in table:
                raise _Unreadable(
                    f"{self.path}:{line}: it has no [rule.learned]: your own rules belong into the policy"
                )
            try:
                entry = _LearnedRule.model_validate(table).entry()
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                where = ".".join(map(str, first["loc"]))
                why = first["msg"].removeprefix("Value error, ")
                raise _Unreadable(f"{self.path}:{line}: {where + ': ' if where else ''}{why}") from None
            if entry.rule.rule_id in ids:
                raise _Unreadable(f"{self.path}:{line}: rule_id: another rule has it already")
            ids.add(entry.rule.rule_id)
            entries.append(entry)
        return entries


def _is_for(rule: Rule, session_id: str) -> bool:
    return rule.session is None or any(fnmatchcase(session_id, pattern) for pattern in rule.session)


def _tables(text: str) -> list[Any] | None:
    """The rules of a text; None where it is no TOML."""
    try:
        tables: list[Any] = tomllib.loads(text).get("rule", [])
    except tomllib.TOMLDecodeError:
        return None
    return tables


class _Unreadable(Exception):
    """The file does not load; the message says where and why."""


def rule_table(effect: Effect, tool: AskedTool, risk_level: RiskLevel, words: str | None = None) -> dict[str, Any]:
    """The rule that a decision about such a call becomes, as a table of the file.

    Without what only the decision tells: its id, who made it, when, why, and in which sessions that person may decide.
    ``words`` say for which calls it holds, if somebody has them.
    """
    table = _conditions(effect, named(effect, tool, risk_level, words), tool, risk_level)
    if learned := bindings(tool):
        table["learned"] = learned
    return table


def _table(entry: Entry) -> dict[str, Any]:
    """The rule as a table of the file, without what it does not say."""
    tool, rule = entry
    origin = {"rule_id": rule.rule_id, "created_by": rule.created_by, "created_at": utc_text(rule.created_at)}
    more = {"session": None if rule.session is None else list(rule.session), "justification": rule.justification}
    return {
        **_conditions(rule.effect, rule.name, tool, rule.risk),
        **without_nothing(more),
        "learned": {**origin, **bindings(tool)},
    }


def _conditions(effect: Effect, name: str, tool: AskedTool, risk_level: RiskLevel) -> dict[str, Any]:
    """What a policy file says in the same words."""
    table = {
        "name": name,
        "effect": effect,
        "tool": escaped(tool.tool_name),
        "server": None if tool.server is None else escaped(tool.server),
        "risk": [risk for risk in _RISKS if not is_riskier(risk, risk_level)] if effect == "allow" else None,
        "command": _command_globs(tool.command) or None,
    }
    return without_nothing(table)


def _written(table: Mapping[str, Any]) -> str:
    learned = table["learned"]
    lines = ["[[rule]]", *_lines({name: value for name, value in table.items() if name != "learned"})]
    lines += ["", "[rule.learned]", *_lines({name: value for name, value in learned.items() if name != "command"})]
    if "command" in learned:
        lines += ["", "[rule.learned.command]", *_lines(learned["command"])]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {value if name == 'created_at' else _toml(value)}" for name, value in table.items()]


def _toml(value: str | Sequence[str]) -> str:
    if isinstance(value, str):
        # As JSON, but that what is beyond ASCII is one escape: look-alikes and what nobody sees stand out in a diff.
        return "".join(json.dumps(mark)[1:-1] if mark < "\x7f" else f"\\U{ord(mark):08x}" for mark in value).join('""')
    return f"[{', '.join(map(_toml, value))}]"


def _command_globs(use: CommandUse | None) -> list[str]:
    words = () if use is None else use.beginning
    # A word that such a pattern cannot say as it is leaves it to learned.command, which says it anyhow.
    return [" ".join((*words, "*"))] if words and all(map(_PLAIN.fullmatch, words)) else []


def _unused(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def _comparable(entry: Entry) -> tuple[AskedTool, Mapping[str, Any]]:
    """What a rule says, whatever the way of its time."""
    rule = entry.rule
    risk = rule.risk if rule.effect == "allow" else None
    moment: datetime = rule.created_at
    return entry.tool, rule.model_dump() | {"risk": risk, "created_at": utc_text(moment)}
