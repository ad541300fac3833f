"""Ways in which a policy, or a person's decision, came to allow more than was meant: each of them once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from notifier_service import Broker, Decision
from notifier_service.core.errors import AlreadyDecided, InvalidInput
from notifier_service.core.input_schema import InputSchema
from notifier_service.core.permission_request import PermissionRequest
from notifier_service.core.policy.policy_file import PolicyFile
from notifier_service.core.question import Question

POLICY = """
[[rule]]
name = "read the workspace"
effect = "allow"
tool = "read_file"
server = "files"
risk = ["low", "medium"]
parameters = { "/path" = { glob = "/srv/app/**" } }

[[rule]]
name = "no secrets"
effect = "deny"
parameters = { "/path" = { glob = "/srv/app/secret/**" } }
"""
ONE, OTHER = "0a" * 32, "0b" * 32


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    (tmp_path / "policy.toml").write_text(POLICY)
    broker = Broker(policy=PolicyFile(tmp_path / "policy.toml"))
    yield broker
    broker.close()


def read(path: Any = "/srv/app/a.py", **more: Any) -> Question:
    told: dict[str, Any] = {"tool_name": "read_file", "server": "files", "risk_level": "medium", "rated_by": "producer"}
    return Question(parameters={"path": path}, **(told | more))


def effect(broker: Broker, question: Question) -> str:
    return broker.open("s").judge(question).effect


def test_what_the_rule_is_made_for_is_allowed(broker: Broker) -> None:
    assert effect(broker, read()) == "allow"


@pytest.mark.parametrize("name", ["Read_file", "read_file ", "rеad_file", "read_file\u200b", "ｒead_file"])
def test_look_alike_name(broker: Broker, name: str) -> None:
    assert effect(broker, read(tool_name=name)) == "ask"


@pytest.mark.parametrize("server", ["Files", "fіles", "files ", None])
def test_tool_of_the_same_name_from_another_server(broker: Broker, server: str | None) -> None:
    assert effect(broker, read(server=server)) == "ask"


@pytest.mark.parametrize(
    "path",
    [
        "/srv/app/../../etc/passwd", "/srv/app/%2e%2e/%2e%2e/etc/passwd", "/srv/app/..%2f..%2fetc/passwd",
        "/srv/app/%252e%252e/etc/passwd", "/srv/app/\\..\\..\\etc\\passwd", "/srv/app//../../etc/passwd",
        "/srv/apple/a", "srv/app/a", 5, None,
    ],
)  # fmt: skip
def test_dots_and_encoded_separators(broker: Broker, path: Any) -> None:
    assert effect(broker, read(path)) == "ask"


@pytest.mark.parametrize("path", ["/srv/app/secret/key", "/srv/app/./secret/key", "/srv/app/x/../secret/key"])
def test_deny_beats_allow(broker: Broker, path: str) -> None:
    assert effect(broker, read(path)) == "deny"


def test_parameters_that_are_too_large_to_be_there_whole(broker: Broker) -> None:
    assert effect(broker, read(is_whole=False)) == "ask"
    assert effect(broker, read("/srv/app/secret/key", is_whole=False)) == "deny"


def test_higher_risk_than_the_rule_is_for(broker: Broker) -> None:
    assert effect(broker, read(risk_level="high")) == "ask"


def asked(broker: Broker, **more: Any) -> PermissionRequest:
    return broker.ask("s", Question("write", {"path": "a"}, "medium", server="files", rated_by="producer", **more))


def test_tool_that_changed_after_it_was_allowed(broker: Broker) -> None:
    asked(broker, definition_sha256=ONE)
    broker.decide("s", Decision(approved=True, scope="session"), decided_by="ana")

    assert asked(broker, definition_sha256=ONE).record.decided_by == "policy"
    for changed in (OTHER, None):
        request = asked(broker, definition_sha256=changed)
        assert request.pending
        assert "not defined as it was" in " ".join(request.record.risk_reasons)


def test_approval_that_is_used_twice(broker: Broker) -> None:
    first = asked(broker)
    broker.decide("s", Decision(approved=True, request_id=first.request_id), decided_by="ana")
    second = asked(broker)

    again = broker.decide("s", Decision(approved=True, request_id=first.request_id), decided_by="ana")

    assert again.request_id == first.request_id
    assert second.pending
    with pytest.raises(AlreadyDecided):
        broker.decide(
            "s",
            Decision(approved=True, request_id=first.request_id, parameters={"path": "b"}),
            decided_by="ana",
        )


@pytest.mark.parametrize("edit", [{"path": 5}, {}, {"path": "a", "mode": "w"}, {"path": None}])
def test_edit_that_escapes_the_schema(broker: Broker, edit: dict[str, Any]) -> None:
    schema = {"properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": False}
    request = asked(broker, input_schema=InputSchema.of(schema))
    with pytest.raises(InvalidInput) as refused:
        broker.decide("s", Decision(approved=True, parameters=edit), decided_by="ana")

    assert request.pending
    assert json.dumps(refused.value.details["pointer"]) in ('"/path"', '""')


def test_edit_into_what_the_policy_denies(broker: Broker) -> None:
    request = asked(broker)
    with pytest.raises(Exception, match="The policy denies the edited call"):
        broker.decide("s", Decision(approved=True, parameters={"path": "/srv/app/secret/key"}), decided_by="ana")

    assert request.pending
