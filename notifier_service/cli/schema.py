"""``schema``: print the JSON Schema of the wire."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..web.openapi import asyncapi, openapi
from ..web.schema import wire_schema

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of events and answers",
        description="Print the JSON Schema (2020-12) of every event, answer and decision, for clients in other "
        "languages. The types of the TypeScript client are made from it.",
    )
    which = parser.add_mutually_exclusive_group()
    for name, make, what in (
        ("--openapi", openapi, "OpenAPI 3.1: every route, what it takes and what it answers"),
        ("--asyncapi", asyncapi, "AsyncAPI 3: what streams and sockets tell"),
    ):
        which.add_argument(name, dest="make", action="store_const", const=make, help=f"print {what}")
    parser.set_defaults(command=_schema, make=wire_schema)


async def _schema(arguments: argparse.Namespace) -> int:
    print(json.dumps(arguments.make(), indent=2, ensure_ascii=False))
    return 0
