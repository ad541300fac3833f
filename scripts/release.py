"""Whether this tree can be released, and the files of a release.

``consistent`` sees that everything that names the version names that of ``notifier_service/version.py``, and that the
changelog tells of it. ``dist`` makes sdist and wheel in ``dist/``, and sees the wheel serve, alone in an environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
CLIENT = Path("clients/typescript")


class NotToBeReleased(Exception):
    """What is wrong, in words for who wants to release."""


def version() -> str:
    said = re.search(r'^__version__ = "(.+)"$', (ROOT / "notifier_service/version.py").read_text(), re.MULTILINE)
    assert said is not None
    return said[1]


def faults() -> Iterator[str]:
    """Everything that keeps this version from being released."""
    ours = version()
    for file in ("package.json", "package-lock.json"):
        theirs = json.loads((ROOT / CLIENT / file).read_text())["version"]
        if theirs != ours:
            yield f"{CLIENT / file} says version {theirs}, and notifier_service/version.py {ours}"
    sections = dict(_sections((ROOT / "CHANGELOG.md").read_text()))
    if not sections.get(ours):
        yield (
            f"CHANGELOG.md has no section with the changes of {ours}: write '## {ours} - YYYY-MM-DD' "
            "over those that it has, where '## Unreleased' stands now"
        )
    elif sections.get("Unreleased"):
        yield f"CHANGELOG.md has changes under 'Unreleased': move them to {ours}, or raise the version"


def _sections(changelog: str) -> Iterator[tuple[str, str]]:
    """Each version that the changelog has, and what it says of it."""
    _, *sections = re.split(r"^## ", changelog, flags=re.MULTILINE)
    for section in sections:
        title, _, text = section.partition("\n")
        yield title.split(" - ")[0].strip(" []"), text.strip()


def consistent() -> None:
    found = list(faults())
    if found:
        raise NotToBeReleased("\n".join(found))
    print(f"{version()} is what everything says")


def dist() -> None:
    kept = ROOT / "dist"
    shutil.rmtree(kept, ignore_errors=True)
    # The wheel is made from the sdist, which shows that that is whole.
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", kept, ROOT)
    made = sorted(file.name for file in kept.iterdir())
    expected = [f"notifier_service-{version()}{end}" for end in ("-py3-none-any.whl", ".tar.gz")]
    if made != expected:
        raise NotToBeReleased(f"dist/ has {made}, and not {expected}")
    with tempfile.TemporaryDirectory() as folder:
        # What a person gets who installs it without extras.
        environment = Path(folder, "environment")
        _run(sys.executable, "-m", "venv", environment)
        python = environment / "bin/python"
        _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", kept / expected[0])
        _serves(environment / "bin/notifier-service", Path(folder))
    print("\n".join(f"dist/{name}" for name in made))


def _serves(command: Path, folder: Path) -> None:
    told = _run(command, "--version", cwd=folder)
    if version() not in told:
        raise NotToBeReleased(f"the installed command says version {told.strip()}")
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFIER_")}
    serve = [command, "serve", "--port", "0", "--log-level", "error"]
    service = subprocess.Popen(serve, cwd=folder, env=settings, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        ready = service.stdout.readline()
        if "is ready: " not in ready:
            raise NotToBeReleased("the installed service does not start")
        _answers(ready.split()[-1])
    finally:
        service.terminate()
        service.wait(10)


#: A module that another one loads, at once or later, minified or not.
_IMPORTED = re.compile(r"""(?:\bfrom|\bimport\()\s*["'`](\.[^"'`]+)["'`]""")


def _answers(prefix: str) -> None:
    _get(urljoin(prefix, "/healthz/live"))
    page = f"{prefix}/"
    ours = re.findall(r'(?:src|href)="([^":#]+)"', _get(page))
    seen: set[str] = set()
    waiting = [urljoin(page, path) for path in ours]
    while waiting:
        address = waiting.pop()
        if address not in seen:
            seen.add(address)
            waiting += [urljoin(address, path) for path in _IMPORTED.findall(_get(address))]
    # What was built of the sources, and what that loads later.
    if not all(any(f"/console/{name}-" in address for address in seen) for name in ("page", "other_pages", "style")):
        raise NotToBeReleased(f"the console of the installed service is not what was built: {sorted(seen)}")


def _get(address: str) -> str:
    try:
        with urlopen(address, timeout=10) as answer:
            text: str = answer.read().decode(errors="replace")
            return text
    except (URLError, TimeoutError) as error:
        raise NotToBeReleased(f"the installed service does not give {address}: {error}") from error


def _run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotToBeReleased(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    steps = {"consistent": consistent, "dist": dist}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=steps)
    try:
        steps[parser.parse_args().step]()
    except NotToBeReleased as why:
        raise SystemExit(str(why)) from None
