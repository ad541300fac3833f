"""``doctor``: say what stands between a client and the service, what it breaks, and which line mends it."""

from __future__ import annotations

import argparse
import json
import os
import ssl
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from ..core.redaction import without_credentials
from .examination import Examination, Finding
from .terminal import one_line

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="see whether streams, sockets, answers and producers come through to the service",
        description="Ask a running service from here, through whatever stands between, and say what comes through, "
        "what does not, and which line mends it. Works in sessions of its own and ends them. Exits with 1 if "
        "anything failed.",
    )
    parser.add_argument("url", help="the service as people reach it, with its prefix or without")
    parser.add_argument(
        "--token", default=os.environ.get("NOTIFIER_TOKEN"), help="better set as NOTIFIER_TOKEN; with view and produce"
    )
    parser.add_argument("--session", help="how its sessions begin, where the token does not cover all (doctor-…)")
    parser.add_argument("--origin", help="an origin whose pages are to use the service too: https://app.example")
    parser.add_argument(
        "--idle-seconds", type=float, default=40, metavar="SECONDS", help="how long to be silent (40); 0 leaves it out"
    )
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust besides the system's")
    parser.add_argument("--json", action="store_true", help="print a JSON array of {check, outcome, text, mends}")
    parser.set_defaults(command=_doctor)


async def _doctor(arguments: argparse.Namespace) -> int:
    tls = ssl.create_default_context()
    if arguments.ca_file is not None:
        try:
            tls.load_verify_locations(arguments.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(f"--ca-file {arguments.ca_file}: {error}") from None
    if not 0 <= arguments.idle_seconds <= 3600:
        raise InvalidInput("--idle-seconds is from 0 to 3600")
    examination = Examination(
        arguments.url,
        arguments.token,
        session=arguments.session,
        origin=arguments.origin,
        idle_seconds=arguments.idle_seconds,
        tls=tls,
    )
    failed = False
    told: list[dict[str, Any]] = []
    async for finding in examination.findings():
        failed = failed or finding.outcome == "fail"
        if arguments.json:
            told.append(finding.as_json())
        else:
            print(_without(arguments.token, _lines(finding)), flush=True)
    if arguments.json:
        print(_without(arguments.token, json.dumps(told, indent=2)))
    return 1 if failed else 0


def _lines(finding: Finding) -> str:
    lines = [f"{finding.outcome:<4}  {finding.check:<9}  {one_line(finding.text)}"]
    if finding.outcome != "ok":
        lines += [f"                 {program}: {line}" for program, line in finding.mends.items()]
    return "\n".join(lines)


def _without(token: str | None, text: str) -> str:
    """What an answer of whoever stands between repeats of the token is not printed either."""
    return without_credentials(text if not token else text.replace(token, "***"))
