"""The proxies as an operator runs them, each with the configuration that is given, in a folder of its own."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["make_certificate", "needs", "running"]

#: An ordinary user's PATH often lacks /usr/sbin.
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
_PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddy", "apache": "apache2"}
_PATIENCE_SECONDS = 15

_NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {site};
}}
"""

#: What Debian's apache2.conf loads and says, and a2enmod adds.
_APACHE = """\
ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache2.pid
ErrorLog {folder}/error.log
Define APACHE_LOG_DIR {folder}
DefaultRuntimeDir {folder}
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule env_module {modules}/mod_env.so
LoadModule deflate_module {modules}/mod_deflate.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule setenvif_module {modules}/mod_setenvif.so
LoadModule reqtimeout_module {modules}/mod_reqtimeout.so
LoadModule socache_shmcb_module {modules}/mod_socache_shmcb.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule http2_module {modules}/mod_http2.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
Include {site}
"""

#: No port for orders: several run on one machine.
_CADDY = """\
{{
  admin off
  skip_install_trust
  auto_https disable_redirects
}}
import {site}
"""


def needs(proxy: str) -> None:
    """Skip the test where the program is missing."""
    if shutil.which(_PROGRAMS[proxy], path=_PATH) is None:
        pytest.skip(f"{_PROGRAMS[proxy]} is not installed")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([_named(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "cert.pem.key"  # where HAProxy looks
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def _named(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@asynccontextmanager
async def running(proxy: str, configuration: str, port: int, folder: Path) -> AsyncIterator[None]:
    """Run a proxy until the block ends; it listens on the port by the time the block begins."""
    needs(proxy)
    folder.mkdir(parents=True, exist_ok=True)
    site = folder / "site.conf"
    site.write_text(configuration)
    program = shutil.which(_PROGRAMS[proxy], path=_PATH)
    assert program is not None
    log = folder / "output.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program,
            *_COMMANDS[proxy](folder, site),
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )
    try:
        await _answers(proxy, port, process, log)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(1):
                    await process.wait()
            except TimeoutError:
                process.kill()  # some wait for the streams that are open
        await process.wait()


def _nginx(folder: Path, site: Path) -> list[str]:
    main = folder / "nginx.conf"
    # Workers of root's nginx would be somebody who may not enter a test's folder; others cannot choose.
    user = "user root;" if os.geteuid() == 0 else ""
    main.write_text(_NGINX.format(user=user, folder=folder, site=site))
    return ["-p", str(folder), "-c", str(main), "-e", str(folder / "error.log")]


def _haproxy(folder: Path, site: Path) -> list[str]:
    return ["-db", "-f", str(site)]


def _caddy(folder: Path, site: Path) -> list[str]:
    main = folder / "Caddyfile"
    main.write_text(_CADDY.format(site=site))
    return ["run", "--adapter", "caddyfile", "--config", str(main)]


def _apache(folder: Path, site: Path) -> list[str]:
    main = folder / "apache2.conf"
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    modules = "/usr/lib/apache2/modules"
    main.write_text(_APACHE.format(folder=folder, site=site, modules=modules, user=user))
    return ["-DFOREGROUND", "-f", str(main)]


_COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "caddy": _caddy,
    "apache": _apache,
}


async def _answers(proxy: str, port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            assert process.returncode is None, f"{proxy} ended: {log.read_text()}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # another process: only asking tells
            else:
                writer.close()
                await writer.wait_closed()
                return
