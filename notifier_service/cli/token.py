"""``token``: mint a signed token for tries."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, get_args

from ..core.errors import InvalidInput
from ..settings import ENV_PREFIX, JwtAlgorithm
from ..web.auth import Right
from ..web.jwt_auth import mint
from .typed import names

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser: argparse.ArgumentParser = commands.add_parser(
        "token",
        help="mint a token for tries",
        description="Print a token for a service with auth=jwt, signed with the secret or the private key in a file. "
        "Standard output has the token and nothing else.",
        epilog="A secret is made by: openssl rand -hex 32 > secret. In production, whoever knows your users signs.",
    )
    parser.add_argument("subject", help="whom it stands for; requests are decided in this name")
    parser.add_argument(
        "--rights", type=_rights, default=["approve"], help="view, approve, produce, admin, with commas (approve)"
    )
    parser.add_argument("--sessions", type=names, default=["*"], help="session patterns, with commas (*)")
    parser.add_argument("--seconds", type=_seconds, default=3600.0, metavar="N", help="how long it is good (3600)")
    key_file = os.environ.get(f"{ENV_PREFIX}JWT_KEY_FILE")
    parser.add_argument(
        "--key-file", type=Path, default=key_file, required=key_file is None, metavar="FILE",
        help=f"the secret of HS256, or a private key in PEM ({ENV_PREFIX}JWT_KEY_FILE)",
    )  # fmt: skip
    parser.add_argument("--algorithm", choices=get_args(JwtAlgorithm), default="HS256", help="how to sign (HS256)")
    parser.add_argument("--audience", help="the aud claim, if the service asks for one")
    parser.add_argument("--issuer", help="the iss claim, if the service asks for one")
    parser.set_defaults(command=_token)


async def _token(arguments: argparse.Namespace) -> int:
    try:
        token = mint(
            arguments.key_file,
            arguments.algorithm,
            subject=arguments.subject,
            rights=arguments.rights,
            sessions=arguments.sessions,
            seconds=arguments.seconds,
            audience=arguments.audience,
            issuer=arguments.issuer,
        )
    except InvalidInput as error:
        print(f"notifier-service: {error.message}", file=sys.stderr)
        return 2
    sys.stdout.write(f"{token}\n")
    return 0


def _rights(text: str) -> list[str]:
    rights = names(text)
    known = get_args(Right)
    if unknown := [right for right in rights if right not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}")
    return rights


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 1 <= seconds <= 10 * 365 * 86400:
        raise argparse.ArgumentTypeError("a number of seconds from 1 to ten years is needed")
    return seconds
