"""``auth=jwt``: who signed a token, and what it says (contract section 8; RFC 7519, RFC 7517, RFC 8725)."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from notifier_service import Broker, Settings, create_app
from notifier_service.core.errors import InvalidInput, Unauthenticated
from notifier_service.web.auth import Authenticator
from notifier_service.web.jwt_auth import JwtAuth
from notifier_service.web.tickets import Tickets
from tests.clock import Clock
from tests.signer import ALGORITHMS, Signer, base64url, key_set

from .conftest import API, Client, MakeClient, error_of, reading

HEALTH = f"{API}/sse/health/s1"
NOBODY = "Nobody issued that token."


class MakeAuth(Protocol):
    def __call__(self, content: bytes, algorithms: str = "HS256", *, jwks: bool = False) -> Authenticator: ...


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The file of the key or the key set."""
    return tmp_path / "keys"


@pytest.fixture
def make_auth(keys: Path) -> MakeAuth:
    """Make what checks tokens, with this content of its key file, or of its JWKS file."""

    def make(content: bytes, algorithms: str = "HS256", *, jwks: bool = False) -> Authenticator:
        replace(keys, content)
        files: Mapping[str, Any] = {"jwt_jwks_file" if jwks else "jwt_key_file": keys}
        return JwtAuth(Settings(auth="jwt", jwt_algorithms=algorithms, **files), Tickets().use)

    return make


def replace(keys: Path, content: bytes) -> None:
    """Put a new file in the old one's place, the way an editor or a mounted secret does."""
    draft = keys.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(keys)


@pytest.fixture(scope="module")
def signers() -> Mapping[str, Signer]:
    return {algorithm: Signer.new(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def rivals() -> Mapping[str, Signer]:
    """Others, with keys of the same kinds."""
    return {algorithm: Signer.new(algorithm) for algorithm in ALGORITHMS}


@pytest.fixture
def signer(signers: Mapping[str, Signer]) -> Signer:
    return signers["HS256"]


def refusal(auth: Authenticator, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        auth.caller_with(token)
    return caught.value.message


# Which key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_is_taken_from_who_has_the_key(
    make_client: MakeClient, keys: Path, signers: Mapping[str, Signer], rivals: Mapping[str, Signer], algorithm: str
) -> None:
    keys.write_bytes(b"\n" + signers[algorithm].verifying + b"\n")
    client = await make_client(auth="jwt", jwt_algorithms=algorithm, jwt_key_file=keys)

    ours = await client.get(HEALTH, headers=bearer(signers[algorithm].token()))
    theirs = await client.get(HEALTH, headers=bearer(rivals[algorithm].token()))

    assert ours.status == 200
    assert await error_of(theirs) == (401, "unauthenticated")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_kid_chooses_the_key(
    make_auth: MakeAuth, signers: Mapping[str, Signer], rivals: Mapping[str, Signer], algorithm: str
) -> None:
    one, other = signers[algorithm], rivals[algorithm]
    auth = make_auth(key_set(one.jwk(kid="one"), other.jwk(kid="other")), algorithm, jwks=True)

    assert auth.caller_with(one.token(header={"kid": "one"})).name == "ann"
    assert auth.caller_with(other.token(header={"kid": "other"})).name == "ann"
    assert refusal(auth, one.token(header={"kid": "other"})) == NOBODY


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kid", [None, "one"])
@pytest.mark.parametrize("header", [{}, {"kid": "one"}])
def test_a_single_key_needs_no_kid(
    make_auth: MakeAuth,
    signers: Mapping[str, Signer],
    rivals: Mapping[str, Signer],
    algorithm: str,
    kid: str | None,
    header: dict[str, Any],
) -> None:
    auth = make_auth(key_set(signers[algorithm].jwk(kid=kid)), algorithm, jwks=True)

    assert auth.caller_with(signers[algorithm].token(header=header)).name == "ann"
    assert refusal(auth, rivals[algorithm].token(header=header)) == NOBODY


@pytest.mark.parametrize("header", [{}, {"kid": "unknown"}, {"kid": ""}, {"kid": None}, {"kid": 7}, {"kid": ["one"]}])
def test_of_several_keys_none_is_tried_for_a_token_that_names_none_of_them(
    make_auth: MakeAuth, signers: Mapping[str, Signer], rivals: Mapping[str, Signer], header: dict[str, Any]
) -> None:
    one, other = signers["ES256"], rivals["ES256"]
    auth = make_auth(key_set(one.jwk(kid="one"), other.jwk(kid="other")), "ES256", jwks=True)

    assert refusal(auth, one.token(header=header)) == NOBODY


def test_a_key_set_may_mix_the_algorithms_of_the_settings(make_auth: MakeAuth, signers: Mapping[str, Signer]) -> None:
    kinds = ("RS256", "ES256", "EdDSA")
    auth = make_auth(key_set(*(signers[kind].jwk(kid=kind) for kind in kinds)), ",".join(kinds), jwks=True)

    names = [auth.caller_with(signers[kind].token(sub=kind, header={"kid": kind})).name for kind in kinds]

    assert names == list(kinds)
    assert refusal(auth, signers["ES256"].token(header={"kid": "RS256"})) == NOBODY
    assert refusal(auth, signers["ES256"].token(header={"kid": "RS256", "alg": "RS256"})) == NOBODY


@pytest.mark.parametrize(
    "left_out",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"alg": "no-such"},
        {"crv": "P-999"},
        {"kty": "no-such"},
        {"kty": None},
        {"x": "AA"},
    ],
)
def test_keys_for_something_else_are_left_out(
    make_auth: MakeAuth, signers: Mapping[str, Signer], rivals: Mapping[str, Signer], left_out: dict[str, Any]
) -> None:
    other = rivals["ES256"].jwk(kid="other", **left_out)
    content = key_set(other, signers["RS256"].jwk(kid="rsa"), signers["ES256"].jwk(kid="one", use="sig"))
    auth = make_auth(content, "ES256", jwks=True)

    assert auth.caller_with(signers["ES256"].token()).name == "ann"  # it is the only one left
    assert refusal(auth, rivals["ES256"].token(header={"kid": "other"})) == NOBODY
    assert refusal(auth, signers["RS256"].token(header={"kid": "rsa"})) == NOBODY


