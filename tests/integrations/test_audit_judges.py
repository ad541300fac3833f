"""What other people's programs say of the audit log: its heads and its receipts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integrations.environments import PYTHON
from tests.integrations.test_recipes import INSIDE, run_tests


def test_sigstore_reads_heads_and_believes_receipts(python_with: Callable[..., Path]) -> None:
    run_tests(python_with(*PYTHON["sigstore"]), INSIDE / "sigstore_reader.py", fixtures_from=INSIDE)
