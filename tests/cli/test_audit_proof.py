"""``audit prove`` makes a receipt, and ``audit verify`` checks one, or a log against its heads, without a service."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from notifier_service.storage.audit_file import AuditFile
from notifier_service.storage.audit_heads import AuditHeads, head_path, read_head
from notifier_service.storage.signed_note import SigningKey
from tests.cli.processes import Commands, Finished

KEY = SigningKey.new("test")


def entry(request_id: str, kind: str = "asked", **more: Any) -> dict[str, Any]:
    return {"time": "2026-01-01T00:00:00.000Z", "kind": kind, "session_id": "s1", "request_id": request_id, **more}


class Log:
    """An audit log with its heads, the public key, and receipts of it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "audit.jsonl", folder / "key"
        self.head, self.receipt = head_path(self.path), folder / "receipt.json"
        self.key.write_text(KEY.verifying.vkey + "\n")
        self.sent: list[str] = []
        self.append(*[entry(f"pr_{number}") for number in range(5)])
        self.append(entry("pr_3", "decided", decision="approve", decided_by="alice\x1b[2J\u202e", reason="why\nnot"))

    def append(self, *entries: dict[str, Any]) -> None:
        log = AuditFile(self.path)
        log.commit(*entries).result()
        self.sent.append(AuditHeads(self.path, KEY).write(log.tree) or "")
        log.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


async def proved(commands: Commands, log: Log, *arguments: str) -> Finished:
    ended = await commands.run_here("audit", "prove", *arguments, "--audit-file", str(log.path))
    log.receipt.write_text(ended.out)
    return ended


async def verified(commands: Commands, log: Log) -> Finished:
    return await commands.run_here("audit", "verify", "--receipt", str(log.receipt), "--key", str(log.key))


async def test_receipt_is_verified_without_the_log(commands: Commands, log: Log) -> None:
    made = await proved(commands, log, "pr_3")
    log.path.unlink()
    log.head.unlink()

    ended = await verified(commands, log)

    assert (made.exit_code, made.err) == (0, "")
    assert made.out.isascii()
    assert (ended.exit_code, ended.err) == (0, "")
    heading, asked, decided, head = ended.out.splitlines()
    assert heading == "request pr_3: 2 of the 8 lines of the log"
    assert asked == "5 2026-01-01T00:00:00.000Z asked "
    assert decided.startswith(
        "8 2026-01-01T00:00:00.000Z decided decision=approve reason=why\\nnot decided_by=alice\\x1b"
    )
    assert head.endswith(" of test")


async def test_receipt_that_was_changed_ends_with_one_and_says_why(commands: Commands, log: Log) -> None:
    await proved(commands, log, "pr_3")
    log.receipt.write_text(log.receipt.read_text().replace("approve", "reject"))

    ended = await verified(commands, log)

    assert (ended.exit_code, ended.out) == (1, "")
    assert "line 8 is not in the log of its head" in ended.err


async def test_receipt_under_another_key_ends_with_one(commands: Commands, log: Log) -> None:
    await proved(commands, log, "pr_3")
    log.key.write_text(SigningKey.new("test").verifying.vkey)

    ended = await verified(commands, log)

    assert (ended.exit_code, ended.out) == (1, "")
    assert "signed with another key" in ended.err


async def test_request_without_a_line_ends_with_one(commands: Commands, log: Log) -> None:
    ended = await proved(commands, log, "pr_none")

    assert (ended.exit_code, ended.out) == (1, "")
    assert "There is no line about the request pr_none" in ended.err


async def test_what_was_just_decided_waits_for_its_head(commands: Commands, log: Log) -> None:
    file = AuditFile(log.path)
    file.commit(entry("pr_new")).result()

    refused = await proved(commands, log, "pr_new", "--head", str(log.head))
    threading.Timer(0.2, AuditHeads(log.path, KEY).write, [file.tree]).start()
    ended = await proved(commands, log, "pr_new")
    file.close()

    assert (refused.exit_code, refused.out) == (1, "")
    assert "the service signs one within seconds" in refused.err
    assert ended.exit_code == 0
    assert (await verified(commands, log)).out.startswith("request pr_new: 1 of the 10 lines")


async def test_log_without_a_head_ends_with_one(commands: Commands, log: Log) -> None:
    log.head.unlink()

    ended = await proved(commands, log, "pr_3")

    assert (ended.exit_code, ended.out) == (1, "")
    assert "audit.jsonl.head cannot be read: No such file" in ended.err


