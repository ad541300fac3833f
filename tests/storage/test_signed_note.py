"""Notes and keys are those of C2SP signed-note, as the package of Go reads and writes them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from notifier_service.core.errors import InvalidInput
from notifier_service.storage.checkpoint import Checkpoint, text_of_note
from notifier_service.storage.signed_note import BadNote, SigningKey, VerifyingKey

# The example of golang.org/x/mod/sumdb/note.
SIGNING = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VERIFYING = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n— PeterNeumann {SIGNATURE}\n"
OTHER = SigningKey.new("other")


def test_note_is_signed_as_go_signs_it() -> None:
    key = SigningKey.of(SIGNING)

    assert key.text == SIGNING
    assert key.verifying.vkey == VERIFYING
    assert key.signed(TEXT) == NOTE


def test_note_of_go_is_read() -> None:
    assert VerifyingKey.of(VERIFYING).text_of(NOTE) == TEXT
    assert text_of_note(NOTE) == TEXT


def test_what_others_have_signed_beside_is_passed_over() -> None:
    note = NOTE.replace("\n— ", f"\n{OTHER.signed(TEXT).splitlines()[-1]}\n— ", 1)

    assert VerifyingKey.of(VERIFYING).text_of(note) == TEXT
    assert OTHER.verifying.text_of(note) == TEXT


@pytest.mark.parametrize("form", ["pem", "jwk", "jwks", "answer", "vkey"])
def test_key_is_known_in_every_form_in_which_it_is_given_out(form: str) -> None:
    key = VerifyingKey.of(VERIFYING)
    entry = {**key.jwk, "vkey": key.vkey, "pem": key.pem}
    text = {
        "pem": key.pem,
        "jwk": json.dumps(key.jwk),
        "jwks": json.dumps({"keys": [key.jwk]}),
        "answer": json.dumps({"success": True, "data": {"keys": [entry]}}),
        "vkey": f"{key.vkey}\n",
    }[form]

    assert VerifyingKey.of(text).text_of(NOTE) == TEXT


def test_pem_is_that_of_the_world() -> None:
    key = VerifyingKey.of(VERIFYING)

    assert load_pem_public_key(key.pem.encode()).public_bytes_raw() == key.public  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        VERIFYING[:-1],
        VERIFYING.replace("c74f20a3", "c74f20a4"),
        VERIFYING.replace("Peter", "Paul"),
        "a b+" + VERIFYING.partition("+")[2],
        VERIFYING + "\n" + VERIFYING,
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\né\n-----END PUBLIC KEY-----",
        "{}",
        "{",
        '{"keys": []}',
        '{"keys": 3}',
        '{"data": 1}',
        '{"kty": "OKP", "crv": "X25519", "x": "AAAA"}',
        '{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}',
        '{"kty": "OKP", "crv": "Ed25519"}',
        '{"vkey": null}',
        "[" * 10_000,
        "{" * 10_000,
        "x" * 100_000,
        "é\u202e+1+2",
    ],
)
def test_text_that_is_no_key_is_refused_without_it(text: str) -> None:
    with pytest.raises(InvalidInput, match="no key that verifies"):
        VerifyingKey.of(text)


@pytest.mark.parametrize("text", [SIGNING, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"])
def test_key_that_signs_is_no_key_to_hand_around(text: str) -> None:
    with pytest.raises(InvalidInput, match="this is the key that signs") as caught:
        VerifyingKey.of(text)
    assert SIGNING[30:] not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "x", SIGNING[:-1], VERIFYING, SIGNING.replace("c74f", "c74e"), SIGNING + "x", "PRIVATE+KEY+a+b"]
)
def test_file_that_holds_no_signing_key_is_refused_without_its_text(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SigningKey.of(text)
    assert caught.value.message == "it holds no key that signs audit heads"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "\u2003", "x" * 201])
def test_name_that_no_note_can_carry_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        SigningKey.new(name)


def test_key_does_not_show_itself() -> None:
    assert repr(SigningKey.of(SIGNING)) == str(SigningKey.of(SIGNING)) == "SigningKey('PeterNeumann')"


@pytest.mark.parametrize(
    ("note", "why"),
    [
        (NOTE.replace("cryptography", "Cryptography"), "changed"),
        (NOTE.replace("x08go/Z", "x08go/Y"), "changed"),
        (NOTE.replace("x08go", "y08go"), "another key"),
        (NOTE.replace("— PeterNeumann", "— PaulNeumann"), "another key"),
        pytest.param(OTHER.signed(TEXT), "another key", id="signed by another"),
        (NOTE[:-1], "not all of it"),
        (NOTE[:-40], "not all of it"),
        (NOTE[: len(TEXT)], "not all of it"),
        (NOTE[: len(TEXT) + 1], "not all of it"),
        (NOTE.replace("— ", "- "), "no signed head"),
        (NOTE + "more\n", "no signed head"),
        ("", "no signed head"),
        ("\n\n\n", "no signed head"),
        (NOTE.replace("x08go/", "x08go/=====") , "no signed head"),
        (NOTE.replace("nAM=", "nAM"), "another key"),
        ("x" * 100_000 + NOTE, "no signed head"),
    ],
)  # fmt: skip
def test_note_that_was_changed_cut_or_signed_by_another_is_refused(note: str, why: str) -> None:
    with pytest.raises(BadNote, match=why):
        VerifyingKey.of(VERIFYING).text_of(note)


def test_signature_of_the_wrong_length_is_a_no() -> None:
    short = base64.b64encode(VerifyingKey.of(VERIFYING).key_id() + b"x").decode()

    with pytest.raises(BadNote, match="changed"):
        VerifyingKey.of(VERIFYING).text_of(f"{TEXT}\n— PeterNeumann {short}\n")


def test_without_cryptography_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey.of(SIGNING)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)

    uses: list[Callable[[], str]] = [lambda: key.signed(TEXT), lambda: VerifyingKey.of(VERIFYING).text_of(NOTE)]
    for use in uses:
        with pytest.raises(InvalidInput, match=r"pip install 'notifier-service\[proof\]'"):
            use()


@given(st.integers(0, 2**60), st.binary(min_size=32, max_size=32))
def test_checkpoint_says_what_it_was_made_of(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("log", size, root)

    assert Checkpoint.of(checkpoint.text) == checkpoint


def test_lines_that_others_put_behind_a_checkpoint_are_passed_over() -> None:
    checkpoint = Checkpoint("log", 7, b"x" * 32)

    assert Checkpoint.of(f"{checkpoint.text}extension 1\nTimestamp: 2\n") == checkpoint


CHECKPOINT = Checkpoint("log", 17, b"x" * 32).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        CHECKPOINT[:-1],
        CHECKPOINT[:-10],
        CHECKPOINT.replace("17", "017"),
        CHECKPOINT.replace("17", "-17"),
        CHECKPOINT.replace("17", "+17"),
        CHECKPOINT.replace("17", "1_7"),
        CHECKPOINT.replace("17", "1" * 20),
        CHECKPOINT.replace("log", ""),
        CHECKPOINT + "\n",
        CHECKPOINT.replace("eHh", "e!h"),
    ],
)
def test_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote, match="no signed head"):
        Checkpoint.of(text)


@given(st.text(max_size=300))
def test_text_of_any_kind_is_read_or_refused(text: str) -> None:
    parsers: list[Any] = [
        VerifyingKey.of,
        SigningKey.of,
        VerifyingKey.of(VERIFYING).text_of,
        Checkpoint.of,
        text_of_note,
    ]
    for parse in parsers:
        try:
            parse(text)
        except InvalidInput:
            continue
