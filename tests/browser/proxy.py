"""Debian's nginx as a reverse proxy before the service, with files and a port of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cli.processes import free_port
from tests.deploy.programs import running

__all__ = ["NGINX", "nginx_before"]

#: An ordinary user's PATH often lacks /usr/sbin.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

_SERVER = """\
server {{
  listen 127.0.0.1:{port};
  location / {{
    proxy_pass http://127.0.0.1:{service_port};
    {how}
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


@asynccontextmanager
async def nginx_before(
    service_port: int, folder: Path, *, holding_back: bool = False, how: str | None = None
) -> AsyncIterator[str]:
    """Run nginx before a service on this machine, and give the proxy's URL.

    Buffering is on in any case, as it is by default; ``holding_back`` it also ignores ``X-Accel-Buffering``. ``how``
    stands in the place of all that is said of the service but its address.
    """
    port = free_port()
    how = how if how is not None else _COMMON + (_HOLDING_BACK if holding_back else _AS_ASKED)
    async with running("nginx", _SERVER.format(port=port, service_port=service_port, how=how), port, folder):
        yield f"http://127.0.0.1:{port}"
