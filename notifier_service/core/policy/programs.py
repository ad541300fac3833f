"""Which programs run, write or delete what their words say, and what a wrapper runs.

A wrapper is unwrapped only where it is certain what it runs: with the few options that are named here. Every other
program whose business is to run another one, and every option by which a harmless one does that, is not understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from .. import later
from .not_understood import NotUnderstood

__all__ = ["SHELLS", "is_interpreter", "runs_text", "to_be_named", "wrapped"]

Words = tuple[str, ...]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: In the place of a command these are the words of some shell, change how it reads what follows, or evaluate text.
_OWN_WORDS = _set("""
    ! . [ [[ alias always and autoload begin bg bind break builtin bye case chdir compgen complete compopt continue
    coproc declare disable disown do done elif else emulate enable end esac eval exec export fc fg fi float for foreach
    function functions getopts hash history if in integer jobs let limit local logout mapfile nameref nocorrect noglob
    not or print private read readarray readonly repeat return sched select set setopt shift shopt source suspend switch
    then trap typeset unalias unfunction unhash unset unsetopt until vared wait while zcompile zformat zle zmodload
    zparseopts zpty zregexparse zsocket zstyle zsystem ztcp
    """)
#: Programs that run what they are given, or are shells.
_WRAPPERS = _set("""
    arch ash at bash batch busybox bwrap caffeinate cgexec chpst chronic chroot chrt cmd csh daemonize dash
    dbus-run-session direnv distrobox doas docker doppler dumb-init eatmydata elvish entr env envdir expect fakeroot
    faketime firejail fish flock gosu gtimeout hyperfine ionice ksh ld.so linux32 linux64 logsave ltrace lxc mksh
    mosh ncat nice nix nix-shell nohup nsenter nu numactl parallel perf pkexec podman powershell prlimit proot
    proxychains proxychains4 pwsh rbash rlwrap rsh run-parts runuser screen script sem setarch setlock setpriv
    setsid setuidgid sg sh socat softlimit ssh start-stop-daemon stdbuf strace su su-exec sudo systemd-run taskset
    tcsh time timeout tini tmux toolbox torify torsocks toybox tsocks unbuffer unshare valgrind watch watchexec wsl
    xargs xonsh xvfb-run yash zsh
""")
SHELLS = frozenset({"bash", "dash", "sh", "zsh"})
#: What docker and podman do without running a word that they are given.
_OF_CONTAINERS = _set("""
    build diff events history images info inspect kill logs pause port ps pull push restart rm rmi start stats stop tag
    top unpause version
    """)
_GROUPS_OF_CONTAINERS = _set("container context image network system volume")
_OF_COMPOSED_CONTAINERS = _set("build config down images logs ls ps pull restart start stop top up version")

#: Options by which a program runs what it is given.
_RUNNING: Mapping[str, Sequence[str]] = {
    name: options.split()
    for name, options in {
        "cargo": "--config -Z",
        "fd": "--exec --exec-batch -x -X",
        "fdfind": "--exec --exec-batch -x -X",
        "ctest": "--build-and-test",
        "find": "-exec -execdir -ok -okdir",
        "helm": "--kubeconfig --post-renderer",
        **dict.fromkeys(("npm", "pnpm", "yarn"), "--node-options --script-shell"),
        "pylint": "--init-hook",
        "git": "--config-env --exec --exec-path --ext-diff --extcmd --open-files-in-pager --receive-pack --upload-pack",
        "git clone": "-c -u --config --template",
        "git grep": "-O",
        "git rebase": "-x",
        "go": "-exec -toolexec -vettool",
        "kubectl": "--kubeconfig",
        "man": "--pager --html -P -H",
        "mypy": "--python-executable",
        "rg": "--pre --hostname-bin",
        "rsync": "--rsh --rsync-path -e",
        "scp": "-F -J -o -S",
        "sort": "--compress-program",
        "tar": "--checkpoint-action --info-script --new-volume-script --rsh-command --to-command --use-compress-program"
        " -F -I",
        "zip": "--unzip-command -T",
    }.items()
}
_RUNNING_SUBCOMMANDS: Mapping[str, frozenset[str]] = {
    "git": frozenset({"bisect", "difftool", "filter-branch", "for-each-repo", "hook", "mergetool", "submodule"}),
    "kubectl": frozenset({"debug", "exec", "plugin", "run"}),
}
#: Options by which a program that looks or tests writes, deletes, installs or sends.
_TO_BE_NAMED: Mapping[str, Sequence[str]] = {
    name: options.split()
    for name, options in {
        "bandit": "--baseline --configfile --ini --output -b -c -o",
        "black": "--config",
        "cargo": "--artifact-dir --fix --manifest-path --out-dir --target-dir -C",
        "ctest": "--dashboard --output-junit --output-log --overwrite --script --script-new-process --submit-index -A"
        " -D -M -O -S -T",
        "curl": "--config --data --form --json --output --remote-name --request --upload-file -d -F -K -o -O -T -X",
        "date": "--set -s",
        "eslint": "--cache-file --cache-location --config --fix --init --output-file --parser --plugin --rulesdir"
        " -c -o",
        "file": "--compile -C",
        "find": "-delete -fls -fprint -fprint0 -fprintf",
        "flake8": "--append-config --config --output-file",
        "gh": "--field --hostname --input --method --raw-field --show-token -F -X -f -t",
        "git": "--output --output-directory",
        "go": "-C -asmflags -blockprofile -compiler -coverprofile -cpuprofile -gccgoflags -gcflags -ldflags -memprofile"
        " -modfile -mutexprofile -o -outputdir -overlay -pkgdir -test.blockprofile -test.coverprofile -test.cpuprofile"
        " -test.gocoverdir -test.memprofile -test.mutexprofile -test.outputdir -test.trace -trace -u -w",
        "isort": "--settings-file --settings-path --sp",
        "jest": "--cache-directory --cacheDirectory --clear-cache --clearCache --config --coverage-directory"
        " --coverageDirectory --init --output-file --outputFile --root-dir --rootDir --update-snapshot --updateSnapshot"
        " -c -u",
        **dict.fromkeys(
            ("bun", "npm", "pnpm", "yarn"),
            "--cache --cache-directory --cache-location --clear-cache --config --coverage-directory --cwd --dir --fix"
            " --global-config --init --output-file --plugin --prefix --registry --root --root-dir --update"
            " --update-snapshot --userconfig --write --cacheDirectory --clearCache --coverage.reportsDirectory"
            " --coverageDirectory --outputFile --rootDir --updateSnapshot -C -c -o -u",
        ),
        "kubectl": "--as --certificate-authority --insecure-skip-tls-verify --password --raw --server --token"
        " --username -s",
        "mypy": "--any-exprs-report --cache-dir --cobertura-xml-report --config-file --html-report --install-types"
        " --junit-xml --linecount-report --linecoverage-report --lineprecision-report --txt-report --xml-report"
        " --xslt-html-report --xslt-txt-report",
        "prettier": "--config --plugin --write -w",
        "pytest": "--basetemp --config-file --cov-config --cov-report --debug --html --junit-xml --junitxml --log-file"
        " --override-ini --pastebin --pdbcls --report-log --rootdir -c -o -p",
        "pylint": "--generate-rcfile --load-plugins --output --rcfile",
        "ruff": "--add-noqa --cache-dir --config --fix --fix-only --output-file --unsafe-fixes -o",
        "sed": "--in-place -i",
        "sort": "--output --temporary-directory -o -T",
        "terraform": "-generate-config-out -out -state -state-out",
        "tree": "-o -R",
        "tsc": "-b -build -declarationdir -generatecpuprofile -generatetrace -init -outdir -outfile -tsbuildinfofile",
        "vitest": "--config --coverage.reportsDirectory --dir --outputFile --root --update -c -r -u",
        "wget": "--config --execute --output-document --post-data --post-file -e -O",
        "yq": "--inplace --in-place -i",
    }.items()
}
#: Their options have one dash and many letters, or two, and are never cut short.
_WITH_WHOLE_OPTIONS = _set("find go terraform tsc")
#: Their long options are never cut short, or are too many to tell what a beginning means.
_WITH_WHOLE_LONG_OPTIONS = _set("black bun eslint jest mypy npm pnpm prettier pytest rg ruff vitest yarn")
#: Programs that run another one of the project's behind these words; its options are those that count.
_RUNNERS: Mapping[str, Sequence[Words]] = {
    "bundle": [("exec",)], "npx": [(), ("--no",), ("--no-install",)], "pipenv": [("run",)], "pnpm": [("exec",)],
    "poetry": [("run",)], "uv": [("run",)], "yarn": [("exec",)],
}  # fmt: skip

#: Programs that run the file or the text that they are given: only the whole command says what that is.
_INTERPRETERS = later.pattern(
    r"(?:python|pypy|node|nodejs|deno|bun|ruby|perl|php|lua|tclsh|java|pwsh|osascript|make|gmake|ninja|just|npx|bunx|uvx"
    r"|pipx|awk|gawk|mawk|sed|vi|vim|nvim|emacs|gdb|sqlite3|psql|mysql)[0-9.]*"
)

_RUN_NO_TEXT = _set("awk gawk gmake just make mawk ninja sed")

#: A script that prints, deletes, replaces or ends, and neither runs nor writes (``e``, ``w``, ``r``).
_SED_TEXT = {mark: rf"(?:[^{mark}\\\n\[]|\\.|\[[^\]{mark}\n]*\])*[{mark}]" for mark in "/|#,"}
_SED_ADDRESS = rf"(?:\d+|\$|/{_SED_TEXT['/']}I?)"
_SED_REPLACES = "|".join(rf"s[{mark}]{text}{text}[gpIi\d]*" for mark, text in _SED_TEXT.items())
_SED_COMMAND = rf" *(?:{_SED_ADDRESS}(?:,(?:{_SED_ADDRESS}|[+~]\d+))?)? *!? *(?:[pdq=]|{_SED_REPLACES}) *"
_SED_SCRIPT = later.pattern(rf"{_SED_COMMAND}(?:[;\n]{_SED_COMMAND})*[;\n]?")
_SED_OPTION = later.pattern(
    r"-[nErsuz]*(?:e|i.*)?|--(?:quiet|silent|regexp-extended|posix|separate|null-data|in-place(?:=.*)?)"
)

#: What an awk needs to run, to write or to load something; a comparison is no redirection (``>=``, or before a brace).
_AWK_ODD = later.pattern(r"system|getline|[@|]|^[^{]*\{.*>", re.DOTALL)
_AWK_HARMLESS = later.pattern(r"\|\||>=")

_FORMAT_OF_TEXT = later.pattern(r"(?!-)(?:[^%]|%%|%-?\d*[sb])*")
_CALCULATING_TESTS = frozenset({"-eq", "-ge", "-gt", "-le", "-lt", "-ne", "-R", "-t", "-v"})


def is_interpreter(words: Words) -> bool:
    """Whether only the whole command says what it does."""
    return _INTERPRETERS.fullmatch(_name(words[0])) is not None


def runs_text(words: Words) -> bool:
    """Whether it may run any program that its words mention; what ``sed`` and ``awk`` are given is looked into."""
    return is_interpreter(words) and _name(words[0]) not in _RUN_NO_TEXT


def to_be_named(words: Words) -> frozenset[str]:
    """Those of its words for which no ``*`` of a rule stands: they have it write, delete, install or send."""
    name = _program(words)
    options = _TO_BE_NAMED.get(name)
    if options is None:
        return frozenset()
    is_whole = name in _WITH_WHOLE_LONG_OPTIONS
    return frozenset(word for word in words[1:] if _is_option_of(name, options, word, is_whole=is_whole))


def wrapped(words: Words) -> Words | str | None:
    """What this command runs: words, the text of a shell, or None if it is no wrapper. Raises ``NotUnderstood``."""
    first, name = words[0], _name(words[0])
    if not name or "=" in first or first[0] in "%-~+^":
        raise NotUnderstood("shell_assignment", word=first)
    if name in _OWN_WORDS:
        raise NotUnderstood("shell_own_word", program=name)
    if name in _UNWRAPPED:
        return _UNWRAPPED[name](words)
    if name in _WRAPPERS:
        raise NotUnderstood("shell_wrapper", program=name)
    _refuse_what_runs_by_its_options(words)
    _refuse_what_is_calculated(name, words)
    if name in ("sed", "gsed"):
        _refuse_unknown_scripts(words)
    if name in ("awk", "gawk", "mawk", "nawk"):
        _refuse_unknown_awk(words)
    return None


def _name(program: str) -> str:
    return program.rpartition("/")[2]


def _program(words: Words) -> str:
    """The program whose options these are: another one than the first word where that runs one of the project's."""
    name = _name(words[0])
    runners = _RUNNERS.get(name, ())
    behind = max((len(runner) + 1 for runner in runners if words[1 : len(runner) + 1] == runner), default=0)
    if behind and len(words) > behind and not words[behind].startswith("-"):
        return _program(words[behind:])
    if name.startswith("python") and words[1:2] == ("-m",):
        return words[2] if len(words) > 2 else name
    return name


def _git_subcommand(words: Words) -> Words:
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "-C":
            at += 2
        elif words[at] in ("--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--version", "--help"):
            at += 1
        else:  # -c and others say what a subcommand runs, or which programs git consists of
            raise NotUnderstood("shell_option", program="git", word=words[at])
    return words[at : at + 1]


def _is_option_of(name: str, options: Sequence[str], word: str, *, is_whole: bool = False) -> bool:
    """Whether a word means one of these options, as it is, with a value, cut short, or among other letters."""
    if not word.startswith("-"):
        return False
    told = word.partition("=")[0]
    if name in _WITH_WHOLE_OPTIONS:
        return not {told, told[1:], told.casefold(), told[1:].casefold()}.isdisjoint(options)
    if word.startswith("--"):
        return told in options or (
            not is_whole and len(told) > 2 and any(option.startswith(told) for option in options)
        )
    return any(option[1] in word for option in options if option[1] != "-")


def _refuse_what_runs_by_its_options(words: Words) -> None:
    name = _program(words)
    options, subcommands = _RUNNING.get(name, ()), _RUNNING_SUBCOMMANDS.get(name, frozenset())
    told = words[1:]
    if name == "git":
        told = _git_subcommand(words)
        options = (*options, *_RUNNING.get(" ".join((name, *told)), ()))
    odd = next((word for word in told if word in subcommands), None)
    if odd is None and options:
        odd = next((word for word in words[1:] if _is_option_of(name, options, word)), None)
    if odd is not None:
        raise NotUnderstood("shell_option", program=name, word=odd)


def _refuse_what_is_calculated(name: str, words: Words) -> None:
    """Builtins of some shells take text for a sum, and a sum may assign and run: ``test 'a[$(rm x)]' -eq 0``."""
    rest = words[1:]
    if name == "printf":
        odd = [] if not rest or _FORMAT_OF_TEXT.fullmatch(rest[0]) else [rest[0]]
    elif name == "test":
        odd = [word for word in rest if word in _CALCULATING_TESTS]
    elif name == "exit":
        odd = [word for word in rest if not word.isdecimal()]
    else:
        return
    if odd:
        raise NotUnderstood("shell_arithmetic", program=name, word=odd[0])


def _refuse_unknown_scripts(words: Words) -> None:
    scripts: list[str] = []
    operands: list[str] = []
    is_script = False
    for word in words[1:]:
        if is_script:
            scripts.append(word)
            is_script = False
        elif word.startswith("--expression="):
            scripts.append(word.partition("=")[2])
        elif not word.startswith("-") or word == "-":
            operands.append(word)
        elif _SED_OPTION.fullmatch(word):
            is_script = word.endswith("e") and not word.startswith("--") and "i" not in word
        else:
            raise NotUnderstood("shell_option", program="sed", word=word)
    for script in scripts or operands[:1]:
        if not _SED_SCRIPT.fullmatch(script):
            raise NotUnderstood("shell_program_text", program="sed", word=script)


def _refuse_unknown_awk(words: Words) -> None:
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if not re.fullmatch(r"-F.*|-v(?:\w+=.*)?", words[at], re.DOTALL):
            raise NotUnderstood("shell_option", program="awk", word=words[at])
        at += 2 if words[at] in ("-F", "-v") else 1
    program = words[at] if at < len(words) else ""
    if _AWK_ODD.search(_AWK_HARMLESS.sub(" ", program)):
        raise NotUnderstood("shell_program_text", program="awk", word=program)


def _behind(options: str, operands: str = "") -> Callable[[Words], Words]:
    """Unwraps what stands behind these options, each in full, and one word of this form."""
    option, operand = later.pattern(options), later.pattern(operands) if operands else None

    def unwrap(words: Words) -> Words:
        at = 1
        while at < len(words) and words[at].startswith("-"):
            with_value = at + 1 < len(words) and option.fullmatch(f"{words[at]} {words[at + 1]}")
            if not with_value and not option.fullmatch(words[at]):
                raise NotUnderstood("shell_option", program=_name(words[0]), word=words[at])
            at += 2 if with_value else 1
        if operand is not None:
            if at >= len(words) or not operand.fullmatch(words[at]):
                raise NotUnderstood("shell_wrapper", program=_name(words[0]))
            at += 1
        if at >= len(words):
            raise NotUnderstood("shell_wrapper", program=_name(words[0]))
        return words[at:]

    return unwrap


def _command(words: Words) -> Words | None:
    return None if words[1:2] == ("-v",) and len(words) == 3 else _behind("")(words)


def _shell(words: Words) -> str:
    if len(words) != 3 or words[1] not in ("-c", "-lc"):
        raise NotUnderstood("shell_wrapper", program=_name(words[0]))
    return words[2]


def _containers(words: Words) -> None:
    subcommands = words[1:2] or ("version",)
    is_known = subcommands[0] in _OF_CONTAINERS or words[1:] == ("--version",)
    if subcommands[0] == "compose" or _name(words[0]) == "docker-compose":
        at = 2 if subcommands[0] == "compose" else 1
        while words[at : at + 1] in (("-f",), ("-p",), ("--profile",)):
            at += 2
        is_known = not words[at:] or words[at] in _OF_COMPOSED_CONTAINERS
    elif subcommands[0] in _GROUPS_OF_CONTAINERS:
        is_known = words[2:3] in (("df",), ("inspect",), ("ls",))
    if not is_known:
        raise NotUnderstood("shell_wrapper", program=_name(words[0]))


_DURATION = r"\d+(?:\.\d+)?[smhd]?"
_SIGNAL = r"[A-Z0-9]+"
#: Wrappers of which it is certain what they run.
_UNWRAPPED: Mapping[str, Callable[[Words], Words | str | None]] = {
    "command": _command,
    "docker": _containers,
    "docker-compose": _containers,
    "env": _behind(""),
    "nice": _behind(r"-\d+|-n -?\d+|--adjustment=-?\d+"),
    "podman": _containers,
    "stdbuf": _behind(r"-[ioe](?:L|\d+)"),
    "time": _behind(""),
    "timeout": _behind(
        rf"--foreground|--preserve-status|-k {_DURATION}|--kill-after={_DURATION}|-s {_SIGNAL}|--signal={_SIGNAL}",
        _DURATION,
    ),
    **dict.fromkeys(SHELLS, _shell),
}
