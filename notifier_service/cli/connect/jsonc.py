"""Change single values of a JSON file that a person keeps: comments, order, spaces and line ends stay as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Jsonc", "NotJson"]

Path = Sequence[str | int]

_GAP = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")


class NotJson(Exception):
    """A text that is no JSON, nor JSON with comments; its text names the line."""


@dataclass
class _Node:
    start: int
    #: Where its key begins, if it has one.
    begins: int = 0
    value: Any = None
    end: int = 0
    members: dict[str | int, _Node] = field(default_factory=dict)


class Jsonc:
    """A text of JSON with or without comments and trailing commas. Raises ``NotJson``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._read()

    @property
    def value(self) -> Any:
        """All that it says."""
        return self._root.value

    def get(self, path: Path) -> Any:
        """The value there, or None."""
        node = self._find(path)
        return None if node is None else node.value

    def set(self, path: Path, value: Any) -> None:
        """Put a value there, in the place of the one that is there, or behind its neighbours.

        Raises ``NotJson`` where something else than an object or a list would have to hold it.
        """
        node = self._find(path)
        if node is not None:
            is_one_line = "\n" not in self.text[node.start : node.end]
            indent = self._indent_at(node.start)
            new = json.dumps(value, ensure_ascii=False) if is_one_line else self._written(value, indent)
            self._splice(node.start, node.end, new)
            return
        depth = next(depth for depth in range(len(path), -1, -1) if self._find(path[:depth]) is not None)
        holder = self._find(path[:depth])
        assert holder is not None  # the root is there
        for part in reversed(path[depth + 1 :]):
            value = {part: value} if isinstance(part, str) else [value]
        part = path[depth]
        if not isinstance(holder.value, dict if isinstance(part, str) else list):
            raise NotJson(f"line {self._line(holder.start)}: there is no place for {'.'.join(map(str, path))}")
        self._insert(holder, part, value)

    def append(self, path: Path, value: Any) -> None:
        """Put a value at the end of the list there, which is made where it is missing. Raises ``NotJson``."""
        held = self.get(path)
        self.set([*path, len(held) if isinstance(held, list) else 0], value)

    def remove(self, path: Path) -> None:
        """Take a member of an object or of a list away, with its comma, and its line where nothing else is on it."""
        node, holder = self._find(path), self._find(path[:-1])
        assert node is not None  # who removes it has found it
        assert holder is not None
        begin, end = node.begins, node.end
        comma = self._gap(end)
        before = [one.end for one in holder.members.values() if one.end <= begin]
        if self.text[comma : comma + 1] == ",":
            end = comma + 1
        elif before:
            comma = self._gap(max(before))
            self.text = self.text[:comma] + self.text[comma + 1 :]
            begin, end = begin - 1, end - 1
        line = self.text.rfind("\n", 0, begin) + 1
        rest = re.compile(r"[ \t]*\r?\n").match(self.text, end)
        if rest is not None and not self.text[line:begin].strip(" \t"):
            begin, end = line, rest.end()
        self._splice(begin, end, "")
        left = self._find(path[:-1])
        assert left is not None  # it is only empty now
        if not self.text[left.start + 1 : left.end - 1].strip():
            self._splice(left.start + 1, left.end - 1, "")

    def _insert(self, holder: _Node, part: str | int, value: Any) -> None:
        own = self._indent_at(holder.start)
        key = f"{json.dumps(part, ensure_ascii=False)}: " if isinstance(part, str) else ""
        if not holder.members:
            inner = own + self._unit
            inside = self.text[holder.start + 1 : holder.end - 1]
            kept = inside.rstrip() if inside.strip() else ""  # a comment
            new = f"{kept}{self._newline}{inner}{key}{self._written(value, inner)}{self._newline}{own}"
            self._splice(holder.start + 1, holder.end - 1, new)
            return
        last = max(holder.members.values(), key=lambda node: node.end)
        begins = self.text.rfind("\n", 0, last.start) + 1
        is_on_own_line = not self.text[begins : last.start].strip(" \t\r") or isinstance(part, str)
        first_line = self.text.count("\n", holder.start, last.end) > 0
        if not (is_on_own_line and first_line):
            self._splice(last.end, last.end, f", {key}{json.dumps(value, ensure_ascii=False)}")
            return
        inner = self._indent_at(last.start)
        gap = self._gap(last.end)
        has_comma = self.text[gap : gap + 1] == ","
        new = f"{self._newline}{inner}{key}{self._written(value, inner)}"
        if has_comma:
            self._splice(gap + 1, gap + 1, new + ",")
        else:
            self._splice(last.end, last.end, "," + new)

    def _splice(self, start: int, end: int, new: str) -> None:
        self.text = self.text[:start] + new + self.text[end:]
        self._read()

    def _written(self, value: Any, indent: str) -> str:
        lines = json.dumps(value, indent=self._unit, ensure_ascii=False).split("\n")
        return (self._newline + indent).join(lines)

    def _indent_at(self, place: int) -> str:
        """The white space that begins the line of this place."""
        line = self.text[self.text.rfind("\n", 0, place) + 1 : place]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _line(self, place: int) -> int:
        return self.text.count("\n", 0, place) + 1

    def _find(self, path: Path) -> _Node | None:
        node: _Node | None = self._root
        for part in path:
            node = None if node is None else node.members.get(part)
        return node

    def _read(self) -> None:
        self._newline = "\r\n" if "\r\n" in self.text else "\n"
        found = re.search(r"\n([ \t]+)\S", self.text)
        self._unit = found[1] if found else "  "
        try:
            self._root = self._node(self._gap(1 if self.text.startswith("\ufeff") else 0))
        except RecursionError:
            raise NotJson("it is too deep") from None
        end = self._gap(self._root.end)
        if end != len(self.text):
            raise NotJson(f"line {self._line(end)}: something stands behind the end")

    def _gap(self, place: int) -> int:
        found = _GAP.match(self.text, place)
        assert found is not None  # it matches nothing, too
        return found.end()

    def _node(self, start: int) -> _Node:
        node = _Node(start)
        opening = self.text[start : start + 1]
        if opening in ("{", "["):
            self._fill(node, "}" if opening == "{" else "]")
            return node
        pattern = _STRING if opening == '"' else _SCALAR
        found = pattern.match(self.text, start)
        if found is None:
            raise NotJson(f"line {self._line(start)}: this is no JSON")
        node.end = found.end()
        try:
            node.value = json.loads(found[0])
        except ValueError:
            raise NotJson(f"line {self._line(start)}: this is no JSON") from None
        return node

    def _fill(self, node: _Node, closing: str) -> None:
        place = self._gap(node.start + 1)
        while self.text[place : place + 1] != closing:
            part: str | int = len(node.members)
            begins = place
            if closing == "}":
                key = self._node(place)
                colon = self._gap(key.end)
                if not isinstance(key.value, str) or self.text[colon : colon + 1] != ":":
                    raise NotJson(f"line {self._line(place)}: a key and a colon are needed")
                part, place = key.value, self._gap(colon + 1)
            member = self._node(place)
            member.begins = begins
            node.members[part] = member
            place = self._gap(member.end)
            if self.text[place : place + 1] == ",":
                place = self._gap(place + 1)
            elif self.text[place : place + 1] != closing:
                raise NotJson(f"line {self._line(place)}: a comma or {closing} is needed")
        node.end = place + 1
        values = {part: member.value for part, member in node.members.items()}
        node.value = values if closing == "}" else list(values.values())
