"""Every setting of the service: an environment variable, a line of a file that was named, a flag of ``serve``."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from datetime import time
from functools import lru_cache
from math import ceil, isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .core.limits import MAX_TIMEOUT_SECONDS, Limits
from .core.notices import Escalation, QuietHours
from .service_address import KEY_VARIABLE

__all__ = ["ENV_PREFIX", "JwtAlgorithm", "Rate", "Settings", "Webhook", "is_loopback"]

ENV_PREFIX = "NOTIFIER_"

JwtAlgorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]

#: Variables of the same prefix that belong to the commands which talk to a running service.
_CLIENT_VARIABLES = frozenset({"NOTIFIER_URL", "NOTIFIER_TOKEN", KEY_VARIABLE})


_RATE = re.compile(r"([0-9.]{1,16})(?:\s*[/,:]\s*([0-9]{1,10}))?")


class Rate(NamedTuple):
    """How often something may be done: so many a second, and so many ``at_once``."""

    a_second: float
    at_once: int

    @classmethod
    def of(cls, value: Any) -> Rate:
        """``"100/500"`` is a hundred a second and five hundred at once, ``"100"`` a hundred of both.

        Raises ``ValueError`` for what is none.
        """
        if isinstance(value, list | tuple) and len(value) == 2:
            value = "/".join(map(str, value))
        found = _RATE.fullmatch(str(value).strip())
        try:
            a_second = float(found[1]) if found is not None else 0.0
            at_once = int(found[2]) if found is not None and found[2] is not None else max(1, ceil(a_second))
        except ValueError:
            a_second, at_once = 0.0, 0
        if not (isfinite(a_second) and a_second > 0 and at_once > 0):
            raise ValueError("a rate is so many a second, and so many at once: 100/500; without the setting, no bound")
        return cls(a_second, at_once)


_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/?#@:\s\[\]]+)(:\d{1,5})?([/?][^#\s]*)?")


class Webhook(BaseModel):
    """Another program that is told of what waits: where, in which form, signed with which secret, of which sessions.

    With ``to`` it hears of escalations to that one, and of nothing else. With ``links_as`` each message has a link by
    which whoever reads it decides once, in this name.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    url: str = Field(max_length=2048, repr=False)
    secret: str | None = Field(default=None, repr=False)
    format: Literal["json", "slack", "ntfy"] = "json"
    sessions: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("*",)
    to: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    links_as: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not _URL.fullmatch(url):
            raise ValueError("an http or https URL without user or fragment")
        return url

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.secret is None:
            if self.format == "json":
                raise ValueError("format json needs a secret to sign with: whsec_ and 24 to 64 bytes in base64")
        elif self.key is None:
            raise ValueError("secret: whsec_ and 24 to 64 bytes in base64")
        return self

    @property
    def key(self) -> bytes | None:
        """What the secret stands for."""
        if self.secret is None:
            return None
        try:
            key = base64.b64decode(self.secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return None
        return key if self.secret.startswith("whsec_") and 24 <= len(key) <= 64 else None


def _of_mapping(one: Mapping[str, Any]) -> tuple[Any, Any]:
    if set(one) != {"after", "to"} or isinstance(one["after"], bool):
        raise ValueError("after and to")
    return one["after"], one["to"]


class Settings(Limits, BaseSettings):
    """The settings of the service, frozen. ``Settings()`` reads ``NOTIFIER_*``; arguments win.

    No file is read unless it is named (``Settings(_env_file=path)``): whoever may write the folder that a program is
    started in must not decide what it asks about. A wrong value and a name that is no setting raise pydantic's
    ``ValidationError``, which names it.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file_encoding="utf-8",
        # Such a file is often shared with other programs: only what has the prefix is ours to judge.
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    unix: Path | None = Field(
        default=None, description="Listen on a Unix socket there; and on host and port only where one of them is set."
    )
    unix_mode: str = Field(
        default="660", pattern="^[0-7]{3}$", description="Who may connect to it: permissions of a file, in octal."
    )
    prefix: str = Field(default="/agent_backend", description="Path before the API; empty for none.")
    auth: Literal["none", "tokens", "jwt"] = Field(
        default="none", description="none (loopback only: any program of this user may approve), tokens or jwt."
    )
    tokens_file: Path | None = Field(
        default=None, description="JSON array of {token or token_sha256, subject?, rights, sessions}, for auth=tokens."
    )
    jwt_algorithms: Annotated[tuple[JwtAlgorithm, ...], NoDecode] = Field(
        default=(), description="What tokens are signed with, for auth=jwt: HS256, RS256, ES256, EdDSA, with commas."
    )
    jwt_key_file: Path | None = Field(
        default=None, description="The key that verifies them: the secret of HS256, or a public key in PEM."
    )
    jwt_jwks_file: Path | None = Field(default=None, description="Or a JWKS file, from which kid chooses the key.")
    jwt_audience: str | None = Field(default=None, min_length=1, description="The aud that a token must have, if any.")
    jwt_issuer: str | None = Field(default=None, min_length=1, description="The iss that a token must have, if any.")
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Web origins that may use the API with credentials, with commas: https://app.example."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Host names the service answers to, with commas; without, auth=none means loopback's."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses and networks of proxies that are believed for whom they speak, with commas, and unix.",
    )
    max_body_bytes: int = Field(
        default=1024 * 1024,
        ge=1024,
        description="The largest request body, beside the parameters of a call; an NDJSON stream has no total.",
    )
    max_idempotency_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1024, description="Answers that are remembered by Idempotency-Key, in all."
    )
    publish_rate: Annotated[Rate | None, NoDecode] = Field(
        default=None,
        description="Events, questions, hooks and messages to MCP endpoints that one subject, or one address without "
        "tokens, may send: so many a second and so many at once, as 100/500; without, no bound.",
    )
    decide_rate: Annotated[Rate | None, NoDecode] = Field(
        default=None, description="The same for decisions, and for rules that are made and taken back."
    )
    connect_rate: Annotated[Rate | None, NoDecode] = Field(
        default=None, description="The same for streams, sockets and polls, and each time that a socket resumes."
    )
    max_idle_connections: int = Field(
        default=500, ge=1, description="Connections without a request under way; the oldest gives way to a new one."
    )
    first_request_seconds: float = Field(
        default=10, gt=0, le=3600, description="A connection that has sent no whole request for so long is closed."
    )
    drain_seconds: float = Field(
        default=0,
        ge=0,
        le=3600,
        description="After SIGTERM, readiness says 503 for so long before the listener closes.",
    )
    producer_idle_seconds: float = Field(
        default=600, gt=0, description="An NDJSON stream that sends nothing, not even an empty line, is ended then."
    )
    agent: str | None = Field(
        default=None, description="Who answers in the chat, as package.module:function; without, a demonstration agent."
    )
    mcp_upstreams: Annotated[Mapping[str, str], NoDecode] = Field(
        default={},
        description="MCP servers behind the gateway, as name=URL with commas: files=http://127.0.0.1:3001/mcp.",
    )
    mcp_task_seconds: float = Field(
        default=20,
        ge=0,
        description="A call at /mcp that waits longer for a person is a task, for an MCP client that takes tasks.",
    )
    audit_file: Path | None = Field(
        default=None, description="Put on record there who let what run, before it runs; audit verify checks the file."
    )
    audit_required: bool = Field(
        default=True, description="Nothing is decided, asked or let run that cannot be written there."
    )
    audit_rotate_bytes: int = Field(
        default=64 * 1024 * 1024, ge=64 * 1024, description="A new file is begun when the audit log would be larger."
    )
    audit_rotate_days: float = Field(default=30, gt=0, description="And when it is older.")
    audit_keep_days: float = Field(
        default=183, ge=0, description="An audit log that was rotated is removed after so long; 0 is never."
    )
    audit_key_file: Path | None = Field(
        default=None,
        description="Sign the heads of the audit log with the key in this file, which is made if it is not there.",
    )
    audit_heads_to: str | None = Field(
        default=None,
        min_length=1,
        description="Send signed heads there too, at most one a minute: an http(s) URL, or a file.",
    )
    redact_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="More names of parameters that the audit log takes for secrets, with commas."
    )
    journal: Path | None = Field(
        default=None,
        description="Sessions and their events are kept in this file, and go on after a restart; without, in memory.",
    )
    journal_sync: Literal["full", "normal"] = Field(
        default="full",
        description="What is acknowledged outlives a loss of power (full), or only the end of the process (normal).",
    )
    public_url: str | None = Field(
        default=None,
        description="Where people reach the service from elsewhere, without the prefix: https://desk.example.",
    )
    webhooks: Annotated[tuple[Webhook, ...], NoDecode] = Field(
        default=(),
        description="Programs that are told of what waits, as a JSON array of {url, secret, format?, sessions?, to?, "
        "links_as?}, or the path of a file with one.",
    )
    webhook_networks: Annotated[tuple[Any, ...], NoDecode] = Field(
        default=(),
        description="Networks that webhooks may go to beside public addresses, with commas: 10.0.0.0/8, 127.0.0.0/8.",
    )
    push_file: Path | None = Field(
        default=None, description="Devices that are called by push, and the key for it, where there is no journal."
    )
    devices_file: Path | None = Field(
        default=None, description="Devices that were paired, as digests of their tokens, where there is no journal."
    )
    push_contact: str | None = Field(
        default=None,
        pattern=r"^(mailto:[^\s@]+@[^\s@]+|https://[^\s]+)$",
        description="Whom push services may ask about this one: mailto:you@example.org; without, the public_url.",
    )
    quiet_hours: Annotated[QuietHours | None, NoDecode] = Field(
        default=None,
        description="From when until when nobody is called but by escalation, by the clock of this machine or of a "
        "time zone: 22:00-07:00, or 22:00-07:00 Europe/Berlin.",
    )
    escalate: Annotated[tuple[Escalation, ...], NoDecode] = Field(
        default=(),
        description="Whom to call beside the others about a request that nobody has answered for so many seconds, with "
        "commas: 60=oncall, or a JSON array of {after, to}.",
    )
    policy_file: Path | None = Field(
        default=None, description="Rules in TOML, read again when it changes: which calls are allowed, asked or denied."
    )
    learned_rules_file: Path | None = Field(
        default=None,
        description="What people decide for always is kept here; without, beside the policy_file as NAME.learned.toml.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What the command logs."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How: a line of text, or of JSON with the id of the request, which answers say too."
    )

    @property
    def listens_on_a_port(self) -> bool:
        """Whether it listens on host and port, beside a Unix socket or without one."""
        return self.unix is None or not self.model_fields_set.isdisjoint({"host", "port"})

    @property
    def learned_path(self) -> Path | None:
        """Where decisions for always are kept; None where they are not offered."""
        if self.learned_rules_file is None and self.policy_file is not None:
            return self.policy_file.with_name(f"{self.policy_file.stem}.learned.toml")
        return self.learned_rules_file

    @field_validator(
        "jwt_algorithms", "allowed_origins", "allowed_hosts", "trusted_proxies", "redact_keys", mode="before"
    )
    @classmethod
    def _commas_separate(cls, value: Any) -> Any:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("webhooks", mode="before")
    @classmethod
    def _webhooks_are_a_list(cls, value: Any) -> Any:
        if isinstance(value, str | Path) and not str(value).lstrip().startswith("["):
            try:
                value = Path(value).read_text(encoding="utf-8") if str(value).strip() else "[]"
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
                raise ValueError(f"a JSON array, or a file with one, which cannot be read: {why}") from None
        try:
            return tuple(json.loads(value)) if isinstance(value, str) else value
        except (ValueError, TypeError):
            raise ValueError("a JSON array of {url, secret, format?, sessions?, to?, links_as?}") from None

    @field_validator("webhook_networks", mode="before")
    @classmethod
    def _networks_are_networks(cls, value: Any) -> Any:
        parts = filter(None, map(str.strip, value.split(","))) if isinstance(value, str) else value
        try:
            return tuple(ipaddress.ip_network(part, strict=False) for part in parts)
        except ValueError:
            raise ValueError("networks such as 10.0.0.0/8, with commas") from None

    @field_validator("quiet_hours", mode="before")
    @classmethod
    def _quiet_hours_are_two(cls, value: Any) -> Any:
        if value is None or isinstance(value, QuietHours):
            return value
        found = re.fullmatch(r"\s*(\d\d:\d\d)\s*-\s*(\d\d:\d\d)(?:\s+(\S+))?\s*", str(value), re.ASCII)
        try:
            begin, end = map(time.fromisoformat, ("", "") if found is None else found.groups()[:2])
            if begin == end:
                raise ValueError
        except ValueError:
            raise ValueError("two times of the day, such as 22:00-07:00, or 22:00-07:00 Europe/Berlin") from None
        if found is None or found[3] is None:
            return QuietHours(begin, end)
        from zoneinfo import ZoneInfo  # few have another one than this machine

        try:
            return QuietHours(begin, end, ZoneInfo(found[3]))
        except (LookupError, ValueError, OSError):
            raise ValueError(
                f"this machine knows no time zone {found[3][:64]}: take one such as Europe/Berlin, or install tzdata"
            ) from None

    @field_validator("escalate", mode="before")
    @classmethod
    def _escalations_are_pairs(cls, value: Any) -> Any:
        shape = "so many seconds and a subject: 60=oncall, or [{after, to}]"
        try:
            if isinstance(value, str) and value.lstrip().startswith("["):
                value = json.loads(value)
            if isinstance(value, str):
                pairs = [part.partition("=")[::2] for part in value.split(",") if part.strip()]
            else:
                pairs = [_of_mapping(one) if isinstance(one, Mapping) else tuple(one) for one in value]
            found = tuple(Escalation(float(after), to.strip()) for after, to in pairs)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            raise ValueError(shape) from None
        for escalation in found:
            if not (0 <= escalation.after_seconds <= MAX_TIMEOUT_SECONDS and 1 <= len(escalation.to) <= 256):
                raise ValueError(f"{shape}; at most {MAX_TIMEOUT_SECONDS:.0f} seconds")
        if len(set(found)) < len(found):
            raise ValueError("the same step twice")
        return found

    @field_validator("public_url")
    @classmethod
    def _public_url_is_one(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", url):
            raise ValueError("an http or https URL without a path, such as https://desk.example")
        return None if url is None else url.rstrip("/")

    @field_validator("publish_rate", "decide_rate", "connect_rate", mode="before")
    @classmethod
    def _rates_are_pairs(cls, value: Any) -> Rate | None:
        return value if value is None or isinstance(value, Rate) else Rate.of(value)

    @field_validator("allowed_origins")
    @classmethod
    def _origins_are_exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[^/*\s]+", origin):
                raise ValueError("an origin is exact, such as https://app.example or http://localhost:5173")
        return tuple(origin.lower() for origin in origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                if proxy != "unix":
                    ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError("a proxy is an address, a network such as 10.0.0.0/8, or unix") from None
        return proxies

    @field_validator("mcp_upstreams", mode="before")
    @classmethod
    def _commas_separate_pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        names = [name.strip() for name, _, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("the same name twice")
        return {name: url.strip() for name, (_, _, url) in zip(names, pairs, strict=True)}

    @field_validator("mcp_upstreams")
    @classmethod
    def _upstreams_are_named(cls, upstreams: Mapping[str, str]) -> Mapping[str, str]:
        for name, url in upstreams.items():
            if not re.fullmatch(r"[A-Za-z0-9._~-]{1,64}", name):
                raise ValueError("an upstream has a name of [A-Za-z0-9._~-]{1,64}, then = and its URL")
            if not re.fullmatch(r"https?://(\[[0-9A-Fa-f:.]+\]|[^/?#@:\s\[\]]+)(:\d{1,5})?([/?][^#\s]*)?", url):
                raise ValueError("an upstream is an http or https URL without user or fragment")
        return upstreams

    @field_validator("audit_heads_to")
    @classmethod
    def _heads_go_somewhere(cls, to: str | None) -> str | None:
        if to is not None and "://" in to and not re.fullmatch(r"https?://[^/?#\s]+([/?][^#\s]*)?", to):
            raise ValueError("heads are sent to an http or https URL, or a path")
        return to

    @field_validator("prefix")
    @classmethod
    def _prefix_is_a_path(cls, prefix: str) -> str:
        prefix = prefix.rstrip("/")
        if prefix and (not prefix.startswith("/") or any(c in prefix for c in "{}?#%\\ ") or "//" in prefix):
            raise ValueError("a prefix is a plain path such as /agent_backend")
        return prefix

    @model_validator(mode="after")
    def _hooks_can_be_reached(self) -> Self:
        for hook in self.webhooks:
            if hook.to is not None and hook.to not in {escalation.to for escalation in self.escalate}:
                raise ValueError(f"a webhook is for escalations to {hook.to!r}, whom escalate does not name")
            if hook.links_as is not None and self.public_url is None:
                raise ValueError("links_as of a webhook needs a public_url, under which its links are opened")
        return self

    @model_validator(mode="after")
    def _rules_have_files_of_their_own(self) -> Self:
        learned, policy = self.learned_rules_file, self.policy_file
        if learned is not None and policy is not None and os.path.realpath(learned) == os.path.realpath(policy):
            raise ValueError("learned_rules_file is the policy_file: the service writes the one, and never the other")
        return self

    @model_validator(mode="after")
    def _heads_are_of_a_log(self) -> Self:
        if self.audit_key_file is not None and self.audit_file is None:
            raise ValueError("audit_key_file needs an audit_file, whose heads it signs")
        if self.audit_heads_to is not None and self.audit_key_file is None:
            raise ValueError("audit_heads_to needs an audit_key_file, which signs what is sent")
        both = [os.path.realpath(path) for path in (self.audit_file, self.audit_key_file) if path is not None]
        if len(set(both)) < len(both):
            raise ValueError("audit_key_file is the audit_file: the one holds a secret, and the other grows")
        return self

    @model_validator(mode="after")
    def _auth_fits_the_address(self) -> Self:
        if self.auth == "none" and not is_loopback(self.host):
            raise ValueError(
                "auth=none is allowed only on a loopback address, because anyone who reaches it may approve: "
                "set host to 127.0.0.1, or auth=tokens with a tokens_file, or auth=jwt"
            )
        if self.auth == "tokens" and self.tokens_file is None:
            raise ValueError("auth=tokens needs a tokens_file")
        if self.auth == "jwt":
            if (self.jwt_key_file is None) == (self.jwt_jwks_file is None):
                raise ValueError("auth=jwt needs either a jwt_key_file or a jwt_jwks_file")
            if not self.jwt_algorithms:
                raise ValueError("auth=jwt needs jwt_algorithms: HS256, RS256, ES256 or EdDSA")
            if "HS256" in self.jwt_algorithms and len(self.jwt_algorithms) > 1:
                raise ValueError("jwt_algorithms: HS256 shares a secret and goes with no other algorithm")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        in_file = dotenv_settings.env_vars if isinstance(dotenv_settings, DotEnvSettingsSource) else {}
        # Each looks for every setting, which takes as long as all else: where there can be none, it need not.
        sources = [
            source
            for source in (env_settings, dotenv_settings)
            if not isinstance(source, EnvSettingsSource) or _has_settings(source.env_vars)
        ]
        return init_settings, *sources, _UnknownVariables(settings_cls, in_file)


def _has_settings(variables: Mapping[str, str | None]) -> bool:
    return any(name.upper().startswith(ENV_PREFIX) for name in variables)


class _UnknownVariables(PydanticBaseSettingsSource):
    """Hands over variables that look like settings and are none, so that a misspelt one is refused by its name."""

    def __init__(self, settings_cls: type[BaseSettings], in_file: Mapping[str, str | None]) -> None:
        super().__init__(settings_cls)
        self._in_file = in_file

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # only __call__ is used

    def __call__(self) -> dict[str, Any]:
        known = {f"{ENV_PREFIX}{name}".upper() for name in self.settings_cls.model_fields} | _CLIENT_VARIABLES
        return {
            variable.upper(): None
            for variable in (*os.environ, *self._in_file)
            if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known
        }


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        return False