# What cannot be a key


def weak_rsa() -> Signer:
    return Signer("RS256", rsa.generate_private_key(public_exponent=65537, key_size=1024))


def unknown_curve() -> bytes:
    """A public key on a curve that cryptography does not know."""
    pem = Signer("ES256", ec.generate_private_key(ec.SECP256R1())).verifying
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    curve = bytes.fromhex("06082a8648ce3d030107")
    changed = base64.encodebytes(der.replace(curve, curve[:-1] + b"\x09"))
    return b"-----BEGIN PUBLIC KEY-----\n" + changed + b"-----END PUBLIC KEY-----\n"


def encrypted() -> bytes:
    pem: bytes = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")
    )
    return pem


@pytest.mark.parametrize(
    ("algorithms", "content", "why"),
    [
        ("HS256", lambda: b"", "holds no key for HS256"),
        ("HS256", lambda: b"s3cr3t" * 5, "is too short: a secret has at least 32 bytes"),
        ("HS256", lambda: b"  " + b"s" * 31 + b"\n", "is too short: a secret has at least 32 bytes"),
        ("HS256", lambda: Signer.new("RS256").verifying, "holds no key for HS256"),
        ("HS256", lambda: Signer.new("ES256").signing, "holds no key for HS256"),
        ("HS256", lambda: json.dumps(Signer.new().jwk()).encode(), "holds no key for HS256"),
        ("RS256", lambda: b"s" * 64, "holds no key for RS256"),
        ("RS256", lambda: Signer.new("ES256").verifying, "holds no key for RS256"),
        ("RS256", lambda: Signer.new("RS256").signing, "holds a private key: the service needs the public one only"),
        ("RS256", lambda: weak_rsa().verifying, "is too short: an RSA key has at least 2048 bits"),
        ("ES256", lambda: Signer.new("ES256").signing, "holds a private key: the service needs the public one only"),
        ("ES256", lambda: Signer("ES256", ec.generate_private_key(ec.SECP384R1())).verifying, "holds no key for ES256"),
        ("ES256", unknown_curve, "holds no key for ES256"),
        ("ES256", encrypted, "holds no key for ES256"),
        ("ES256", lambda: b"\xff" * 64, "holds no key for ES256"),
        ("EdDSA", lambda: Signer.new("EdDSA").signing, "holds a private key: the service needs the public one only"),
        ("EdDSA", lambda: b"\xff" * 64, "holds no key for EdDSA"),
        ("EdDSA", unknown_curve, "holds no key for EdDSA"),
        ("RS256,ES256", lambda: Signer.new("RS256").verifying, "holds no key for ES256"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_at_the_start_by_the_settings_name(
    make_auth: MakeAuth, algorithms: str, content: Callable[[], bytes], why: str
) -> None:
    written = content()

    with pytest.raises(InvalidInput) as caught:
        make_auth(written, algorithms)

    assert caught.value.message.startswith(f"jwt_key_file {why}")
    assert "s3cr3t" not in caught.value.message
    for line in written.split()[:8]:
        assert len(line) < 16 or line.decode("latin-1") not in caught.value.message


# Functions below, because the names of tests must not change from run to run.
ES256 = Signer.new("ES256")
SECRET = Signer.new()


@pytest.mark.parametrize(
    ("algorithms", "content", "why"),
    [
        ("ES256", lambda: b"", "is no key set (JSONDecodeError)"),
        ("ES256", lambda: b"{", "is no key set (JSONDecodeError)"),
        ("ES256", lambda: b"\xff", "is no key set (UnicodeDecodeError)"),
        ("ES256", lambda: b"[" * 100_000, "is no key set (RecursionError)"),
        ("ES256", lambda: b'{"keys":' * 100_000, "is no key set (RecursionError)"),
        ("ES256", lambda: b"null", "is no key set (AttributeError)"),
        ("ES256", lambda: b"[]", "is no key set (AttributeError)"),
        ("ES256", lambda: b"{}", "is no key set (PyJWKSetError)"),
        ("ES256", lambda: b'{"keys": []}', "is no key set (PyJWKSetError)"),
        ("ES256", lambda: b'{"keys": {"a": 1}}', "is no key set (PyJWKSetError)"),
        ("ES256", lambda: b'{"keys": [7, null]}', "is no key set (PyJWKSetError)"),
        ("ES256", lambda: ES256.verifying, "is no key set (JSONDecodeError)"),
        ("ES256", lambda: json.dumps(ES256.jwk()).encode(), "is no key set (PyJWKSetError)"),
        ("ES256", lambda: key_set({"kty": "oct"}), "is no key set (KeyError)"),
        ("ES256", lambda: key_set(ES256.jwk(alg=["ES256"])), "is no key set (TypeError)"),
        ("HS256", lambda: key_set(SECRET.jwk(alg="none")), "is no key set (NotImplementedError)"),
        ("ES256", lambda: key_set(ES256.jwk(use="enc")), "holds no key for ES256"),
        ("ES256", lambda: key_set(SECRET.jwk()), "holds no key for ES256"),
        ("HS256", lambda: key_set(ES256.jwk()), "holds no key for HS256"),
        ("RS256,EdDSA", lambda: key_set(ES256.jwk()), "holds no key for RS256, EdDSA"),
        ("ES256", lambda: key_set(ES256.jwk(kid="a"), ES256.jwk(kid="a")), "holds two keys of one kid"),
        ("ES256", lambda: key_set(ES256.jwk(), ES256.jwk()), "holds two keys of one kid"),
        ("ES256", lambda: key_set(ES256.jwk(kid=7)), "holds a kid that is no text"),
        ("ES256", lambda: key_set(ES256.jwk(kid=["a"])), "holds a kid that is no text"),
        (
            "ES256",
            lambda: key_set(ES256.jwk(private=True)),
            "holds a private key: the service needs the public ones only",
        ),
        ("HS256", lambda: key_set(Signer("HS256", b"s" * 31).jwk()), "is too short: a secret has at least 32 bytes"),
    ],
)
def test_a_key_set_that_cannot_be_used_is_refused_at_the_start_by_the_settings_name(
    make_auth: MakeAuth, algorithms: str, content: Callable[[], bytes], why: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        make_auth(content(), algorithms, jwks=True)

    assert caught.value.message == f"jwt_jwks_file {why}"


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_a_private_key_in_a_key_set_is_refused(
    make_auth: MakeAuth, signers: Mapping[str, Signer], algorithm: str
) -> None:
    with pytest.raises(InvalidInput, match=r"^jwt_jwks_file holds a private key"):
        make_auth(key_set(signers[algorithm].jwk(private=True)), algorithm, jwks=True)


def test_a_weak_rsa_key_in_a_key_set_is_refused(make_auth: MakeAuth) -> None:
    with pytest.raises(InvalidInput, match=r"^jwt_jwks_file is too short: an RSA key has at least 2048 bits$"):
        make_auth(key_set(weak_rsa().jwk()), "RS256", jwks=True)


@pytest.mark.parametrize("setting", ["jwt_key_file", "jwt_jwks_file"])
def test_a_file_that_is_missing_at_the_start_is_refused(broker: Broker, tmp_path: Path, setting: str) -> None:
    files: dict[str, Any] = {setting: tmp_path / "none"}
    settings = Settings(auth="jwt", jwt_algorithms="HS256", **files)

    with pytest.raises(InvalidInput, match=rf"^{setting} cannot be read: No such file or directory$"):
        create_app(broker, settings)


def test_without_pyjwt_the_extra_is_named(make_auth: MakeAuth, monkeypatch: pytest.MonkeyPatch, signer: Signer) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)

    with pytest.raises(InvalidInput, match=r"^auth=jwt needs PyJWT: pip install 'notifier-service\[jwt\]'$"):
        make_auth(signer.verifying)


# Rotation


def test_a_new_key_is_in_force_at_once(
    make_auth: MakeAuth, keys: Path, signers: Mapping[str, Signer], rivals: Mapping[str, Signer]
) -> None:
    old, new = signers["ES256"], rivals["ES256"]
    auth = make_auth(old.verifying, "ES256")
    auth.caller_with(old.token())

    replace(keys, new.verifying)

    assert auth.caller_with(new.token()).name == "ann"
    assert refusal(auth, old.token()) == NOBODY


def test_keys_change_over_in_a_key_set_without_a_pause(
    make_auth: MakeAuth, keys: Path, signers: Mapping[str, Signer], rivals: Mapping[str, Signer]
) -> None:
    old, new = signers["EdDSA"], rivals["EdDSA"]
    auth = make_auth(key_set(old.jwk(kid="old")), "EdDSA", jwks=True)
    by_old, by_new = old.token(header={"kid": "old"}), new.token(header={"kid": "new"})

    taken = []
    for content in (key_set(old.jwk(kid="old"), new.jwk(kid="new")), key_set(new.jwk(kid="new"))):
        replace(keys, content)
        taken.append([is_taken(auth, by_old), is_taken(auth, by_new)])

    assert taken == [[True, True], [False, True]]


def is_taken(auth: Authenticator, token: str) -> bool:
    try:
        auth.caller_with(token)
    except Unauthenticated:
        return False
    return True


@pytest.mark.parametrize(
    ("jwks", "broken"),
    [
        (False, b""),
        (False, b"s3cr3t"),
        (True, b'{"keys": [{"kty": "oct", "k": "s3cr3t"}]}'),
        (True, b'{"keys": [{"kty": "s3cr3t", "alg": "none"}]}'),
        (True, b'{"keys": [{"kty": "oct", "k": "s3cr3t", "alg": "none"}]}'),
        (True, b'{"s3cr3t'),
        (True, b"[" * 100_000),
    ],
)
def test_a_broken_new_version_leaves_the_old_key_in_force_and_is_told_without_its_content(
    make_auth: MakeAuth, keys: Path, signer: Signer, jwks: bool, broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    auth = make_auth(key_set(signer.jwk()) if jwks else signer.verifying, jwks=jwks)

    replace(keys, broken)

    assert is_taken(auth, signer.token())
    assert is_taken(auth, signer.token())
    told = [record for record in caplog.records if record.name == "notifier_service.auth"]
    assert [record.levelname for record in told] == ["ERROR"]
    assert told[0].getMessage().startswith("jwt_jwks_file " if jwks else "jwt_key_file ")
    assert told[0].getMessage().endswith("; what was read before stays in force")
    assert "s3cr3t" not in caplog.text


def test_a_file_that_is_gone_leaves_the_old_key_in_force_and_its_return_is_seen(
    make_auth: MakeAuth, keys: Path, signer: Signer, rivals: Mapping[str, Signer]
) -> None:
    auth = make_auth(signer.verifying)

    keys.unlink()
    without_file = is_taken(auth, signer.token())
    replace(keys, rivals["HS256"].verifying)

    assert without_file
    assert (is_taken(auth, signer.token()), is_taken(auth, rivals["HS256"].token())) == (False, True)


# Attacks on the algorithm


def unsigned(algorithm: Any, token: str) -> str:
    """The same claims under another algorithm, without a signature."""
    return f"{base64url(json.dumps({'typ': 'JWT', 'alg': algorithm}).encode())}.{token.split('.')[1]}."


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "nOnE", " none", "none ", "", None, 0, False, [], ["none"], {}]
)
@pytest.mark.parametrize("jwks", [False, True])
def test_none_is_no_algorithm_in_any_spelling(
    make_auth: MakeAuth, signers: Mapping[str, Signer], algorithm: str, alg: Any, jwks: bool
) -> None:
    signer = signers[algorithm]
    auth = make_auth(key_set(signer.jwk()) if jwks else signer.verifying, algorithm, jwks=jwks)

    without = unsigned(alg, signer.token())

    assert refusal(auth, without) == NOBODY
    assert refusal(auth, without + signer.token().split(".")[2]) == NOBODY


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("jwks", [False, True])
def test_a_public_key_is_no_secret(
    make_auth: MakeAuth, signers: Mapping[str, Signer], algorithm: str, jwks: bool
) -> None:
    signer = signers[algorithm]
    auth = make_auth(key_set(signer.jwk()) if jwks else signer.verifying, algorithm, jwks=jwks)

    for secret in (signer.verifying, signer.verifying.strip(), json.dumps(signer.jwk()).encode()):
        forger = Signer("HS256", secret)
        assert refusal(auth, forger.token()) == NOBODY
        assert refusal(auth, forger.token(header={"alg": algorithm})) == NOBODY


@pytest.mark.parametrize("alg", ["HS384", "HS512", "RS256", "PS256", "hs256", "HS256 ", "no-such", None])
def test_only_the_algorithms_of_the_settings_are_taken(make_auth: MakeAuth, signer: Signer, alg: str | None) -> None:
    auth = make_auth(signer.verifying)

    assert refusal(auth, signer.token(header={"alg": alg})) == NOBODY


def test_another_hash_with_the_same_secret_is_refused(make_auth: MakeAuth, signer: Signer) -> None:
    auth = make_auth(signer.verifying)

    for algorithm in ("HS384", "HS512"):
        assert refusal(auth, Signer(algorithm, signer.key).token()) == NOBODY


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_a_key_that_a_token_brings_along_is_passed_over(
    make_auth: MakeAuth, signers: Mapping[str, Signer], rivals: Mapping[str, Signer], algorithm: str
) -> None:
    forger = rivals[algorithm]
    auth = make_auth(key_set(signers[algorithm].jwk(kid="one")), algorithm, jwks=True)

    for header in (
        {"jwk": forger.jwk()},
        {"jku": "http://127.0.0.1:9/keys"},
        {"x5u": "http://127.0.0.1:9/keys"},
        {"x5c": [base64.b64encode(forger.verifying).decode()]},
        {"kid": "../../../../dev/null"},
        {"kid": "one' OR '1'='1"},
    ):
        assert refusal(auth, forger.token(header=header)) == NOBODY
        assert refusal(auth, forger.token(header={"kid": "one", **header})) == NOBODY
        if "kid" not in header:
            assert auth.caller_with(signers[algorithm].token(header=header)).name == "ann"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["x"], "x": 1},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": "x"},
        {"crit": [7]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
    ],
)
def test_a_header_that_must_be_understood_and_is_not_refuses_the_token(
    make_auth: MakeAuth, signer: Signer, header: dict[str, Any]
) -> None:
    auth = make_auth(signer.verifying)

    assert refusal(auth, signer.token(header=header)) == NOBODY


