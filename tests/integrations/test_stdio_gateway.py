"""Real MCP servers and clients, directly and through the stdio gateway: the same, but for the calls that are asked."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision, Settings, serve
from notifier_service.web import Site
from tests.integrations.environments import NPM, PYTHON, ROOT
from tests.mcp.stdio_client import StdioClient, call
from tests.mcp.wiring import Wiring

CAPABILITIES = {
    "roots": {"listChanged": True},
    "sampling": {},
    "elicitation": {"form": {}, "url": {}},
    "tasks": {"list": {}, "cancel": {}},
    "experimental": {"x-vendor": {"odd": [1.5, None]}},
}
ANSWERS: dict[str, Any] = {
    "roots/list": {"roots": [{"uri": "file:///nowhere", "name": "nowhere", "x-vendor": 1}]},
    "sampling/createMessage": {
        "role": "assistant",
        "content": {"type": "text", "text": "sampled é"},
        "model": "none",
        "stopReason": "endTurn",
    },
    "elicitation/create": {"action": "accept", "content": {"name": "Ada", "check": True}},
    "ping": {},
}
#: What no two runs have in common: times, one of them in base64, and ids that the server makes up.
VOLATILE = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b"
    r"|\d+:\d\d:\d\d [AP]M|\"blob\":\"UmVzb3VyY2UgM[^\"]+"
)


class Visit:
    """A client that tries every feature of server-everything, and keeps all that it is told."""

    def __init__(self, client: StdioClient) -> None:
        self.client = client
        self.told: list[bytes] = []
        self._count = 0

    async def next(self) -> dict[str, Any]:
        line = await self.client.line()
        assert line, "the server ended"
        self.told.append(line)
        message: dict[str, Any] = json.loads(line)
        if "method" in message and "id" in message:
            await self.client.send({"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS[message["method"]]})
        return message

    async def until(self, method: str) -> dict[str, Any]:
        while (message := await self.next()).get("method") != method:
            pass
        return message

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message_id: Any = self._count if self._count % 2 else f"id-{self._count}"
        return await self.answer_to({"jsonrpc": "2.0", "id": message_id, "method": method, "params": params})

    async def call(self, name: str, arguments: Any = None, **params: Any) -> dict[str, Any]:
        self._count += 1
        return await self.answer_to(call(self._count, name, arguments, **params))

    async def answer_to(self, message: dict[str, Any]) -> dict[str, Any]:
        await self.client.send(message)
        while (answer := await self.next()).get("id") != message["id"] or "method" in answer:
            pass
        return answer

    async def notify(self, method: str, **params: Any) -> None:
        await self.client.send({"jsonrpc": "2.0", "method": method, "params": params | {"x-vendor": 1.0}})

    async def everything(self) -> None:
        info = {"name": "visit", "version": "1", "x-vendor": 1}
        await self.ask("initialize", protocolVersion="2025-11-25", capabilities=CAPABILITIES, clientInfo=info)
        await self.notify("notifications/initialized")
        await self.until("roots/list")
        await self.ask("ping")
        for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
            await self.ask(method)
        for uri in ("demo://resource/dynamic/text/1", "demo://resource/dynamic/blob/2", "demo://resource/none"):
            await self.ask("resources/read", uri=uri)
        await self.ask("prompts/get", name="args-prompt", arguments={"city": "Bern"})
        await self.ask("prompts/get", name="none")
        for value in ("", "E"):
            argument = {"name": "department", "value": value}
            await self.ask(
                "completion/complete", ref={"type": "ref/prompt", "name": "completable-prompt"}, argument=argument
            )
        for level in ("debug", "odd"):
            await self.ask("logging/setLevel", level=level)
        await self.tools()
        await self.tools_that_ask_back()
        await self.subscriptions()
        await self.tasks()
        await self.ask("vendor/method", odd={"deep": [1.10, 12345678901234567890123]})

    async def tools(self) -> None:
        await self.call("echo", {"message": "é\u2028😀"}, _meta={"v/x": 1}, **{"x-vendor": [None]})
        await self.call("echo", {"message": "x" * 1024 * 1024})
        await self.call("echo", {"message": 1})
        await self.call("none")
        await self.call("get-annotated-message", {"messageType": "error", "includeImage": True})
        await self.call("get-structured-content", {"location": "New York"})
        await self.call("get-resource-links", {"count": 3})
        await self.call("get-resource-reference", {"resourceType": "Text", "resourceId": 1})
        await self.call("get-tiny-image")
        await self.call("trigger-long-running-operation", {"duration": 0.2, "steps": 3}, _meta={"progressToken": "p"})
        await self.call(
            "gzip-file-as-resource", {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resourceLink"}
        )
        slow = call(
            "slow", "trigger-long-running-operation", {"duration": 60, "steps": 600}, _meta={"progressToken": 7}
        )
        await self.client.send(slow)
        await self.until("notifications/progress")
        await self.notify("notifications/cancelled", requestId="slow", reason="enough")

    async def tools_that_ask_back(self) -> None:
        await self.call("get-roots-list")
        await self.call("trigger-sampling-request", {"prompt": "say", "maxTokens": 5})
        await self.call("trigger-elicitation-request")
        await self.call("trigger-url-elicitation", {"url": "https://x.example/", "message": "m", "elicitationId": "e"})
        await self.notify("notifications/roots/list_changed")
        await self.until("roots/list")

    async def subscriptions(self) -> None:
        await self.ask("resources/subscribe", uri="demo://resource/dynamic/text/1")
        await self.call("toggle-subscriber-updates")
        await self.until("notifications/resources/updated")
        await self.call("toggle-subscriber-updates")
        await self.ask("resources/unsubscribe", uri="demo://resource/dynamic/text/1")
        await self.call("toggle-simulated-logging")
        await self.until("notifications/message")
        await self.call("toggle-simulated-logging")

    async def tasks(self) -> None:
        made = await self.call("simulate-research-query", {"topic": "rust", "ambiguous": False}, task={"ttl": 60000})
        task_id = made["result"]["task"]["taskId"]
        poll = {"jsonrpc": "2.0", "id": "poll", "method": "tasks/get", "params": {"taskId": task_id}}
        while (await self.answer_to(poll))["result"]["status"] != "completed":
            del self.told[-1]
            await asyncio.sleep(0.1)
        await self.ask("tasks/result", taskId=task_id)
        await self.ask("tasks/list")
        await self.ask("tasks/cancel", taskId=task_id)


def features(told: list[bytes]) -> Counter[str]:
    """What was told, without what no two runs have in common, and how often: timers of the server shift the order."""
    kept: Counter[str] = Counter()
    for line in told:
        message = json.loads(line)
        method = message.get("method")
        text = VOLATILE.sub("…", line.decode().replace(r"\u2028", "\u2028"))  # which the gateway escapes
        if method == "notifications/progress" and message["params"]["progressToken"] == 7:
            text = "progress of the call that is cancelled"
        elif method == "notifications/message":
            text = "message of a random level"
        kept[text] += 1
    for repeated in ("progress of the call that is cancelled", "message of a random level"):
        kept[repeated] = min(1, kept[repeated])
    return kept


def heard(log: Path) -> Counter[str]:
    """The messages that a server has read, but for the gateway's own."""
    lines = [line for line in log.read_bytes().splitlines() if b'"id":"notifier-service-' not in line]
    told = Counter(VOLATILE.sub("…", json.dumps(json.loads(line))) for line in lines)
    return Counter({text: count for text, count in told.items() if '"id": "poll"' not in text})


