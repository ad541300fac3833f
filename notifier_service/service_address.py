"""Who listens at an address: whether it is this user's own service, and where its API begins.

A service proves that it holds the key of this user's configuration folder, which the command makes when it first
serves. It signs what the client made up for this once, and the address that it was reached at, so that nobody between
can pass its answer on. What is loaded is loaded where it is used: a hook is started before each call of an agent.
"""

from __future__ import annotations

import os
import stat

from .bare import HereConnection, hmac_sha256, is_loopback, parsed, split_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    import http.client
    from typing import Any

    from .bare import Address

    Connection = http.client.HTTPConnection | HereConnection

__all__ = [
    "CHALLENGE",
    "KEY_VARIABLE",
    "KeyUnusable",
    "Unproven",
    "address_of",
    "config_path",
    "connected",
    "key_for",
    "located",
    "make_key",
    "own_key",
    "proof",
    "prove",
]

#: The header with which a client asks who listens.
CHALLENGE = "X-Notifier-Challenge"
#: Names another key than that of the configuration folder; ``none`` asks for no proof.
KEY_VARIABLE = "NOTIFIER_SERVICE_KEY"

_SECONDS = 5.0
_MAX_ANSWER = 64 * 1024


class KeyUnusable(Exception):
    """The key is there and cannot be trusted."""


class Unproven(Exception):
    """Somebody listens, who does not prove to be the service that is meant."""


def config_path() -> str:
    """The folder of this user's own configuration of the service, which may not be there."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "notifier-service")


def own_key() -> bytes | None:
    """The key of this user; None where none was made yet, or not for this user. Raises ``KeyUnusable``."""
    return _read(os.path.join(config_path(), "service.key"), is_own=True)


def key_for(url: str) -> bytes | None:
    """The key that the service at ``url`` must hold; None where no proof is asked for. Raises ``KeyUnusable``."""
    named = os.environ.get(KEY_VARIABLE)
    if named == "none":
        return None
    if named:
        key = _read(named, is_own=False)
        if key is None:
            raise KeyUnusable(f"{KEY_VARIABLE} names {named}, which cannot be read.")
        return key
    address = split_url(url)
    # Over https the certificate proves it, and a key that was made here is no other machine's.
    return own_key() if address.scheme == "http" and is_loopback(address.hostname or "") else None


def make_key() -> None:
    """Make the key of this user, unless there is one. Raises ``OSError`` where that cannot be."""
    folder = config_path()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = os.path.join(folder, "service.key")
    draft = f"{path}.{os.getpid()}"
    if os.path.exists(path):
        return
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(os.urandom(32).hex() + "\n")
        os.link(draft, path)  # whole, or not at all; whoever was first stays
    except FileExistsError:
        return
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


def proof(key: bytes, challenge: str, address: str) -> str:
    """What only a holder of the key can say of this challenge, at this address."""
    return hmac_sha256(key, f"notifier-service\n{challenge}\n{address}".encode())


def address_of(name: tuple[Any, ...]) -> str:
    """A socket's name, alike from both of its ends."""
    host = str(name[0]).removeprefix("::ffff:")
    return f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}"


def prove(connection: Connection, path: str, key: bytes) -> None:
    """Have the service at the other end prove that it holds the key; the connection can be used on.

    ``path`` is that of its URL. Raises ``Unproven``, ``OSError`` or ``http.client.HTTPException``.
    """
    challenge, dialled = os.urandom(16).hex(), address_of(connection.sock.getpeername())
    told = _who(connection, path, challenge) or {}
    address, given = told.get("address"), told.get("proof")
    where = f"{connection.host}:{connection.port}"
    if not isinstance(address, str) or not isinstance(given, str):
        raise Unproven(
            f"What listens at {where} does not prove to be your notifier-service: an older one must be restarted; for "
            f"one of another user or behind a tunnel or proxy, set {KEY_VARIABLE} to a file with its key, or to none."
        )
    # A challenge is used once, so that the time of a comparison tells nothing that could be used.
    if given != proof(key, challenge, address):
        raise Unproven(
            f"What listens at {where} holds another key than yours: it is another user's, or none of yours. Set "
            f"{KEY_VARIABLE} to a file with its key if you trust it, or to none."
        )
    if address != dialled and not os.environ.get(KEY_VARIABLE):
        raise Unproven(
            f"What listens at {where} passes on to your notifier-service at {address}, and could read along: use that "
            f"address, or set {KEY_VARIABLE} to your key's file if what stands between is yours."
        )


def located(url: str) -> tuple[str, bool]:
    """The URL with the service's prefix, and whether ``url`` lacked just that; ``url`` itself where no service is.

    Looks at ``url`` first, and above it then. Raises nothing: who asks has an error of his own to tell.
    """
    from http.client import HTTPException

    address = split_url(url)
    path = address.path.rstrip("/")
    while True:
        try:
            connection = connected(address)
            try:
                told = _who(connection, path, os.urandom(16).hex())
            finally:
                connection.close()
        except (OSError, ValueError, HTTPException):
            return url, False
        if told is not None:
            whole = f"{address.scheme}://{address.netloc}{path}{told['prefix']}"
            return whole, path == address.path.rstrip("/")
        if not path:
            return url, False
        path = path.rpartition("/")[0]


def connected(address: Address, *, seconds: float = _SECONDS) -> Connection:
    """The one connection to where a URL leads. Raises ``ValueError`` for one that leads nowhere, and ``OSError``."""
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("a URL begins with http:// or https://")
    if address.scheme == "http" and is_loopback(address.hostname) and ":" not in address.hostname:
        try:
            return HereConnection(address.hostname, address.port or 80, seconds)
        except ImportError:
            pass  # another Python than was thought of
    import http.client

    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=seconds)
    connection.connect()
    connection.auto_open = 0  # what was proven holds for this connection, and no other is made in its place
    return connection


def _who(connection: Connection, path: str, challenge: str) -> dict[str, Any] | None:
    """What the service there tells of itself; None for something else."""
    connection.request("GET", f"{path.rstrip('/')}/healthz/live", headers={CHALLENGE: challenge})
    response = connection.getresponse()
    body = response.read(_MAX_ANSWER)
    if not response.isclosed():
        raise ConnectionError("an answer without an end")
    try:
        told = parsed(body)["data"]
        is_one = response.status == 200 and _is_prefix(told["prefix"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return told if is_one else None


def _read(path: str, *, is_own: bool) -> bytes | None:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            key = file.read(1024).strip()
    except OSError:
        return None
    if os.name == "posix":
        if is_own and status.st_uid != os.geteuid():
            return None  # another user's environment, taken over
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise KeyUnusable(f"Others may read or change {path}, by which a service proves itself: chmod 600 {path}")
    if len(key) < 32:
        raise KeyUnusable(f"{path} holds no key: remove it, and start the service anew.")
    return key


def _is_prefix(path: object) -> bool:
    if not isinstance(path, str) or path[:1] not in ("", "/"):
        return False
    parts = path.split("/")[1:]
    return all(part and not any(sign in "?#" or sign.isspace() for sign in part) for part in parts)
