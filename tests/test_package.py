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
    ],
)
def test_the_core_loads_neither_aiohttp_nor_pydantic_settings(module: str) -> None:
    program = f"import sys, {module}; print(sorted({{'aiohttp', 'pydantic_settings'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"


def test_a_star_import_brings_what_needs_aiohttp_too() -> None:
    program = "from notifier_service import *; print(serve.__module__, Settings.__module__)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "notifier_service.web.app notifier_service.settings\n"
