"""What a tool says that it takes, as a JSON Schema: the words of somebody whom nobody vouches for.

So nothing is fetched for a schema, no pattern in it can run away, and what takes long is given up: then nobody knows
whether parameters fit, which is not to say that they do.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Self

from pydantic_core import SchemaError, SchemaValidator, core_schema, from_json

from .errors import InvalidInput
from .parameters import canonical_json

__all__ = ["InputSchema"]

#: Of 199 tools of real servers the largest has 9 KB.
_MAX_BYTES = 128 * 1024
#: Keywords that are looked at for one edit, in a tenth of a second. A schema that names its parts twice grows fast.
_MAX_STEPS = 20_000
_STEP_SECONDS = 2e-6
#: Characters of a text, for patterns that count, of which one step may cost as much as the whole pattern; and else.
_MAX_COUNTED = 4_000
_MAX_PRODUCT = 10_000_000
_MAX_ERRORS = 50
_MAX_SAID = 300


class InputSchema:
    """A tool's input schema. ``problem`` is why nothing can be checked against it, or None."""

    __slots__ = ("__weakref__", "problem", "text")

    def __init__(self, text: bytes, problem: str | None = None) -> None:
        self.text = text
        self.problem = problem

    @classmethod
    def of(cls, schema: object) -> Self | None:
        """The schema, copied; None where there is none. Never raises."""
        if schema is None:
            return None
        if not isinstance(schema, Mapping):
            return cls(b"", "it is no object")
        try:
            text = canonical_json(dict(schema))
        except (ValueError, TypeError, RecursionError):
            return cls(b"", "it is no JSON")
        if len(text) > _MAX_BYTES:
            return cls(b"", f"it has {len(text)} bytes, more than {_MAX_BYTES}")
        return cls(text)

    @property
    def sha256(self) -> str | None:
        """A hash of what it says; None where that is not known."""
        return None if self.problem is not None else hashlib.sha256(self.text).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InputSchema) and (self.text, self.problem) == (other.text, other.problem)

    def __hash__(self) -> int:
        return hash(self.text)

    def to_json(self) -> dict[str, Any] | None:
        """The schema as it was given; None where nothing can be checked against it."""
        schema: dict[str, Any] | None = None if self.problem is not None else from_json(self.text)
        return schema

    def require(self, parameters: Mapping[str, Any]) -> None:
        """Raise ``InvalidInput`` for parameters that do not fit, or of which that cannot be known.

        ``pointer`` in its details says where (a JSON pointer).
        """
        try:
            misfit = self._misfit(parameters)
        except _Unusable as unusable:
            raise InvalidInput(
                f"The tool's input schema cannot be checked ({unusable}), so it takes no edit: approve the call as it "
                "is, or reject it."
            ) from None
        if misfit is not None:
            pointer, said = misfit
            raise InvalidInput(f"parameters{pointer}: {said}", pointer=pointer)

    def _misfit(self, parameters: Mapping[str, Any]) -> tuple[str, str] | None:
        if self.problem is not None:
            raise _Unusable(self.problem)
        if b'"unevaluatedProperties":' in self.text and b'"patternProperties":' in self.text:
            # For these the library looks for patterns with an engine that may run away.
            raise _Unusable("it has unevaluatedProperties beside patternProperties")
        from jsonschema.exceptions import best_match  # not at the start of every command, for which it takes long

        try:
            errors = islice(_Check().validator(from_json(self.text)).iter_errors(parameters), _MAX_ERRORS)
            error = best_match(errors)
        except _Unusable:
            raise
        except RecursionError:
            raise _Unusable("it refers to itself without end") from None
        except Exception as error:
            # A keyword with a value of the wrong kind fails wherever the library meets it, in its own way.
            if "Unresolvable" in type(error).__name__ or "ReferencingError" in type(error).__name__:
                raise _Unusable("it refers to what is not in it") from None
            raise _Unusable("it is no JSON Schema that can be read") from None
        if error is None:
            return None
        pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.absolute_path)
        shown = repr(error.instance)  # what was given stands in no answer: it may be a secret
        said = f"it{error.message[len(shown) :]}" if error.message.startswith(shown) else error.message
        return pointer, said if len(said) <= _MAX_SAID else said[:_MAX_SAID] + "…"


