"""What looks like a credential, in text that somebody else chose and that is about to be written down."""

from __future__ import annotations

import re

__all__ = ["CREDENTIAL", "without_credentials"]

#: A JWT, a ticket or a device's token of this service, or a token of those that begin like no word.
CREDENTIAL = r"(?:eyJ|tk_|nsd_|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|sk-ant-|sk-proj-|[sr]k_live_|AKIA)[\w.-]{16,}"

_CREDENTIALS = re.compile(CREDENTIAL)


def without_credentials(text: str) -> str:
    """The text with ``***`` in the place of each."""
    return _CREDENTIALS.sub("***", text)
