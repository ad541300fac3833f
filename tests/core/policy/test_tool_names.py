"""A tool's name is believed where it says more than its server does."""

from __future__ import annotations

import tracemalloc

import pytest

from notifier_service.core.policy.tool_names import (
    bare_name,
    certain_name,
    deed_of_name,
    is_mixed,
    joined_names,
    names_secrets,
    possible_servers,
    reads_the_network,
    server_of,
    spellings,
    words_of,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("read_file", ("read", "file")),
        ("getHTTPHeaders", ("get", "http", "headers")),
        ("API-post-page", ("api", "post", "page")),
        ("ｄｅｌｅｔｅ_file", ("delete", "file")),
        ("读取文件", ()),
        ("", ()),
    ],
)
def test_words_of_a_name_are_found_however_it_joins_them(name: str, words: tuple[str, ...]) -> None:
    assert words_of(name) == words


def test_of_a_long_name_only_the_beginning_is_read_and_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            assert deed_of_name(f"x{number}_" + "delete_" * 20_000) == "deletes"
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held < 1_000_000  # of 14


@pytest.mark.parametrize(
    ("name", "deed"),
    [
        ("delete_file", "deletes"),
        ("fileDelete", "deletes"),
        ("get_and_delete", "deletes"),
        ("deletefiles", "deletes"),
        ("drop-table", "deletes"),
        ("sendmail", "sends"),
        ("slack_post_message", "sends"),
        ("pay_invoice", "spends"),
        ("execsql", "runs"),
        ("run_workflow", "runs"),
        ("write_file", "writes"),
        ("git_commit", "writes"),
        # What follows a verb of reading is what is read.
        ("get_workflow_run", "reads"),
        ("list_commits", "reads"),
        ("get_post", "reads"),
        ("getorder", None),
        ("list_deleted_files", "reads"),
        ("read_file", "reads"),
        ("sequentialthinking", None),
        ("frobnicate", None),
        ("", None),
    ],
)
def test_first_verb_says_what_a_tool_does(name: str, deed: str | None) -> None:
    assert deed_of_name(name) == deed


def test_name_that_an_agent_puts_a_server_before_is_the_servers_own() -> None:
    assert bare_name("mcp__files__read_file") == "read_file"
    assert bare_name("mcp__files__read__twice") == "read__twice"
    assert (bare_name("read_file"), bare_name("mcp__files"), bare_name("mcp__files__")) == (
        "read_file",
        "mcp__files",
        "mcp__files__",
    )


@pytest.mark.parametrize("name", ["dеlete", "reаd_file", "getΑll"])
def test_letters_of_several_alphabets_are_noticed(name: str) -> None:
    assert is_mixed(name)


@pytest.mark.parametrize("name", ["read_file", "读取文件", "читать", "ｒｅａｄ", "read_2", ""])
def test_a_name_of_one_alphabet_is_not_mixed(name: str) -> None:
    assert not is_mixed(name)


@pytest.mark.parametrize(
    "name", ["get-env", "printEnv", "getenv", "list_secrets", "get_api_key", "read_private_keys", "show_password"]
)
def test_names_that_speak_of_secrets(name: str) -> None:
    assert names_secrets(name)


@pytest.mark.parametrize("name", ["get_key_values", "list_envelopes", "read_file", "keyboard"])
def test_names_that_do_not(name: str) -> None:
    assert not names_secrets(name)


def test_names_that_speak_of_the_web() -> None:
    assert reads_the_network("brave_web_search")
    assert not reads_the_network("search_nodes")


@pytest.mark.parametrize(
    ("name", "server", "bare"),
    [
        ("mcp__files__read_file", "files", "read_file"),
        ("mcp__my_files__read_file", "my files", "read_file"),
        ("mcp__a__b__read", "a__b", "read"),
        ("mcp_files_read_file", "files", "read_file"),
        # which server has it, and what it is called there, may be read in two ways
        ("mcp__files__read__x", "files", None),
        ("mcp__files___read", "files", None),
        ("mcp__files__read_file", "other", None),
        ("mcp__files__read_file", None, None),
        ("mcp_files_read_file", None, None),
        ("files_read_file", "files", None),
        ("mcp__files__", "files", None),
        ("read_file", "files", None),
    ],
)
def test_name_at_the_server_is_certain_where_no_other_tool_can_be_called_so(
    name: str, server: str | None, bare: str | None
) -> None:
    assert certain_name(name, server) == bare


def test_name_that_stands_behind_the_server_is_found_however_agents_join_them() -> None:
    for name in joined_names("read_file", "my files"):
        assert "read_file" in spellings(name, "my files")
    assert spellings("mcp__a__b__c", None) == ("mcp__a__b__c", "b__c", "c")
    assert spellings("files_read", None) == ("files_read",)
    assert possible_servers("mcp__a__b__c", "d") == ("d", "a", "a__b")
    assert possible_servers("read", None) == ()


@pytest.mark.parametrize(
    ("name", "server"),
    [("mcp__files__read", "files"), ("mcp__a__b__c", "a"), ("mcp__files__", None), ("mcp____x", None), ("mcp__x", None),
     ("Read", None)],
)  # fmt: skip
def test_server_in_a_name(name: str, server: str | None) -> None:
    assert server_of(name) == server


@pytest.mark.parametrize(
    ("name", "server", "meant"),
    [
        ("mcp__files__read", None, "read"),
        ("mcp__my__files__read", "my__files", "read"),
        ("files__read", "files", "read"),
        ("mcp_files_read", "files", "read"),
        ("my_files-read", "my files", "read"),
        ("read", "my files", "mcp_my_files_read"),
        ("read", "files", "mcp__files__read"),
        ("read", None, "read"),
    ],
)
def test_tool_is_meant_with_its_server_before_it_and_without(name: str, server: str | None, meant: str) -> None:
    assert meant in spellings(name, server)
    assert "write" not in spellings(name, server)


def test_bare_name_of_a_server_that_is_told() -> None:
    assert bare_name("mcp_files_read", "files") == "read"
    assert bare_name("mcp_files_read") == "mcp_files_read"
