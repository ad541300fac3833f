"""How risky an MCP server says that its tools are, read from their annotations.

Annotations are hints of a server that nobody vouches for, so what is missing counts as the worst: that is what the
protocol's own defaults say (not read-only, destructive, open to the world).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.errors import InvalidInput
from ..core.limits import RiskLevel
from ..core.parameters import jsonable, parameters_sha256
from ..core.policy.reasons import Reason

__all__ = ["DEFINITION", "RatedRisk", "risk_of_annotations", "risk_of_tool"]


#: What a definition is made of. Not ``_meta``, in which servers keep what changes from list to list.
DEFINITION = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


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
    return risk_of_annotations(_get(tool, "annotations"))._replace(definition_sha256=_definition_sha256(tool))


def risk_of_annotations(annotations: Any) -> RatedRisk:
    """Rate a tool by its ``ToolAnnotations``, given as a mapping, an object of the SDK, or None."""
    read_only = _hint(annotations, "readOnlyHint", "read_only_hint")
    destructive = _hint(annotations, "destructiveHint", "destructive_hint")
    open_world = _hint(annotations, "openWorldHint", "open_world_hint")
    if read_only is None and destructive is None and open_world is None:
        return RatedRisk("high", (Reason("hints_missing"),))
    reach = Reason("reach_unsaid" if open_world is None else "reaches_out" if open_world else "stays_within")
    if read_only is True:
        return RatedRisk("low" if open_world is False else "medium", (Reason("only_reads"), reach))
    if destructive is False:
        return RatedRisk("medium" if open_world is False else "high", (Reason("destroys_nothing"), reach))
    return RatedRisk("high", (Reason("may_destroy" if destructive else "may_destroy_unsaid"), reach))


def _definition_sha256(tool: Any) -> str | None:
    """A hash over what the server says that the tool is and does; None if that is no JSON."""
    dump = getattr(tool, "model_dump", None)
    dumped = tool if dump is None else dump(mode="json", by_alias=True, exclude_none=True)
    if not isinstance(dumped, Mapping):
        return None
    try:
        return parameters_sha256(jsonable({name: dumped[name] for name in DEFINITION if name in dumped}))
    except InvalidInput:
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
