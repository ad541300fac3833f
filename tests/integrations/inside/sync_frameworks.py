"""The recipes for programs without asyncio, each with its framework, against a service of another process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from notifier_service import sync
from notifier_service.client import Client

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "notifier_service", "serve", "--port", "0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        os.environ["NOTIFIER_URL"] = service.stdout.readline().split()[-1]
        yield os.environ["NOTIFIER_URL"]
        service.terminate()


@contextmanager
def person(url: str, *, session_id: str = "s1", **decision: Any) -> Iterator[list[dict[str, Any]]]:
    """Somebody who answers the next request; what was shown."""
    shown: list[dict[str, Any]] = []

    async def answer(_: Any) -> None:
        async with Client(url) as client:
            async for event in client.events(session_id):
                for request in [event["data"], *event["data"].get("permission_requests", ())]:
                    if request.get("status") == "pending" and "parameters" in request:
                        shown.append(request)
                        await client.decide(session_id, {"request_id": request["request_id"], **decision})
                        return

    loop = sync._Loop("a person")
    thread = threading.Thread(target=loop.wait, args=(answer, "a person"))
    thread.start()
    yield shown
    thread.join(20)
    loop.close()
    assert not thread.is_alive()


def flask_answers() -> Any:
    from sync_flask import app

    client = app.test_client()

    def post(path: str) -> tuple[int, str]:
        answer = client.post(path)
        return answer.status_code, answer.text

    return post


def fastapi_answers() -> Any:
    from fastapi.testclient import TestClient
    from sync_fastapi import app

    client = TestClient(app)

    def post(path: str) -> tuple[int, str]:
        answer = client.post(path)
        return answer.status_code, answer.text.strip('"')

    return post


def django_answers() -> Any:
    import django
    from django.conf import settings
    from django.test import Client as Browser
    from django.urls import path as route

    settings.configure(ROOT_URLCONF=(), ALLOWED_HOSTS=["*"], SECRET_KEY="of a test")
    django.setup()
    from sync_django import delete_view

    settings.ROOT_URLCONF = (route("delete/<str:path>", delete_view),)
    client = Browser()

    def post(path: str) -> tuple[int, str]:
        answer = client.post(path)
        return answer.status_code, answer.content.decode()

    return post


@pytest.mark.parametrize("framework", [flask_answers, fastapi_answers, django_answers])
def test_view_runs_as_a_person_answers(framework: Any, url: str) -> None:
    post = framework()

    with person(url, approved=True) as shown:
        assert post("/delete/a") == (200, "a is gone")
    assert (shown[0]["tool_name"], shown[0]["parameters"]) == ("delete", {"path": "a"})
    with person(url, approved=True, parameters={"path": "b"}):
        assert post("/delete/a") == (200, "b is gone")
    with person(url, approved=False, reason="not now"):
        assert post("/delete/a") == (403, "delete did not run: rejected by local: not now")


def test_cell_of_a_notebook_waits() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    cells = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    [cell] = [cell for cell in cells if 'sync.ask("notebook"' in cell]
    first, last = cell.split("sync.ask", 1)
    shell = InteractiveShell.instance()
    assert shell.run_cell(first).success
    service = shell.user_ns["service"]
    try:
        with person(service.url, session_id="notebook", approved=True):
            # In a notebook a loop runs while a cell does.
            assert shell.run_cell("import asyncio; loop = asyncio.get_running_loop").success
            assert shell.run_cell("await asyncio.sleep(0)\nsync.ask" + last).result == {"path": "/srv/app/old.log"}
    finally:
        service.stop()


def test_script_of_the_document_runs_as_a_person_answers() -> None:
    command = [sys.executable, ROOT / "examples" / "sync_script.py"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"NOTIFIER_PORT": "0"}
    ) as script:
        assert script.stdout is not None
        with person(script.stdout.readline().split()[-1], approved=True):
            assert script.stdout.read() == "/srv/app/old.log is gone\n"
    assert script.returncode == 0
