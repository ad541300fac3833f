"""Configurations of the proxies that may stand before the service, each whole: to be put into a file and run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core.errors import InvalidInput

__all__ = ["PROXIES", "SESSION_IN_PATH", "Front", "Proxy"]

#: Where a path has the id of a session; the root's /ws/chat has it in the query.
SESSION_IN_PATH = (
    "/(?:events|ticket|health|permission-response|session-info|tool-status|permission-request|tool-result|clear-result"
    "|long-poll|permissions|rules|sessions|ws|mcp)/([A-Za-z0-9._:~-]+)"
)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before the service: where it listens, under which name and path, and which processes are behind it.

    Raises ``InvalidInput`` for a word that would be more than one in a configuration, or no path.
    """

    upstreams: tuple[str, ...] = ("127.0.0.1:8000",)
    server_name: str = "notifier.example.org"
    #: Where the service's own root is reached: empty, or as /notifier.
    path: str = ""
    certificate: str | None = None
    key: str | None = None
    listen: str | None = None

    def __post_init__(self) -> None:
        for what, text in (("upstream", upstream) for upstream in self.upstreams):
            if not re.fullmatch(r"(unix:/[\w./@-]+)|((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5})", text, re.ASCII):
                raise InvalidInput(f"{what}: {text!r} is neither HOST:PORT nor unix:/PATH")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", self.server_name):
            raise InvalidInput(f"server name: {self.server_name!r} is no name of a host")
        if not re.fullmatch(r"((/[A-Za-z0-9._~-]+)+)?", self.path):
            raise InvalidInput(f"path: {self.path!r} is neither empty nor as /notifier")
        for what, file in (("certificate", self.certificate), ("key", self.key)):
            if file is not None and not re.fullmatch(r"/[\w./@+-]+", file, re.ASCII):
                raise InvalidInput(f"{what}: {file!r} is no absolute path of letters, digits and ._/@+-")
        if (self.certificate is None) != (self.key is None):
            raise InvalidInput("a certificate needs its key, and a key its certificate")
        if self.listen is not None and not re.fullmatch(
            r"((\[[0-9A-Fa-f:]+\]|\d+(\.\d+){3}):)?\d{1,5}", self.listen, re.ASCII
        ):
            raise InvalidInput(f"listen: {self.listen!r} is neither PORT nor ADDRESS:PORT")

    @property
    def is_secure(self) -> bool:
        return self.certificate is not None

    @property
    def place(self) -> str:
        return self.listen or ("443" if self.is_secure else "80")

    @property
    def port(self) -> str:
        return self.place.rpartition(":")[2]


