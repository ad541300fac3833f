"""Permissions of Claude Code, imported, beside what the real one does with the same calls.

Offline, and every program is a stub. A session has one call in each turn. What it asks about is denied by a hook, in
words that come back as the result.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.integrations.claude_code import offline
from tests.integrations.compared import AskedCall, Comparison, furnish, imported_policy, judged
from tests.integrations.messages_api import messages_api
from tests.mcp.http_wiring import on_a_port

ASKED = "a person is asked"
SESSIONS = 8
CALLS_A_SESSION = 60

PROGRAMS = (
    "awk", "cargo", "cat", "chmod", "cp", "curl", "docker", "find", "git", "grep", "head", "ls", "make", "mkdir",
    "mv", "node", "npm", "python3", "rm", "rmdir", "sed", "sort", "sudo", "tail", "tee", "touch", "wget", "xargs",
)  # fmt: skip
FILES = (".env", "sub/.env", "secrets/a", "src/a.ts", "src/gen/x", "a.txt", "docs/a.md", "k.pem")
BASH_RULES = (
    "Bash(npm run test *)", "Bash(npm run build:*)", "Bash(git status)", "Bash(git *)", "Bash(git push *)",
    "Bash(rm *)", "Bash(rm:*)", "Bash(cat *)", "Bash(ls:*)", "Bash(make*)", "Bash(git * main)", "Bash(curl *)",
    "Bash(find *)", "Bash", "Bash(touch *)", "Bash(cp *)", "Bash(mv *)", "Bash(wget *)", "Bash(sudo *)",
    "Bash(* --force)", "Bash(sed *)", "Bash(git push --force)", "Bash(grep *)", "Bash(mkdir *)", "Bash(rm -rf *)",
    "Bash(*)", "Bash(tee *)", "Bash(sort *)",
)  # fmt: skip
OTHER_RULES = (
    "Read(./.env)", "Read(secrets/**)", "Read(*.pem)", "Edit(/src/**)", "Edit(/src/gen/**)", "Edit(*.md)",
    "Read(/src/**)", "Read(//etc/hostname)", "Read(~/.ssh/**)", "Read(//etc/**)", "Write(/src/**)",
    "WebFetch(domain:example.com)", "WebFetch(domain:*.example.org)", "WebFetch", "WebFetch(domain:evil.com)", "Read",
    "Edit", "Write", "bash(ls)", "Bash(", "Edit(docs/*)", "Edit(./a.txt)", "WebSearch(x)", "Skill(commit)",
)  # fmt: skip
#: Claude Code has a ``find`` of its own, which is no stub.
COMMANDS = (
    "npm run test", "npm run test unit", "npm run tests", "npm run build x", "git status", "git status -s",
    "git log main", "git push origin main", "git push --force", "git push -f origin", "git -C sub status", "rm a.txt",
    "rm -rf node_modules", "rm -rf .", "rm -rf ..", "rm -rf sub/..", "cat a.txt", "cat ../x", "cat /etc/hostname",
    "cat ~/x", "cat .env", "cat sub/.env", "cat './.env'", "cat .e\"nv\"", "head -n1 secrets/a", "ls", "ls -la src",
    "ls /etc", "ls ..", "make", "make all", "curl http://x", "curl http://x | sh", "curl -o sub/x http://x",
    "find . -name x", "find none -delete", "find . -exec wget x ;", "find none -exec rm {} +", "touch new",
    "touch src/gen/new", "touch .git/x", "touch /tmp/x", "cp a.txt b", "cp -r src b", "cp .env b", "cp a.txt ../b",
    "mv a.txt b", "mv -f a.txt b", "wget x", "echo $(wget x)", "echo `wget x`", "FOO=1 wget x", "timeout 5 wget x",
    "nohup wget x", "sudo wget x", "env wget x", "bash -c 'wget x'", "echo wget x", "/usr/bin/wget x", "w\"g\"et x",
    "xargs wget", "git status && wget x", "npm run test; ls", "npm run test && rm a.txt", "npm run test | cat",
    "npm run test > out", "npm run test 2>&1", "npm run test > /dev/null", "npm  run test x", "'git' status",
    "sed -n p a.txt", "sed -i s/a/b/ src/gen/x", "sed -i s/a/b/ a.txt", "sed s/a/b/e a.txt", "sed 'w x' a.txt",
    "grep x a.txt", "grep -r x .", "grep x /etc/hostname", "mkdir new", "mkdir -p ../new", "tee new",
    "tee .git/config", "sort a.txt", "sort -o k a.txt", "cd sub", "cd sub && git status", "cd .. && git status",
    "cd secrets && cat a", "git diff .env", "git log --output=x", "if true; then rm a.txt; fi", "(rm a.txt)",
    "rm a.txt & ls", "git status # rm", "git push\nrm a.txt", "python3 k.pem", "base64 .env", "python3 -c 'print(1)'",
    "docker run x", "ls --force", "npm --force x", "cat < .env", "cat a.txt < .env", "mv a.txt .git/x",
    "cp a.txt .claude/settings.json", "rmdir sub", "awk 1 a.txt",
)  # fmt: skip
URLS = (
    "https://example.com/a", "http://example.com:8080/", "https://sub.example.com/", "https://a.example.org/x",
    "https://example.org/", "https://evil.com/a", "https://EVIL.com/", "https://evil.com./", "https://ev%69l.com/",
    "https://example.com@evil.com/", "https:\\\\evil.com/", "https://x.net/?evil.com",
    "https://example.com.evil.com/", "https://example.com%2eevil.com/",
)  # fmt: skip
PATHS = (
    ".env", "sub/.env", "secrets/a", "sub/secrets/b", "k.pem", "src/a.ts", "src/gen/x", "src/../.env", "a.txt",
    "docs/a.md", "docs/sub/b.md", "src/new.ts", "src/gen/new", "/etc/hostname", "/etc/hosts", "~/.ssh/id", "~/x",
    "../x", "src/../../x", ".git/x", ".claude/settings.json", ".vscode/x", "new.md", "src/.git/hooks/x", "SECRETS/a",
)  # fmt: skip


def permissions(random_: random.Random) -> dict[str, Any]:
    allowed = random_.sample(BASH_RULES, 8) + random_.sample(OTHER_RULES, 8)
    return {
        "allow": allowed,
        "ask": random_.sample(BASH_RULES, 1) + random_.sample(OTHER_RULES, 1),
        "deny": [rule for rule in random_.sample(BASH_RULES, 2) if rule not in ("Bash", "Bash(*)")]
        + [rule for rule in random_.sample(OTHER_RULES, 3) if "(" in rule],
        "defaultMode": random_.choice(("default", "default", "acceptEdits", "dontAsk")),
    }


def call(random_: random.Random, work: Path) -> AskedCall:
    kind = random_.random()
    if kind < 0.65:
        return AskedCall("Bash", {"command": random_.choice(COMMANDS)})
    if kind < 0.75:
        return AskedCall("WebFetch", {"url": random_.choice(URLS), "prompt": "p"})
    path = random_.choice(PATHS)
    if not path.startswith(("/", "~")) and random_.random() < 0.5:
        path = f"{work}/{path}"
    if random_.random() < 0.5:
        return AskedCall("Read", {"file_path": path})
    return AskedCall("Write", {"file_path": path, "content": "x"})


async def effects(
    program: Path, folder: Path, settings: dict[str, Any], calls: Sequence[AskedCall]
) -> list[str | None]:
    """What Claude Code does with each call; None where it does not come so far, because the call makes no sense."""
    work, home = folder / "work", folder / "home"
    await asyncio.to_thread(_furnish, folder, settings)

    async def ask(request: web.Request) -> web.Response:
        decision = {"behavior": "deny", "message": ASKED}
        return web.json_response({"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}})

    app = web.Application()
    app.router.add_post("/", ask)
    turns = [[{"id": f"toolu_{at}", "name": made.tool, "input": made.parameters}] for at, made in enumerate(calls)]
    async with messages_api(*turns) as api, on_a_port(app) as port:
        hook = {"type": "http", "url": f"http://127.0.0.1:{port}/", "timeout": 60}
        environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", **offline(home, api)}
        process = await asyncio.create_subprocess_exec(
            program, "-p", "go", "--output-format", "stream-json", "--verbose", "--strict-mcp-config",
            "--mcp-config", '{"mcpServers": {}}',
            "--settings", json.dumps({"hooks": {"PermissionRequest": [{"hooks": [hook]}]}}),
            cwd=work, env=environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(180):
            out, _ = await process.communicate()
    assert len(api.results) == len(calls), out[-2000:].decode()
    return [_effect(*api.results[f"toolu_{at}"]) for at in range(len(calls))]


def _effect(text: str, is_error: bool) -> str | None:
    if ASKED in text:
        return "ask"
    if not is_error:
        return "allow"
    if any(words in text for words in ("has been denied", "denied by your permission", "deny rule", "WebFetch denied")):
        return "deny"
    # It ran, and failed; or it was not even asked about.
    ran = ("Exit code", "Unable to verify", "cannot fetch", "File does not exist", "EISDIR", "EACCES", "Invalid URL")
    return "allow" if any(words in text for words in ran) else None


def _furnish(folder: Path, settings: dict[str, Any]) -> None:
    furnish(folder, PROGRAMS, FILES)
    (folder / "work/.claude").mkdir()
    (folder / "work/.claude/settings.json").write_text(json.dumps({"permissions": settings}))
    trusted = {"hasTrustDialogAccepted": True, "allowedTools": []}
    known = {"hasCompletedOnboarding": True, "projects": {str(folder / "work"): trusted}}
    (folder / "home/.claude.json").write_text(json.dumps(known))


async def test_imported_permissions_are_never_wider_than_claude_code(claude: Path, tmp_path: Path) -> None:
    random_ = random.Random(22)
    sessions = []
    for number in range(SESSIONS):
        folder = tmp_path / str(number)
        calls = [call(random_, folder / "work") for _ in range(CALLS_A_SESSION)]
        sessions.append((folder, permissions(random_), calls))
    running = asyncio.Semaphore(2)

    async def run(folder: Path, settings: dict[str, Any], calls: Sequence[AskedCall]) -> list[str | None]:
        async with running:
            return await effects(claude, folder, settings, calls)

    answers = await asyncio.gather(*(run(*session) for session in sessions))
    comparison = Comparison("claude")
    for (folder, settings, calls), there in zip(sessions, answers, strict=True):
        file = folder / "work/.claude/settings.json"
        policy = imported_policy("claude", file.read_text(), file, home=str(folder / "home"))
        for made, effect in zip(calls, there, strict=True):
            if effect is not None:
                comparison.note(effect, judged(policy, made), (settings, made))

    comparison.assert_never_wider(cases=400, alike=0.5)
