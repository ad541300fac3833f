#!/usr/bin/env python3
"""Stands between Playwright and a Firefox that is older than Playwright's WebDriver BiDi.

Debian's Firefox is the one with long support. It lacks commands that Playwright gives at its start, for what no test
needs (bodies of answers, folders for downloads), and it holds Playwright's own ``eval`` to the policy of the page, that
allows none. Playwright starts this as it would start Firefox; FIREFOX in the environment is that one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Iterator

import aiohttp
from aiohttp import WSMsgType, web

_LISTENING = re.compile(r"(.*WebDriver BiDi listening on ws://)([\w.:\[\]]+)")


def _known(answer: str) -> str:
    """The answer, as if the command that it does not know had been carried out."""
    if '"unknown command"' not in answer:
        return answer
    told = json.loads(answer)
    if told.get("error") != "unknown command":
        return answer
    return json.dumps({"type": "success", "id": told["id"], "result": {"collector": "none"}})


_EVALUATE = "(utilityScript, ...args) => utilityScript.evaluate(...args)"


def _without_eval(message: str) -> str:
    """The command, with what Playwright would have the page evaluate as a part of the program that it sends."""
    command = json.loads(message)
    if command["method"] == "script.evaluate":
        command["method"] = "script.callFunction"
        expression = command["params"].pop("expression").strip().rstrip(";")
        command["params"]["functionDeclaration"] = f"() => ({expression}\n)"
        return json.dumps(command)
    if command["params"].get("functionDeclaration") != _EVALUATE:
        return message
    called = command["params"]["arguments"]
    texts = [called[3]["value"], *(f"({text})" for text in _function_texts(called))]
    known = ",".join(f"[{json.dumps(text)}, () => ({text}\n)]" for text in texts)
    command["params"]["functionDeclaration"] = (
        f"(script, ...given) => {{ const known = new Map([{known}]), {{ global }} = script, own = global.eval;"
        "global.eval = (text) => (known.has(text) ? known.get(text)() : own(text));"
        "try { return script.evaluate(...given); } finally { global.eval = own; } }"
    )
    return json.dumps(command)


def _function_texts(value: object) -> Iterator[str]:
    """The functions that are handed on within the arguments, as BiDi writes them."""
    if isinstance(value, dict):
        match value:
            case {"value": [[_, {"value": "functionText"}], [_, {"value": str(text)}], *_]}:
                yield text
        yield from _function_texts(value.get("value"))
    elif isinstance(value, list):
        for each in value:
            yield from _function_texts(each)


class Between:
    """Passes what Playwright and Firefox say to each other, but for what this Firefox would not know."""

    def __init__(self) -> None:
        self.address = ""
        self.http = aiohttp.ClientSession()

    async def relay(self, request: web.Request) -> web.WebSocketResponse:
        playwright = web.WebSocketResponse(max_msg_size=0)
        await playwright.prepare(request)
        async with self.http.ws_connect(f"ws://{self.address}{request.path}", max_msg_size=0) as firefox:

            async def back() -> None:
                async for message in firefox:
                    if message.type is WSMsgType.TEXT:
                        await playwright.send_str(_known(message.data))
                await playwright.close()

            backwards = asyncio.create_task(back())
            async for message in playwright:
                if message.type is WSMsgType.TEXT:
                    await firefox.send_str(_without_eval(message.data))
            await firefox.close()
            await backwards
        return playwright


async def main() -> int:
    between = Between()
    app = web.Application()
    app.router.add_get("/{path:.*}", between.relay)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    firefox = await asyncio.create_subprocess_exec(os.environ["FIREFOX"], *sys.argv[1:], stderr=asyncio.subprocess.PIPE)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, firefox.terminate)
    assert firefox.stderr is not None
    while line := (await firefox.stderr.readline()).decode(errors="replace"):
        if found := _LISTENING.match(line):
            between.address = found[2]
            line = f"{found[1]}127.0.0.1:{port}\n"
        print(line, end="", file=sys.stderr, flush=True)
    ended = await firefox.wait()
    await between.http.close()
    await runner.cleanup()
    return ended


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
