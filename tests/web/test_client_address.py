"""From where a request comes, behind proxies that are trusted and from those who only say so."""

from __future__ import annotations

import logging

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict
from pydantic import ValidationError

from notifier_service import Broker, Settings
from notifier_service.web.client_address import address_by

from .conftest import API, MakeClient, WriteTokens

TRUSTED = ("10.0.0.0/8", "2001:db8::/32", "unix")


def _address(peer: str, *headers: tuple[str, str], trusted: tuple[str, ...] = TRUSTED) -> str:
    request = make_mocked_request("GET", "/", headers=CIMultiDict(headers)).clone(remote=peer)
    return address_by(trusted)(request)


FOR = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("10.0.0.1", [(FOR, "192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "192.0.2.7:4711")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "192.0.2.7, 10.2.3.4")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "192.0.2.7"), (FOR, "10.2.3.4")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "10.9.9.9")], "10.9.9.9"),  # a client within
        ("2001:db8::1", [(FOR, "2001:db9::7")], "2001:db9::7"),
        ("::ffff:10.0.0.1", [(FOR, "::ffff:192.0.2.7")], "192.0.2.7"),
        ("", [(FOR, "192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [("Forwarded", 'for=192.0.2.7;proto=https, for="[2001:db8::1]:80"')], "192.0.2.7"),
        ("10.0.0.1", [("Forwarded", 'proto=https;For="[2001:db9::7]"')], "2001:db9::7"),
        ("10.0.0.1", [], "10.0.0.1"),
    ],
)
def test_trusted_proxy_is_believed(peer: str, headers: list[tuple[str, str]], address: str) -> None:
    assert _address(peer, *headers) == address


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        ("192.0.2.7", [(FOR, "198.51.100.1")], "192.0.2.7"),  # no proxy of ours
        ("192.0.2.7", [("Forwarded", "for=198.51.100.1")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "198.51.100.1, 192.0.2.7")], "192.0.2.7"),  # what the proxy added stands last
        ("10.0.0.1", [(FOR, "10.1.1.1, 192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "198.51.100.1"), (FOR, "192.0.2.7")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "192.0.2.7"), ("Forwarded", "for=198.51.100.1")], "192.0.2.7"),
        ("10.0.0.1", [(FOR, "198.51.100.1, unknown")], "10.0.0.1"),
        ("10.0.0.1", [(FOR, "198.51.100.1,")], "10.0.0.1"),
        ("10.0.0.1", [(FOR, "<script>")], "10.0.0.1"),
        ("10.0.0.1", [("Forwarded", "for=198.51.100.1, for=_hidden")], "10.0.0.1"),
        ("10.0.0.1", [(FOR, ",".join(["198.51.100.1", *["10.0.0.2"] * 100]))], "10.0.0.2"),
    ],
)
def test_what_a_client_says_of_itself_counts_for_nothing(
    peer: str, headers: list[tuple[str, str]], address: str
) -> None:
    assert _address(peer, *headers) == address


def test_without_the_setting_nobody_is_believed() -> None:
    assert _address("127.0.0.1", (FOR, "192.0.2.7"), trusted=()) == "127.0.0.1"
    assert _address("", (FOR, "192.0.2.7"), trusted=()) == "unix"


@pytest.mark.parametrize(("trusted", "address"), [("127.0.0.0/8", "192.0.2.7"), ("", "127.0.0.1")])
async def test_log_and_guesses_go_by_the_address(
    make_client: MakeClient,
    write_tokens: WriteTokens,
    broker: Broker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    trusted: str,
    address: str,
) -> None:
    held: list[str] = []

    async def slow_down(self: object, guesser: str) -> None:
        held.append(guesser)

    monkeypatch.setattr("notifier_service.web.guesses.Guesses.slow_down", slow_down)
    caplog.set_level(logging.INFO)
    tokens = write_tokens([{"token": "a" * 20, "subject": "a", "rights": ["view"], "sessions": ["*"]}])
    client = await make_client(broker, auth="tokens", tokens_file=tokens, trusted_proxies=trusted)

    response = await client.get(f"{API}/sessions", headers={FOR: "192.0.2.7", "Authorization": "Bearer wrong"})

    assert response.status == 401
    assert held == [address]
    assert any(record.getMessage().startswith(f"{address} GET ") for record in caplog.records)


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.0/99", "*", "127.0.0.1;"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="a proxy is an address, a network such as"):
        Settings(trusted_proxies=wrong)