# What a token says


def now() -> float:
    return time.time()


def tampered(token: str) -> str:
    """The same token with more rights, under the old signature."""
    head, payload, signature = token.split(".")
    claims = json.loads(jwt.utils.base64url_decode(payload)) | {"rights": ["admin"]}
    return f"{head}.{base64url(json.dumps(claims).encode())}.{signature}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


_LATE = "The token has expired."
_BAD: dict[str, tuple[Callable[[Signer], str], str]] = {
    "expired": (lambda s: s.token(exp=now() - 1), _LATE),
    "expired long ago": (lambda s: s.token(exp=0), _LATE),
    "expired before the epoch": (lambda s: s.token(exp=-1e300), _LATE),
    "exp missing": (lambda s: s.token(exp=None), "The token lacks the claim exp."),
    "exp null": (lambda s: s.token_of(b'{"sub":"a","exp":null}'), "The token lacks the claim exp."),
    "exp text": (lambda s: s.token(exp=str(int(now() + 60))), "The token's claim exp is not as expected: Input should"),
    "exp a word": (lambda s: s.token(exp="tomorrow"), NOBODY),
    "exp true": (lambda s: s.token(exp=True), _LATE),
    "exp a list": (lambda s: s.token(exp=[now() + 60]), NOBODY),
    "exp NaN": (lambda s: s.token(exp=float("nan")), NOBODY),
    "exp Infinity": (lambda s: s.token(exp=float("inf")), NOBODY),
    "exp -Infinity": (lambda s: s.token(exp=float("-inf")), NOBODY),
    "exp 1e400": (lambda s: s.token_of(b'{"sub":"a","rights":[],"sessions":[],"exp":1e400}'), NOBODY),
    "exp of 400 digits": (lambda s: s.token(exp=10**400), "The token's claim exp is not as expected: Input should"),
    "exp of 6000 digits": (lambda s: s.token_of(b'{"sub":"a","exp":1%s}' % (b"0" * 6000)), NOBODY),
    "nbf in the future": (lambda s: s.token(nbf=now() + 60), "The token is not valid yet."),
    "nbf a word": (lambda s: s.token(nbf="x"), NOBODY),
    "nbf NaN": (lambda s: s.token(nbf=float("nan")), NOBODY),
    "iat in the future": (lambda s: s.token(iat=now() + 60), "The token is not valid yet."),
    "iat Infinity": (lambda s: s.token(iat=float("inf")), NOBODY),
    "sub missing": (lambda s: s.token(sub=None), "The token lacks the claim sub."),
    "sub empty": (lambda s: s.token(sub=""), "The token's claim sub is not as expected: String should have at least 1"),
    "sub long": (lambda s: s.token(sub="a" * 257), "The token's claim sub is not as expected: String should have at"),
    "sub a number": (lambda s: s.token(sub=7), NOBODY),
    "sub half a character": (lambda s: s.token(sub="\udcff"), "The token's claim sub is not as expected: Input should"),
    "rights missing": (lambda s: s.token(rights=None), "The token's claim rights is not as expected: Field required"),
    "rights text": (lambda s: s.token(rights="admin"), "The token's claim rights is not as expected: Input should be"),
    "rights an object": (lambda s: s.token(rights={"admin": 1}), "The token's claim rights is not as expected: Input"),
    "a right unknown": (lambda s: s.token(rights=["root"]), "The token's claim rights.0 is not as expected: Input"),
    "a right in capitals": (lambda s: s.token(rights=["view", "ADMIN"]), "The token's claim rights.1 is not as expect"),
    "sessions missing": (lambda s: s.token(sessions=None), "The token's claim sessions is not as expected: Field requ"),
    "sessions text": (lambda s: s.token(sessions="*"), "The token's claim sessions is not as expected: Input should"),
    "a session a number": (lambda s: s.token(sessions=[1]), "The token's claim sessions.0 is not as expected: Input"),
    "no claims": (lambda s: s.token_of(b"{}"), "The token lacks the claim exp."),
    "claims a list": (lambda s: s.token_of(b"[]"), NOBODY),
    "claims null": (lambda s: s.token_of(b"null"), NOBODY),
    "claims no JSON": (lambda s: s.token_of(b"{"), NOBODY),
    "claims no text": (lambda s: s.token_of(b"\xff\xfe"), NOBODY),
    "claims nothing": (lambda s: s.token_of(b""), NOBODY),
    "claims nested": (lambda s: s.token_of(b"[" * 5000), NOBODY),
    "header nested": (lambda s: f"{base64url(b'[' * 5000)}.e30.e30", NOBODY),
    "header a list": (lambda s: f"{base64url(b'[]')}.e30.e30", NOBODY),
    "header without alg": (lambda s: f"{base64url(b'{}')}.e30.e30", NOBODY),
    "tampered": (lambda s: tampered(s.token()), NOBODY),
    "signature missing": (lambda s: s.token().rpartition(".")[0] + ".", NOBODY),
    "signature cut": (lambda s: s.token()[:-4], NOBODY),
    "signature doubled": (lambda s: f"{s.token()}.{s.token().split('.')[2]}", NOBODY),
    "two parts": (lambda s: s.token().rpartition(".")[0], NOBODY),
    "padded": (lambda s: s.token() + "====", NOBODY),
    "a hole in it": (lambda s: s.token().replace(".", ".!", 1), NOBODY),
    "an encrypted one": (
        lambda s: ".".join([base64url(b'{"alg":"dir","enc":"A256GCM","zip":"DEF"}'), *"aaaa"]),
        NOBODY,
    ),
    "garbage": (lambda s: "garbage", NOBODY),
    "dots": (lambda s: "....", NOBODY),
    "not ASCII": (lambda s: "\xe9.\xe9.\xe9", NOBODY),
    "much of one letter": (lambda s: "A" * 7500, NOBODY),
    "zeros": (lambda s: f"{base64url(bytes(2500))}.{base64url(bytes(2500))}.AAAA", NOBODY),
}


