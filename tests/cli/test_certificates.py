"""Certificates of the machine are read when a peer is asked for its own, and then they count."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from notifier_service import create_app
from tests.cli.processes import Commands, line_of
from tests.deploy.programs import make_certificate


@pytest.fixture
def unreadable(tmp_path: Path) -> str:
    """A file of certificates that holds up for ever whoever reads it."""
    os.mkfifo(tmp_path / "certificates")
    return str(tmp_path / "certificates")


@pytest.fixture
async def over_tls(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Where a service is that is reached over TLS alone, and the certificate that it shows."""
    certificate, key = make_certificate(tmp_path, "127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    runner = web.AppRunner(create_app())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", str(certificate)
    finally:
        await runner.cleanup()


async def test_service_and_who_asks_it_without_tls_read_no_certificates(commands: Commands, unreadable: str) -> None:
    service = await commands.start("serve", "--port", "0", anew=True, env={"SSL_CERT_FILE": unreadable})
    ready = await line_of(service.stdout)
    url = ready.split()[-1]

    pending = await commands.run("pending", "--url", url, anew=True, env={"SSL_CERT_FILE": unreadable})

    assert pending.exit_code == 0, pending.err


async def test_peer_over_tls_is_believed_by_the_certificates_of_the_machine(
    commands: Commands, over_tls: tuple[str, str]
) -> None:
    url, certificate = over_tls

    pending = await commands.run("pending", "--url", url, anew=True, env={"SSL_CERT_FILE": certificate})

    assert pending.exit_code == 0, pending.err


async def test_peer_over_tls_whom_no_certificate_vouches_for_is_refused(
    commands: Commands, over_tls: tuple[str, str]
) -> None:
    pending = await commands.run("pending", "--url", over_tls[0], anew=True)

    assert pending.exit_code == 3
    assert "certificate" in pending.err
