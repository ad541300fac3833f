"""What a tool's name says that it does: words that people give tools, and no more than that.

A name is believed where it says more than the server does, never where it says less.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

from .. import later
from ..events import Deed

__all__ = [
    "MAX_NAME_CHARACTERS",
    "bare_name",
    "certain_name",
    "deed_of_name",
    "is_mixed",
    "joined_names",
    "names_secrets",
    "possible_servers",
    "reads_the_network",
    "server_of",
    "spellings",
    "words_of",
]

#: A tool's name has at most so many characters; of a parameter's, which may have more, only these are read.
MAX_NAME_CHARACTERS = 256
_NOT_OF_NAMES = later.pattern(r"[^A-Za-z0-9_-]")
_WORD = later.pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

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
_GLUED = later.pattern(
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


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, in small letters, however it joins them."""
    return _words_of(name[:MAX_NAME_CHARACTERS])  # what is remembered is never long


@lru_cache(maxsize=4096)
def _words_of(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", name)))


# An agent puts the server before the name that this gives its tool: ``mcp__server__tool`` (Claude Code, Codex),
# ``mcp_server_tool`` (Gemini CLI), ``server-tool`` (Copilot), ``server_tool`` (opencode). Characters that it does not
# take in a name it replaces in the server's.


def server_of(tool_name: str) -> str | None:
    """The MCP server in a name such as ``mcp__server__tool``."""
    server, is_told, tool = tool_name.removeprefix("mcp__").partition("__")
    return server[:256] if tool_name.startswith("mcp__") and is_told and server and tool else None


def bare_name(name: str, server: str | None = None) -> str:
    """The name that a server gives its tool, of one that an agent puts the server before."""
    if server_of(name) is not None:
        return name[5:].partition("__")[2]
    return certain_name(name, server) or name


def certain_name(name: str, server: str | None) -> str | None:
    """The same where nothing else can be meant: no other server's tool can have this name. None where that may be."""
    for spelled in () if server is None else _spelled(server):
        for prefix in (f"mcp__{spelled}__", f"mcp_{spelled}_"):
            rest = name.removeprefix(prefix)
            if rest not in ("", name) and not rest.startswith("_") and "__" not in rest:
                return rest
    return None


def spellings(name: str, server: str | None) -> Sequence[str]:
    """The names by which a tool may be meant: some agents put its server before it, others do not."""
    names = [name]
    if name.startswith("mcp__"):
        parts = name[5:].split("__")
        names += ["__".join(parts[count:]) for count in range(1, len(parts))]
    for spelled in () if server is None else _spelled(server):
        names += [name.removeprefix(prefix) for prefix in _prefixes(spelled)]
        names += [prefix + each for prefix in _prefixes(spelled)[:2] for each in dict.fromkeys(names)]
    return tuple(dict.fromkeys(filter(None, names)))


def possible_servers(name: str, server: str | None) -> Sequence[str]:
    """The server that is told of a tool, and those that its name may tell."""
    parts = name[5:].split("__") if name.startswith("mcp__") else []
    named = ["__".join(parts[:count]) for count in range(1, len(parts))]
    return tuple(dict.fromkeys(filter(None, [server, *named])))


def joined_names(tool: str, server: str) -> Sequence[str]:
    """What agents may call a server's tool."""
    return [prefix + tool for spelled in _spelled(server) for prefix in _prefixes(spelled)]


def _prefixes(server: str) -> Sequence[str]:
    return (f"mcp__{server}__", f"mcp_{server}_", *(server + joint for joint in ("__", "_", "-", ".", "/", ":")))


def _spelled(server: str) -> Sequence[str]:
    """A server's name as it is, and as it stands in the name of a tool."""
    return tuple(dict.fromkeys((server, _NOT_OF_NAMES.sub("_", server))))


def deed_of_name(name: str) -> Deed | None:
    """What the first verb of a name says that the tool does; None if it has none that is known."""
    return _deed_of(words_of(name))


@lru_cache(maxsize=4096)
def _deed_of(words: tuple[str, ...]) -> Deed | None:
    found: Deed | None = None
    for word in words:
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
    letters = [letter for letter in unicodedata.normalize("NFKC", name[:MAX_NAME_CHARACTERS]) if letter.isalpha()]
    return any(map(str.isascii, letters)) and not all(map(str.isascii, letters))


def names_secrets(name: str) -> bool:
    """Whether a name speaks of passwords, keys, or the variables of an environment, which hold them."""
    words = words_of(name)
    return not _SECRETS.isdisjoint(words) or (("key" in words or "keys" in words) and not _KEYS.isdisjoint(words))


def reads_the_network(name: str) -> bool:
    """Whether a name speaks of the web."""
    return not _NETWORK.isdisjoint(words_of(name))
