"""What the documents say is so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from aiohttp import ClientSession

from notifier_service import Settings
from notifier_service.core import errors, events
from notifier_service.core.events import PRODUCED, RESERVED
from notifier_service.web import models
from notifier_service.web.routes import ROUTES
from notifier_service.web.schema import EVENT_DATA, INBOX_DATA

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
DOCUMENTS = (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))

CODES = sorted({error.code for error in vars(errors).values() if isinstance(error, type) and hasattr(error, "code")})


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting_is_documented_with_its_default_and_reason(name: str) -> None:
    field = Settings.model_fields[name]
    default = f"`{field.default}`" if field.default is not None else ""

    assert f"| `{name}` | {default} | {field.description} |" in REFERENCE


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_route_is_documented(route: object) -> None:
    method, path = route.method, route.path  # type: ignore[attr-defined]

    assert f"`{method} {path}`" in REFERENCE


QUERIES = sorted({name for route in ROUTES if route.query is not None for name in route.query.model_fields})


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("document", ["reference", "contract"])
def test_query_parameter_is_documented_where_it_is_listed_and_where_it_is_promised(document: str, name: str) -> None:
    text = {"reference": REFERENCE, "contract": CONTRACT}[document]

    assert re.search(rf"[?`]{name}\b", text), f"docs/{document}.md does not say what ?{name}= does"


TOLD = (*EVENT_DATA.values(), *INBOX_DATA.values(), events.CallDetails, events.RunningCall)
ANSWERED = (
    models.PresentState,
    models.StateAndEvents,
    models.RedactedRecord,
    models.RuleToCaller,
    models.SessionHealth,
)


@pytest.mark.parametrize("model", [*TOLD, *ANSWERED], ids=lambda model: model.__name__)
def test_field_of_an_event_or_an_answer_is_documented(model: type[events.EventData]) -> None:
    assert [name for name in model.model_fields if not re.search(rf"\b{name}\b", REFERENCE)] == []


@pytest.mark.parametrize("code", [code for code in CODES if code not in ("error", "conflict", "gone")])
def test_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in REFERENCE


@pytest.mark.parametrize("event_type", sorted({*PRODUCED, *RESERVED}))
def test_event_type_is_documented(event_type: str) -> None:
    assert f"| `{event_type}` |" in REFERENCE


@pytest.mark.parametrize(
    ("model", "field"),
    [
        (events.ToolStatus, "status"),
        (events.PermissionRecord, "status"),
        (events.PermissionRecord, "rated_by"),
        (events.Hello, "resumed"),
        (events.Gap, "reason"),
        (events.Bye, "code"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_words_that_a_field_may_be_are_documented(model: type[events.EventData], field: str) -> None:
    for word in get_args(model.model_fields[field].annotation):
        assert f"`{word}`" in REFERENCE or f'"{word}"`' in REFERENCE + CONTRACT


def test_sections_of_the_contract_that_are_cited_exist() -> None:
    sections = set(re.findall(r"^## (\w+)\. ", CONTRACT, re.M))

    cited = {section for text in _sources() for section in _cited(text)}
    assert cited
    assert cited <= sections


def _cited(text: str) -> Iterator[str]:
    """The numbers after "contract section" or "sections", however many, also where the next line goes on with them."""
    number = r"\d+[a-z]?\b"
    for numbers in re.findall(
        rf"contract[\s*#]+sections?[\s*#]+({number}(?:,\s*{number})*(?:\s+and\s+{number})?)", text, re.I
    ):
        yield from re.findall(number, numbers)


def _sources() -> Iterator[str]:
    ours = (
        "notifier_service/**/*.py",
        "tests/*.py",
        "tests/*/*.py",
        "tests/*/*/*.py",
        "clients/typescript/[st]*/**/*.ts*",
    )
    for path in (path for pattern in ours for path in ROOT.glob(pattern)):
        yield path.read_text()


def test_architecture_has_a_row_for_each_module_and_for_none_that_is_gone() -> None:
    package, client = ROOT / "notifier_service", "clients/typescript/src"
    modules = [path.relative_to(package).with_suffix("").as_posix() for path in package.rglob("*.py")]
    modules += [f"{client}/{path.stem}" for path in (ROOT / client).glob("*.ts")]

    rows = []
    for room in re.split(r"^###? ", ARCHITECTURE, flags=re.M)[1:]:
        folder = re.match(r"`([a-z/]+/)`", room)
        rows += [(folder[1] if folder else "") + name for name in re.findall(r"^\| `(\w+)` \|", room, re.M)]
    assert sorted(rows) == sorted(module for module in modules if not module.endswith("__init__"))


def test_what_architecture_names_of_a_class_is_there() -> None:
    sources = [path.read_text() for path in (ROOT / "notifier_service").rglob("*.py")]

    for kind, name in set(re.findall(r"`([A-Z]\w+)\.(\w+)`", ARCHITECTURE)):
        there = rf"^class {kind}\b.*?^ +(?:async )?(?:def {name}\(|self\.{name}\b|{name}:)"
        assert any(re.search(there, source, re.M | re.S) for source in sources), f"{kind}.{name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_routes_and_codes_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()
    paths = {route.path for route in ROUTES} | {"/", "/console/{file}"}

    for path in re.findall(r"`(?:GET|POST|DELETE) (/[^`?…]*)", text):
        assert path in paths
    for code in re.findall(r"\b[45]\d\d `([a-z_]+)`", text):
        assert code in (*CODES, "internal")


@pytest.mark.parametrize(
    ("document", "example"),
    [
        ("README.md", "asyncio_program.py"),
        ("docs/chat.md", "chat_pydantic_ai.py"),
        *(("docs/python.md", f"sync_{name}.py") for name in ("script", "flask", "fastapi", "django")),
        *(("docs/python.md", f"approve_{name}_sdk.py") for name in ("codex", "copilot")),
    ],
)
def test_document_shows_the_example_that_runs(document: str, example: str) -> None:
    shown = dict(re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", (ROOT / document).read_text(), re.S))

    assert shown[f"examples/{example}"] == (ROOT / "examples" / example).read_text()


def test_json_in_the_documents_is_json() -> None:
    for block in re.findall(r"```json\n(.*?)```", README + REFERENCE, re.S):
        assert json.loads(block)


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]*))?\)", document.read_text()):
            place = document.parent / target if target else document
            assert place.exists(), f"{document.name}: {target}"
            assert not anchor or anchor in _anchors(place.read_text()), f"{document.name}: {target}#{anchor}"


def _anchors(markdown: str) -> set[str]:
    """What a link may lead to: headings as GitHub names them, and anchors that were written."""
    headings = re.findall(r"^#+ (.*)$", markdown, re.M)
    named = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'id="([^"]+)"', markdown))


@pytest.mark.parametrize("approved", [True, False])
async def test_example_of_an_asyncio_program_deletes_only_what_a_person_approves(
    tmp_path: Path, approved: bool
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "asyncio_program.py"), cwd=tmp_path,
        env={**os.environ, "NOTIFIER_PORT": "0"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with ClientSession() as client:
            while True:  # until the request is there
                decision = {"approved": approved, "reason": "keep it"}
                async with client.post(f"{url}/api/sse/permission-response/s1", json=decision) as response:
                    if response.status == 200:
                        break
        output = (await process.stdout.read()).decode()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert (tmp_path / "draft.txt").exists() is not approved
    assert output == ("draft.txt is gone\n" if approved else "delete_file did not run: rejected by local: keep it\n")


async def test_example_of_an_aiohttp_application_publishes_what_its_handler_does(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "aiohttp_application.py"), cwd=tmp_path,
        env={**os.environ, "NOTIFIER_PORT": str(free_port()), "PYTHONUNBUFFERED": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        host = (await process.stdout.readline()).decode().split()[3]
        async with ClientSession() as client:
            async with client.get(f"{host}/search?q=x") as response:
                assert await response.json() == {"matches": 5}
            async with client.get(f"{host}/notifier/agent_backend/api/sse/health/s1") as response:
                health = (await response.json())["data"]
        process.terminate()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert health["queue_size"] == 3


@pytest.mark.parametrize("approved", [True, False])
async def test_example_of_a_chat_agent_saves_only_what_a_person_approves(tmp_path: Path, approved: bool) -> None:
    shutil.copy(ROOT / "examples" / "chat_pydantic_ai.py", tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "notifier_service", "serve", "--port", "0", "--agent", "chat_pydantic_ai:answer",
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().split()[-1]
        async with (
            ClientSession() as client,
            client.ws_connect(f"{url.removesuffix('/agent_backend')}/ws/chat") as chat,
        ):
            await chat.send_json({"query": "save a note", "session_id": "s1"})
            while True:  # until the request is there
                decision = {"approved": approved, "reason": "keep it"}
                async with client.post(f"{url}/api/sse/permission-response/s1", json=decision) as response:
                    if response.status == 200:
                        break
            answer = ""
            while (message := await chat.receive_json())["type"] == "content":
                answer += message["content"]
    finally:
        process.kill()
        await process.wait()

    assert message == {"type": "done"}
    assert list(tmp_path.glob("*.md")) == ([tmp_path / "a.md"] if approved else [])
    assert ("a is saved" if approved else "rejected by local: keep it") in answer


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_tests_that_the_page_on_security_names_are_there() -> None:
    named = re.findall(
        r"`((?:tests|clients)/[\w/.]+\.tsx?|tests/[\w/]+\.py)(?:::(\w+))?", (ROOT / "docs/security.md").read_text()
    )

    assert len(named) > 50
    for file, test in named:
        assert test in (ROOT / file).read_text(), f"{file}::{test}"
