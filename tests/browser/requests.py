"""Twelve requests as agents make them every day, each in a session of its own."""

from __future__ import annotations

from typing import Any

from notifier_service import Broker
from notifier_service.core.events import RiskLevel
from notifier_service.core.permission_request import PermissionRequest

__all__ = ["TWELVE", "ask_all"]

_FUNCTION = """\
def total(rows):
    return sum(rows)


def mean(rows):
    return total(rows) / len(rows)
"""
_BETTER = """\
def total(rows: Iterable[Row]) -> Decimal:
    return sum((row.amount for row in rows), Decimal())


def mean(rows):
    return total(rows) / max(1, len(rows))
"""
_LONG_COMMAND = "\n".join(
    ["set -e", *(f"install -m 644 build/part-{n:02}.so /usr/lib/billing/part-{n:02}.so" for n in range(80)), "sync"]
)
_MAIL = """\
Dear customers,

version 2.4.0 of Billing is out. It sends invoices by itself, knows 12 more currencies, and is twice as fast.

What you need to do: nothing.

Your Billing team
"""

#: By name: the tool, what it is given, and what the agent says of it.
TWELVE: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "command": ("Bash", {"command": "git push --force origin main", "description": "Publishes the branch"}, None),
    "long-command": ("run_shell", {"command": _LONG_COMMAND, "cwd": "/srv/billing"}, "Installs the parts."),
    "file": ("write_file", {"path": "src/billing/month.py", "content": _BETTER * 6}, "Writes the module."),
    "edit": (
        "Edit",
        {"file_path": "/srv/src/month.py", "old_string": _FUNCTION, "new_string": _BETTER, "replace_all": False},
        "Makes the sums exact. This is safe.",
    ),
    "table": (
        "insert_rows",
        {
            "table": "prices",
            "rows": [{"sku": f"B-{n:03}", "name": f"Plan {n}", "price": 10 * n + 9.5} for n in range(1, 13)],
        },
        None,
    ),
    "mail": (
        "send_email",
        {
            "to": ["customers@example.com", "press@example.com"],
            "bcc": "board@example.com",
            "subject": "Billing 2.4.0 is out",
            "body": _MAIL,
            "attachments": ["reports/invoice.pdf"],
        },
        "Sends the announcement.",
    ),
    "http": (
        "http_request",
        {
            "method": "POST",
            "url": "https://deploy@api.example.com:8443/v1/releases?notify=all",
            "headers": {"Content-Type": "application/json", "X-Request-Id": "r-17"},
            "json": {"version": "2.4.0", "channels": ["stable"], "rollout": {"percent": 100}},
            "timeout": 30,
        },
        None,
    ),
    "nested": (
        "apply",
        {"spec": {"service": {"name": "billing", "ports": [{"port": 8443, "tls": {"mode": "strict"}}], "replicas": 3}}},
        "Applies the new shape.",
    ),
    "large": ("upload", {"path": "dump.sql", "content": "INSERT INTO prices VALUES (1, 'B-1', 9.5);\n" * 4700}, None),
    "ten": ("move_file", {"source": "reports/{0}.pdf", "destination": "archive/{0}.pdf"}, None),
    "hostile": (
        "open_file",
        {"path": "invoice\u202efdp.exe", "note": "<img src=x onerror=alert(1)>\x1b[2K", "p\u0430th": "/etc"},
        "</article><script>alert(1)</script>",
    ),
    "unknown": ("frobnicate", {"level": 11, "targets": ["a", "b"], "when": None, "id": 2**53 + 1}, None),
}  # fmt: skip


def ask_all(
    broker: Broker, *, risk_level: RiskLevel = "medium", only: str | None = None
) -> dict[str, list[PermissionRequest]]:
    """Ask each, or only one, in a session of its name; ``ten`` asks ten that are alike."""
    asked: dict[str, list[PermissionRequest]] = {}
    for name, (tool, parameters, description) in TWELVE.items():
        if only not in (None, name):
            continue
        asked[name] = [
            broker.ask(
                name,
                tool_name=tool,
                parameters={key: text.format(number) if name == "ten" else text for key, text in parameters.items()},
                risk_level=risk_level,
                description=description,
                timeout_seconds=3000,
            )
            for number in range(10 if name == "ten" else 1)
        ]
    return asked