def nginx(front: Front) -> str:
    """For ``http {}``: a file in /etc/nginx/conf.d."""
    several = len(front.upstreams) > 1
    lines = [
        "# notifier-service behind nginx. Put it into /etc/nginx/conf.d/notifier.conf, and reload nginx.",
        "map $http_upgrade $notifier_connection {",
        "    default upgrade;",
        '    "" "";',
        "}",
        "",
    ]
    if several:
        lines += [
            "# A session lives in one process: its id chooses which.",
            "map $uri $notifier_session {",
            f'    "~{SESSION_IN_PATH}" $1;',
            "    default $arg_session_id;",
            "}",
            "",
        ]
    lines += ["upstream notifier_service {"]
    if several:
        lines += ["    hash $notifier_session consistent;"]
    # Without max_fails=0 nginx would take a process that restarts for away, and open its sessions in another one.
    lines += [f"    server {upstream} max_fails=0;" for upstream in front.upstreams]
    lines += [
        "}",
        "",
        "server {",
        f"    listen {front.place}{' ssl http2' if front.is_secure else ''};",
        f"    server_name {front.server_name};",
    ]
    if front.is_secure:
        lines += [f"    ssl_certificate {front.certificate};", f"    ssl_certificate_key {front.key};"]
    if front.path:
        lines += [f"    location = {front.path} {{ return 302 {front.path}/; }}", "    absolute_redirect off;"]
    return _text(
        *lines,
        "",
        f"    location {front.path}/ {{",
        f"        proxy_pass http://notifier_service{'/' if front.path else ''};",
        "        # With 1.0, as it is by default, there are neither streams of unknown length nor WebSockets.",
        "        proxy_http_version 1.1;",
        "        proxy_set_header Upgrade $http_upgrade;",
        "        proxy_set_header Connection $notifier_connection;",
        "        # With its port. A changed Host makes the service's own page another site's: it could not answer.",
        "        proxy_set_header Host $http_host;",
        "        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "        proxy_set_header X-Forwarded-Proto $scheme;",
        "        # Events go out as they come, and a producer's lines go in.",
        "        proxy_buffering off;",
        "        proxy_request_buffering off;",
        "        gzip off;",
        "        # Who asks may wait for a person; heartbeats of the service find out who has left.",
        "        proxy_read_timeout 1h;",
        "        proxy_send_timeout 1h;",
        "        client_body_timeout 1h;",
        "        # The service has its own bounds (max_body_bytes), and a producer's stream has no total.",
        "        client_max_body_size 0;",
        *(
            ["        # A process that restarts keeps its sessions.", "        proxy_next_upstream off;"]
            if several
            else []
        ),
        "        # It would have the tokens that streams carry in their URLs; the service logs each request without.",
        "        access_log off;",
        "    }",
        "}",
    )


def haproxy(front: Front) -> str:
    """A whole haproxy.cfg."""
    bind = f"    bind {front.place if ':' in front.place else ':' + front.place}"
    lines = [
        "# notifier-service behind HAProxy: a whole haproxy.cfg.",
        "defaults",
        "    mode http",
        "    # Without it every event comes up to 0.2 s late.",
        "    option http-no-delay",
        "    option forwardfor",
        "    timeout connect 5s",
        "    # To read the head of a request.",
        "    timeout http-request 10s",
        "    timeout http-keep-alive 60s",
        "    # Who asks may wait for a person; heartbeats of the service find out who has left.",
        "    timeout client 1h",
        "    timeout server 1h",
        "    timeout tunnel 1h",
        "    timeout client-fin 30s",
        "",
        "frontend notifier_front",
    ]
    if front.is_secure:
        lines += [
            f"    # {front.certificate} has the certificates and the key, or HAProxy finds the key beside it,",
            f"    # in {front.certificate}.key (here: {front.key}).",
            f"{bind} ssl crt {front.certificate} alpn h2,http/1.1",
            "    http-request set-header X-Forwarded-Proto https",
        ]
    else:
        lines += [bind]
    if front.path:
        lines += [
            f"    http-request redirect code 302 location {front.path}/ if {{ path {front.path} }}",
            f"    http-request return status 404 unless {{ path_beg {front.path}/ }}",
            f"    http-request replace-path {re.escape(front.path)}(/.*) \\1",
        ]
    lines += ["    default_backend notifier_service", "", "backend notifier_service"]
    if len(front.upstreams) > 1:
        lines += [
            "    # A session lives in one process: its id chooses which. Without a check, so that one that restarts",
            "    # keeps its sessions.",
            "    http-request set-var(txn.session) url_param(session_id)",
            "    http-request set-var(txn.session) "
            f'path,\'regsub("^.*?{SESSION_IN_PATH}.*","\\1")\' if {{ path_reg {SESSION_IN_PATH} }}',
            "    balance hash var(txn.session)",
            "    hash-type consistent",
        ]
    lines += [
        f"    server notifier{number} {upstream.replace('unix:', 'unix@')}"
        for number, upstream in enumerate(front.upstreams, 1)
    ]
    return _text(*lines)