@pytest.fixture
def everything(npm_with: Callable[..., Path]) -> list[str]:
    return server_of(npm_with(*NPM["servers"]), "server-everything")


@pytest.fixture
def filesystem(npm_with: Callable[..., Path]) -> list[str]:
    return server_of(npm_with(*NPM["servers"]), "server-filesystem")


def server_of(environment: Path, name: str) -> list[str]:
    modules = environment / "node_modules"
    return [str(modules / ".bin" / "node"), str(modules / "@modelcontextprotocol" / name / "dist" / "index.js")]


@pytest.fixture
async def wiring(broker: Broker, tmp_path: Path) -> AsyncIterator[Wiring]:
    wiring = Wiring(broker, tmp_path / "reached.jsonl")
    yield wiring
    await wiring.close()


@pytest.fixture
async def direct() -> AsyncIterator[StdioClient]:
    client = StdioClient()
    yield client
    client.close()


async def approve_all(broker: Broker) -> None:
    session = broker.open("s")
    while True:
        for request in session.desk.pending:
            broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ada")
        await session.log.wait_after(session.log.last_seq)


async def test_every_feature_is_the_same_directly_and_through_the_gateway(
    direct: StdioClient, wiring: Wiring, everything: list[str], tmp_path: Path
) -> None:
    def command(name: str) -> list[str]:
        return ["bash", "-c", f"exec {shlex.join(everything)} < <(exec tee {shlex.quote(str(tmp_path / name))})"]

    process = await asyncio.create_subprocess_exec(
        *command("direct"), stdin=direct.source, stdout=direct.sink, stderr=asyncio.subprocess.DEVNULL
    )
    os.close(direct.source)
    os.close(direct.sink)
    plain, gated = Visit(direct), Visit(wiring.client)
    approving = asyncio.create_task(approve_all(wiring.broker))
    wiring.start_before(command("gated"))

    await asyncio.gather(plain.everything(), gated.everything())

    approving.cancel()
    process.kill()  # it has timers that run on
    await process.wait()
    await wiring.close()
    assert features(gated.told) == features(plain.told)
    assert heard(tmp_path / "gated") == heard(tmp_path / "direct")
    assert len(features(plain.told)) > 40
    assert len(wiring.events("permission_request")) >= 7


