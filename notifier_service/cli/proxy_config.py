"""``proxy-config``: print a configuration of the proxy that stands before the service."""

from __future__ import annotations

import argparse
from typing import Any

from .proxies import PROXIES, Front

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "proxy-config",
        help="print a configuration for the proxy before the service",
        description="Print a configuration for nginx, HAProxy, Caddy or Apache by which streams, sockets, answers and "
        "producers pass as they should. See afterwards whether they do: notifier-service doctor URL.",
    )
    parser.add_argument("proxy", choices=PROXIES)
    parser.add_argument(
        "--upstream",
        action="append",
        metavar="HOST:PORT",
        help="where the service listens (127.0.0.1:8000), or unix:/PATH; nginx and haproxy take several, and share "
        "sessions out by their ids",
    )
    parser.add_argument("--server-name", default=Front().server_name, metavar="NAME", help="how people call it")
    parser.add_argument("--path", default="", help="where it is reached: /notifier; without, at the root")
    parser.add_argument("--certificate", metavar="FILE", help="the certificates of that name, in PEM: serve TLS")
    parser.add_argument("--key", metavar="FILE", help="the key of the certificate")
    parser.add_argument("--listen", metavar="[ADDRESS:]PORT", help="443 with a certificate, else 80")
    parser.set_defaults(command=_proxy_config)


async def _proxy_config(arguments: argparse.Namespace) -> int:
    front = Front(
        upstreams=tuple(arguments.upstream or Front().upstreams),
        server_name=arguments.server_name,
        path=arguments.path.rstrip("/"),
        certificate=arguments.certificate,
        key=arguments.key,
        listen=arguments.listen,
    )
    print(PROXIES[arguments.proxy](front), end="")
    return 0
