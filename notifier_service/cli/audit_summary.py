"""``audit summary``: which tools people were asked about, how they answered, and which rule would have saved that."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ..core.policy.command_use import command_use
from .audit_lines import Line, shown

__all__ = ["summary", "summary_in_words"]

_RISKS = ("low", "medium", "high")
_BAR_CELLS = 24
_HASTY_MS = 1000
_MOST_RULES = 10


def summary(lines: Iterable[Line]) -> dict[str, Any]:
    """``tools``, those that were asked about most first, and ``rules``, those that would have saved most first."""
    counts: dict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
    waited: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    asked: dict[str, Line] = {}
    answers: dict[str, str] = {}
    for line in lines:
        if not isinstance(line.get("tool_name"), str):
            continue
        tool = line["tool_name"], line.get("server")
        kind = line["kind"]
        if kind in ("asked", "allowed", "denied", "expired", "cancelled"):
            counts[tool][kind] += 1
        if kind == "asked":
            asked[line["request_id"]] = line
        elif kind == "decided":
            counts[tool]["approved" if line.get("approved") else "rejected"] += 1
            counts[tool]["edited"] += line.get("decision") == "edit"
            answers[line["request_id"]] = line.get("decision", "")
            if isinstance(line.get("waited_ms"), int):
                waited[tool].append(line["waited_ms"])
    rows = [_row(tool, counts[tool], waited[tool]) for tool in counts]
    rows.sort(key=lambda row: (-row["asked"], row["tool"]))
    return {"requests": len(asked), "tools": rows, "rules": _rules(asked, answers)}


def _row(tool: tuple[str, str | None], counts: Mapping[str, int], waited: Sequence[int]) -> dict[str, Any]:
    names = ("asked", "approved", "edited", "rejected", "expired", "cancelled", "allowed", "denied")
    return {
        "tool": tool[0],
        "server": tool[1],
        **{name: counts.get(name, 0) for name in names},
        "median_answer_ms": round(median(waited)) if waited else None,
        "under_one_second": sum(each < _HASTY_MS for each in waited),
    }


def _rules(asked: Mapping[str, Line], answers: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of calls that were approved as they were whenever somebody answered: the rule, and what it would have saved."""
    groups: dict[tuple[str, str | None, str | None, tuple[str, ...]], list[str]] = defaultdict(list)
    for request_id, line in asked.items():
        parameters = line.get("parameters")
        use = None
        if line.get("parameters_truncated") or not isinstance(parameters, dict):
            continue
        if (use := command_use(parameters)) is not None and not use.beginning:
            continue  # nobody can say which commands would be like this one
        beginning = () if use is None else use.beginning
        groups[line["tool_name"], line.get("server"), line.get("agent"), beginning].append(request_id)
    rules: list[dict[str, Any]] = []
    for (tool, server, agent, beginning), ids in groups.items():
        given = {answers[each] for each in ids if each in answers}
        approved = sum(answers.get(each) == "approve" for each in ids)
        if given != {"approve"} or approved < 2:
            continue
        risk = max((_RISKS.index(asked[each].get("risk_level", "high")) for each in ids), default=2)
        rule: dict[str, Any] = {"effect": "allow", "tool": tool, "risk": list(_RISKS[: risk + 1])}
        more = {"server": server, "agent": agent, "command": [f"{' '.join(beginning)} *"] if beginning else None}
        rule |= {name: value for name, value in more.items() if value is not None}
        rules.append({"rule": rule, "saved": approved})
    return sorted(rules, key=lambda each: (-each["saved"], each["rule"]["tool"]))[:_MOST_RULES]


def summary_in_words(told: Mapping[str, Any], *, ascii_only: bool) -> str:
    """The same as a small picture, one bar for each tool."""
    rows = told["tools"]
    if not rows:
        return "Nobody was asked, and nothing was let run or denied.\n"
    most = max(1, *(row["asked"] for row in rows))
    names = [shown(f"{row['server']}/{row['tool']}" if row["server"] else row["tool"])[:32] for row in rows]
    width = max(map(len, names))
    lines = [f"{'':{width}}  {'':{_BAR_CELLS}}  asked approved  median  under 1 s  by policy"]
    for name, row in zip(names, rows, strict=True):
        median_ms = row["median_answer_ms"]
        lines.append(
            f"{name:{width}}  {_bar(row, most, ascii_only=ascii_only)}  {row['asked']:5} {row['approved']:8}  "
            f"{'-' if median_ms is None else f'{median_ms / 1000:.1f} s':>6}  {row['under_one_second']:9}  "
            f"{row['allowed']} allowed, {row['denied']} denied"
        )
    if told["rules"]:
        lines += ["", "Rules that would have saved questions:"]
    for each in told["rules"]:
        what = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in each["rule"].items())
        lines.append(f"  {each['saved']:5}  {shown(what)}")
    return "\n".join(lines) + "\n"


def _bar(row: Mapping[str, Any], most: int, *, ascii_only: bool) -> str:
    full, rest = ("#", "-") if ascii_only else ("█", "░")
    cells = round(_BAR_CELLS * row["asked"] / most)
    if row["asked"]:
        cells = max(1, cells)
    approved = round(cells * min(row["approved"], row["asked"]) / row["asked"]) if row["asked"] else 0
    return f"{full * approved + rest * (cells - approved):{_BAR_CELLS}}"
