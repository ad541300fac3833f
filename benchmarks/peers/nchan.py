"""nginx with the nchan module: the load generator publishes to it by POST, which is the only way there is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .peer import Missing, Peer, Ports, Target, install_debian

__all__ = ["Nchan"]

_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")

#: The buffer is as long as a session's log here. One worker, because the server has one core.
_CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr crit;
worker_rlimit_nofile 65535;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_buffer_size 64k;
    nchan_shared_memory_size 512m;
    nchan_message_buffer_length 1000;
    nchan_message_timeout 10m;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        tcp_nodelay on;
        location ~ ^/publish/(.+)$ {{ nchan_publisher; nchan_channel_id $1; }}
        location ~ ^/events/(.+)$ {{
            nchan_subscriber eventsource websocket;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
            nchan_eventsource_ping_interval 15;
        }}
    }}
}}
"""


class Nchan(Peer):
    name = "nchan"
    title = "nginx + nchan"
    cannot = frozenset({"permission", "long-poll"})

    def prepare(self, *, may_install: bool) -> None:
        install_debian(["nginx", "libnginx-mod-nchan"], ["nginx"], may_install=may_install)
        if not any(Path(module).exists() for module in _MODULES):
            install_debian(["nginx", "libnginx-mod-nchan"], [_MODULES[0]], may_install=may_install)

    def programs(self, ports: Ports, folder: Path) -> Sequence[Sequence[str]]:
        module = next((module for module in _MODULES if Path(module).exists()), None)
        if module is None:
            raise Missing("sudo apt-get install libnginx-mod-nchan")
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(module=module, folder=folder, port=ports.main))
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        return [[nginx, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]]

    def target(self, ports: Ports, processes: Sequence[int]) -> Target:
        return Target(
            port=ports.main,
            stream="/events/{session}",
            publish="/publish/{session}",
            ready=": hi",
            websocket="/events/{session}",
            window=8,
            processes=processes,
        )
