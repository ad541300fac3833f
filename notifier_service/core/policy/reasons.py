"""Why a call runs, waits or is denied: sentences that also say by a code what they tell, so that anybody can translate.

The sentences of the service are all here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from string import Formatter
from typing import Any, Self

from .not_understood import WHAT_IS_NOT_UNDERSTOOD

__all__ = [
    "SENTENCES",
    "Reason",
    "as_told",
    "codes_of",
    "doubts_the_tool",
    "is_of_more_than_the_tool",
    "is_of_the_call",
]

#: By code, in English. Who says them in another language has the values that stand in braces.
SENTENCES: Mapping[str, str] = {
    # the policy
    "risk_below": "risk {risk} is below {asked_from}, from which a person is asked",
    "risk_asks": "risk {risk} asks a person",
    "rated_lower_than_before": "who asks rates it {risk} now, and it was asked about at risk {before} before",
    "allowed_session": "{by} allowed this tool for the rest of the session",
    "denied_session": "{by} denied this tool for the rest of the session",
    "allowed_always": "{by} allowed this tool from now on",
    "denied_always": "{by} denied this tool from now on",
    "asked_always": "{by} wants to be asked about this tool",
    "learned_unread": "what people decided for always cannot be read: {problem}",
    "allowed_rule": "policy rule {rule} allows it",
    "asked_rule": "policy rule {rule} wants a person to be asked",
    "denied_rule": "policy rule {rule} denies it",
    "command_not_understood": "no rule allows a command that is not understood",
    "command_part": "no rule allows {part}",
    "default_asks": "no rule of the policy allows it",
    "default_denies": "no rule of the policy allows it, and its default is to deny",
    "not_whole": "not all of the call can be read, so that no rule allows it",
    "risk_above_allowed": "risk {risk} is more than {allowed}, at which {by} allowed it",
    "changed_since_decided": "the tool is not defined as it was when {by} decided about it",
    # what the call does
    "deeds": "it {what}",
    "deeds_unknown": "nothing says what it does",
    "rated_by_policy": "the policy file rates it {risk}",
    **{code: f"nobody but a shell can tell what it runs: {text}" for code, text in WHAT_IS_NOT_UNDERSTOOD.items()},
    # what an MCP server says of its tools
    "not_listed": "the server lists no tool of that name",
    "not_listed_before": "the server did not list this tool before, when it was called in this session",
    "list_missing": "the server did not list its tools",
    "list_unreadable": "the server's list of tools cannot be read",
    "listed_twice": "the server lists it twice",
    "look_alike": "the server lists another tool with nearly the same name",
    "definition_changed": "the server changed its definition of this tool in this session: {parts}",
    "hints_missing": "the server does not say what the tool may do",
    "called_reading": "its name is one of reading, and the server says no more",
    "name_disagrees": "the server says that it is harmless, but by its name it {deed}",
    "parameters_disagree": "the server says that it only reads, but by its parameters it {deed}",
    "letters_mixed": "its name mixes letters of several alphabets, and may be another than it seems",
    "reads_secrets": "it reads what is secret: keys, passwords, or variables of the environment",
    "reads_secret_file": "it reads a file that may hold secrets: {path}",
    "reads_secret_kind": "it reads what is secret, by the kind of thing that it is asked for",
    "not_looked_through": "it is given more than is looked through here",
    "takes_addresses": "it takes an address to read from, to which it may also tell something",
    "only_reads": "the server says that it only reads",
    "destroys_nothing": "the server says that it destroys nothing",
    "may_destroy": "the server says that it may destroy something",
    "may_destroy_unsaid": "the server does not say that it destroys nothing",
    "stays_within": "the server says that it stays within its own system",
    "reaches_out": "the server says that it reaches the outside world",
    "reach_unsaid": "the server does not say that it stays within its own system",
    "edit_unchecked": "nobody can edit it, because its input schema cannot be checked: {problem}",
    # who asks
    "unrated": "nobody said how risky this tool is",
    "reads_outside": "it reads outside of the workspace: {path}",
    "writes_outside": "it writes outside of the workspace, or where keys lie: {path}",
    "changes_guards": "it changes what runs by itself, or what an agent may do: {path}",
    "asks_the_web": "it tells the web what it asks for",
    "began_before": "this call was started before, and its end is unknown: it may have run, and may not",
    "agent_rules": "the agent's own rules want a person for this call",
    "approved_before": "{by} has approved this very call where its agent asked about it",
    "agent_denied": "the agent's own judgement denied this call, and it may try it again if you approve",
    "agent_question": "the agent asks a question; nothing runs",
    "server_question": "an MCP server asks a question, and gets the answer; nothing runs",
    "asker_says": "the asker says: {said}",
}


#: Sentences that an asker has no use for.
_OF_THIS_SERVICE = frozenset({"asker_says", "deeds", "deeds_unknown", "rated_by_policy"})
#: Reasons that are of one call, and not of its tool; and those that doubt which tool it is.
_OF_THE_CALL = frozenset(
    {
        "changes_guards",
        "not_looked_through",
        "reads_outside",
        "reads_secret_file",
        "reads_secret_kind",
        "writes_outside",
    }
)
_DOUBTS = frozenset({"definition_changed", "listed_twice", "look_alike", "not_listed", "not_listed_before"})


class Reason(str):
    """A sentence of the service: English as a text, and by ``code`` and ``values`` what anybody can translate.

    The value ``why`` is somebody's own words, which any sentence may have at its end.
    """

    __slots__ = ("code", "values")

    code: str
    values: Mapping[str, str | int]

    def __new__(cls, code: str, **values: str | int) -> Self:
        sentence = SENTENCES[code] + (": {why}" if "why" in values else "")
        reason = super().__new__(cls, sentence.format_map(values))
        reason.code, reason.values = code, values
        return reason

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, str | int]]:
        return (self.code,), dict(self.values)

    @classmethod
    def by_asker(cls, text: str) -> Reason:
        """What an asker says, marked as its words; ``said_code`` is there if it says what this service would say.

        A gateway elsewhere is such an asker: its sentences are of the same table.
        """
        for code, form in _forms().items():
            match = form.fullmatch(text)
            if match is not None:
                return cls("asker_says", **match.groupdict(), said_code=code, said=text)
        return cls("asker_says", said=text)


def is_of_the_call(reasons: Iterable[str]) -> bool:
    """Whether a call is riskier than its tool is rated."""
    return not _OF_THE_CALL.isdisjoint(codes_of(reasons))


def is_of_more_than_the_tool(reasons: Iterable[str]) -> bool:
    """Whether a call stays riskier than a person rates its tool: by what it does itself, or because of doubts."""
    return is_of_the_call(reasons) or doubts_the_tool(reasons)


def doubts_the_tool(reasons: Iterable[str]) -> bool:
    """Whether it is uncertain that the tool is the one which was rated."""
    return not _DOUBTS.isdisjoint(codes_of(reasons))


def codes_of(reasons: Iterable[str]) -> frozenset[str]:
    """The codes of reasons, and of what an asker says in them."""
    codes: set[str] = set()
    for reason in reasons:
        if isinstance(reason, Reason):
            codes.add(reason.code)
            codes.add(str(reason.values.get("said_code")))
    return frozenset(codes)


def as_told(reason: str) -> dict[str, Any]:
    """A reason as records carry it: its code, its text and its values. ``words`` are somebody's own."""
    if isinstance(reason, Reason):
        return {**reason.values, "code": reason.code, "text": str(reason)}
    return {"code": "words", "text": reason}


@cache
def _forms() -> Mapping[str, re.Pattern[str]]:
    """What each sentence of the service can look like."""
    return {code: _form(text) for code, text in SENTENCES.items() if code not in _OF_THIS_SERVICE}


def _form(sentence: str) -> re.Pattern[str]:
    parts = Formatter().parse(sentence)
    return re.compile("".join(re.escape(text) + (f"(?P<{name}>.+?)" if name else "") for text, name, *_ in parts))