class _Unusable(Exception):
    """Nobody can know whether parameters fit; the text says why."""


class _Check:
    """One look at parameters, which ends after so many steps."""

    def __init__(self) -> None:
        self._left = _MAX_STEPS

    def validator(self, schema: Any) -> Any:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend, validator_for
        from referencing import Registry

        kind = validator_for(schema, default=None) if "$schema" in schema else Draft202012Validator
        if kind is None:
            raise _Unusable("its $schema is none that is known")
        own = {
            "pattern": self._pattern,
            "patternProperties": self._pattern_properties,
            "additionalProperties": self._additional_properties,
            "uniqueItems": self._unique_items,
        }
        keywords = {name: self._counted(own.get(name, keyword)) for name, keyword in kind.VALIDATORS.items()}
        # An empty registry: by itself the library would fetch what a schema refers to.
        return extend(kind, keywords)(schema, registry=Registry())

    def _counted(self, keyword: Callable[..., Any]) -> Callable[..., Any]:
        def look(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
            self._spend(1)
            return keyword(validator, value, instance, schema)

        return look

    def _spend(self, steps: float) -> None:
        self._left -= int(steps)
        if self._left < 0:
            raise _Unusable("it takes too long")

    def _found(self, pattern: Any, text: str) -> bool:
        """Whether a pattern is somewhere in a text; in time that grows with neither's contents."""
        if not isinstance(pattern, str):
            raise _Unusable("a pattern in it is no text")
        if len(text) > _MAX_COUNTED and ("{" in pattern or len(text) * len(pattern) > _MAX_PRODUCT):
            raise _Unusable(f"a pattern is to be looked for in a text of {len(text)} characters")
        began = time.thread_time()
        try:
            return all(_searches(part, text) is wanted for part, wanted in _parts(pattern))
        finally:
            self._spend((time.thread_time() - began) / _STEP_SECONDS)

    def _pattern(self, validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import ValidationError

        if isinstance(instance, str) and not self._found(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    def _pattern_properties(self, validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            for pattern, subschema in patterns.items():
                for name, value in instance.items():
                    if self._found(pattern, name):
                        yield from validator.descend(value, subschema, path=name, schema_path=pattern)

    def _additional_properties(self, validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import ValidationError

        if not isinstance(instance, dict):
            return
        patterns = schema.get("patternProperties", {})
        for name, value in instance.items():
            if name not in schema.get("properties", {}) and not any(self._found(each, name) for each in patterns):
                if allowed is False:
                    yield ValidationError(f"{name!r} is no parameter of it")
                else:
                    yield from validator.descend(value, allowed, path=name)

    def _unique_items(self, validator: Any, is_wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        from jsonschema import ValidationError

        if is_wanted and isinstance(instance, list):
            self._spend(len(instance))
            if len({canonical_json(item) for item in instance}) < len(instance):
                yield ValidationError("an item is in it twice")


#: ``^(?!…)`` and ``^(?=…)``: what stands behind each is looked for by itself. Generators of schemas write e-mail so.
_LOOK_AHEAD = re.compile(r"\(\?([!=])((?:[^()\\]|\\.|\([^()]*\))*)\)")


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[tuple[str, bool], ...]:
    """Patterns without a look ahead at the beginning, and whether each is to be found; together they say the same."""
    parts: list[tuple[str, bool]] = []
    rest = pattern.removeprefix("^")
    while rest is not pattern and (ahead := _LOOK_AHEAD.match(rest)):
        parts.append((f"^(?:{ahead[2]})", ahead[1] == "="))
        rest = rest[ahead.end() :]
    return (*parts, (f"^{rest}" if parts else pattern, True))


def _searches(pattern: str, text: str) -> bool:
    return _compiled(pattern).isinstance_python(text)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> SchemaValidator:
    """A pattern, by an engine that takes time in proportion to the text, and knows nothing that could take more."""
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, strict=True, regex_engine="rust-regex"))
    except SchemaError:
        raise _Unusable(f"its pattern {json.dumps(pattern[:100])} is none that surely ends") from None
