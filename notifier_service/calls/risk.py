"""How risky a server's tool is: by the hints that it gives, held against the tool's name and parameters.

Hints are words of a server that nobody vouches for, so a name or a parameter may make a tool riskier than they say, and
never less risky. Without hints no tool is of low risk, whatever it is called: a person who knows it may say so in the
policy file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ..core.errors import InvalidInput, TooLarge
from ..core.events import Deed
from ..core.limits import RiskLevel
from ..core.parameters import jsonable, parameters_sha256
from ..core.policy.deeds import is_address_name, is_path_name, plainly, shapes_of, texts_in
from ..core.policy.places import holds_secrets
from ..core.policy.reasons import Reason
from ..core.policy.tool_names import bare_name, deed_of_name, is_mixed, names_secrets, reads_the_network, words_of

__all__ = ["DEFINITION", "RatedRisk", "risk_of_annotations", "risk_of_call", "risk_of_name", "risk_of_tool"]

#: What a definition is made of. Not ``_meta``, in which servers keep what changes from list to list.
DEFINITION = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")

_CHANGES = frozenset[Deed]({"writes", "deletes", "runs", "sends", "spends"})
_WORSE_THAN_WRITING = frozenset[Deed]({"deletes", "runs", "sends", "spends"})
_MAX_DEPTH = 5
_MAX_PARAMETERS = 200
#: Parameters that say what kind of thing is read.
_KINDS = frozenset({"kind", "resource", "type"})
_MAX_KIND = 64
#: No path is longer.
_MAX_PATH = 4096


class RatedRisk(NamedTuple):
    """A level, why it is that in sentences for a person, and a hash of how the server defines the tool, if it does."""

    level: RiskLevel
    reasons: tuple[Reason, ...]
    definition_sha256: str | None = None


def risk_of_tool(tool: Any) -> RatedRisk:
    """Rate a tool as ``tools/list`` gives it, or None for one that the server does not list.

    A tool is a mapping with the names of the wire, or an object of the SDK (1.x: ``readOnlyHint``, 2.x:
    ``read_only_hint``).
    """
    if tool is None:
        return RatedRisk("high", (Reason("not_listed"),))
    name = _get(tool, "name")
    schema = _get(tool, "inputSchema") or _get(tool, "input_schema")
    rated = risk_of_annotations(
        _get(tool, "annotations"), name if isinstance(name, str) else "", _parameter_names(schema)
    )
    return rated._replace(definition_sha256=_definition_sha256(tool))


def risk_of_annotations(annotations: Any, name: str = "", parameters: Collection[str] = ()) -> RatedRisk:
    """Rate a tool by its ``ToolAnnotations``, given as a mapping, an object of the SDK, or None.

    ``name`` is the tool's, ``parameters`` are the names of what it takes.
    """
    read_only = _hint(annotations, "readOnlyHint", "read_only_hint")
    destructive = _hint(annotations, "destructiveHint", "destructive_hint")
    open_world = _hint(annotations, "openWorldHint", "open_world_hint")
    if read_only is None and destructive is None and open_world is None:
        return risk_of_name(name, parameters)
    reach = Reason("reach_unsaid" if open_world is None else "reaches_out" if open_world else "stays_within")
    if read_only is not True and destructive is not False:
        return RatedRisk("high", (Reason("may_destroy" if destructive else "may_destroy_unsaid"), reach))
    said = Reason("only_reads" if read_only else "destroys_nothing")
    doubt = _disagreement(name, parameters, reads=read_only is True)
    if doubt is not None:
        return RatedRisk("high", (doubt, said, reach))
    if is_mixed(name):
        return RatedRisk("medium" if read_only else "high", (Reason("letters_mixed"), said, reach))
    if not read_only:
        return RatedRisk("high" if open_world else "medium", (said, reach))
    if names_secrets(name):
        return RatedRisk("medium", (Reason("reads_secrets"), said, reach))
    if any(map(is_address_name, parameters)):
        return RatedRisk("medium", (Reason("takes_addresses"), said, reach))
    reaches = open_world or (open_world is None and reads_the_network(name))
    return RatedRisk("medium" if reaches else "low", (said, reach))


def risk_of_name(name: str, parameters: Collection[str] = ()) -> RatedRisk:
    """Rate a tool of which nothing is known but its name and what it takes."""
    bare = bare_name(name)
    is_plain = not (is_mixed(bare) or names_secrets(bare) or shapes_of(parameters))
    if is_plain and deed_of_name(bare) == "reads":
        return RatedRisk("medium", (Reason("called_reading"),))
    return RatedRisk("high", (Reason("hints_missing"),))


def risk_of_call(rated: RatedRisk, parameters: Mapping[str, Any]) -> RatedRisk:
    """The risk of one call of a tool that is rated so: what reads anything is not harmless where keys lie."""
    if rated.level != "low":
        return rated
    texts = texts_in(parameters)
    for name, text in texts.found:
        if ("/" in text or "\\" in text or is_path_name(name)) and len(text) <= _MAX_PATH and holds_secrets(text):
            path = f'"{plainly(text)}"'
            return rated._replace(level="medium", reasons=(Reason("reads_secret_file", path=path), *rated.reasons))
        if len(text) <= _MAX_KIND and not _KINDS.isdisjoint(words_of(name)) and names_secrets(text):
            return rated._replace(level="medium", reasons=(Reason("reads_secret_kind"), *rated.reasons))
    if not texts.is_all:
        return rated._replace(level="medium", reasons=(Reason("not_looked_through"), *rated.reasons))
    return rated


def _disagreement(name: str, parameters: Collection[str], *, reads: bool) -> Reason | None:
    """What speaks against the hint that a tool only reads, or that it destroys nothing."""
    by_name = deed_of_name(name)
    if by_name in (_CHANGES if reads else _WORSE_THAN_WRITING):
        return Reason("name_disagrees", deed=str(by_name))
    by_shape = shapes_of(parameters) & _CHANGES if reads else frozenset[Deed]()
    return Reason("parameters_disagree", deed=" and ".join(sorted(by_shape))) if by_shape else None


def _parameter_names(schema: Any, depth: int = 0) -> frozenset[str]:
    """The names of what a tool takes, those within objects and lists too; of a huge schema the first."""
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return frozenset()
    properties = schema.get("properties")
    names: frozenset[str] = frozenset()
    if isinstance(properties, Mapping):
        first = list(properties.items())[:_MAX_PARAMETERS]
        names = frozenset(name for name, _ in first if isinstance(name, str))
        for _, inner in first:
            if len(names) < _MAX_PARAMETERS:
                names |= _parameter_names(inner, depth + 1)
    return names | _parameter_names(schema.get("items"), depth + 1)


def _definition_sha256(tool: Any) -> str | None:
    """A hash over what the server says that the tool is and does; None if that is no JSON."""
    dump = getattr(tool, "model_dump", None)
    dumped = tool if dump is None else dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(dumped, Mapping):
        return None
    try:
        return parameters_sha256(jsonable({name: dumped[name] for name in DEFINITION if name in dumped}))
    except (InvalidInput, TooLarge):
        return None


def _hint(annotations: Any, *names: str) -> bool | None:
    """A hint that is really a boolean: a server that says 1 or "true" has said nothing."""
    for name in names:
        value = _get(annotations, name)
        if isinstance(value, bool):
            return value
    return None


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
