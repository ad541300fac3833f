"""What a tool's name says that it does: words that people give tools, and no more than that.

A name is believed where it says more than the server does, never where it says less.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from ..events import Deed

__all__ = [
    "bare_name",
    "deed_of_name",
    "is_mixed",
    "names_secrets",
    "reads_the_network",
    "server_of",
    "spellings",
    "words_of",
]

#: A tool's name has at most so many characters; a parameter's may have more.
_MAX_CHARACTERS = 256
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

#: Verbs that mean it wherever they stand.
_VERBS: Mapping[str, Deed] = {
    **dict.fromkeys(
        ("delete", "remove", "drop", "destroy", "erase", "wipe", "purge", "truncate", "unlink", "rm", "rmdir", "trash"),
        "deletes",
    ),
    **dict.fromkeys(("exec", "execute", "eval", "evaluate", "bash", "shell", "kill", "terminate", "spawn"), "runs"),
    **dict.fromkeys(("send", "publish", "tweet"), "sends"),
    **dict.fromkeys(("pay", "buy", "purchase", "refund"), "spends"),
    **dict.fromkeys(("write", "overwrite", "create", "upsert", "insert", "modify"), "writes"),
}
#: Words that are verbs where no other verb stands before them: "run_workflow", but not "get_workflow_run".
_FIRST: Mapping[str, Deed] = {
    **dict.fromkeys(("clear", "reset", "revoke", "uninstall", "prune", "cancel"), "deletes"),
    **dict.fromkeys(
        ("run", "start", "stop", "restart", "trigger", "invoke", "install", "deploy", "apply", "call", "launch"), "runs"
    ),
    **dict.fromkeys(
        ("comment", "email", "export", "invite", "notify", "post", "push", "reply", "share", "submit", "upload"),
        "sends",
    ),
    **dict.fromkeys(("transfer", "trade", "charge", "withdraw", "deposit", "order", "book", "mint"), "spends"),
    **dict.fromkeys(
        (
            "add", "append", "approve", "archive", "assign", "checkout", "close", "commit", "copy", "disable", "edit",
            "enable", "fork", "grant", "import", "merge", "move", "patch", "put", "register", "rename", "replace",
            "restore", "revert", "save", "schedule", "set", "store", "sync", "toggle", "update",
        ),
        "writes",
    ),
}  # fmt: skip
_READING = frozenset(
    {
        "analyze", "browse", "calculate", "check", "compare", "compute", "convert", "count", "describe", "diff",
        "download", "exists", "explain", "fetch", "find", "get", "glob", "grep", "inspect", "list", "log", "lookup",
        "ls", "preview", "query", "read", "resolve", "retrieve", "search", "show", "stat", "status",
        "summarize", "validate", "verify", "view", "whoami",
    }
)  # fmt: skip
#: A verb and what it is done to, written as one word.
_GLUED = re.compile(
    rf"({'|'.join([*_VERBS, 'get', 'read', 'list', 'run'])})"
    r"(?:all|file|files|folder|dir|directory|mail|email|message|sql|query|command|cmd|code|script|record|row|table|user"
    r"|data|db|database|env|process|payment|money)"
)
_SECRETS = frozenset(
    {
        "credential", "credentials", "env", "environ", "environment", "envs", "getenv", "keychain", "keyring", "passwd",
        "password", "passwords", "printenv", "secret", "secrets", "token", "tokens", "apikey", "cookie", "cookies",
    }
)  # fmt: skip
_KEYS = frozenset({"access", "api", "private", "ssh", "encryption", "signing"})
_NETWORK = frozenset(
    {"browse", "browser", "crawl", "curl", "fetch", "http", "https", "navigate", "scrape", "url", "web", "website"}
)


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters, however it joins them."""
    plain = unicodedata.normalize("NFKC", name[:_MAX_CHARACTERS])
    return tuple(word.lower() for word in _WORD.findall(plain))


def bare_name(name: str, server: str | None = None) -> str:
    """The name that a server gives its tool, of one that an agent puts the server before: ``mcp__server__tool``."""
    if name.startswith("mcp__") and "__" in name[5:]:
        return name[5:].partition("__")[2] or name
    return name


def spellings(name: str, server: str | None) -> tuple[str, ...]:
    """The names by which a tool may be meant: some agents put its server before it, others do not."""
    names = [name, bare_name(name)]
    if server is not None:
        prefixes = (f"mcp__{server}__", f"{server}__", f"mcp_{server}_", f"{server}_")
        names += [name[len(prefix) :] for prefix in prefixes if name.startswith(prefix)]
        names += [f"mcp__{server}__{each}" for each in names]
    return tuple(dict.fromkeys(names))


def server_of(name: str) -> str | None:
    """The server that an agent puts before the name of its tool: ``mcp__server__tool``."""
    server, is_told, tool = name.removeprefix("mcp__").partition("__")
    return server[:256] if name.startswith("mcp__") and is_told and server and tool else None


@lru_cache(maxsize=4096)
def deed_of_name(name: str) -> Deed | None:
    """What the first verb of a name says that the tool does; None if it has none that is known."""
    found: Deed | None = None
    for word in words_of(name):
        glued = None if word in _VERBS else _GLUED.fullmatch(word)
        verb = glued[1] if glued else word
        if verb in _VERBS:
            return _VERBS[verb]
        if found is None and (verb in _FIRST or verb in _READING):
            found = _FIRST.get(verb, "reads")
    return found


def is_mixed(name: str) -> bool:
    """Whether a name mixes letters of several scripts, so that it may only look like the words that it seems to have.

    One that is all of another script is a name in another language.
    """
    letters = [letter for letter in unicodedata.normalize("NFKC", name[:_MAX_CHARACTERS]) if letter.isalpha()]
    return any(map(str.isascii, letters)) and not all(map(str.isascii, letters))


def names_secrets(name: str) -> bool:
    """Whether a name speaks of passwords, keys, or the variables of an environment, which hold them."""
    words = words_of(name)
    return not _SECRETS.isdisjoint(words) or (("key" in words or "keys" in words) and not _KEYS.isdisjoint(words))


def reads_the_network(name: str) -> bool:
    """Whether a name speaks of the web."""
    return not _NETWORK.isdisjoint(words_of(name))
