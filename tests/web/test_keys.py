"""The key of the audit log for everybody, and a whole way: asked, decided, signed, proved, verified elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from notifier_service import Settings, create_app
from notifier_service.core.errors import InvalidInput
from notifier_service.storage.audit_heads import head_path, read_head
from notifier_service.storage.audit_leaves import files_of
from notifier_service.storage.receipt import prove_request, verify_heads, verify_receipt
from notifier_service.storage.signed_note import VerifyingKey

from .conftest import API, Client, MakeClient, WriteTokens, answer, serving

ASK = {"tool_name": "rm", "parameters": {"path": "/tmp/x"}}


@pytest.fixture
def audit(tmp_path: Path) -> dict[str, Any]:
    """The settings of a service that signs its audit log."""
    return {"audit_file": tmp_path / "audit.jsonl", "audit_key_file": tmp_path / "audit.key"}


async def test_without_a_key_there_is_none(client: Client) -> None:
    assert await answer(await client.get(f"{API}/keys")) == (200, {"success": True, "data": {"keys": []}})


async def test_key_is_given_out_in_every_form_to_everybody(
    make_client: MakeClient, write_tokens: WriteTokens, audit: dict[str, Any]
) -> None:
    tokens = write_tokens([{"token": "viewer", "rights": ["view"], "sessions": ["*"]}])
    client = await make_client(auth="tokens", tokens_file=tokens, **audit)

    status, body = await answer(await client.get(f"{API}/keys"))

    [key] = body["data"]["keys"]
    assert status == 200
    assert set(key) == {"kty", "crv", "x", "kid", "alg", "use", "name", "vkey", "pem"}
    keys = [VerifyingKey.of(text) for text in (key["vkey"], key["pem"], json.dumps(key), json.dumps(body))]
    assert len({one.public for one in keys}) == 1
    assert "PRIVATE" in audit["audit_key_file"].read_text()
    assert audit["audit_key_file"].read_text().strip().split("+", 4)[4] not in json.dumps(body)


async def test_what_was_decided_is_proved_to_who_has_the_key_alone(audit: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "second-machine"
    async with serving(**audit, audit_heads_to=str(copy), shutdown_seconds=40) as service:
        key = VerifyingKey.of(await (await service.http.get(f"{API}/keys")).text())
        asked = (await (await service.http.post(f"{API}/permissions/s1", json=ASK)).json())["data"]
        decision = {"approved": True, "request_id": asked["request_id"]}
        await service.http.post(f"{API}/sse/permission-response/s1", json=decision)
    path = audit["audit_file"]

    receipt = prove_request(asked["request_id"], files_of(path), read_head(head_path(path)))
    proved = verify_receipt(json.dumps(receipt).encode(), key)

    told = {line["kind"]: line for line in proved.lines}
    assert told["decided"]["approved"] is True
    assert told["decided"]["decided_by"] == "local"
    assert told["asked"]["action_sha256"] == asked["action_sha256"]
    kept = [json.loads(line)["head"] for line in copy.read_text().splitlines()]
    assert kept[-1] == read_head(head_path(path))
    for note in kept:
        verify_heads([note], [path], key)


async def test_service_that_comes_back_goes_on_with_its_key_and_its_tree(audit: dict[str, Any]) -> None:
    heads = []
    for _ in range(2):
        async with serving(**audit) as service:
            key = VerifyingKey.of(await (await service.http.get(f"{API}/keys")).text())
            await service.http.post(f"{API}/permissions/s1", json=ASK)
        heads.append(verify_heads([read_head(head_path(audit["audit_file"]))], [audit["audit_file"]], key))

    assert heads[0].origin == heads[1].origin == key.name
    assert heads[0].size < heads[1].size


def test_key_file_that_holds_something_else_does_not_start(audit: dict[str, Any]) -> None:
    audit["audit_key_file"].write_text("hello")
    audit["audit_key_file"].chmod(0o600)

    with pytest.raises(InvalidInput, match=r"audit_key_file .* holds no key"):
        create_app(settings=Settings(**audit))
    assert not audit["audit_file"].exists()


def test_without_cryptography_the_extra_is_named(audit: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)

    with pytest.raises(InvalidInput, match=r"audit_key_file.*notifier-service\[proof\]|notifier-service\[proof\]"):
        create_app(settings=Settings(**audit))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"audit_key_file": "key"}, "audit_key_file needs an audit_file"),
        ({"audit_file": "log", "audit_heads_to": "copy"}, "audit_heads_to needs an audit_key_file"),
        ({"audit_file": "x", "audit_key_file": "x"}, "audit_key_file is the audit_file"),
        ({"audit_file": "x", "audit_key_file": "k", "audit_heads_to": "ftp://a/b"}, "an http or https URL, or a path"),
        ({"audit_file": "x", "audit_key_file": "k", "audit_heads_to": "http://"}, "an http or https URL, or a path"),
        ({"audit_file": "x", "audit_key_file": "k", "audit_heads_to": ""}, "at least 1 character"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**settings)
