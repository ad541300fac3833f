"""The console's page and files."""

from __future__ import annotations

import gzip
import re
import shutil
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.test_utils import TestServer
from yarl import URL

from notifier_service import Broker, Settings, create_app
from notifier_service.web import pages

from .conftest import Client, MakeClient, error_of

CONSOLE = Path(pages.__file__).parent / "console"
BUILT = CONSOLE / "built"
PAGE = (BUILT / "index.html").read_bytes()
TYPES = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}  # fmt: skip

#: What the page is made of, and what was built of it.
SOURCES = sorted(
    path.relative_to(CONSOLE).as_posix()
    for path in CONSOLE.rglob("*")
    if path.is_file() and path.parent != BUILT and path.suffix != ".png"
)
FILES = sorted(path.name for path in BUILT.iterdir() if path.suffix in TYPES)
[SCRIPT] = (file for file in FILES if file.startswith("page-"))

#: A page on a slow line: all that it takes, beside what it asks of the service.
MOST_BYTES = 80 * 1024


async def test_the_page_is_at_the_prefix(client: Client) -> None:
    response = await client.get("/agent_backend/")

    assert response.status == 200
    assert await response.read() == PAGE


@pytest.mark.parametrize("file", FILES)
async def test_every_file_of_the_console_is_served_with_its_type(client: Client, file: str) -> None:
    response = await client.get(f"/agent_backend/console/{file}")

    assert response.status == 200
    assert response.content_type == TYPES[Path(file).suffix]
    assert await response.read() == (BUILT / file).read_bytes()
    assert ("Service-Worker-Allowed" in response.headers) is (file == "worker.js")


@pytest.mark.parametrize("path", ["", f"console/{SCRIPT}"])
async def test_a_file_is_asked_for_with_head_too(client: Client, path: str) -> None:
    got, asked = await client.get(f"/agent_backend/{path}"), await client.head(f"/agent_backend/{path}")

    assert (asked.status, await asked.read()) == (200, b"")
    assert asked.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("path", ["", f"console/{SCRIPT}"])
async def test_a_file_that_the_browser_has_is_not_sent_again(client: Client, path: str) -> None:
    first = await client.get(f"/agent_backend/{path}")
    again = await client.get(f"/agent_backend/{path}", headers={"If-None-Match": first.headers["ETag"]})
    changed = await client.get(f"/agent_backend/{path}", headers={"If-None-Match": '"another"'})

    assert first.headers["Cache-Control"] == ("no-cache" if path == "" else "public, max-age=31536000, immutable")
    assert (again.status, await again.read()) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert changed.status == 200


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("GZIP;q=0.5", "gzip"), ("br;q=0, gzip", "gzip"),
        ("br; q=0.0", None), ("identity", None), ("", None),
    ],
)  # fmt: skip
async def test_a_file_is_compressed_for_who_takes_that(client: Client, accepted: str, coding: str | None) -> None:
    # As a browser that unpacks nothing by itself, to see what was sent.
    async with ClientSession(auto_decompress=False, connector=TCPConnector(force_close=True)) as http:
        url = client.make_url(f"/agent_backend/console/{SCRIPT}")
        response = await http.get(url, headers={"Accept-Encoding": accepted})
        body = await response.read()

    assert response.headers.get("Content-Encoding") == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    packed = {None: "", "br": ".br", "gzip": ".gz"}[coding]
    assert body == (BUILT / f"{SCRIPT}{packed}").read_bytes()
    if coding == "gzip":
        assert gzip.decompress(body) == (BUILT / SCRIPT).read_bytes()


async def test_the_page_names_each_of_its_files_and_is_small(client: Client) -> None:
    named = re.findall(r'"console/([^"]+)"', PAGE.decode())
    loaded = [file for file in named if re.search(r"-[0-9a-f]{16}\.", file)]

    assert {Path(file).suffix for file in loaded} == {".js", ".css"}
    assert set(named) <= set(FILES)
    assert sum((BUILT / f"{file}.gz").stat().st_size for file in ("index.html", *loaded)) < MOST_BYTES


async def test_sources_that_were_changed_are_served_as_they_are(tmp_path: Path) -> None:
    console = tmp_path / "console"
    shutil.copytree(CONSOLE, console)
    (console / "page.js").write_text("// changed\n")
    app = web.Application()
    pages.add_pages(app, "/agent_backend", console)

    async with TestServer(app) as server, ClientSession(connector=TCPConnector(force_close=True)) as http:
        page = await http.get(server.make_url("/agent_backend/"))
        script = await http.get(server.make_url("/agent_backend/console/page.js"))

        assert await page.read() == (CONSOLE / "index.html").read_bytes()
        assert await script.text() == "// changed\n"
        assert script.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "none.js", "../pages.py", "..%2Fpages.py", "%2e%2e/pages.py", "%2Fetc%2Fpasswd", "client/../../pages.py",
        "client/", "index.html%00", ".", "console.css/", "//console.css",
    ],
)  # fmt: skip
async def test_nothing_but_its_files_is_given_out(client: Client, path: str) -> None:
    response = await client.get(URL(f"/agent_backend/console/{path}", encoded=True))

    assert await error_of(response) == (404, "not_found")


