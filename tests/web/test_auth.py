"""Who may do what (contract section 8)."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from notifier_service import Broker, Settings, create_app
from notifier_service.core.errors import InvalidInput

from .conftest import API, Client, MakeClient, WriteTokens, answer, bearer, error_of, reading, until

VIEWER = {"token": "first-token-of-ann", "subject": "ann", "rights": ["view"], "sessions": ["*"]}
HEALTH = f"{API}/sse/health/s1"


def with_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def status(client: Client, token: str, path: str = HEALTH) -> int:
    response = await client.get(path, headers=with_token(token))
    return response.status


async def ask(client: Client, session_id: str, right: str) -> str:
    response = await client.post(
        f"{API}/permissions/{session_id}", json={"tool_name": "rm", "parameters": {}}, headers=bearer(right)
    )
    return str((await response.json())["data"]["request_id"])


async def test_without_auth_everybody_may_do_everything(client: Client) -> None:
    response = await client.get(f"{API}/sessions")

    assert await answer(response) == (200, {"success": True, "data": []})


@pytest.mark.parametrize("query", ["", "?token=whatever"])
async def test_without_auth_a_token_that_comes_along_is_ignored(client: Client, query: str) -> None:
    response = await client.get(HEALTH + query, headers=with_token("whatever"))

    assert response.status == 200


def _own_address() -> str | None:
    """An address of this machine that is not its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if address.startswith("127.") else address


async def test_without_auth_nobody_is_answered_on_a_public_address(broker: Broker) -> None:
    address = _own_address()
    if address is None:
        pytest.skip("this machine has a loopback address only")
    runner = web.AppRunner(create_app(broker, Settings()))
    await runner.setup()
    site = web.TCPSite(runner, address, 0)
    await site.start()

    async with aiohttp.ClientSession() as http, http.get(f"http://{address}:{site.port}{HEALTH}") as response:
        assert await error_of(response) == (403, "forbidden")
    await runner.cleanup()


async def test_without_auth_a_unix_socket_is_answered(broker: Broker, tmp_path: Path) -> None:
    runner = web.AppRunner(create_app(broker, Settings()))
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()

    connector = aiohttp.UnixConnector(str(tmp_path / "socket"))
    async with aiohttp.ClientSession(connector=connector) as http, http.get(f"http://localhost{HEALTH}") as response:
        assert response.status == 200
    await runner.cleanup()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic view-token"},
        {"Authorization": "view-token"},
        {"Authorization": "Bearer view-token view-token"},
        {"Authorization": "Bearer VIEW-TOKEN"},
    ],
)
async def test_who_brings_no_valid_token_is_unauthenticated(guarded: Client, headers: dict[str, str]) -> None:
    response = await guarded.get(f"{API}/sse/health/team-1", headers=headers)

    assert await error_of(response) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="notifier_service"'


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(guarded: Client, scheme: str) -> None:
    response = await guarded.get(f"{API}/sse/health/team-1", headers={"Authorization": f"{scheme} view-token"})

    assert response.status == 200


async def test_a_stream_takes_its_token_from_the_query(guarded: Client) -> None:
    async with reading(guarded, "team-1", params={"token": "view-token"}) as stream:
        frames = await stream.take(1)

    assert frames[0].type == "hello"


async def test_a_wrong_token_in_the_query_of_a_stream_is_unauthenticated(guarded: Client) -> None:
    response = await guarded.get(f"{API}/sse/events/team-1", params={"token": "wrong"})

    assert await error_of(response) == (401, "unauthenticated")


async def test_a_bearer_token_wins_over_the_query(guarded: Client) -> None:
    response = await guarded.get(
        f"{API}/sse/events/team-1", params={"token": "view-token"}, headers=with_token("wrong")
    )

    assert await error_of(response) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sse/health/team-1"),
        ("GET", "/permissions/team-1"),
        ("POST", "/sse/permission-response/team-1"),
        ("POST", "/events/team-1"),
        ("GET", "/sessions"),
    ],
)
async def test_a_token_in_the_query_of_anything_else_counts_for_nothing(
    guarded: Client, method: str, path: str
) -> None:
    response = await guarded.request(method, API + path, params={"token": "admin-token"})

    assert await error_of(response) == (401, "unauthenticated")


