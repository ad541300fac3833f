"""Who listens at an address proves to be the service that is meant, and its prefix need not be known."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from notifier_service import Broker, Client, Decision, Settings, create_app, serve
from notifier_service.core.errors import ServiceRefused, ServiceUnavailable, ServiceUnproven
from notifier_service.service_address import CHALLENGE, config_path, make_key, proof
from notifier_service.web import Site
from tests.cli.processes import Commands

HOOK = {"session_id": "s", "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "secret"}}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve(settings=Settings(port=0)) as site:
        yield site


@pytest.fixture
def key_file() -> Path:
    make_key()
    return Path(config_path(), "service.key")


class Stranger:
    """Somebody else who listens; what it was sent, and where it passes requests on to."""

    def __init__(self, answer: bytes = b"", *, passes_on_to: int | None = None) -> None:
        self.heard = b""
        self._answer = answer
        self._passes_on_to = passes_on_to
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Stranger]:
        async with await asyncio.start_server(self._talk, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/agent_backend"
            yield self

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heard += head
                if self._passes_on_to is not None:
                    from_service, to_service = await asyncio.open_connection("127.0.0.1", self._passes_on_to)
                    to_service.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    writer.write(await from_service.read())
                    to_service.close()
                    break
                writer.write(self._answer)
                await writer.drain()
        writer.close()


def live(**told: object) -> bytes:
    body = json.dumps({"success": True, "data": {"status": "live", **told}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# Proof


async def test_service_of_this_user_is_believed(site: Site, key_file: Path) -> None:
    async with Client(f"{site.url}/agent_backend", token="t") as client:
        record = await client.ask("s", "t", {})

    assert record["status"] == "pending"


async def test_hook_believes_the_service_of_this_user(commands: Commands, site: Site, key_file: Path) -> None:
    running = asyncio.ensure_future(commands.run_here("hook", "--url", site.url, typed=json.dumps(HOOK)))
    async with asyncio.timeout(20):
        while not site.broker.open("s").desk.pending:  # noqa: ASYNC110  # the command runs in a thread
            await asyncio.sleep(0.01)
    site.broker.decide("s", Decision(approved=True), decided_by="anna")

    assert json.loads((await running).out)["hookSpecificOutput"]["permissionDecision"] == "allow"


STRANGERS: dict[str, Callable[[int], Stranger]] = {
    "an older service": lambda _: Stranger(live()),
    "one that knows no key": lambda _: Stranger(live(prefix="", address="127.0.0.1:1", proof=None)),
    "one that guesses": lambda _: Stranger(live(prefix="", address="127.0.0.1:1", proof="0" * 64)),
    "one that writes strangely": lambda _: Stranger(live(prefix="", address="\ud800", proof="é")),
    "one that says what it was told": lambda _: Stranger(live(prefix="", address=1, proof={})),
    "no service at all": lambda _: Stranger(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    "no server at all": lambda _: Stranger(b"nonsense\r\n\r\n"),
    "one that passes on to the service": lambda port: Stranger(passes_on_to=port),
}


@pytest.mark.parametrize("who", STRANGERS)
async def test_who_proves_nothing_hears_neither_token_nor_parameters(
    commands: Commands, site: Site, key_file: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier_service.cli.hook.AWAY_SECONDS", 0)
    async with STRANGERS[who](site.port).listening() as stranger:
        async with Client(stranger.url, token="my-token") as client:
            with pytest.raises(ServiceUnavailable):
                await client.ask("s", "secret", {"a": "secret"})
            with pytest.raises((ServiceUnavailable, TimeoutError)):
                async with asyncio.timeout(1):
                    await anext(client.events("secret"))
        hooked = await commands.run_here(
            "hook", "--url", stranger.url, typed=json.dumps(HOOK), env={"NOTIFIER_TOKEN": "my-token"}
        )

    assert hooked.exit_code == 2
    assert CHALLENGE.encode() in stranger.heard
    assert b"my-token" not in stranger.heard
    assert b"secret" not in stranger.heard


async def test_refusal_says_what_to_do(site: Site, key_file: Path) -> None:
    async with Stranger(live()).listening() as old, Client(old.url) as client:
        with pytest.raises(ServiceUnproven, match="an older one must be restarted"):
            await client.health("s")
    async with Stranger(passes_on_to=site.port).listening() as relay, Client(relay.url) as client:
        with pytest.raises(ServiceUnproven, match=f"passes on to your notifier-service at 127.0.0.1:{site.port}"):
            await client.health("s")


async def test_key_that_is_named_is_the_one_that_counts(
    site: Site, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stranger(passes_on_to=site.port).listening() as tunnel, Client(tunnel.url) as client:
        monkeypatch.setenv("NOTIFIER_SERVICE_KEY", str(key_file))
        assert (await client.health("s"))["session_id"] == "s"  # a tunnel of one's own
        monkeypatch.setenv("NOTIFIER_SERVICE_KEY", str(tmp_path / "none"))
        with pytest.raises(ServiceUnproven, match="cannot be read"):
            await client.health("s")
        monkeypatch.setenv("NOTIFIER_SERVICE_KEY", "none")
        assert (await client.health("s"))["session_id"] == "s"


async def test_key_that_others_may_read_proves_nothing(site: Site, key_file: Path) -> None:
    key_file.chmod(0o644)
    async with Client(f"{site.url}/agent_backend") as client:
        with pytest.raises(ServiceUnproven, match="chmod 600"):
            await client.health("s")


async def test_command_makes_the_key_once_and_for_this_user_alone(commands: Commands) -> None:
    for _ in range(2):
        process = await commands.start("serve", "--port", "0")
        assert process.stdout is not None
        await process.stdout.readline()
        path = Path(config_path(), "service.key")
        keys = {path.read_text()}
        process.terminate()
        await process.wait()

    assert keys == {path.read_text()}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert os.listdir(path.parent) == ["service.key"]


@pytest.mark.parametrize("challenge", ["short", "x" * 129, "a b" * 10, "é" * 20])
async def test_challenge_that_is_none_is_refused(challenge: str, site: Site) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{site.url}/healthz/live", headers={CHALLENGE: challenge}) as response,
    ):
        assert response.status == 422


def test_proof_is_for_one_challenge_at_one_address() -> None:
    assert len({proof(key, c, a) for key in (b"k", b"l") for c in ("c", "d") for a in ("a:1", "a:2", "[::1]:1")}) == 12


# Where the API begins


@pytest.mark.parametrize("prefix", ["/agent_backend", "", "/a/b"])
@pytest.mark.parametrize("given", ["{site}", "{site}/", "{site}{prefix}", "{site}{prefix}/", "{site}{prefix}/#/s/demo"])
async def test_address_may_have_the_prefix_or_not(given: str, prefix: str) -> None:
    async with serve(settings=Settings(port=0, prefix=prefix)) as site:
        url = given.format(site=site.url, prefix=prefix)
        async with Client(url) as client:
            event = await anext(client.events("s"))
        async with Client(url) as client:
            await client.publish("s", {"type": "note"})

    assert event["type"] == "hello"
    assert client.url == f"{site.url}{prefix}"


async def test_address_below_which_the_service_is_mounted_may_lack_the_prefix(broker: Broker) -> None:
    app = web.Application()
    app.add_subapp("/notifier/", create_app(broker, Settings()))
    runner = web.AppRunner(app)
    await runner.setup()
    mounted = web.TCPSite(runner, "127.0.0.1", 0)
    await mounted.start()
    async with Client(f"http://127.0.0.1:{mounted.port}/notifier") as client:
        await client.publish("s", {"type": "note"})
    await runner.cleanup()

    assert client.url == f"http://127.0.0.1:{mounted.port}/notifier/agent_backend"


@pytest.mark.parametrize("path", ["/agent_backnd", "/agent_backend/api", "/x/y/z"])
async def test_address_with_another_prefix_is_told_the_right_one(commands: Commands, site: Site, path: str) -> None:
    async with Client(site.url + path) as client:
        with pytest.raises(ServiceRefused, match=f"but one at {site.url}/agent_backend: use that address"):
            await client.publish("s", {"type": "note"})
    hooked = await commands.run_here("hook", "--url", site.url + path, typed=json.dumps(HOOK))

    assert f"but one at {site.url}/agent_backend" in hooked.err


@pytest.fixture
async def commands() -> AsyncIterator[Commands]:
    commands = Commands()
    try:
        yield commands
    finally:
        await commands.stop_all()
