"""The real Codex, driven by the Codex SDK, runs its commands and changes files as a person answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from openai_codex import CodexConfig

from notifier_service import Broker, Settings, serve
from notifier_service.bridges.codex_sdk import codex_client
from tests.integrations.inside.answers import answer_in_order
from tests.integrations.inside.responses_api import responses_api

PATCH = """apply_patch <<'EOF'
*** Begin Patch
*** Add File: {name}
+hello
*** End Patch
EOF"""


def run(service: str, model: str, folder: Path) -> str:
    """One turn of Codex in ``folder / "work"``, and how it ended."""
    provider = f'{{name="stand-in",base_url="{model}",wire_api="responses",requires_openai_auth=false}}'
    environment = {name: str(folder / "home") for name in ("HOME", "CODEX_HOME")}
    # Whatever it might want of the net is not there.
    environment |= {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    config = CodexConfig(
        cwd=str(folder / "work"),
        env=environment,
        config_overrides=('model="m"', 'model_provider="stand-in"', f"model_providers.stand-in={provider}"),
    )
    with codex_client("s1", config, service=service) as codex:
        codex.initialize()
        asked = {"approvalPolicy": "untrusted", "approvalsReviewer": "user", "sandbox": "danger-full-access"}
        thread = codex.thread_start(asked).thread
        turn = codex.turn_start(thread.id, "go").turn
        return str(codex.wait_for_turn_completed(turn.id).turn.status.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


async def test_commands_and_changes_of_files_happen_as_a_person_answers(broker: Broker, folder: Path) -> None:
    work = folder / "work"
    commands = "touch a && echo made", "touch b", PATCH.format(name="c"), PATCH.format(name="d"), "touch e"
    answers = [{"approved": True}, {"approved": False}] * 2 + [{"approved": True}]
    async with serve(broker, Settings(port=0)) as site, responses_api(*commands) as api:
        answering = asyncio.create_task(answer_in_order(broker, answers))
        status = await asyncio.to_thread(run, f"{site.url}{site.settings.prefix}", api.url, folder)
        shown = await answering

    assert status == "completed"
    assert sorted(path.name for path in work.iterdir()) == ["a", "c", "e"]
    assert [record.tool_name for record in shown] == ["Bash", "Bash", "apply_patch", "apply_patch", "Bash"]
    assert shown[0].parameters == {"command": "/bin/bash -lc 'touch a && echo made'", "cwd": str(work)}
    changes = [{"path": str(work / "c"), "kind": {"type": "add"}, "diff": "hello\n"}]
    assert shown[2].parameters == {"changes": changes}
    assert (work / "c").read_text() == "hello\n"
    assert api.results["call_0"].endswith("made\n")
    assert "rejected by user" in api.results["call_1"]
    assert api.results["call_3"] == "patch rejected by user"


async def test_nothing_runs_while_the_service_is_away(unused_tcp_port: int, folder: Path) -> None:
    async with responses_api("touch a", PATCH.format(name="b")) as api:
        assert await asyncio.to_thread(run, f"http://127.0.0.1:{unused_tcp_port}", api.url, folder) == "completed"

    assert list((folder / "work").iterdir()) == []
    assert "rejected by user" in api.results["call_0"]
