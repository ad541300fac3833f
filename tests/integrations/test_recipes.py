"""Each recipe of ``examples/`` asks before its framework runs a tool: with the framework itself, offline.

What runs in a framework's environment is in ``inside/``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integrations.environments import NPM, PYTHON, ROOT

INSIDE = Path(__file__).with_name("inside")
RECIPES = [
    ("claude_agent", "claude-agent-sdk"),
    ("codex_sdk", "codex sdk"),
    ("langchain_agent", "langchain"),
    ("langchain_mcp", "langchain"),
    ("openai_agents", "openai-agents"),
    ("sync_frameworks", "sync"),
    # These two come with what `make test` installs.
    ("mcp_server", None),
    ("pydantic_ai_agent", None),
]


def run_tests(python: Path | str, path: Path, *, fixtures_from: Path, **environment: str) -> None:
    """Run the tests of a file with another interpreter; fail with what they say."""
    done = subprocess.run(
        [str(python), "-m", "pytest", "-c", str(INSIDE / "pytest.ini"), "--confcutdir", str(fixtures_from), str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("recipe", "environment"), RECIPES, ids=[recipe for recipe, _ in RECIPES])
def test_recipe_asks_before_its_framework_runs_a_tool(
    recipe: str, environment: str | None, python_with: Callable[..., Path]
) -> None:
    python = sys.executable if environment is None else python_with(*PYTHON[environment])

    run_tests(python, INSIDE / f"{recipe}.py", fixtures_from=INSIDE)


def test_copilot_asks_before_its_runtime_runs_a_tool(
    python_with: Callable[..., Path], npm_with: Callable[..., Path]
) -> None:
    runtime = npm_with(*NPM["copilot"]) / "node_modules/.bin/copilot"
    python = python_with(*PYTHON["copilot sdk"])

    run_tests(python, INSIDE / "copilot_sdk.py", fixtures_from=INSIDE, COPILOT_CLI_PATH=str(runtime))


def test_sessions_of_the_first_sdk_are_known_as_those_of_the_second(python_with: Callable[..., Path]) -> None:
    run_tests(python_with(*PYTHON["sdk 1.x"]), ROOT / "tests" / "calls" / "test_mcp_session.py", fixtures_from=ROOT)