async def test_a_token_may_be_stored_as_its_digest(make_client: MakeClient, write_tokens: WriteTokens) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    path = write_tokens([{"token_sha256": digest, "rights": ["view"], "sessions": ["*"]}])
    client = await make_client(auth="tokens", tokens_file=path)

    assert await status(client, "secret") == 200
    assert await status(client, digest) == 401


async def test_the_digest_of_nothing_is_nobodys_token(make_client: MakeClient, write_tokens: WriteTokens) -> None:
    path = write_tokens([{"token_sha256": hashlib.sha256(b"").hexdigest(), "rights": ["admin"], "sessions": ["*"]}])
    client = await make_client(auth="tokens", tokens_file=path)

    response = await client.get(HEALTH)

    assert response.status == 401


async def test_a_changed_tokens_file_is_read_again(make_client: MakeClient, write_tokens: WriteTokens) -> None:
    client = await make_client(auth="tokens", tokens_file=write_tokens([VIEWER]))
    before = await status(client, "first-token-of-ann"), await status(client, "second-token")

    write_tokens([{**VIEWER, "token": "second-token"}])

    assert before == (200, 401)
    assert (await status(client, "first-token-of-ann"), await status(client, "second-token")) == (401, 200)


@pytest.mark.parametrize("broken", ["", "[{", "{}", "null", '[{"token": "x"}]', '[{"token":"a-secret","rights":1}]'])
async def test_a_broken_tokens_file_leaves_the_old_one_in_force(
    make_client: MakeClient, write_tokens: WriteTokens, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    client = await make_client(auth="tokens", tokens_file=write_tokens([VIEWER]))

    write_tokens(broken)

    assert await status(client, "first-token-of-ann") == 200
    assert await status(client, "first-token-of-ann") == 200
    told = [record for record in caplog.records if record.name == "notifier_service.auth"]
    assert [record.levelname for record in told] == ["ERROR"]
    assert "what was read before stays in force" in told[0].getMessage()
    assert "a-secret" not in caplog.text


async def test_a_tokens_file_that_is_gone_leaves_the_old_one_in_force(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    path = write_tokens([VIEWER])
    client = await make_client(auth="tokens", tokens_file=path)

    path.unlink()

    assert await status(client, "first-token-of-ann") == 200


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[{", "Invalid JSON"),
        ("{}", "valid array"),
        ('[{"token": "x", "rights": ["view"]}]', "0.sessions: Field required"),
        ('[{"token": "x", "rights": [], "sessions": ["*"]}]', "0.rights: List should have at least 1 item"),
        ('[{"token": "x", "rights": ["view"], "sessions": []}]', "0.sessions: List should have at least 1 item"),
        ('[{"token": "x", "rights": ["root"], "sessions": ["*"]}]', "0.rights.0: Input should be"),
        ('[{"token": "", "rights": ["view"], "sessions": ["*"]}]', "0.token: String should have at least 1"),
        ('[{"rights": ["view"], "sessions": ["*"]}]', "give either token or token_sha256"),
        ('[{"token": 7, "rights": ["view"], "sessions": ["*"]}]', "0.token: Input should be a valid string"),
        (
            '[{"token": "tk_a", "rights": ["view"], "sessions": ["*"]}]',
            "0: Value error, what begins with tk_ is a ticket",
        ),
        ('[{"token_sha256": "abc", "rights": ["view"], "sessions": ["*"]}]', "0.token_sha256: String should match"),
        ('[{"token": "x", "rights": ["view"], "sessions": ["*"], "role": "x"}]', "0.role: Extra inputs"),
        (
            f'[{{"token": "x", "token_sha256": "{"0" * 64}", "rights": ["view"], "sessions": ["*"]}}]',
            "give either token or token_sha256",
        ),
        (
            '[{"token": "xyz", "rights": ["view"], "sessions": ["*"]}, {"token": "xyz", "rights": ["view"],'
            ' "sessions": ["*"]}]',
            "1: the same token twice",
        ),
    ],
)
def test_a_tokens_file_that_is_wrong_at_the_start_is_refused_by_its_fault(
    broker: Broker, write_tokens: WriteTokens, content: str, why: str
) -> None:
    settings = Settings(auth="tokens", tokens_file=write_tokens(content))

    with pytest.raises(InvalidInput) as caught:
        create_app(broker, settings)

    assert caught.value.message.startswith("tokens_file is not as expected: ")
    assert why in caught.value.message


def test_a_tokens_file_that_is_missing_at_the_start_is_refused(broker: Broker, tmp_path: Path) -> None:
    settings = Settings(auth="tokens", tokens_file=tmp_path / "none.json")

    with pytest.raises(InvalidInput, match=r"^tokens_file cannot be read: No such file or directory$"):
        create_app(broker, settings)


PUBLISH: Mapping[str, Any] = {"json": {"type": "note"}}
DECIDE: Mapping[str, Any] = {"json": {"approved": True}}
ASK: Mapping[str, Any] = {"json": {"tool_name": "rm", "parameters": {}, "risk_level": "low"}}


@pytest.mark.parametrize(
    ("method", "path", "request_", "allowed"),
    [
        ("GET", "/sse/health/team-1", {}, {"view": 200, "approve": 200, "produce": 403, "admin": 200}),
        ("GET", "/permissions/team-1", {}, {"view": 200, "approve": 200, "produce": 200, "admin": 200}),
        ("GET", "/permissions/team-1/pr_x", {}, {"view": 404, "approve": 404, "produce": 404, "admin": 404}),
        ("POST", "/events/team-1", PUBLISH, {"view": 403, "approve": 403, "produce": 201, "admin": 201}),
        ("POST", "/permissions/team-1", ASK, {"view": 403, "approve": 403, "produce": 200, "admin": 200}),
        ("DELETE", "/permissions/team-1/pr_x", {}, {"view": 403, "approve": 403, "produce": 404, "admin": 404}),
        ("DELETE", "/sessions/team-1", {}, {"view": 403, "approve": 403, "produce": 404, "admin": 404}),
        (
            "POST",
            "/sse/permission-response/team-1",
            DECIDE,
            {"view": 403, "approve": 404, "produce": 403, "admin": 404},
        ),
        ("GET", "/sessions", {}, {"view": 200, "approve": 200, "produce": 403, "admin": 200}),
    ],
)
async def test_each_right_includes_just_what_the_contract_says(
    guarded: Client, method: str, path: str, request_: Mapping[str, Any], allowed: dict[str, int]
) -> None:
    answers = {
        right: (await guarded.request(method, API + path, headers=bearer(right), **request_)).status
        for right in allowed
    }

    assert answers == allowed


@pytest.mark.parametrize("right", ["view", "approve", "admin"])
async def test_who_may_view_may_stream(guarded: Client, right: str) -> None:
    async with reading(guarded, "team-1", headers=bearer(right)) as stream:
        assert (await stream.take(1))[0].type == "hello"


async def test_a_producer_may_not_stream(guarded: Client) -> None:
    response = await guarded.get(f"{API}/sse/events/team-1", headers=bearer("produce"))

    assert await error_of(response) == (403, "forbidden")


@pytest.mark.parametrize(
    ("pattern", "session_id", "seen"),
    [
        ("team-*", "team-1", True),
        ("team-*", "TEAM-1", False),
        ("team-*", "xteam-1", False),
        ("team-?", "team-1", True),
        ("team-?", "team-12", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
        ("[ab]1", "b1", True),
        ("*", "anything", True),
    ],
)
async def test_session_patterns_are_globs(
    make_client: MakeClient, write_tokens: WriteTokens, pattern: str, session_id: str, seen: bool
) -> None:
    client = await make_client(auth="tokens", tokens_file=write_tokens([{**VIEWER, "sessions": ["x", pattern]}]))

    got = await status(client, "first-token-of-ann", f"{API}/sse/health/{session_id}")

    assert got == (200 if seen else 403)


async def test_an_admin_sees_in_the_list_only_what_the_patterns_cover(guarded: Client, broker: Broker) -> None:
    broker.open("team-1")
    broker.open("private")

    response = await guarded.get(f"{API}/sessions", headers=bearer("admin"))

    assert [session["session_id"] for session in (await response.json())["data"]] == ["team-1"]


async def test_a_decision_is_signed_with_the_subject(guarded: Client) -> None:
    await ask(guarded, "team-1", "produce")

    response = await guarded.post(
        f"{API}/sse/permission-response/team-1", json={"approved": True}, headers=bearer("approve")
    )

    assert (await response.json())["data"]["decided_by"] == "approve"


async def test_a_producer_reads_and_cancels_only_what_it_asked_itself(guarded: Client) -> None:
    request_id = await ask(guarded, "team-1", "produce")
    path = f"{API}/permissions/team-1"

    others = await guarded.get(path, headers=bearer("other"))
    read = await guarded.get(f"{path}/{request_id}", headers=bearer("other"))
    cancelled = await guarded.delete(f"{path}/{request_id}", headers=bearer("other"))
    own = await guarded.get(path, headers=bearer("produce"))

    assert (await others.json())["data"] == []
    assert await error_of(read) == (404, "request_not_found")
    assert await error_of(cancelled) == (404, "request_not_found")
    assert [record["request_id"] for record in (await own.json())["data"]] == [request_id]


async def test_viewers_and_admins_see_every_request(guarded: Client) -> None:
    request_id = await ask(guarded, "team-1", "produce")

    for right in ("view", "approve", "admin"):
        response = await guarded.get(f"{API}/permissions/team-1/{request_id}", headers=bearer(right))
        assert (await response.json())["data"]["status"] == "pending"


async def test_who_views_and_produces_sees_all_and_cancels_its_own(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    both = {"token": "produce-token", "subject": "both", "rights": ["view", "produce"], "sessions": ["*"]}
    other = {"token": "other-token", "subject": "other", "rights": ["produce"], "sessions": ["*"]}
    client = await make_client(auth="tokens", tokens_file=write_tokens([both, other]))
    theirs, own = await ask(client, "s1", "other"), await ask(client, "s1", "produce")

    read = await client.get(f"{API}/permissions/s1/{theirs}", headers=bearer("produce"))
    not_theirs = await client.delete(f"{API}/permissions/s1/{theirs}", headers=bearer("produce"))
    cancelled = await client.delete(f"{API}/permissions/s1/{own}", headers=bearer("produce"))

    assert read.status == 200
    assert await error_of(not_theirs) == (404, "request_not_found")
    assert (await cancelled.json())["data"]["status"] == "cancelled"


async def test_a_producer_ends_a_session_in_which_only_it_has_asked(guarded: Client) -> None:
    await ask(guarded, "team-1", "produce")

    response = await guarded.delete(f"{API}/sessions/team-1", headers=bearer("produce"))

    assert response.status == 200


@pytest.mark.parametrize("ended", ["pending", "withdrawn", "decided"])
async def test_a_producer_ends_no_session_in_which_others_have_asked(guarded: Client, ended: str) -> None:
    request_id = await ask(guarded, "team-1", "other")
    if ended == "withdrawn":
        await guarded.delete(f"{API}/permissions/team-1/{request_id}", headers=bearer("other"))
    elif ended == "decided":
        path = f"{API}/sse/permission-response/team-1"
        await guarded.post(path, json={"approved": True}, headers=bearer("approve"))

    response = await guarded.delete(f"{API}/sessions/team-1", headers=bearer("produce"))
    kept = await guarded.get(f"{API}/permissions/team-1/{request_id}", headers=bearer("view"))

    assert await error_of(response) == (403, "forbidden")
    assert kept.status == 200


async def test_a_producer_does_not_end_a_session_in_which_the_process_itself_asks(
    guarded: Client, broker: Broker
) -> None:
    broker.ask("team-1", tool_name="rm", parameters={})

    response = await guarded.delete(f"{API}/sessions/team-1", headers=bearer("produce"))

    assert await error_of(response) == (403, "forbidden")


async def test_who_produces_and_approves_ends_a_session_with_others_requests(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    both = {"token": "both-token", "subject": "both", "rights": ["approve", "produce"], "sessions": ["*"]}
    other = {"token": "other-token", "subject": "other", "rights": ["produce"], "sessions": ["*"]}
    client = await make_client(auth="tokens", tokens_file=write_tokens([both, other]))
    await ask(client, "s1", "other")

    assert (await client.delete(f"{API}/sessions/s1", headers=bearer("both"))).status == 200


async def test_an_admin_cancels_what_others_asked(guarded: Client) -> None:
    request_id = await ask(guarded, "team-1", "produce")

    response = await guarded.delete(f"{API}/permissions/team-1/{request_id}", headers=bearer("admin"))

    assert (await response.json())["data"]["status"] == "cancelled"


async def test_a_producer_without_a_subject_never_becomes_another_when_the_file_changes(
    make_client: MakeClient, write_tokens: WriteTokens
) -> None:
    mine: Mapping[str, Any] = {"token": "produce-token", "rights": ["produce"], "sessions": ["*"]}
    theirs: Mapping[str, Any] = {"token": "other-token", "rights": ["produce"], "sessions": ["*"]}
    client = await make_client(auth="tokens", tokens_file=write_tokens([mine]))
    await ask(client, "s1", "produce")

    write_tokens([theirs, mine])
    response = await client.get(f"{API}/permissions/s1", headers=bearer("other"))

    assert (await response.json())["data"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/view-token",
        "/agent_backend/view-token",
        f"{API}/sse/health/view-token",
        f"{API}/permissions/team-1/view-token",
        f"{API}/sse/events/team-1/view%2Dtoken",
    ],
)
async def test_a_token_that_was_typed_into_a_path_reaches_no_log(
    guarded: Client, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level("DEBUG")
    await (await guarded.get(URL(path, encoded=True), headers=bearer("view"))).read()

    assert "***" in caplog.text
    assert "view-token" not in caplog.text
    assert "view%2Dtoken" not in caplog.text


@pytest.mark.parametrize("path", ["/sse/events/team-1", "/sse/events/private", "/sse/health/private", "/nothing"])
async def test_a_token_reaches_no_body_no_header_and_no_log(
    guarded: Client, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level("DEBUG")
    token = "forged-token"

    async with asyncio.timeout(10), guarded.get(API + path, params={"token": token}, headers=with_token(token)) as got:
        body = await got.text()

    assert got.status in (401, 404)
    assert token not in body + str(got.headers) + caplog.text
    assert got.headers["Referrer-Policy"] == "no-referrer"


async def test_a_valid_token_reaches_no_frame_no_header_and_no_log(
    guarded: Client, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async with reading(guarded, "team-1", params={"token": "view-token"}) as stream:
        await stream.take(1)
        broker.end_session("team-1")
        body = repr(await stream.rest())
    await until(lambda: "GET /agent_backend/api/sse/events/team-1 200" in caplog.text)

    assert "view-token" not in body + str(stream.response.headers) + caplog.text
    assert stream.response.headers["Referrer-Policy"] == "no-referrer"
