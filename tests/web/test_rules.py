"""What was decided for a session, listed and taken back (contract section 11)."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_aiohttp import AiohttpClient

from notifier_service import Broker, Settings, create_app

from .conftest import API, Client, answer, bearer, error_of

ASK: dict[str, Any] = {
    "tool_name": "search",
    "server": "mail",
    "parameters": {},
    "risk_level": "medium",
    "definition_sha256": "0a" * 32,
}
RULES = f"{API}/rules/s1"


async def asked(client: Client, session_id: str = "s1", **more: Any) -> dict[str, Any]:
    body = {name: value for name, value in {**ASK, **more}.items() if value is not None}
    record: dict[str, Any] = (await answer(await client.post(f"{API}/permissions/{session_id}", json=body)))[1]["data"]
    return record


async def decided(client: Client, record: dict[str, Any], approved: bool = True, **more: Any) -> int:
    decision = {"approved": approved, "request_id": record["request_id"], "scope": "session", **more}
    return (await client.post(f"{API}/sse/permission-response/s1", json=decision)).status


async def rules(client: Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await answer(await client.get(RULES)))[1]["data"]
    return listed


async def test_rule_is_listed_with_all_that_it_is_bound_to(client: Client) -> None:
    record = await asked(client)
    await decided(client, record, reason="my own mail")
    await asked(client)

    [rule] = await rules(client)

    assert rule.pop("rule_id").startswith("rule_")
    assert {name: rule.pop(name) is not None for name in ("created_at", "last_used_at")} == {
        "created_at": True,
        "last_used_at": True,
    }
    assert rule == {
        "source": "session",
        "name": f"allow {record['suggested_rule']}",
        "effect": "allow",
        "tool": "search",
        "server": "mail",
        "definition_sha256": "0a" * 32,
        "asked_by": "local",
        "agent": None,
        "risk": "medium",
        "justification": "my own mail",
        "used": 1,
        "created_by": "local",
    }


@pytest.mark.parametrize(
    "other",
    [
        {"server": "shell"},
        {"server": None},
        {"tool_name": "Search"},
        {"risk_level": "high"},
        {"definition_sha256": "0b" * 32},
        {"definition_sha256": "0b" * 32, "risk_level": "low"},
        {"definition_sha256": None, "risk_level": "low"},
    ],
)
async def test_call_that_is_another_than_the_person_saw_is_asked(client: Client, other: dict[str, Any]) -> None:
    await decided(client, await asked(client))

    assert (await asked(client, **other))["status"] == "pending"
    assert (await asked(client))["status"] == "approved"


@pytest.mark.parametrize("other", [{"type": "object", "properties": {"to": {}}}, None])
async def test_schema_stands_for_the_definition_where_none_is_told(
    client: Client, other: dict[str, Any] | None
) -> None:
    as_shown: dict[str, Any] = {"definition_sha256": None, "input_schema": {"type": "object"}}
    await decided(client, await asked(client, **as_shown))

    assert (await asked(client, **{**as_shown, "input_schema": other}))["status"] == "pending"
    assert (await asked(client, **as_shown))["status"] == "approved"


async def test_rule_that_is_taken_back_holds_no_more(client: Client) -> None:
    await decided(client, await asked(client))
    [rule] = await rules(client)

    status, body = await answer(await client.delete(f"{RULES}/{rule['rule_id']}"))

    assert (status, body["data"]["rule_id"]) == (200, rule["rule_id"])
    assert await rules(client) == []
    assert (await asked(client))["status"] == "pending"
    assert await error_of(await client.delete(f"{RULES}/{rule['rule_id']}")) == (404, "rule_not_found")


async def test_rejection_can_be_for_the_session_and_be_taken_back(client: Client) -> None:
    first, twin = await asked(client), await asked(client)
    await decided(client, first, approved=False)
    later = await asked(client, risk_level="high")
    [rule] = await rules(client)
    await client.delete(f"{RULES}/{rule['rule_id']}")

    settled = await answer(await client.get(f"{API}/permissions/s1/{twin['request_id']}"))
    assert settled[1]["data"]["status"] == "rejected"
    assert (later["status"], later["decided_by"]) == ("rejected", "policy")
    assert (rule["effect"], (await asked(client))["status"]) == ("deny", "pending")


async def test_low_rating_is_not_believed_of_a_tool_that_was_asked_about(client: Client) -> None:
    read = {"tool_name": "read", "definition_sha256": None}
    believed = await asked(client, **read, risk_level="low")
    await asked(client, **read, risk_level="high")
    doubted = await asked(client, **read, risk_level="low", risk_reasons=["it only reads"])

    assert (believed["status"], doubted["status"]) == ("approved", "pending")
    assert doubted["risk_reasons"] == [
        "the asker says: it only reads",
        "who asks rates it low now, and it was asked about at risk high before",
    ]
    assert doubted["rated_by"] == "producer"


async def suggested(client: Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await answer(await client.get(RULES)))[1]["suggestions"]
    return listed


async def test_rule_that_would_have_saved_questions_is_told_beside_the_rules_and_taken_over(client: Client) -> None:
    records = [await asked(client) for _ in range(3)]
    for record in records:
        await decided(client, record, scope="once")

    [suggestion] = await suggested(client)
    body = {"suggestion_id": suggestion["suggestion_id"], "scope": "session", "reason": "often"}
    status, made = await answer(await client.post(RULES, json=body))

    assert suggestion["would_have_saved"] == 3
    assert suggestion["requests"] == [record["request_id"] for record in records]
    assert suggestion["words"] == records[0]["suggested_rule"]
    assert suggestion["rule"] == records[0]["suggested_policy_rule"]
    assert (status, made["data"]["name"], made["data"]["justification"]) == (201, suggestion["rule"]["name"], "often")
    assert await rules(client) == [made["data"]]
    assert (await asked(client))["status"] == "approved"
    assert await suggested(client) == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"suggestion_id": "sug_x", "scope": "session"}, 404, "rule_not_found"),
        ({"suggestion_id": "sug_x", "scope": "once"}, 422, "invalid"),
        ({"suggestion_id": "sug_x"}, 422, "invalid"),
        ({"suggestion_id": 1, "scope": "session"}, 422, "invalid"),
        ({"suggestion_id": "x" * 257, "scope": "session"}, 422, "invalid"),
        ({"suggestion_id": "sug_x", "scope": "session", "rule": {}}, 422, "invalid"),
        ([], 422, "invalid"),
    ],
    ids=lambda value: ascii(value)[:40],
)
async def test_what_is_no_suggestion_makes_no_rule(client: Client, body: Any, status: int, code: str) -> None:
    assert await error_of(await client.post(RULES, json=body)) == (status, code)
    assert await rules(client) == []


# For always


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.learned.toml"


@pytest.fixture
async def started(aiohttp_client: AiohttpClient, path: Path) -> Callable[[], Awaitable[Client]]:
    """Start a service that keeps what people decide for always."""

    async def start() -> Client:
        client: Client = await aiohttp_client(create_app(settings=Settings(learned_rules_file=path)))
        return client

    return start


async def test_decision_for_always_is_in_the_file_and_holds_after_a_restart(
    started: Callable[[], Awaitable[Client]], path: Path
) -> None:
    first = await started()
    record = await asked(first)
    await decided(first, record, scope="always", reason="my own mail")
    again = await started()
    settled = await asked(again, "s2")
    [rule] = (await answer(await again.get(f"{API}/rules/s2")))[1]["data"]

    [written] = tomllib.loads(path.read_text())["rule"]
    origin = {name: written["learned"].pop(name) for name in ("rule_id", "created_by", "created_at")}
    assert record["scopes"] == ["once", "session", "always"]
    assert (settled["status"], settled["rule"]) == ("approved", rule["name"])
    assert written == {**record["suggested_policy_rule"], "justification": "my own mail"}
    assert (rule["source"], rule["used"], rule["rule_id"]) == ("learned", 1, origin["rule_id"])


async def test_rule_for_always_is_listed_and_taken_back_without_a_session(
    started: Callable[[], Awaitable[Client]], path: Path
) -> None:
    client = await started()
    await decided(client, await asked(client), scope="always")
    await decided(client, await asked(client, tool_name="other"), scope="session")
    [rule] = (await answer(await client.get(f"{API}/rules")))[1]["data"]
    in_the_session = [each["source"] for each in await rules(client)]

    status, body = await answer(await client.delete(f"{API}/rules/{rule['rule_id']}"))

    assert in_the_session == ["learned", "session"]
    assert (status, body["data"]["rule_id"]) == (200, rule["rule_id"])
    assert "[[rule]]" not in path.read_text()
    assert (await asked(client))["status"] == "pending"
    assert await error_of(await client.delete(f"{API}/rules/{rule['rule_id']}")) == (404, "rule_not_found")


async def test_decision_that_cannot_be_kept_is_refused_and_the_request_stays(
    started: Callable[[], Awaitable[Client]], path: Path
) -> None:
    client = await started()
    record = await asked(client)
    path.mkdir()

    assert await decided(client, record, scope="always") == 503
    assert (await answer(await client.get(f"{API}/permissions/s1")))[1]["data"][0]["request_id"] == record["request_id"]
    told = (await answer(await client.get(f"{API}/policy")))[1]["data"]
    assert (told["file"], told["learned_file"], told["learned_error"]) == (None, str(path), f"{path}:1: Is a directory")
    assert (await answer(await client.get("/healthz/ready")))[1]["data"]["policy"] == "stale"
    path.rmdir()
    assert await decided(client, record, scope="always") == 200


def test_learned_rules_lie_beside_the_policy_file_unless_they_are_told_where(tmp_path: Path) -> None:
    policy, other = tmp_path / "team.toml", tmp_path / "mine.toml"

    assert Settings().learned_path is None
    assert Settings(policy_file=policy).learned_path == tmp_path / "team.learned.toml"
    assert Settings(policy_file=policy, learned_rules_file=other).learned_path == other
    with pytest.raises(ValueError, match="never the other"):
        Settings(policy_file=policy, learned_rules_file=tmp_path / "x" / ".." / "team.toml")


POLICY = """
[[rule]]
name = "read the workspace"
effect = "allow"
tool = ["read_file", "list_*"]
server = "filesystem"
risk = ["low", "medium"]
parameters = { "/path" = { glob = "/srv/app/**" } }
justification = "reads only"
until = 2999-12-31T00:00:00Z