@pytest.mark.parametrize("name", _BAD)
async def test_what_is_wrong_with_a_token_is_told_in_the_one_shape_and_without_it(
    make_client: MakeClient, keys: Path, signer: Signer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_token, why = _BAD[name]
    keys.write_bytes(signer.verifying)
    client = await make_client(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    token = make_token(signer)
    caplog.set_level("DEBUG")

    response = await client.get(HEALTH, headers=bearer(token))

    assert await error_of(response) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="notifier_service"'
    told = await response.text()
    assert json.loads(told)["message"].startswith(why)
    printed = told + str(response.headers) + "".join(record.getMessage() for record in caplog.records)
    assert token not in printed
    for part in token.split("."):
        assert len(part) < 8 or part not in printed


def test_a_token_longer_than_any_of_ours_is_not_even_parsed(make_auth: MakeAuth, signer: Signer) -> None:
    auth = make_auth(signer.verifying)

    assert is_taken(auth, signer.token(more="a" * 11_000))
    assert refusal(auth, signer.token(more="a" * 13_000)) == NOBODY
    assert refusal(auth, "." * 10_000_000) == NOBODY
    assert refusal(auth, f"{base64url(b'[' * 12_000)}.e30.e30") == NOBODY
    assert refusal(auth, "\ud800.\ud800.\ud800") == NOBODY


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"exp": 1e300}, 200),
        ({"exp": 2**53}, 200),
        ({"nbf": 0, "iat": 0}, 200),
        ({"aud": "whoever", "iss": "whoever", "jti": "x", "more": {"a": 1}}, 200),
        ({"sub": "a" * 256}, 200),
        ({"rights": []}, 403),
        ({"sessions": []}, 403),
        ({"rights": ["produce"]}, 403),
        ({"rights": ["produce", "view"]}, 200),
        ({"rights": ["admin"]}, 200),
        ({"sessions": ["s?"]}, 200),
        ({"sessions": ["team-*", "s1"]}, 200),
        ({"sessions": ["team-*", "S1"]}, 403),
        ({"sessions": ["[!s]*"]}, 403),
    ],
)
async def test_rights_hold_in_the_sessions_that_the_token_names(
    make_client: MakeClient, keys: Path, signer: Signer, claims: dict[str, Any], status: int
) -> None:
    keys.write_bytes(signer.verifying)
    client = await make_client(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)

    response = await client.get(HEALTH, headers=bearer(signer.token(**claims)))

    assert response.status == status


