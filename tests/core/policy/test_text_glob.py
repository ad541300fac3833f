"""Globs over texts that may be paths: what allows needs one reading only, what holds back any of them."""

from __future__ import annotations

import time

import pytest

from notifier_service.core.policy.text_glob import BadGlob, NameGlob, PathRoots, TextGlob, names_in

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
        "$HOME/.ssh/id",
        "${HOME}/.ssh/id",
        "~ana/.ssh/id",
        "~/../ana/.ssh/id",
        "file://localhost/home/ana/.ssh/id",
        "file:home/ana/.ssh/id",
        "/proc/self/root/home/ana/.ssh/id",
        "/proc/1/task/1/root/proc/2/root/home/ana/.ssh",
        "/home/ana/.ssh./id",
        "/home/ana/.ssh;x=1/id",
    ],
)
def test_glob_that_holds_back_means_every_way_to_write_a_path(text: str) -> None:
    assert TextGlob("~/.ssh/**", AT_WORK).holds_back(text)
    assert TextGlob("/home/ana/.ssh/**", AT_WORK).holds_back(text)


@pytest.mark.parametrize("text", ["/home/ana/notes/a", "a.py", "", "/home/ben/.ssh/id"])
def test_glob_that_holds_back_leaves_the_rest_alone(text: str) -> None:
    assert not TextGlob("~/.ssh/**", AT_WORK).holds_back(text)


@pytest.mark.parametrize(
    "text", ["../../../../etc/passwd", "./../etc/x", "a\\..\\..\\etc", "%2e%2e/etc", "~/../../etc/x"]
)
def test_path_that_leaves_a_folder_that_nobody_knows_is_held_back_wherever_it_may_lead(text: str) -> None:
    assert TextGlob("/etc/**", PathRoots(None, "/home/ana")).holds_back(text)
    assert TextGlob("/home/ana/.ssh/**", PathRoots(None, "/home/ana")).holds_back("../../.ssh/id")
    assert not TextGlob("/etc/**", PathRoots(None, "/home/ana")).holds_back("../src/etc.py")
    assert TextGlob("/etc/**", NOWHERE).holds_back("../../etc/passwd")


@pytest.mark.parametrize(
    "text",
    [
        "C:\\Windows\\x", "c:/windows", "C:Windows/x", "\\\\?\\C:\\Windows\\x", "//./C:/Windows/x", "file:///C:/Windows/x",
        "C:/Windows./x", "C:/Windows::$DATA",
    ],
)  # fmt: skip
def test_glob_that_holds_back_means_every_way_to_write_a_path_of_windows(text: str) -> None:
    assert TextGlob("C:/Windows/**", NOWHERE).holds_back(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://u:p@evil.example/x", "https://good.example@evil.example", "https://evil.example:443/x",
        "https://evil.example./", "HTTPS:EVIL.example", "https:\\evil.example", "https://evil.example?x", " https://evil.example#",
        "https://evil\u3002example/x",
    ],
)  # fmt: skip
def test_glob_that_holds_back_means_every_way_to_write_an_address(text: str) -> None:
    assert TextGlob("https://evil.example/**", AT_WORK).holds_back(text)
    assert not TextGlob("https://example.org/**", AT_WORK).holds_back(text)


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "017700000001", "127.0.0.1:80", "a@127.0.0.1"])
def test_glob_that_holds_back_means_every_way_to_write_a_number_of_a_host(host: str) -> None:
    assert TextGlob("http://127.0.0.1/**", AT_WORK).holds_back(f"http://{host}/x")
    assert not TextGlob("http://127.0.0.1/**", AT_WORK).holds_back("http://9.example/x")


def test_text_with_a_variable_and_a_way_up_is_not_allowed() -> None:
    assert TextGlob("/srv/**", NOWHERE).allows("/srv/$name/a")
    assert not TextGlob("/srv/**", NOWHERE).allows("/srv/a/$nothing/../../srv/a")


def test_home_is_left_by_a_step_upwards() -> None:
    roots = PathRoots("/home/ana", "/home/ana")

    assert not TextGlob("~/notes/**", roots).allows("~/../notes/a")
    assert not TextGlob("~/notes/**", NOWHERE).allows("~/../notes/a")
    with pytest.raises(BadGlob, match="leaves its own root"):
        TextGlob("~/../notes/**", NOWHERE)


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


def test_what_a_pattern_is_found_by_stands_in_every_text_that_it_names() -> None:
    [clues] = TextGlob("~/notes/a*.txt", AT_WORK).clues(True)

    for text in ("/home/ana/notes/abc.txt", "~/x/../notes/abc.txt"):
        names, texts = names_in(text, AT_WORK)
        for clue in clues:
            assert not clue.names or set(clue.names) <= set(names)
            assert any(clue.run in each for each in texts)


def test_hostile_texts_and_patterns_take_no_longer_than_others() -> None:
    glob = TextGlob("/**/a*a*a*a*a/**/b*b/**/c", NOWHERE)
    hostile = ["/" + "a/" * 30_000, "/" + "a" * 60_000, "%25" * 20_000, "%2e" * 20_000, "../" * 20_000]

    begin = time.process_time()
    for text in hostile:
        glob.allows(text)
        glob.holds_back(text)

    assert time.process_time() - begin < 5
