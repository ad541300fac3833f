"""Builds the Dockerfile and runs what comes out, with buildah: in a changed root, without a container engine.

The base is made of Debian's packages, so that no registry of images is needed; the environment variable ``IMAGE_BASE``
names another (``docker.io/library/python:3.13-slim``). It is kept in ``.kept/`` until the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "CannotBuild", "Container", "Service", "built"]

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name(".kept")
_TAG = "localhost/notifier-service"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class CannotBuild(Exception):
    """This machine cannot build an image at all; the text says why."""


@contextmanager
def built() -> Iterator[str]:
    """The name of the image of this tree. Raises ``CannotBuild``; what is wrong with the Dockerfile fails otherwise."""
    if os.geteuid() != 0:
        raise CannotBuild("only root may change the root of a process")
    for program in ("buildah", "mmdebstrap"):
        if shutil.which(program) is None:
            raise CannotBuild(f"{program} is not installed: scripts/programs tells how")
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n")
    base = os.environ.get("IMAGE_BASE") or _base()
    buildah(
        "build", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={base}", "--tag", _TAG,
        *_pip_as_here(), ROOT,
    )  # fmt: skip
    yield _TAG
    buildah("rmi", _TAG)


def buildah(command: str, *arguments: object) -> str:
    """What a command of buildah's prints; its images are in a place of their own."""
    done = subprocess.run(_buildah(command, *arguments), capture_output=True, text=True)
    assert done.returncode == 0, f"buildah {command}: {(done.stdout + done.stderr)[-4000:]}"
    return done.stdout.strip()


def _buildah(command: str, *arguments: object) -> list[str]:
    # vfs wants nothing of the kernel, and works on top of any other.
    place = ["--root", KEPT / "images", "--runroot", KEPT / "run", "--storage-driver", "vfs"]
    return [str(part) for part in ("buildah", *place, command, *arguments)]


def _base() -> str:
    """Python and what is essential of this Debian, as an image."""
    release = _debian_release()
    name = f"localhost/debian-python:{release}"
    if name in buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
        return name
    tar = KEPT / f"{release}.tar"
    less = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "locale", "man")]
    made = subprocess.run(
        ["mmdebstrap", "--variant=essential", "--include=passwd,python3,python3-venv", *less, release, tar],
        capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode != 0:
        raise CannotBuild(f"no base of Debian's packages can be made: {made.stderr.strip().splitlines()[-1]}")
    container = buildah("from", "scratch")
    buildah("add", container, tar, "/")
    buildah("commit", "--rm", container, name)
    tar.unlink()
    return name


def _debian_release() -> str:
    told = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if told.get("ID") != "debian":
        raise CannotBuild(
            "no base can be made of the packages of a system that is not Debian: IMAGE_BASE names another"
        )
    return told["VERSION_CODENAME"].strip('"')


def _pip_as_here() -> Iterator[object]:
    """pip in the build reaches the package index as pip here does: by the same address, with the same certificates."""
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    ).stdout.strip() or os.environ.get("PIP_INDEX_URL")
    settings = ["[global]", *([f"index-url = {index}"] if index else [])]
    if _CERTIFICATES.exists():
        settings.append(f"cert = {_CERTIFICATES}")
        yield from ("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro")
    written = KEPT / "pip.conf"
    written.write_text("\n".join(settings) + "\n")
    yield from ("--volume", f"{written}:/etc/pip.conf:ro")


class Service:
    """A service that runs in a container, and the first line that it wrote."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.said = process.stdout.readline()

    @property
    def pid(self) -> int:
        """The process that an engine would send its signals to."""
        return _below(self._process.pid)[-1]

    def stop(self) -> int:
        """Have it stop as ``docker stop`` does; with which code it ended. Raises ``TimeoutExpired`` after 2 s."""
        os.kill(self.pid, signal.SIGTERM)
        return self._process.wait(2)


class Container:
    """The image, run as its settings say; on the network of this machine."""

    def __init__(self, image: str) -> None:
        self._id = buildah("from", "--pull-never", image)
        self.settings: dict[str, Any] = json.loads(buildah("inspect", self._id))["Docker"]["config"]

    def run(self, *command: object, environment: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in the place of that of the image."""
        return subprocess.run(self._run(command, environment), capture_output=True, text=True, timeout=60)

    @contextmanager
    def serving(self, environment: Mapping[str, object], tokens: Path) -> Iterator[Service]:
        """What the image starts, started; nothing of it is left."""
        secret = f"{tokens}:{self._variable('NOTIFIER_TOKENS_FILE')}:ro"
        command = [*self.settings["Entrypoint"], *self.settings["Cmd"]]
        with subprocess.Popen(
            self._run(command, environment, "--volume", secret), stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield Service(process)
            finally:
                for pid in _below(process.pid):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        buildah("rm", self._id)

    def _variable(self, name: str) -> str:
        return dict(line.split("=", 1) for line in self.settings["Env"])[name]

    def _run(self, command: Any, environment: Mapping[str, object], *options: object) -> list[str]:
        set_there = [f"--env={name}={value}" for name, value in environment.items()]
        return _buildah("run", "--isolation", "chroot", *set_there, *options, self._id, "--", *command)


def _below(pid: int) -> list[int]:
    """The processes that this one started, and so on, in that order."""
    found = [pid]
    for parent in found:
        with suppress(FileNotFoundError):  # it has ended
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found[1:]
