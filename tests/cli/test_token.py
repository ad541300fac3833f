"""``token``: mint a token, print it and nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from notifier_service import Settings
from notifier_service.web.auth import Caller
from notifier_service.web.jwt_auth import JwtAuth
from notifier_service.web.tickets import Tickets
from tests.service_process import service_process
from tests.signer import ALGORITHMS, Signer

from .processes import Commands


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """A file with a secret."""
    path = tmp_path / "secret"
    path.write_bytes(Signer.new().signing + b"\n")
    return str(path)


def claims_of(token: str) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token.strip(), options={"verify_signature": False})
    return claims


async def test_the_service_takes_the_token_that_was_printed(commands: Commands, secret: str) -> None:
    minted = await commands.run(
        "token", "ann", "--rights", "view,produce", "--sessions", "team-*", "--key-file", secret
    )
    flags = ("--auth", "jwt", "--jwt-algorithms", "HS256", "--jwt-key-file", secret)

    async with service_process(*flags) as (_, port), aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/agent_backend/api"
        answers = []
        for token, session_id in (
            (minted.out.strip(), "team-1"),
            (minted.out.strip(), "private"),
            (minted.out.strip()[:-1], "team-1"),
        ):
            headers = {"Authorization": f"Bearer {token}"}
            async with http.get(f"{url}/sse/health/{session_id}", headers=headers) as response:
                answers.append(response.status)

    assert (minted.exit_code, minted.err, minted.out.count("\n")) == (0, "", 1)
    assert answers == [200, 403, 401]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_secret_or_a_private_key_signs(commands: Commands, tmp_path: Path, algorithm: str) -> None:
    signer = Signer.new(algorithm)
    (tmp_path / "sign").write_bytes(signer.signing)
    (tmp_path / "verify").write_bytes(signer.verifying)

    minted = await commands.run_here("token", "ann", "--algorithm", algorithm, "--key-file", str(tmp_path / "sign"))

    assert (minted.exit_code, minted.err) == (0, "")
    auth = JwtAuth(Settings(auth="jwt", jwt_algorithms=(algorithm,), jwt_key_file=tmp_path / "verify"), Tickets().use)
    caller = auth.caller_with(minted.out.strip())
    assert caller == Caller("ann", frozenset({"view", "approve"}), ("*",), caller.expires_at)
    assert caller.expires_at == pytest.approx(time.time() + 3600, abs=30)


async def test_what_the_token_says_is_what_was_asked_for(commands: Commands, secret: str) -> None:
    minted = await commands.run_here(
        "token", "Zoë", "--rights", " view, produce,", "--sessions", "a-*, b", "--seconds", "60.9",
        "--audience", "us", "--issuer", "them", "--key-file", secret,
    )  # fmt: skip

    claims = claims_of(minted.out)
    issued_at = claims.pop("iat")
    assert claims == {
        "sub": "Zoë",
        "rights": ["view", "produce"],
        "sessions": ["a-*", "b"],
        "exp": issued_at + 60,  # type: ignore[operator]
        "aud": "us",
        "iss": "them",
    }


async def test_without_an_audience_or_an_issuer_the_token_names_none(commands: Commands, secret: str) -> None:
    minted = await commands.run_here("token", "ann", "--key-file", secret)

    assert set(claims_of(minted.out)) == {"sub", "rights", "sessions", "iat", "exp"}


async def test_the_key_file_comes_from_the_environment_and_a_flag_wins(commands: Commands, secret: str) -> None:
    env = {"NOTIFIER_JWT_KEY_FILE": secret}

    by_variable = await commands.run_here("token", "ann", env=env)
    by_flag = await commands.run_here("token", "ann", "--key-file", "none", env=env)

    assert jwt.decode(by_variable.out.strip(), Path(secret).read_bytes().strip(), ["HS256"])["sub"] == "ann"
    assert (by_flag.exit_code, by_flag.out) == (2, "")


async def test_without_a_key_file_nothing_is_minted(commands: Commands) -> None:
    refused = await commands.run_here("token", "ann")

    assert (refused.exit_code, refused.out) == (2, "")
    assert refused.err.splitlines()[-1].endswith("the following arguments are required: --key-file")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "the following arguments are required: subject"),
        (("ann", "--rights", "root"), "argument --rights: root is none of view, approve, produce, admin"),
        (("ann", "--rights", "view,ADMIN"), "argument --rights: ADMIN is none of view, approve, produce, admin"),
        (("ann", "--rights", " , "), "argument --rights: at least one is needed"),
        (("ann", "--sessions", ""), "argument --sessions: at least one is needed"),
        *(
            (("ann", f"--seconds={seconds}"), "argument --seconds: a number of seconds from 1 to ten years is needed")
            for seconds in ("0", "0.9", "-1", "nan", "inf", "1e9", "soon", "")
        ),
        (("ann", "--algorithm", "none"), "choose from"),
        (("ann", "--algorithm", "HS512"), "choose from"),
        (("ann", "bob"), "unrecognized arguments: bob"),
    ],
)
async def test_wrong_usage_is_told(commands: Commands, secret: str, arguments: tuple[str, ...], why: str) -> None:
    refused = await commands.run_here("token", *arguments, env={"NOTIFIER_JWT_KEY_FILE": secret})

    assert (refused.exit_code, refused.out) == (2, "")
    assert refused.err.startswith("usage: ")
    assert why in refused.err.splitlines()[-1]


@pytest.mark.parametrize("subject", ["", "a" * 257, "\udcff"])
async def test_a_subject_that_no_service_would_take_is_refused(commands: Commands, secret: str, subject: str) -> None:
    refused = await commands.run_here("token", subject, "--key-file", secret)

    assert (refused.exit_code, refused.out) == (2, "")
    assert refused.err.startswith("notifier-service: claim sub is not as expected: ")
    assert refused.err.count("\n") == 1


def encrypted() -> bytes:
    pem: bytes = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    return pem


@pytest.mark.parametrize(
    ("algorithm", "content", "why"),
    [
        ("HS256", lambda: b"", "jwt_key_file holds no key for HS256"),
        ("HS256", lambda: b"s3cr3t" * 5, "jwt_key_file is too short: a secret has at least 32 bytes"),
        ("HS256", lambda: Signer.new("RS256").signing, "jwt_key_file holds no key for HS256"),
        ("HS256", lambda: Signer.new("ES256").verifying, "jwt_key_file holds no key for HS256"),
        ("HS256", lambda: json.dumps(Signer.new().jwk()).encode(), "jwt_key_file holds no key for HS256"),
        ("RS256", lambda: b"s3cr3t" * 8, "jwt_key_file holds no key for RS256"),
        ("RS256", lambda: Signer.new("RS256").verifying, "jwt_key_file holds a public key: only the private one signs"),
        ("RS256", lambda: Signer.new("ES256").signing, "jwt_key_file holds no key for RS256"),
        (
            "RS256",
            lambda: Signer("RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024)).signing,
            "jwt_key_file is too short: an RSA key has at least 2048 bits",
        ),
        ("ES256", encrypted, "jwt_key_file holds no key for ES256"),
        ("ES256", lambda: Signer.new("ES256").verifying, "jwt_key_file holds a public key: only the private one signs"),
        ("ES256", lambda: Signer("ES256", ec.generate_private_key(ec.SECP384R1())).signing, "holds no key for ES256"),
        ("EdDSA", lambda: Signer.new("EdDSA").verifying, "jwt_key_file holds a public key: only the private one signs"),
        ("EdDSA", lambda: b"\xff" * 64, "jwt_key_file holds no key for EdDSA"),
    ],
)
async def test_a_key_that_cannot_sign_is_refused_in_one_line_without_it(
    commands: Commands, tmp_path: Path, algorithm: str, content: Callable[[], bytes], why: str
) -> None:
    (tmp_path / "key").write_bytes(content())

    refused = await commands.run_here("token", "ann", "--algorithm", algorithm, "--key-file", str(tmp_path / "key"))

    assert (refused.exit_code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert refused.err.startswith("notifier-service: ")
    assert why in refused.err
    for line in (tmp_path / "key").read_bytes().split():
        assert len(line) < 16 or line.decode("latin-1") not in refused.err


@pytest.mark.parametrize(("name", "why"), [("none", "No such file or directory"), (".", "Is a directory")])
async def test_a_key_file_that_cannot_be_read_is_told(commands: Commands, tmp_path: Path, name: str, why: str) -> None:
    refused = await commands.run_here("token", "ann", "--key-file", str(tmp_path / name))

    assert refused == (2, "", f"notifier-service: jwt_key_file cannot be read: {why}\n")


async def test_without_pyjwt_the_extra_is_named(
    commands: Commands, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)

    refused = await commands.run_here("token", "ann", "--key-file", secret)

    assert (refused.exit_code, refused.out) == (2, "")
    assert refused.err == "notifier-service: auth=jwt needs PyJWT: pip install 'notifier-service[jwt]'\n"


async def test_the_help_says_how_to_make_a_secret_and_where_it_is_looked_for(commands: Commands) -> None:
    [overview, told] = await asyncio.gather(commands.run("--help"), commands.run("token", "--help"))

    assert "mint a token for tries" in overview.out
    assert (told.exit_code, told.err) == (0, "")
    text = " ".join(told.out.split())
    for part in ("openssl rand -hex 32 > secret", "NOTIFIER_JWT_KEY_FILE", "HS256,RS256,ES256,EdDSA", "--audience"):
        assert part in text
