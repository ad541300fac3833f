"""What the package offers, and what it costs to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import notifier_service


@pytest.mark.parametrize("name", notifier_service.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(notifier_service, name).__name__ == name


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'notifier_service' has no attribute 'Nothing'"):
        _ = notifier_service.Nothing


@pytest.mark.parametrize(
    "module",
    [
        "notifier_service",
        *(f"notifier_service.{name}" for name in ("core.broker", "calls.notifier", "calls.tool_wrapper")),
        *(f"notifier_service.mcp.{name}" for name in ("gate", "stdio_relay")),
        "notifier_service.acp.relay",
    ],
)
def test_the_core_and_what_stands_on_it_load_neither_aiohttp_nor_pydantic_settings(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'aiohttp', 'pydantic_settings'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"


def test_asking_the_broker_of_this_process_loads_no_aiohttp_and_asking_a_service_does() -> None:
    program = """
import asyncio, sys
from notifier_service import Broker, Limits, ask
print("aiohttp" in sys.modules)
asyncio.run(ask("s", "read", {}, service=Broker(), risk_level="low"))
print("aiohttp" in sys.modules)
from notifier_service import Client, ToolDenied
async def ask_a_service():
    async with Client("http://127.0.0.1:1") as client:
        await ask("s", "read", {}, service=client)
try:
    asyncio.run(ask_a_service())
except ToolDenied as denial:
    print("aiohttp" in sys.modules, denial.outcome)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "False\nFalse\nTrue unavailable\n"


def test_a_star_import_brings_what_needs_aiohttp_too() -> None:
    program = "from notifier_service import *; print(serve.__module__, Settings.__module__)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "notifier_service.web.app notifier_service.settings\n"


def test_service_is_there_without_any_extra() -> None:
    extras = ("cryptography", "jwt", "prometheus_client", "rich", "uvloop", "mcp")
    program = f"import sys; sys.modules.update(dict.fromkeys({extras}))\nfrom notifier_service import create_app\n"
    program += "import asyncio\nasync def main(): create_app()\nasyncio.run(main())"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
