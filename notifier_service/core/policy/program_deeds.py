"""What well-known programs do, by their words: a closed list, and whatever is not on it only runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from .. import later
from ..events import Deed

__all__ = ["ProgramUse", "may_do", "use_of"]

#: Programs that only print, whatever they are told.
_PRINTING = frozenset(
    {
        "basename", "cat", "cd", "cksum", "cmp", "comm", "cut", "df", "diff", "dirname", "du", "echo", "egrep", "false",
        "fgrep", "grep", "head", "id", "ls", "md5sum", "nl", "od", "pwd", "readlink", "realpath", "seq", "sha1sum",
        "sha256sum", "sleep", "stat", "tail", "test", "tr", "true", "uname", "wc", "which", "whoami",
    }
)  # fmt: skip
#: Programs that only print without these options.
_PRINTING_WITHOUT: Mapping[str, re.Pattern[str]] = {
    "find": later.pattern(r"-(?:delete|exec|execdir|fls|fprint0?|fprintf|ok|okdir)"),
    "rg": later.pattern(r"--(?:pre|hostname-bin)(?:[=-].*)?"),
    "sort": later.pattern(r"-[a-zA-Z]*[oT].*|--(?:[oct].*)"),
    "tree": later.pattern(r"-[a-zA-Z]*[oR].*|--output.*"),
}
_GIT_PRINTING = frozenset(
    {"blame", "describe", "diff", "log", "ls-files", "ls-tree", "rev-list", "rev-parse", "shortlog", "show", "status"}
)
_GIT_OPTIONS = later.pattern(r"--(?:ou|ex|textc).*|-O.*|-[oc]")
_DELETING = frozenset({"rm", "rmdir", "shred", "truncate", "unlink"})
_WRITING = frozenset({"chgrp", "chmod", "chown", "cp", "dd", "install", "ln", "mkdir", "mv", "patch", "tee", "touch"})
_SENDING = frozenset(
    {
        "aria2c",
        "curl",
        "ftp",
        "http",
        "https",
        "mail",
        "nc",
        "ncat",
        "rsync",
        "scp",
        "sendmail",
        "sftp",
        "telnet",
        "wget",
    }
)
_GIT: Mapping[str, tuple[Deed, bool | None]] = {
    **dict.fromkeys(("add", "branch", "cherry-pick", "commit", "merge", "mv", "switch", "tag"), ("writes", True)),
    **dict.fromkeys(("checkout", "rebase", "restore", "stash"), ("writes", None)),
    **dict.fromkeys(("clean", "reset", "rm", "gc"), ("deletes", False)),
    **dict.fromkeys(("clone", "fetch", "ls-remote", "pull"), ("sends", None)),
    "push": ("sends", False),
}


class ProgramUse(NamedTuple):
    """``only_reads`` is True where the program is known to do nothing else, so told; ``reversible`` as in ``Deeds``."""

    does: Deed
    only_reads: bool = False
    reversible: bool | None = None


def use_of(words: Sequence[str]) -> ProgramUse:
    """What a simple command does. A path of a program, such as ``./ls``, is none that is known."""
    program, rest = words[0], words[1:]
    if program in _PRINTING:
        return ProgramUse("reads", only_reads=True)
    if program in _PRINTING_WITHOUT and not any(map(_PRINTING_WITHOUT[program].fullmatch, rest)):
        return ProgramUse("reads", only_reads=True)
    if program == "git" and rest:
        if rest[0] in _GIT_PRINTING and not any(map(_GIT_OPTIONS.fullmatch, rest)):
            return ProgramUse("reads", only_reads=True)
        does, reversible = _GIT.get(rest[0], ("runs", None))
        return ProgramUse(does, reversible=reversible)
    name = program.rpartition("/")[2]
    if name in _DELETING or (name == "find" and "-delete" in rest):
        return ProgramUse("deletes", reversible=False)
    if name in _WRITING:
        return ProgramUse("writes", reversible=True if name == "mkdir" else None)
    if name in _SENDING:
        return ProgramUse("sends", reversible=None)
    return ProgramUse("runs")


def may_do(programs: Collection[str]) -> frozenset[Deed]:
    """What a text may do that is not understood, in which these names stand; only what changes something is told."""
    known: tuple[tuple[frozenset[str], Deed], ...] = (
        (_DELETING, "deletes"),
        (_WRITING, "writes"),
        (_SENDING, "sends"),
    )
    return frozenset(deed for names, deed in known if not names.isdisjoint(programs))
