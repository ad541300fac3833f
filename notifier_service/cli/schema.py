"""``schema``: print the JSON Schema of the wire."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..web.schema import wire_schema

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of events and answers",
        description="Print the JSON Schema (2020-12) of every event, answer and decision, for clients in other "
        "languages. The types of the TypeScript client are made from it.",
    )
    parser.set_defaults(command=_schema)


async def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(wire_schema(), indent=2))
    return 0
