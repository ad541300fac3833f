"""Globs over texts that may be paths: what allows needs one reading only, what holds back any of them."""

from __future__ import annotations

import time

import pytest

from notifier_service.core.policy.text_glob import BadGlob, NameGlob, PathRoots, TextGlob, beginnings

NOWHERE = PathRoots()
AT_WORK = PathRoots("/work", "/home/ana")

OUTSIDE = [
    "/etc/passwd",
    "/srv/app2/a.py",
    "/srv/ap",
    "/srv",
    "/",
    "srv/app/a.py",
    "/srv/app/../../etc/passwd",
    "/srv/app/../app2/a",
    "/srv/app/./.././../etc/passwd",
    "/srv/app//..//..//etc/passwd",
    "/../etc/passwd",
    "/srv/app/%2e%2e/%2e%2e/etc/passwd",
    "/srv/app/%2E%2E%2F..%2fetc/passwd",
    "/srv/app/%252e%252e/%252e%252e/etc/passwd",
    "/srv/app/%25252e%25252e%25252f%25252e%25252e%25252fetc",
    "/srv/app/" + "%" + "25" * 40 + "2e%2e/x",
    "/srv/app/..%c0%af..%c0%afetc",
    "/srv/app/%u002e%u002e/%u002e%u002e/etc",
    "/srv/app/..\\..\\etc\\passwd",
    "/srv/app/..%5c..%5cetc",
    "/srv/app/.. /.. /etc",
    "/srv/app/..;/..;/etc",
    "/srv/app/.../etc",
    "/srv/app/a\0/../../../etc/passwd",
    "/srv/app/a%00.py",
    "/srv/app/a\n.py",
    "/srv/app/\u202egpj.py",
    "/srv/app/a\u200b.py",
    "/srv/app/．．/．．/etc/passwd",
    "/srv/app／..／x",
    "~/a.py",
    "~root/a.py",
    "$HOME/a.py",
    "file:///srv/app/a.py",
    "C:\\srv\\app\\a.py",
    "",
    ".",
    "\ud800",
    "/srv/app/" + "a" * 70_000,
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_glob_allows_no_path_that_may_leave_its_root(text: str) -> None:
    assert not TextGlob("/srv/app/**", NOWHERE).allows(text)
    assert not TextGlob("/srv/app/**", AT_WORK).allows(text)


@pytest.mark.parametrize(
    "text",
    [
        "/srv/app/a.py",
        "/srv/app/src/deep/er/a.py",
        "/srv/app",
        "/srv/app/",
        "//srv///app/./a.py",
        "/srv/app/src/../a.py",
        "/srv/app/.git/config",
        "/srv/app/ä ö.txt",
        "/srv/app/100%",
        "/srv/app/routes/$id.tsx",
        "/srv/app/a..b",
        "/srv/../srv/app/a",
    ],
)
def test_glob_allows_what_is_certainly_within(text: str) -> None:
    assert TextGlob("/srv/app/**", NOWHERE).allows(text)


@pytest.mark.parametrize(
    ("pattern", "text", "allows"),
    [
        ("/srv/*.py", "/srv/a.py", True),
        ("/srv/*.py", "/srv/a/b.py", False),
        ("/srv/**/*.py", "/srv/a/b.py", True),
        ("/srv/**/*.py", "/srv/b.py", True),
        ("/srv/**/a/**/b", "/srv/a/x/a/y/b", True),
        ("/srv/**/a/**/b", "/srv/x/y/b", False),
        ("/srv/?.p[yl]", "/srv/a.pl", True),
        ("/srv/?.p[!y]", "/srv/a.py", False),
        ("/srv//./app/../*", "/srv/a", True),
        ("*@example.org", "ana@example.org", True),
        ("*@example.org", "ana@example.org.evil", False),
        ("r", "r", True),
        ("r", "R", False),
        ("src/**", "src/a.py", True),
        ("src/**", "src/../../etc", False),
        ("src/**", "../src/a.py", False),
        ("**", "../a", False),
        ("**", "a/b", True),
        ("https://api.example.org/**", "https://api.example.org/v1/pay?x=1", True),
        ("https://*.example.org/**", "https://evil.org?.example.org/", False),
        ("https://*.example.org/**", "https://evil.org#.example.org/", False),
        ("https://*.example.org/**", "https://me@evil.org/.example.org/", False),
        ("https://*.example.org/**", "https://evil.org\\.example.org/", False),
        ("https://*.example.org/**", "https://a.example.org/../..//evil.org", False),
        ("[[]x]", "[x]", True),
    ],
)
def test_stars_stay_between_slashes_and_two_of_them_do_not(pattern: str, text: str, allows: bool) -> None:
    assert TextGlob(pattern, NOWHERE).allows(text) is allows


@pytest.mark.parametrize(
    ("pattern", "text", "allows"),
    [
        ("src/**", "src/a.py", True),
        ("src/**", "/work/src/a.py", True),
        ("/work/**", "src/a.py", True),
        ("/work/**", "../etc/passwd", False),
        ("/work/**", "src/../../etc/passwd", False),
        ("/work/**", "file:/etc/passwd", False),
        ("**", "/etc/passwd", False),
        ("~/notes/**", "~/notes/a", True),
        ("~/notes/**", "/home/ana/notes/a", True),
        ("~/notes/**", "~/notes/../.ssh/id", False),
        ("~/notes/**", "~root/notes/a", False),
        ("/home/ana/**", "~/a", False),
        ("/work/**", "~/a", False),
        ("https://example.org/*", "https://example.org/a", True),
    ],
)
def test_paths_begin_at_the_workspace_and_at_home(pattern: str, text: str, allows: bool) -> None:
    assert TextGlob(pattern, AT_WORK).allows(text) is allows


@pytest.mark.parametrize(
    "text",
    [
        "/home/ana/.ssh/id",
        "/home/ana/.ssh",
        "~/.ssh/id",
        "/home/ana/x/../.ssh/id",
        "/home/ana/%2essh/id",
        "/home/ana/%252essh/id",
        "/home/ana\\.ssh\\id",
        "/HOME/ana/.SSH/id",
        "/home/ana/.ssh/id\0.txt",
        "file:///home/ana/.ssh/id",
        "/home/ana/.s\u200bsh/id",
        "/home/ana/．ssh/id",
        "../home/ana/.ssh/id",
        " /home/ana/.ssh/id",
        "/home/ana/x/.. /.ssh/id",
        "/home/ana/.ssh/" + "a" * 70_000,
        "x%c0%ae",
    ],
)
def test_glob_that_holds_back_means_every_way_to_write_a_path(text: str) -> None:
    assert TextGlob("~/.ssh/**", AT_WORK).holds_back(text)
    assert TextGlob("/home/ana/.ssh/**", AT_WORK).holds_back(text)


@pytest.mark.parametrize("text", ["/home/ana/notes/a", "a.py", "", "/home/ben/.ssh/id"])
def test_glob_that_holds_back_leaves_the_rest_alone(text: str) -> None:
    assert not TextGlob("~/.ssh/**", AT_WORK).holds_back(text)


def test_relative_glob_that_holds_back_means_any_folder() -> None:
    glob = TextGlob("**/.env", AT_WORK)

    assert all(map(glob.holds_back, ["/srv/app/.env", ".env", "../../.env", "/work/a/.ENV"]))


def test_path_of_home_is_a_name_where_nobody_is_at_home() -> None:
    assert TextGlob("~/a", NOWHERE).allows("~/a")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("", "an empty glob matches nothing"),
        ("/srv/[a", "without its ]"),
        ("/srv/[a/b]", "a / between"),
        ("[z-a]", "matches no character"),
        ("../a", "leaves its own root"),
        ("a/../../b", "leaves its own root"),
    ],
)
def test_glob_that_matches_nothing_is_none(pattern: str, why: str) -> None:
    with pytest.raises(BadGlob, match=why):
        TextGlob(pattern, NOWHERE)


