"""What mends a fault between a browser and the service, in the words of each program that may stand there."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MENDS"]

_TIMEOUTS = {
    "nginx": "proxy_read_timeout 1h; proxy_send_timeout 1h;",
    "haproxy": "timeout client 1h; timeout server 1h; timeout tunnel 1h",
    "caddy": "no read_timeout or write_timeout in transport http and servers",
    "apache": 'ProxyPass "/" "http://127.0.0.1:8000/" upgrade=websocket flushpackets=on timeout=3600',
    "traefik": "entryPoints.web.transport.respondingTimeouts: readTimeout 0, writeTimeout 0, idleTimeout 1h",
    "vite": "no timeout and no proxyTimeout",
}

#: By the fault, then by the program.
MENDS: Mapping[str, Mapping[str, str]] = {
    "path": {
        "nginx": "location /notifier/ { proxy_pass http://127.0.0.1:8000/; } (both with their last slash)",
        "haproxy": r"http-request replace-path /notifier(/.*) \1",
        "caddy": "handle_path /notifier/* { reverse_proxy 127.0.0.1:8000 }",
        "apache": 'ProxyPass "/notifier/" "http://127.0.0.1:8000/" (both with their last slash)',
        "traefik": "middlewares: stripPrefix: prefixes: [/notifier]",
        "vite": "rewrite: path => path.replace(/^\\/notifier/, '')",
    },
    "host": {
        "nginx": "proxy_set_header Host $http_host;",
        "haproxy": "no http-request set-header Host",
        "caddy": "no header_up Host",
        "apache": "ProxyPreserveHost On",
        "traefik": "passHostHeader: true",
        "vite": "changeOrigin: false",
    },
    "authorization": {
        "nginx": 'no proxy_set_header Authorization "", and no auth_basic of its own',
        "haproxy": "no http-request del-header Authorization, and no http-request auth",
        "caddy": "no header_up -Authorization, and no basic_auth",
        "apache": "no RequestHeader unset Authorization, and no AuthType of its own",
        "traefik": "no headers middleware on Authorization, and no basicAuth",
        "vite": "no headers: { authorization }",
    },
    "posts": {
        "nginx": "no limit_except, and no if ($request_method) that leaves POST out",
        "haproxy": "no http-request deny of METH_POST",
        "caddy": "no @matcher on method that leaves POST out",
        "apache": "no <Limit> or <LimitExcept>, and no rule that leaves POST out",
        "traefik": "no rule of Method(`GET`) alone",
        "vite": "no bypass of POST",
    },
    "version": {
        "nginx": "proxy_http_version 1.1;",
        "haproxy": "no force-close and no HTTP/1.0 between",
        "caddy": "transport http { versions 1.1 }",
        "apache": "no SetEnv force-proxy-request-1.0",
        "traefik": "no server transport that speaks HTTP/1.0",
        "vite": "no agent that speaks HTTP/1.0",
    },
    "upgrade": {
        "nginx": "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
        'proxy_set_header Connection "upgrade"; (or the map that proxy-config prints)',
        "haproxy": "no http-request del-header Upgrade or Connection",
        "caddy": "no header_up Upgrade or Connection",
        "apache": 'ProxyPass "/" "http://127.0.0.1:8000/" upgrade=websocket',
        "traefik": "no headers middleware on Upgrade or Connection",
        "vite": "ws: true",
    },
    "buffering": {
        "nginx": "proxy_http_version 1.1; proxy_buffering off;",
        "haproxy": "option http-no-delay",
        "caddy": "flush_interval -1 in reverse_proxy, and no encode",
        "apache": 'ProxyPass "/" "http://127.0.0.1:8000/" upgrade=websocket flushpackets=on',
        "traefik": "no buffering middleware",
        "vite": "no selfHandleResponse",
    },
    "late": {
        "nginx": "tcp_nodelay on;",
        "haproxy": "option http-no-delay",
        "caddy": "flush_interval -1 in reverse_proxy",
        "apache": "flushpackets=on",
        "traefik": "responseForwarding: flushInterval: 1ms",
        "vite": "no selfHandleResponse",
    },
    "compression": {
        "nginx": "gzip off;",
        "haproxy": "no filter compression and no compression algo",
        "caddy": "no encode for these paths",
        "apache": "SetEnv no-gzip 1",
        "traefik": "compress: excludedContentTypes: [text/event-stream]",
        "vite": "no compression plugin on the proxied paths",
    },
    "requests": {
        "nginx": "proxy_request_buffering off;",
        "haproxy": "no option http-buffer-request",
        "caddy": "no request_buffers",
        "apache": "SetEnv proxy-sendchunked 1, and SetEnv proxy-prefetch-nonblocking 1",
        "traefik": "no buffering middleware",
        "vite": "no middleware that reads bodies before the proxy",
    },
    "body": {
        "nginx": "client_max_body_size 0;",
        "haproxy": "no http-request deny by req.body_size",
        "caddy": "no request_body max_size",
        "apache": "LimitRequestBody 0",
        "traefik": "no maxRequestBodyBytes",
        "vite": "no middleware that reads bodies before the proxy",
    },
    "idle": _TIMEOUTS,
    "silent": _TIMEOUTS,
    "http2": {
        "nginx": "listen 443 ssl http2;",
        "haproxy": "bind :443 ssl crt FILE alpn h2,http/1.1",
        "caddy": "no protocols h1 alone in servers",
        "apache": "Protocols h2 http/1.1",
        "traefik": "no tls option alpnProtocols without h2",
        "vite": "server.https (development only)",
    },
    "log": {
        "nginx": "access_log off; or a log_format with $uri in the place of $request",
        "haproxy": 'log-format with %HPO in the place of %HP, or "%r"',
        "caddy": "log { format filter { request>uri query { delete token delete ticket } } }",
        "apache": 'CustomLog FILE "%h %t \\"%m %U %H\\" %>s %B"',
        "traefik": "accessLog: fields: names: RequestPath: drop",
        "vite": "nothing: it logs no requests",
    },
}