async def test_the_page_may_load_and_call_nothing_but_its_own_service(client: Client) -> None:
    headers = (await client.get("/agent_backend/")).headers
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))

    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["worker-src"] == policy["manifest-src"] == "'self'"
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "notifier-worker")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.parametrize("file", SOURCES)
def test_no_file_of_the_console_names_another_site(file: str) -> None:
    text = (CONSOLE / file).read_text()

    for scheme in ("https://", "http://"):
        assert scheme not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


async def test_page_is_installed_where_it_is_served_and_with_icons_for_every_system(client: Client) -> None:
    [link] = re.findall(r'<link rel="manifest" href="([^"]+)"', PAGE.decode())
    place = URL("https://desk.example/sub/path/agent_backend/").join(URL(link))
    response = await client.get(f"/agent_backend/{link}")
    manifest = await response.json(content_type="application/manifest+json")
    icons = [(icon["sizes"], icon["purpose"], icon["type"]) for icon in manifest["icons"]]

    assert response.headers["Cache-Control"] == "no-cache"
    # Relative, so that it holds behind every path; without an id, which would not, it is known by where it starts.
    assert place.join(URL(manifest["start_url"])) == place.join(URL(manifest["scope"]))
    assert place.join(URL(manifest["start_url"])) == URL("https://desk.example/sub/path/agent_backend/")
    assert (manifest["display"], "id" in manifest) == ("standalone", False)
    assert icons == [(size, purpose, "image/png") for size, purpose in (
        ("192x192", "any"), ("512x512", "any"), ("512x512", "maskable"),
    )]  # fmt: skip
    for icon in manifest["icons"]:
        picture = await (await client.get(f"/agent_backend/console/{icon['src']}")).read()
        width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
        assert (picture[:8], f"{width}x{height}") == (b"\x89PNG\r\n\x1a\n", icon["sizes"])


@pytest.mark.parametrize("prefix", ["", "/x", "/deep/er"])
async def test_worker_may_serve_the_whole_page_and_is_asked_for_anew_each_time(
    make_client: MakeClient, prefix: str
) -> None:
    response = await (await make_client(prefix=prefix)).get(f"{prefix}/console/worker.js")
    scope = response.url.join(URL(response.headers["Service-Worker-Allowed"]))

    assert (response.content_type, scope.path) == ("text/javascript", f"{prefix}/")
    assert response.headers["Cache-Control"] == "no-cache"
    assert "connect-src 'self'" in response.headers["Content-Security-Policy"]


def test_worker_keeps_nothing_of_what_it_fetches() -> None:
    for name in ("worker.js", "device_store.js", "built/worker.js"):
        text = (CONSOLE / name).read_text()

        assert "caches" not in text
        assert "CacheStorage" not in text


@pytest.mark.parametrize("file", [file for file in SOURCES if not file.startswith("client/")])
def test_the_console_never_makes_markup_of_text(file: str) -> None:
    text = (CONSOLE / file).read_text()

    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", " style="):
        assert way not in text


@pytest.mark.parametrize(("path", "place"), [("/agent_backend", "/agent_backend/"), ("/", "/agent_backend/")])
async def test_who_comes_near_is_led_to_the_page(client: Client, path: str, place: str) -> None:
    response = await client.get(path)

    assert response.url.path == place
    assert await response.read() == PAGE


async def test_redirects_are_relative_so_that_a_proxy_may_add_a_path(client: Client) -> None:
    for path, location in (("/agent_backend", "./agent_backend/"), ("/", "./agent_backend/")):
        response = await client.get(path, allow_redirects=False)

        assert (response.status, response.headers["Location"]) == (302, location)


@pytest.mark.parametrize("prefix", ["", "/x", "/deep/er", "/héros"])
async def test_the_page_is_at_every_prefix(make_client: MakeClient, prefix: str) -> None:
    client = await make_client(prefix=prefix)

    for path in (f"{prefix}/", prefix or "/", "/"):
        response = await client.get(path)
        assert (response.status, response.url.path) == (200, f"{prefix}/")


async def test_the_page_is_found_where_the_service_is_mounted(broker: Broker) -> None:
    host = web.Application()
    host.add_subapp("/notifier/", create_app(broker, Settings()))

    async with TestServer(host) as server, ClientSession(connector=TCPConnector(force_close=True)) as http:
        for path in ("/notifier/", "/notifier/agent_backend", "/notifier/agent_backend/"):
            async with http.get(server.make_url(path)) as response:
                assert (response.status, response.url.path) == (200, "/notifier/agent_backend/")
        async with http.get(server.make_url(f"/notifier/agent_backend/console/{SCRIPT}")) as response:
            assert response.status == 200


async def test_the_page_needs_no_token(guarded: Client) -> None:
    for path in ("/agent_backend/", f"/agent_backend/console/{SCRIPT}"):
        assert (await guarded.get(path)).status == 200


async def test_a_host_that_is_not_served_gets_no_page(client: Client) -> None:
    for path in ("/agent_backend/", f"/agent_backend/console/{SCRIPT}", "/"):
        response = await client.get(path, headers={"Host": "evil.example"}, allow_redirects=False)

        assert await error_of(response) == (403, "forbidden")


async def test_the_page_takes_nothing(client: Client) -> None:
    response = await client.post("/agent_backend/", json={})

    assert await error_of(response) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET,HEAD"
