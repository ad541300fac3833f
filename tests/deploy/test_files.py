"""What is in deploy/ is what the command prints, and what is wrong is refused in words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from notifier_service import Settings
from notifier_service.cli.proxies import PROXIES
from tests.cli.processes import Commands

DEPLOY = Path(__file__).parents[2] / "deploy"
TLS = ["--certificate", "/etc/ssl/notifier/fullchain.pem", "--key", "/etc/ssl/notifier/privkey.pem"]
THREE = [word for port in (8001, 8002, 8003) for word in ("--upstream", f"127.0.0.1:{port}")]

FILES = {
    "nginx.conf": ["nginx", *TLS],
    "haproxy.cfg": ["haproxy", *TLS],
    "Caddyfile": ["caddy"],
    "apache.conf": ["apache", *TLS],
    "nginx-three.conf": ["nginx", *TLS, *THREE],
    "haproxy-three.cfg": ["haproxy", *TLS, *THREE],
}


@pytest.mark.parametrize("file", FILES)
async def test_file_is_what_the_command_prints(file: str) -> None:
    done = await Commands().run_here("proxy-config", *FILES[file])

    assert (done.exit_code, done.err) == (0, "")
    assert (DEPLOY / file).read_text() == done.out, f"notifier-service proxy-config {' '.join(FILES[file])}"


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(
    "wrong",
    [
        ["--upstream", "127.0.0.1:8000; include /etc/passwd"],
        ["--upstream", "127.0.0.1"],
        ["--server-name", "a b"],
        ["--server-name", "a\nb"],
        ["--path", "notifier"],
        ["--path", "/a;}"],
        ["--path", '/a"'],
        ["--certificate", "/a"],
        ["--certificate", "relative.pem", "--key", "/k"],
        ["--certificate", "/a b", "--key", "/k"],
        ["--listen", "here"],
    ],
    ids=" ".join,
)
async def test_word_that_would_be_more_than_one_is_refused(proxy: str, wrong: list[str]) -> None:
    done = await Commands().run_here("proxy-config", proxy, *wrong)

    assert (done.exit_code, done.out) == (1, "")
    assert done.err.startswith("notifier-service: ")


@pytest.mark.parametrize("proxy", ["caddy", "apache"])
async def test_proxy_that_cannot_share_sessions_out_by_their_ids_takes_one_process(proxy: str) -> None:
    done = await Commands().run_here("proxy-config", proxy, *THREE)

    assert (done.exit_code, done.out) == (1, "")
    assert "nginx or haproxy" in done.err


@pytest.mark.parametrize("file", sorted(path.name for path in DEPLOY.iterdir() if path.suffix != ".md"))
def test_settings_in_a_file_are_settings(file: str) -> None:
    named = re.findall(r"NOTIFIER_([A-Z_]+)", (DEPLOY / file).read_text())

    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_systemd_finds_nothing_in_the_units_to_complain_of(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    for name in ("notifier-service.service", "notifier-service.socket"):
        unit = (DEPLOY / name).read_text().replace("/opt/notifier-service/bin/notifier-service", sys.executable)
        (tmp_path / name).write_text(unit)

    done = subprocess.run(
        [program, "verify", *map(str, sorted(tmp_path.iterdir()))], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
