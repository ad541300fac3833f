"""The lines of audit logs that a command is about, and how a person reads them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..storage.audit_chain import BadLine, in_order, lines_of
from .terminal import one_line, seen

__all__ = ["Line", "add_choice", "chosen", "in_words", "refused", "shown", "told_lines"]

Line = Mapping[str, Any]

#: What is a text in every line that has it.
_TEXTS = (
    "kind", "time", "session_id", "request_id", "tool_call_id", "tool_name", "server", "agent", "asked_by",
    "risk_level", "parameters_sha256", "definition_sha256", "decision", "effect", "outcome", "rule", "rule_id",
)  # fmt: skip
_OF_REQUESTS = frozenset({"asked", "decided", "expired", "cancelled"})

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_choice(parser: argparse.ArgumentParser) -> None:
    """The files, and which of their lines."""
    parser.add_argument("file", nargs="+", type=Path, help="the log, or all files of one that was rotated")
    parser.add_argument("--session", metavar="S", help="of this session only, or of those that a glob names")
    parser.add_argument("--tool", metavar="T", help="of this tool only, or of those that a glob names")
    parser.add_argument(
        "--since", type=_moment, metavar="T", help="not older: 2026-11-29, 2026-11-29T08:00:00Z, or 30m, 12h, 7d"
    )


def chosen(arguments: argparse.Namespace) -> Iterator[Line]:
    """The lines, the oldest first. Raises ``BadLine`` at the first that is not as it was written."""
    return (line for line in told_lines(arguments.file) if _is_chosen(line, arguments))


def told_lines(files: Sequence[Path]) -> Iterator[Line]:
    """All lines of a log, the oldest first. Raises ``BadLine`` at the first that no service has written so."""
    for path in in_order(files):
        for number, line in lines_of(path):
            if (strange := _strange(line)) is not None:
                raise BadLine(path, number, f"no service writes its {strange} like that")
            yield line


def _strange(line: Line) -> str | None:
    """What in a line, whose hash anybody can compute, is not what the commands may rely on."""
    # What a rule is for may be several tools or servers.
    for name in _TEXTS[:2] if str(line.get("kind")).startswith("rule_") else _TEXTS:
        if name in line and not isinstance(line[name], str):
            return name
    for name in ("waited_ms", "duration_ms"):
        if name in line and type(line[name]) is not int:
            return name
    codes = line.get("reason_codes", [])
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        return "reason_codes"
    if line.get("risk_level", "low") not in ("low", "medium", "high"):
        return "risk_level"
    needed = ("kind", "time", *(("request_id",) if line.get("kind") in _OF_REQUESTS else ()))
    return next((name for name in needed if name not in line), None)


def _is_chosen(line: Line, arguments: argparse.Namespace) -> bool:
    for name, pattern in (("session_id", arguments.session), ("tool_name", arguments.tool)):
        if pattern is not None and not fnmatchcase(str(line.get(name, "")), pattern):
            return False
    return arguments.since is None or _time(line) >= arguments.since


def _time(line: Line) -> datetime:
    try:
        return datetime.fromisoformat(str(line.get("time"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.max.replace(tzinfo=UTC)  # rather told than left out


def _moment(text: str) -> datetime:
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):  # also before the first year
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-29T08:00:00Z or 12h") from None


def in_words(line: Line) -> str:
    """One line for a person."""
    parts = [str(line.get("time", "")), f"{line.get('kind', '')!s:13}", str(line.get("session_id", "-"))]
    if line.get("tool_name") is not None:
        server = line.get("server")
        parts.append(f"{server}/{line['tool_name']}" if server else str(line["tool_name"]))
    parts += [text for text in _details(line) if text]
    return shown("  ".join(parts))


def _details(line: Line) -> Sequence[str]:
    kind = line.get("kind")
    by = f"by {line['decided_by']}" if line.get("decided_by") else ""
    through = f"through {line['via']}" if line.get("via") else ""
    device = f"on {line['device']}" if line.get("device") else ""
    why = str(line.get("reason") or "")
    if kind in ("asked", "started"):
        return (f"risk {line['risk_level']}" if line.get("risk_level") else "", _brief(line.get("parameters")))
    if kind == "decided":
        return (
            str(line.get("decision", "")),
            by,
            through,
            device,
            f"after {line.get('waited_ms', 0) / 1000:.1f} s",
            why,
        )
    if kind == "finished":
        took = f"in {line['duration_ms']} ms" if line.get("duration_ms") is not None else ""
        return (str(line.get("outcome", "")), took, why)
    if kind == "notified":
        channels = line.get("channels")
        told = [f"{many} over {name}" for name, many in channels.items()] if isinstance(channels, dict) else []
        return (str(line.get("step", "")), f"to {line['to']}" if line.get("to") else "", ", ".join(told) or "nobody")
    if kind in ("allowed", "denied"):
        return (by, f"rule {line['rule']}" if line.get("rule") else "", why)
    return (by, device, f"rule {line['rule']}" if line.get("rule") else "", str(line.get("file") or ""), why)


def _brief(parameters: Any) -> str:
    text = repr(parameters) if parameters is not None else ""
    return text if len(text) <= 120 else text[:120] + "…"


def shown(text: str) -> str:
    """Text from a log, which others wrote, as it may stand on this terminal."""
    return seen(one_line(text), sys.stdout.encoding or "utf-8")


def refused(error: BadLine) -> int:
    """Tell which line is bad, and return the exit code."""
    print(shown(error.message), file=sys.stderr)
    return 1