def caddy(front: Front) -> str:
    """A whole Caddyfile, or a part of one."""
    [upstream] = _one(front, "Caddy")
    place, _, port = front.place.rpartition(":")
    scheme = "https" if front.is_secure or front.listen is None else "http"
    standard = {"https": "443", "http": "80"}[scheme]
    # Caddy fetches a certificate by itself for a name on port 443.
    site = f"{scheme}://{front.server_name}" + ("" if front.listen is None or port == standard else f":{port}")
    to = [f"reverse_proxy {upstream.replace('unix:', 'unix/')}"]
    if front.path:
        to = [
            f"redir {front.path} {front.path}/ 302",
            f"handle_path {front.path}/* {{",
            *(f"    {line}" for line in to),
            "}",
        ]
    return _text(
        "# notifier-service behind Caddy: a Caddyfile, or a site of one.",
        "# Caddy keeps the Host, tells for whom it speaks, upgrades, and passes on as it comes what has no length.",
        "# Add neither encode nor request_buffers.",
        f"{site} {{",
        *([f"    bind {place}"] if place else []),
        *([f"    tls {front.certificate} {front.key}"] if front.is_secure else []),
        *(f"    {line}" for line in to),
        "}",
    )


def apache(front: Front) -> str:
    """A site of Apache's."""
    [upstream] = _one(front, "Apache")
    address = front.place if ":" in front.place else f"*:{front.place}"
    path = front.path
    to = f"{upstream}|http://localhost" if upstream.startswith("unix:") else f"http://{upstream}"
    secure = [
        "    SSLEngine on",
        f"    SSLCertificateFile {front.certificate}",
        f"    SSLCertificateKeyFile {front.key}",
        "    # Every stream takes a thread all the same: raise MaxRequestWorkers of mpm_event for many readers.",
        "    Protocols h2 http/1.1",
        "    RequestHeader set X-Forwarded-Proto https",
    ]
    return _text(
        "# notifier-service behind Apache 2.4.47 or newer: a file /etc/apache2/sites-available/notifier.conf, and then",
        "# a2enmod proxy proxy_http headers reqtimeout ssl http2 && a2ensite notifier && systemctl reload apache2",
        *([] if front.port in ("80", "443") else [f"Listen {front.place}"]),
        f"<VirtualHost {address}>",
        f"    ServerName {front.server_name}",
        *(secure if front.is_secure else []),
        *([f"    RedirectMatch 302 ^{re.escape(path)}$ {path}/"] if path else []),
        "    # A changed Host makes the service's own page another site's: it could not answer.",
        "    ProxyPreserveHost On",
        "    # Who asks may wait for a person. Events go out as they come, WebSockets are upgraded.",
        f'    ProxyPass "{path}/" "{to}/" upgrade=websocket flushpackets=on timeout=3600 ttl=60',
        "    # A producer's lines come in over hours, without an end that is known; the service has its own bounds.",
        "    RequestReadTimeout header=10-20,MinRate=500 body=0",
        "    LimitRequestBody 0",
        "    SetEnv proxy-sendchunked 1",
        "    SetEnv proxy-prefetch-nonblocking 1",
        "    # What is compressed is held back.",
        "    SetEnv no-gzip 1",
        "    SetEnv no-brotli 1",
        "    # Without the query, which has the tokens of streams.",
        '    CustomLog ${APACHE_LOG_DIR}/notifier.log "%h %t \\"%m %U %H\\" %>s %B"',
        "</VirtualHost>",
    )


Proxy = Callable[[Front], str]

PROXIES: Mapping[str, Proxy] = {"nginx": nginx, "haproxy": haproxy, "caddy": caddy, "apache": apache}


def _one(front: Front, name: str) -> tuple[str]:
    if len(front.upstreams) > 1:
        raise InvalidInput(f"{name}: several processes are shared out by the session's id with nginx or haproxy only")
    return (front.upstreams[0],)


def _text(*lines: str) -> str:
    return "\n".join(lines) + "\n"
