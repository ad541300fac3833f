"""Where a path or an address leads: into the workspace, the home folder, the system, to a host; and what lies there."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote

from .. import later
from ..events import Place

__all__ = [
    "guards_the_agent",
    "holds_secrets",
    "hosts_in",
    "is_path",
    "is_workspace",
    "patched_files",
    "place_of",
    "resolved",
]

#: Of longer texts only the beginning is looked at.
_MAX_CHARACTERS = 4096

_SYSTEM = later.pattern(
    r"/(?:etc|usr|bin|sbin|lib(?:32|64)?|boot|dev|proc|sys|var|opt|run|system|library|applications|private/etc)(?:/|\Z)"
    r"|[a-z]:/(?:windows|program files(?: \(x86\))?|programdata)(?:/|\Z)",
    re.I,
)
_HOME = later.pattern(r"~|\$home(?:/|\Z)|\$\{home\}|%userprofile%|/home/|/users/|/root(?:/|\Z)|[a-z]:/users/", re.I)
#: Folders that are nobody's workspace: what holds everybody's, and what holds the system.
_NO_WORKSPACE = later.pattern(
    r"/|/home(?:/[^/]+)?|/users(?:/[^/]+)?|/root|/usr|/var|/opt|/tmp|/mnt|/srv"
    r"|/(?:etc|bin|sbin|lib(?:32|64)?|boot|dev|proc|sys|system|library)(?:/.*)?"
    r"|[a-z]:/?|[a-z]:/users(?:/[^/]+)?|[a-z]:/(?:windows|program files).*|.*/\.(?:ssh|aws|gnupg|kube)(?:/.*)?",
    re.I,
)
_SECRET = later.pattern(
    r"(?:^|/)(?:"
    # files
    r"[^/]*\.env(?!\.(?:example|sample|template|dist)\Z)(?:[^a-z/][^/]*)?|\.envrc"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)[^/]*(?<!\.pub)|[^/]*\.(?:pem|key|p12|pfx|kdbx?|keystore|jks|keychain(?:-db)?|ovpn|tfstate)"
    r"|[._]netrc|\.pgpass|\.my\.cnf|\.npmrc|\.pypirc|\.git-credentials|\.htpasswd|\.vault-token|\.[a-z]*_history"
    r"|(?:aws_|gcp_|client_|app_)?(?:credentials?|secrets?)(?:\.(?:json|txt|ya?ml|toml|ini|csv|xml|conf|cfg|enc))?|wallet\.dat|kubeconfig|service[-_]account[^/]*\.json"
    r"|g?shadow-?|sudoers|master\.key|(?:access_|auth_|api_)?tokens?(?:\.(?:json|txt|ya?ml|toml|ini|db))?"
    # folders, with all that is in them
    r"|\.(?:ssh|aws|gnupg|kube|azure|password-store|mozilla)(?:/.*)?|sudoers\.d(?:/.*)?|keychains(?:/.*)?"
    r"|\.docker/config\.json|\.config/(?:gcloud|gh|google-chrome|chromium)(?:/.*)?|run/secrets(?:/.*)?"
    r"|ssl/private(?:/.*)?|proc/[^/]+/(?:environ|mem)"
    r")\Z",
    re.I,
)
_GUARDS = later.pattern(
    r"(?:^|/)(?:\.git(?:/(?:hooks|config|modules)(?:/.*)?)?|\.(?:claude|codex|gemini|cursor|opencode|vscode|idea)(?:/.*)?"
    r"|\.mcp\.json|claude\.md|agents\.md|gemini\.md|\.envrc|\.(?:bash|zsh)(?:rc|_profile|env)|\.profile|\.?husky(?:/.*)?"
    r"|\.github/workflows(?:/.*)?|authorized_keys)\Z",
    re.I,
)
_PATCHED = later.pattern(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)[ \t\r]*$", re.M)
_URL = later.pattern(r"(?<![\w+.-])(?:https?|wss?|ftps?|sftp|ssh|git|smtps?|postgres(?:ql)?|mysql|redis|mongodb(?:\+srv)?)://"
                  r"(?:[^/?#\s@'\"]{0,256}@)?(\[[0-9a-f:.]{2,45}\]|[^/?#\s:@'\"<>]{1,253})", re.I)  # fmt: skip


def resolved(path: str, workspace: str | None = None) -> str:
    """The path without ``.``, ``..``, encoded and doubled separators; a relative one begins at the workspace."""
    plain = path[:_MAX_CHARACTERS].removeprefix("file://")
    if "%" in plain:
        plain = unquote(plain)
    plain = plain.replace("\\", "/")
    if workspace is not None and not _is_absolute(plain):
        plain = f"{workspace.rstrip('/')}/{plain}"
    folder = posixpath.normpath(plain)
    return folder[1:] if folder.startswith("//") else folder


def is_workspace(folder: object) -> bool:
    """Whether a folder is one that somebody works in: not a home folder, nor what holds the homes or the system."""
    return isinstance(folder, str) and _is_absolute(folder) and not _NO_WORKSPACE.fullmatch(resolved(folder))


def place_of(path: str, workspace: str | None) -> Place | None:
    """Where a path leads; None where that depends on a folder that is not known."""
    where = resolved(path, workspace)
    if workspace is not None and f"{where}/".startswith(f"{resolved(workspace).rstrip('/')}/"):
        return "workspace"
    if _SYSTEM.match(where):
        return "system"
    if _HOME.match(where):
        return "home"
    return None if workspace is None else "elsewhere"


def holds_secrets(path: str) -> bool:
    """Whether what lies there is usually secret: keys, passwords, the variables of an environment."""
    return _SECRET.search(resolved(path)) is not None


def guards_the_agent(path: str) -> bool:
    """Whether who changes what lies there changes what runs by itself, or what an agent may do."""
    return _GUARDS.search(resolved(path)) is not None


def is_path(text: str) -> bool:
    """Whether a text by itself looks like a path of a file."""
    return (
        len(text) <= _MAX_CHARACTERS
        and "\n" not in text
        and text.startswith(("/", "~", "./", "../", "file://", "\\\\"))
    )


def hosts_in(text: str) -> list[str]:
    """The hosts of the addresses in a text, in small letters, in the order in which they stand there."""
    return list(dict.fromkeys(host.lower() for host in _URL.findall(text[:_MAX_CHARACTERS])))


def patched_files(patch: str) -> list[str]:
    """The files that a patch of Codex's form names."""
    return _PATCHED.findall(patch)


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "~", "$HOME", "${HOME}", "%")) or path[1:2] == ":"