async def test_a_decision_is_signed_with_the_subject(make_client: MakeClient, keys: Path, signer: Signer) -> None:
    keys.write_bytes(signer.verifying)
    client = await make_client(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys)
    asker, approver = signer.token(sub="agent", rights=["produce"]), signer.token(sub="Zoë", rights=["approve"])
    asked = {"tool_name": "rm", "parameters": {}}
    await client.post(f"{API}/permissions/s1", json=asked, headers=bearer(asker))

    response = await client.post(f"{API}/sse/permission-response/s1", json={"approved": True}, headers=bearer(approver))

    assert (await response.json())["data"]["decided_by"] == "Zoë"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "us", "iss": "them"}, None),
        ({"aud": ["others", "us"], "iss": "them"}, None),
        ({"iss": "them"}, "The token lacks the claim aud."),
        ({"aud": "", "iss": "them"}, "The token lacks the claim aud."),
        ({"aud": "others", "iss": "them"}, "The token's claim aud is not as expected."),
        ({"aud": "us ", "iss": "them"}, "The token's claim aud is not as expected."),
        ({"aud": {"us": 1}, "iss": "them"}, "The token's claim aud is not as expected."),
        ({"aud": [["us"]], "iss": "them"}, "The token's claim aud is not as expected."),
        ({"aud": "us"}, "The token lacks the claim iss."),
        ({"aud": "us", "iss": ""}, "The token's claim iss is not as expected."),
        ({"aud": "us", "iss": "the"}, "The token's claim iss is not as expected."),
        ({"aud": "us", "iss": ["them"]}, "The token's claim iss is not as expected."),
    ],
)
def test_an_audience_and_an_issuer_are_asked_for_if_the_settings_do(
    keys: Path, signer: Signer, claims: dict[str, Any], why: str | None
) -> None:
    keys.write_bytes(signer.verifying)
    auth = JwtAuth(
        Settings(auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys, jwt_audience="us", jwt_issuer="them"),
        Tickets().use,
    )

    token = signer.token(**claims)

    if why is None:
        assert auth.caller_with(token).name == "ann"
    else:
        assert refusal(auth, token) == why


