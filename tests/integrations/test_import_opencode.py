"""Permissions of opencode, imported, beside what the real one does with the same calls.

Offline, with a stand-in of a model that makes the calls, some at once; every program is a stub. What it asks about is
noted, and approved.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.cli.processes import free_port
from tests.integrations.compared import AskedCall, Comparison, furnish, imported_policy, judged
from tests.integrations.environments import NPM
from tests.integrations.opencode import config_for, environment_in, model
from tests.mcp.http_wiring import on_a_port

SERVERS = 5
CALLS_A_SERVER = 70
CALLS_AT_ONCE = 10

PROGRAMS = ("cat", "cp", "curl", "git", "ls", "make", "mkdir", "npm", "rm", "sudo", "touch")
FILES = ("a.txt", ".env", "sub/.env", "src/a.ts", "src/gen/x", "docs/a.md")
EFFECTS = ("allow", "ask", "deny")
BASH = (
    "git *", "git status *", "git status", "git push *", "git push --force*", "npm test *", "npm *", "rm *", "rm -rf *",
    "ls *", "ls", "cat *", "touch *", "cp *", "make", "* --force", "git * main", "curl *", "mkdir *", "git??status",
)  # fmt: skip
PATHS = ("*", "src/*", "*.env", "docs/*.md", "src/gen/*", "a.txt", "*.ts", "sub/*")
COMMANDS = (
    "git", "git status", "git status -s", "git  status", "'git' status", "git status > new", "git status 2>&1",
    "git push origin main", "git push --force", "git  push --force", "npm test", "npm test unit", "npm install x",
    "rm a", "rm -rf sub", "ls", "ls -la src", "ls /etc", "cat a.txt", "cat /etc/hostname", "cat ../x", "cat ~/x",
    "touch new", "touch /tmp/x", "cp a.txt b", "cp a.txt ../b", "make", "make all", "curl http://x", "mkdir new",
    "mkdir ../new",
    "git status && rm a", "git status; ls", "ls | cat", "echo $(rm a)", "echo `rm a`", "FOO=1 git status", "sudo rm a",
    "git log main", "git status\nrm a", "(rm a)", "if true; then rm a; fi", "npm test & rm a", "echo 'rm a'",
    "git status ", " git status", "rm\ta", "\"rm\" a", "ls && ls && git status", "cat a.txt | ls",
    "cd .. && ls", "git -C /tmp status",
)  # fmt: skip
URLS = ("https://example.com/a", "https://evil.com/")


def permission(random_: random.Random) -> Any:
    given: dict[str, Any] = {}
    if random_.random() < 0.6:
        given["*"] = random_.choice(("ask", "ask", "allow", "deny"))
    patterns = {random_.choice(("*", "*", "ls *")): random_.choice(("ask", "ask", "allow", "deny"))}
    for pattern in random_.sample(BASH, 7):
        patterns[pattern] = random_.choice(("allow", "allow", "ask", "deny"))
    given["bash"] = patterns
    for name in ("edit", "read"):
        if random_.random() < 0.7:
            paths = dict.fromkeys(random_.sample(PATHS, 3))
            given[name] = {path: random_.choice(("allow", "allow", "ask", "deny")) for path in paths}
    if random_.random() < 0.5:
        given["webfetch"] = random_.choice(EFFECTS)
    if random_.random() < 0.4:
        given["external_directory"] = random_.choice(EFFECTS)
    return given


def call(random_: random.Random, work: Path) -> AskedCall:
    kind = random_.random()
    if kind < 0.65:
        parameters = {"command": random_.choice(COMMANDS), "description": "work"}
        if random_.random() < 0.05:
            parameters["workdir"] = random_.choice((str(work / "src"), "/tmp"))
        return AskedCall("bash", parameters)
    if kind < 0.7:
        return AskedCall("webfetch", {"url": random_.choice(URLS), "format": "text"})
    path = random_.choice(("/etc/hostname", "../x", *(f"{work}/{name}" for name in (*FILES, "new.ts", "src/new.env"))))
    if random_.random() < 0.5:
        return AskedCall("read", {"filePath": path})
    return AskedCall("write", {"filePath": path, "content": "x"})


class Opencode:
    """A running server of opencode, in a project of its own."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._asked: set[str] = set()

    async def follow(self) -> None:
        """Note what is asked, and approve it."""
        async with self._http.get(f"{self._url}/event") as events:
            async for line in events.content:
                event = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if event.get("type") == "permission.asked":
                    asked = event["properties"]
                    self._asked.add(asked["tool"]["callID"])
                    await self._post(f"/permission/{asked['id']}/reply", {"reply": "once"})

    async def effects(self, calls: Sequence[AskedCall]) -> list[str]:
        """What becomes of the calls."""
        session = (await self._post("/session", {}))["id"]
        text = {"type": "text", "text": "go"}
        named = {"providerID": "stand-in", "modelID": "m"}
        await self._post(f"/session/{session}/message", {"parts": [text], "model": named})
        async with self._http.get(f"{self._url}/session/{session}/message") as answer:
            messages = await answer.json()
        tools = {part["callID"]: part for message in messages for part in message["parts"] if part["type"] == "tool"}
        return [self._effect(f"call_{number}", tools[f"call_{number}"]) for number in range(len(calls))]

    def _effect(self, call_id: str, tool: dict[str, Any]) -> str:
        # A tool of which everything is denied is not there.
        if tool["tool"] == "invalid" or "specified a rule which prevents" in tool["state"].get("error", ""):
            return "deny"
        return "ask" if call_id in self._asked else "allow"

    async def _post(self, path: str, body: Any) -> Any:
        async with self._http.post(f"{self._url}{path}", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return said


@asynccontextmanager
async def running(program: Path, folder: Path, config: Any) -> AsyncIterator[Opencode]:
    await asyncio.to_thread(_furnish, folder, config)
    port = free_port()
    environment = environment_in(folder)
    process = await asyncio.create_subprocess_exec(
        program, "serve", "--port", str(port), "--hostname", "127.0.0.1", cwd=folder / "work", env=environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"listening on" not in (line := await process.stdout.readline()):
                assert line, "opencode ended"
        reading = asyncio.create_task(process.stdout.read())
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as http:
            opencode = Opencode(http, f"http://127.0.0.1:{port}")
            following = asyncio.create_task(opencode.follow())
            try:
                yield opencode
            finally:
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
    finally:
        process.kill()
        await process.wait()
    await reading


def _furnish(folder: Path, config: Any) -> None:
    furnish(folder, PROGRAMS, FILES)
    (folder / "work/opencode.json").write_text(json.dumps(config))


async def test_imported_permissions_are_never_wider_than_opencode(
    npm_with: Callable[..., Path], tmp_path: Path
) -> None:
    program = npm_with(*NPM["opencode"]) / "node_modules/.bin/opencode"
    random_ = random.Random(23)
    comparison = Comparison("opencode")
    for number in range(SERVERS):
        folder = tmp_path / str(number)
        calls = [call(random_, folder / "work") for _ in range(CALLS_A_SERVER)]
        given = permission(random_)
        async with on_a_port(model(calls, at_once=CALLS_AT_ONCE)) as port:
            config = config_for(port, given)
            async with running(program, folder, config) as opencode:
                there = await opencode.effects(calls)
        file = folder / "work/opencode.json"
        policy = imported_policy("opencode", file.read_text(), file, home=str(folder / "home"))
        for made, said in zip(calls, there, strict=True):
            comparison.note(said, judged(policy, made), (given, made))

    comparison.assert_never_wider(cases=300, alike=0.4)
