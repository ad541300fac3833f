"""What a learned rule is bound to: just the calls that a person was shown when the rule was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..events import Many, Sha256
from .command_use import CommandUse
from .verdict import AskedTool, Call

__all__ = ["Bound", "Learned", "bindings", "escaped", "unescaped", "without_nothing"]

_Text = Annotated[str, Field(max_length=4096)]


class _Strict(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _LearnedCommand(_Strict):
    """For which commands it holds, as ``CommandUse`` says."""

    beginning: Many[str] = ()
    options: Many[str] = ()
    parameters_sha256: Sha256 | None = None
    beside_sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _bound(self) -> Self:
        if bool(self.beginning) == (self.parameters_sha256 is not None):
            raise ValueError("either beginning or parameters_sha256 says for which commands it holds")
        return self


class Learned(_Strict):
    """``[rule.learned]`` of a file: what a rule is bound to besides its tool and server, and where it comes from."""

    rule_id: Annotated[str, Field(pattern=r"^rule_[A-Za-z0-9_-]{8,64}$")]
    created_by: _Text
    created_at: AwareDatetime
    asked_by: _Text | None = None
    agent: _Text | None = None
    definition_sha256: Sha256 | None = None
    command: _LearnedCommand | None = None

    def tool(self, tool: str, server: str | None) -> AskedTool:
        """The tool that a rule is about, of its names as the file writes them."""
        command = None
        if self.command is not None:
            use = self.command
            command = CommandUse(tuple(use.beginning), frozenset(use.options), use.parameters_sha256, use.beside_sha256)
        return AskedTool(
            unescaped(tool),
            None if server is None else unescaped(server),
            self.definition_sha256,
            self.asked_by,
            self.agent,
            command,
        )


@dataclass(frozen=True)
class Bound:
    """A condition: the call is of just this tool, asked by just this one."""

    tool: AskedTool

    def allows(self, call: Call) -> bool:
        return call.tool == self.tool

    holds_back = allows

    def why_not(self, call: Call) -> str:
        return "it is learned for another asker, another definition of the tool, or other commands"


def bindings(tool: AskedTool) -> dict[str, Any]:
    """What ``[rule.learned]`` says of a tool besides its names."""
    table: dict[str, Any] = {
        "asked_by": tool.asked_by,
        "agent": tool.agent,
        "definition_sha256": tool.definition_sha256,
    }
    use = tool.command
    if use is not None:
        command = {
            "beginning": list(use.beginning) or None,
            "options": sorted(use.options) or None,
            "parameters_sha256": use.sha256,
            "beside_sha256": use.beside_sha256,
        }
        table["command"] = without_nothing(command)
    return without_nothing(table)


def without_nothing(table: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None, as TOML has no word for it."""
    return {name: value for name, value in table.items() if value is not None}


def escaped(name: str) -> str:
    """A name as the pattern that matches nothing else."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def unescaped(pattern: str) -> str:
    return re.sub(r"\[([*?\[])\]", r"\1", pattern)