async def test_new_head_is_proved_to_go_on_behind_an_old_one(commands: Commands, log: Log, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text(read_head(log.head))
    log.append(entry("pr_9"))

    await proved(commands, log, "--since", str(old))
    ended = await verified(commands, log)

    assert (ended.exit_code, ended.err) == (0, "")
    assert ended.out.startswith("The log of 10 lines begins with the 8 lines of the older head.\n")


async def log_verified(commands: Commands, log: Log, *arguments: str) -> Finished:
    return await commands.run_here("audit", "verify", str(log.path), "--head", str(log.head), *arguments)


async def test_log_is_compared_with_its_head(commands: Commands, log: Log) -> None:
    ended = await log_verified(commands, log, "--key", str(log.key))

    assert (ended.exit_code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "the lines to number 8 are those of the signed head"


async def test_without_a_key_it_is_said_that_nobody_looked_at_the_signature(commands: Commands, log: Log) -> None:
    ended = await log_verified(commands, log)

    assert ended.exit_code == 0
    assert "who has signed it was not looked at" in ended.out


async def test_end_that_was_cut_off_is_found(commands: Commands, log: Log) -> None:
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:-1]))

    alone = await commands.run_here("audit", "verify", str(log.path))
    ended = await log_verified(commands, log)

    assert alone.exit_code == 0
    assert ended.exit_code == 1
    assert "the log ends with line 7, and 8 were signed: the end was cut off" in ended.err


async def test_log_that_was_written_anew_is_found_by_the_heads_that_a_second_machine_kept(
    commands: Commands, log: Log, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.jsonl"
    kept = [json.dumps({"time": "2026-01-01T00:00:00.000Z", "head": note}) for note in log.sent]
    copy.write_text("\n".join(kept) + '\n{"time": "half')
    honest = await commands.run_here("audit", "verify", str(log.path), "--head", str(copy), "--key", str(log.key))
    log.path.unlink()
    log.head.unlink()
    log.append(*[entry(f"pr_{number}") for number in range(50)])

    ended = await commands.run_here("audit", "verify", str(log.path), "--head", str(copy), "--key", str(log.key))
    own = await log_verified(commands, log, "--key", str(log.key))

    assert (honest.exit_code, own.exit_code) == (0, 0)
    assert ended.exit_code == 1
    assert "the first 6 lines are not those that were signed: the log was written anew" in ended.err


@pytest.mark.parametrize("content", ["", "{", "{}\n", '{"head": 1}\n', "hello", "[]\n"])
async def test_file_that_holds_no_heads_is_refused(commands: Commands, log: Log, content: str) -> None:
    log.head.write_text(content)

    assert (await log_verified(commands, log)).exit_code in (1, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "--head", "head"],
        ["verify", "log", "--key", "key"],
        ["verify", "--receipt", "receipt"],
        ["verify", "log", "--receipt", "receipt", "--key", "key"],
        ["verify", "--receipt", "receipt", "--key", "key", "--head", "head"],
        ["verify", "--receipt", "receipt", "--key", "nowhere"],
        ["prove", "--audit-file", "log"],
        ["prove", "pr_1", "--since", "head", "--audit-file", "log"],
        ["prove", "pr_1"],
    ],
)
async def test_wrong_usage_ends_with_two(commands: Commands, arguments: list[str]) -> None:
    ended = await commands.run_here("audit", *arguments)

    assert (ended.exit_code, ended.out) == (2, "")
    assert ended.err


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"hello", KEY.text.encode()], ids=["empty", "no text", "no key", "secret key"]
)
async def test_file_that_holds_no_public_key_is_wrong_usage(commands: Commands, log: Log, content: bytes) -> None:
    await proved(commands, log, "pr_3")
    log.key.write_bytes(content)

    ended = await verified(commands, log)

    assert (ended.exit_code, ended.out) == (2, "")
    assert str(log.key) in ended.err
    assert KEY.text[-20:] not in ended.err


async def test_without_cryptography_the_extra_is_named(
    commands: Commands, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await proved(commands, log, "pr_3")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)

    for ended in (await verified(commands, log), await log_verified(commands, log, "--key", str(log.key))):
        assert ended.exit_code == 2
        assert "pip install 'notifier-service[proof]'" in ended.err
    assert (await log_verified(commands, log)).exit_code == 0  # who has signed it is not looked at
