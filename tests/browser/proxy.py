"""Debian's nginx as a reverse proxy before the service, with files and a port of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cli.processes import free_port

__all__ = ["NGINX", "nginx_before"]

#: An ordinary user's PATH often lacks /usr/sbin.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

_CONFIGURATION = """\
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
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{service_port};
      {how}
    }}
  }}
}}
"""

_COMMON = "proxy_set_header Host $http_host; proxy_buffering on; "

#: Deaf to the service's wish, with so much room that a stream fills it only in hours, and over HTTP/1.0, as by default:
#: of a chunked answer nginx passes on whole chunks even so.
_HOLDING_BACK = (
    'proxy_set_header Connection "";'  # as it is by default, auth=none would refuse it
    "proxy_ignore_headers X-Accel-Buffering; proxy_buffer_size 256k; proxy_buffers 8 256k;"
)

#: As docs/reference.md advises.
_AS_ASKED = 'proxy_http_version 1.1; proxy_set_header Connection "";'

_PATIENCE_SECONDS = 10


@asynccontextmanager
async def nginx_before(
    service_port: int, folder: Path, *, holding_back: bool = False, how: str | None = None
) -> AsyncIterator[str]:
    """Run nginx before a service on this machine, and give the proxy's URL.

    Buffering is on in any case, as it is by default; ``holding_back`` it also ignores ``X-Accel-Buffering``. ``how``
    stands in the place of all that is said of the service but its address.
    """
    assert NGINX is not None
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            # Workers of root's nginx would be somebody who may not enter a test's folder; others cannot choose.
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            port=port,
            service_port=service_port,
            how=how if how is not None else _COMMON + (_HOLDING_BACK if holding_back else _AS_ASKED),
        )
    )
    error_log = folder / "error.log"
    process = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(configuration), "-e", str(error_log), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(port, process, error_log)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _answers(port: int, process: asyncio.subprocess.Process, error_log: Path) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            assert process.returncode is None, f"nginx ended: {error_log.read_text()}"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)  # another process: only asking tells
            else:
                writer.close()
                await writer.wait_closed()
                return