async def test_reading_runs_unasked_and_writing_only_when_it_is_approved(
    wiring: Wiring, filesystem: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    wiring.start_before([*filesystem, str(folder)])
    visit = Visit(wiring.client)
    info = {"name": "visit", "version": "1"}
    await visit.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=info)
    await visit.notify("notifications/initialized")

    listed = await visit.call("list_directory", {"path": str(folder)})
    assert listed["result"].get("isError") is None
    assert wiring.events("permission_request") == []

    written = asyncio.create_task(visit.call("write_file", {"path": str(folder / "a"), "content": "a"}))
    request = await wiring.asked()
    assert list(folder.iterdir()) == []
    wiring.broker.decide("s", Decision(approved=True, request_id=request.request_id), decided_by="ada")
    await written
    assert (folder / "a").read_text() == "a"

    refused = asyncio.create_task(visit.call("write_file", {"path": str(folder / "b"), "content": "b"}))
    await wiring.until(lambda: wiring.broker.open("s").desk.pending not in ((), [request]))
    request = await wiring.asked()
    wiring.broker.decide(
        "s", Decision(approved=False, reason="not there", request_id=request.request_id), decided_by="ada"
    )
    result = (await refused)["result"]
    assert result == {
        "content": [{"type": "text", "text": "write_file did not run: rejected by ada: not there"}],
        "isError": True,
    }
    assert [path.name for path in folder.iterdir()] == ["a"]


async def decide_next(broker: Broker, *, approved: bool) -> None:
    """Wait for a request, and answer it."""
    session = broker.open("s")
    async with asyncio.timeout(60):
        while not session.desk.pending:
            await session.log.wait_after(session.log.last_seq)
    request_id = session.desk.pending[0].request_id
    broker.decide("s", Decision(approved=approved, reason="so", request_id=request_id), decided_by="ada")


def gateway_to(site: Site, server: list[str]) -> list[str]:
    service = f"{site.url}{site.settings.prefix}"
    return [
        sys.executable,
        "-m",
        "notifier_service",
        "gateway",
        "stdio",
        "--service",
        service,
        "--session",
        "s",
        "--",
        *server,
    ]


@pytest.mark.parametrize("approved", [True, False])
async def test_inspector_calls_a_gated_tool(
    approved: bool, filesystem: list[str], npm_with: Callable[..., Path], tmp_path: Path
) -> None:
    bin_folder = npm_with(*NPM["inspector"]) / "node_modules" / ".bin"
    folder = tmp_path / "folder"
    folder.mkdir()
    async with serve(settings=Settings(port=0)) as site:
        # A script, because the Inspector takes the options of what it starts for its own, and hands no variable on.
        started = tmp_path / "gateway"
        command = shlex.join(gateway_to(site, [*filesystem, str(folder)]))
        variables = {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"]}
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        started.write_text(f"#!/bin/sh\n{given} exec {command}\n")
        started.chmod(0o755)
        process = await asyncio.create_subprocess_exec(
            str(bin_folder / "mcp-inspector"), "--cli", str(started),
            "--method", "tools/call", "--tool-name", "write_file",
            "--tool-arg", f"path={folder / 'a'}", "--tool-arg", "content=a",
            env=os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await decide_next(site.broker, approved=approved)
        out, _ = await process.communicate()

    result, _ = json.JSONDecoder().raw_decode(out.decode())
    assert result.get("isError", False) is not approved
    assert (folder / "a").exists() is approved


@pytest.mark.parametrize("sdk", ["sdk 1.x", "sdk 2.x"])
async def test_client_of_the_sdk_reads_unasked_writes_asked_and_understands_a_denial(
    sdk: str, filesystem: list[str], python_with: Callable[..., Path], tmp_path: Path
) -> None:
    python = python_with(*PYTHON[sdk])
    folder = tmp_path / "folder"
    folder.mkdir()
    async with serve(settings=Settings(port=0)) as site:
        process = await asyncio.create_subprocess_exec(
            str(python), str(Path(__file__).parent / "inside" / "sdk_client.py"), str(folder),
            *gateway_to(site, [*filesystem, str(folder)]), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await decide_next(site.broker, approved=True)
        await decide_next(site.broker, approved=False)
        out, _ = await process.communicate()

    assert json.loads(out) == {
        "listed": False,
        "written": False,
        "refused": True,
        "reason": "write_file did not run: rejected by ada: so",
    }
    assert [path.name for path in folder.iterdir()] == ["a"]
