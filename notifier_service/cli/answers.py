"""What a person may answer to a request, and the keys and words for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .bodies import questions_of

__all__ = [
    "HELP",
    "HELP_LOOKING",
    "KEYS",
    "KEYS_OFFERED",
    "ONLY_LOOKS",
    "REJECTING",
    "SCOPES",
    "WORDS",
    "WORDS_HELP",
    "WORDS_HELP_LOOKING",
    "WORDS_OFFERED",
    "meant",
    "offered",
]

#: The same letters as in the browser; y and n are what terminals ask for everywhere.
KEYS = {
    "a": "approve", "y": "approve", "s": "session", "w": "always", "r": "reject", "n": "reject",
    "t": "reject-session", "e": "edit",
    "p": "respond", "j": "next", "k": "previous", "x": "exact", "d": "again", "l": "list",
    " ": "more", "\n": "more", "\r": "more",
    "?": "help", "h": "help", "q": "quit",
}  # fmt: skip
WORDS = {
    **{key: action for key, action in KEYS.items() if key.isalpha()},
    **{action: action for action in KEYS.values()},
    "answer": "answer",
}
SCOPES = ("session", "always")
REJECTING = ("reject", "reject-session")

KEYS_OFFERED = {
    "approve": "A approve", "answer": "A answer", "reject": "R reject", "edit": "E edit", "respond": "P reply",
    "session": "S approve for the session", "always": "W approve always",
    "reject-session": "T reject for the session",
}  # fmt: skip
WORDS_OFFERED = {
    "approve": "approve {0}", "answer": "answer {0} ANSWER",
    "reject": "reject {0} [REASON]", "edit": "edit {0} {{JSON}}",
    "respond": "respond {0} TEXT", "session": "session {0}", "always": "always {0}",
    "reject-session": "reject-session {0} [REASON]",
}  # fmt: skip
#: Who was told so when the stream began is offered nothing.
ONLY_LOOKS = "Your token may watch, but not decide."
HELP_LOOKING = f"""\
  J  next request    K  previous request    X  exactly, as JSON; everything but ASCII as escapes
  Space  the next page                      D  show it again from its beginning
  L  list all that waits                    Q  quit
{ONLY_LOOKS}"""
WORDS_HELP_LOOKING = f"""\
  show ID       q (quit)
{ONLY_LOOKS}"""
HELP = """\
  A  approve (or y); at high risk twice     R  reject, with a reason (or n)
  S  approve for the whole session          E  edit the parameters
  W  approve always                         T  reject for the whole session
                                            P  reply in the tool's place
  A  answer, where something is asked, with the number of an option or in your own words
  J  next request    K  previous request    X  exactly, as JSON; everything but ASCII as escapes
  Space  the next page                      D  show it again from its beginning
  L  list all that waits                    Q  quit
No key counts before all of a request is on the screen, nor once it has left it."""
WORDS_HELP = """\
  approve ID    reject ID [REASON]    edit ID {JSON}    respond ID TEXT    session ID (approve for the session)
  answer ID ANSWER (a number of an option, or several: 1,3; or words; | stands between several questions)
  show ID       q (quit)              The first letters do too: a, r, e, p, s, d."""


def offered(record: Mapping[str, Any]) -> list[str]:
    """What a person may answer to this request. Of which only the beginning was read is not approved."""
    allowed, scopes = record["allowed_decisions"], record.get("scopes") or ()
    if record.get("parameters_truncated"):
        allowed = [decision for decision in allowed if decision in ("reject", "respond")]
    found = [action for action in ("approve", "reject", "edit", "respond") if action in allowed]
    questions = questions_of(record)
    if questions is not None and ("respond" if questions.way == "response" else "edit") in allowed:
        # An approval says nothing where there is something to choose.
        gone = ("approve", "edit") if any(field.options for field in questions.fields) else ("edit",)
        found = ["answer", *(action for action in found if action not in gone)]
    found += [scope for scope in SCOPES if "approve" in allowed and scope in scopes]
    return found + (["reject-session"] if "reject" in allowed and "session" in scopes else [])


def meant(action: str, record: Mapping[str, Any]) -> str:
    """What a key or word means for this request: where nothing can be approved, what approves answers."""
    may = offered(record)
    return "answer" if action == "approve" and action not in may and "answer" in may else action