def test_look_alike_names_are_not_allowed() -> None:
    exact, glob = NameGlob("read_file"), NameGlob("read_*")

    for name in ("reаd_file", "read_file\u200b", "ｒead_file", "Read_file", "read_file ", "read_\u2028"):
        assert not exact.allows(name)
        assert not glob.allows(name)
    assert exact.allows("read_file")
    assert glob.allows("read_file")
    assert NameGlob("читать").allows("читать")


def test_look_alike_names_are_held_back() -> None:
    assert all(map(NameGlob("delete_*").holds_back, ["delete_file", "ｄelete_file", "del\u200bete_file"]))
    assert not NameGlob("delete_*").holds_back("read_file")


def test_index_knows_every_beginning_of_a_pattern_that_allows() -> None:
    glob = TextGlob("~/notes/a*", AT_WORK)

    [beginning] = glob.beginnings(True)

    assert beginning == ("", "home", "ana", "notes")
    assert beginning in beginnings("/home/ana/notes/abc", AT_WORK)
    assert beginning in beginnings("~/x/../notes/abc", AT_WORK)
    assert not TextGlob("*/a", AT_WORK.__class__()).beginnings(True)


def test_hostile_texts_and_patterns_take_no_longer_than_others() -> None:
    glob = TextGlob("/**/a*a*a*a*a/**/b*b/**/c", NOWHERE)
    hostile = ["/" + "a/" * 30_000, "/" + "a" * 60_000, "%25" * 20_000, "%2e" * 20_000, "../" * 20_000]

    begin = time.process_time()
    for text in hostile:
        glob.allows(text)
        glob.holds_back(text)

    assert time.process_time() - begin < 5