# While a stream is open


async def signed_client(make_client: MakeClient, keys: Path, signer: Signer, broker: Broker, **settings: Any) -> Client:
    keys.write_bytes(signer.verifying)
    return await make_client(broker, auth="jwt", jwt_algorithms="HS256", jwt_key_file=keys, **settings)


async def test_a_stream_ends_when_its_token_expires(
    make_client: MakeClient, keys: Path, signer: Signer, clock: Clock
) -> None:
    broker = Broker(clock=clock)
    client = await signed_client(make_client, keys, signer, broker)
    async with (
        reading(client, params={"token": signer.token(exp=now() + 60)}) as short,
        reading(client, params={"token": signer.token(exp=now() + 600)}) as long,
    ):
        await short.until("snapshot")
        await long.until("snapshot")
        clock.advance(50)
        broker.sweep()
        still = len(broker.get("s1").readers)

        clock.advance(11)
        broker.sweep()
        bye = (await short.rest())[-1]

        broker.publish_nowait("s1", "note")
        assert (await long.until("note"))[-1].type == "note"
    broker.close()

    assert still == 2
    assert bye.type == "bye"
    assert bye.data["data"]["code"] == "token_expired"
    assert bye.data["data"]["reconnect"] is True
    assert bye.data["data"]["retry_ms"] > 0


async def test_who_comes_back_with_an_expired_token_is_told_so_and_a_long_poll_that_was_held_meanwhile_too(
    make_client: MakeClient, keys: Path, signer: Signer, broker: Broker
) -> None:
    client = await signed_client(make_client, keys, signer, broker, stalled_seconds=0.2)
    token = signer.token(exp=now() + 1.2)  # PyJWT rounds down

    held = asyncio.create_task(
        client.get(f"{API}/long-poll/s1", params={"timeout": "1.4"}, headers=bearer(token)).__aenter__()
    )
    async with reading(client, params={"token": token}) as stream:
        ended = await stream.rest()
    again = await client.get(f"{API}/sse/events/s1", params={"token": token})

    assert ended[-1].data["data"]["code"] == "token_expired"
    assert again.status == 401
    assert await error_of(again) == (401, "unauthenticated")
    assert (await again.json())["message"] == "The token has expired."
    assert await error_of(await held) == (401, "unauthenticated")
    assert (await client.get(f"{API}/long-poll/s1", headers=bearer(token))).status == 401