[[rule]]
name = "of a team"
effect = "deny"
tool = "rm"
session = "team-*"
"""


async def test_rules_of_the_policy_file_are_listed_as_it_says_them_and_changed_only_there(
    aiohttp_client: AiohttpClient, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    client: Client = await aiohttp_client(create_app(settings=Settings(policy_file=policy)))
    call = {"tool_name": "list_files", "server": "filesystem", "parameters": {"path": "/srv/app/x"}}
    record = await asked(client, definition_sha256=None, **call)

    [rule] = await rules(client)
    team = (await answer(await client.get(f"{API}/rules/team-1")))[1]["data"][1]

    assert (record["status"], record["rule"]) == ("approved", "read the workspace")
    assert rule.pop("last_used_at") is not None
    assert rule.pop("rule_id").startswith("file_")
    assert rule == {
        "source": "file",
        "name": "read the workspace",
        "effect": "allow",
        "tool": ["read_file", "list_*"],
        "server": "filesystem",
        "risk": ["low", "medium"],
        "parameters": {"/path": {"glob": "/srv/app/**"}},
        "justification": "reads only",
        "until": "2999-12-31T00:00:00.000Z",
        "used": 1,
        "created_by": None,
        "created_at": None,
    }
    assert (team["name"], team["session"]) == ("of a team", "team-*")
    for path in (f"{API}/rules/team-1/{team['rule_id']}", f"{API}/rules/{team['rule_id']}"):
        assert await error_of(await client.delete(path)) == (409, "rule_of_file")
    assert (await asked(client))["scopes"] == ["once", "session", "always"]


TOKENS = """[
 {"token": "everywhere-approve-token", "subject": "ana", "rights": ["approve"], "sessions": ["*"]},
 {"token": "team-approve-token-1234", "subject": "ben", "rights": ["approve"], "sessions": ["team-*"]},
 {"token": "everywhere-looks-token-", "subject": "vera", "rights": ["view"], "sessions": ["*"]},
 {"token": "team-both-rights-token-", "subject": "ci", "rights": ["approve", "produce"], "sessions": ["*"]}
]"""


def by(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


ANA, BEN, CI = by("everywhere-approve-token"), by("team-approve-token-1234"), by("team-both-rights-token-")
VERA = by("everywhere-looks-token-")


async def test_who_may_decide_in_some_sessions_makes_and_takes_back_rules_for_those(
    aiohttp_client: AiohttpClient, path: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    settings = Settings(auth="tokens", tokens_file=tokens, learned_rules_file=path)
    client: Client = await aiohttp_client(create_app(settings=settings))

    async def ask(session_id: str, tool_name: str = "search") -> dict[str, Any]:
        body = {**ASK, "tool_name": tool_name}
        posted = await client.post(f"{API}/permissions/{session_id}", json=body, headers=CI)
        record: dict[str, Any] = (await answer(posted))[1]["data"]
        return record

    async def decide(session_id: str, record: dict[str, Any], approved: bool, who: dict[str, str]) -> int:
        decision = {"approved": approved, "request_id": record["request_id"], "scope": "always"}
        return (await client.post(f"{API}/sse/permission-response/{session_id}", json=decision, headers=who)).status

    assert await decide("team-1", await ask("team-1"), True, CI) == 403  # its own call
    assert await decide("team-1", await ask("team-1"), True, BEN) == 200
    assert await decide("s1", await ask("s1", "rm"), False, ANA) == 200
    assert [(await ask(session_id))["status"] for session_id in ("team-2", "s1")] == ["approved", "pending"]
    [team, everywhere] = (await answer(await client.get(f"{API}/rules", headers=ANA)))[1]["data"]
    assert (team["session"], "session" in everywhere) == (["team-*"], False)
    seen_by_ben = (await answer(await client.get(f"{API}/rules", headers=BEN)))[1]["data"]
    assert [rule["rule_id"] for rule in seen_by_ben] == [team["rule_id"], everywhere["rule_id"]]

    ways = ((BEN, [None, "sessions"]), (CI, [None, "asker"]), (VERA, ["right", "right"]))
    for who, refused in ways:
        for path in ("rules", "rules/team-1"):
            listed = (await answer(await client.get(f"{API}/{path}", headers=who)))[1]["data"]
            assert [rule.get("refused") for rule in listed] == refused

    async def revoke(rule: dict[str, Any], who: dict[str, str]) -> tuple[int, str]:
        return await error_of(await client.delete(f"{API}/rules/team-1/{rule['rule_id']}", headers=who))

    assert await revoke(everywhere, BEN) == (403, "forbidden")
    assert await revoke(everywhere, CI) == (403, "self_approval")
    assert (await client.delete(f"{API}/rules/{team['rule_id']}", headers=BEN)).status == 200


async def test_suggestion_is_refused_to_who_asked_and_to_who_may_only_look(
    aiohttp_client: AiohttpClient, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    client: Client = await aiohttp_client(create_app(settings=Settings(auth="tokens", tokens_file=tokens)))
    for _ in range(2):
        asked = (await answer(await client.post(f"{API}/permissions/s1", json=ASK, headers=CI)))[1]["data"]
        decision = {"approved": True, "request_id": asked["request_id"]}
        assert (await client.post(f"{API}/sse/permission-response/s1", json=decision, headers=ANA)).status == 200

    told = [(await answer(await client.get(f"{API}/rules/s1", headers=who)))[1] for who in (ANA, CI, VERA)]

    assert [[each.get("refused") for each in one["suggestions"]] for one in told] == [[None], ["asker"], ["right"]]
    body = {"suggestion_id": told[0]["suggestions"][0]["suggestion_id"], "scope": "session"}
    posted = [await error_of(await client.post(f"{API}/rules/s1", json=body, headers=who)) for who in (CI, VERA)]
    assert posted == [(403, "self_approval"), (403, "forbidden")]


async def test_session_that_nobody_opened_has_no_rules_and_is_not_made(client: Client, broker: Broker) -> None:
    assert await rules(client) == []
    assert await error_of(await client.delete(f"{RULES}/rule_x")) == (404, "rule_not_found")
    assert broker.sessions == ()


async def test_rules_of_another_session_are_not_found(client: Client) -> None:
    await decided(client, await asked(client))
    [rule] = await rules(client)
    await asked(client, "s2")

    assert await error_of(await client.delete(f"{API}/rules/s2/{rule['rule_id']}")) == (404, "rule_not_found")
    assert await rules(client) == [rule]


@pytest.mark.parametrize(
    ("method", "right", "status"),
    [
        ("GET", "view", 200),
        ("GET", "produce", 403),
        ("DELETE", "view", 403),
        ("DELETE", "produce", 403),
        ("POST", "view", 403),
        ("POST", "produce", 403),
    ],
)
async def test_who_may_see_may_list_and_who_may_approve_may_take_back(
    guarded: Client, method: str, right: str, status: int
) -> None:
    path = f"{API}/rules/team-1" + ("/rule_x" if method == "DELETE" else "")
    body = {"json": {"suggestion_id": "sug_x", "scope": "session"}} if method == "POST" else {}

    assert (await guarded.request(method, path, headers=bearer(right), **body)).status == status
