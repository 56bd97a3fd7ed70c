"""Checks a value by a JSON schema (draft 2020-12, as pydantic writes them), and tells what is wrong in pydantic's words. Pure.

A model corrects its call by these words, so they are the ones that it gets where a pydantic class checks the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from pydantic_core import PydanticKnownError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

__all__ = ["check_schema", "schema_flaws"]

_LONGEST: Final = 300
_TYPES: Final = {
    "integer": ("int_type", "int_parsing"),
    "number": ("float_type", "float_parsing"),
    "boolean": ("bool_type", "bool_parsing"),
    "string": ("string_type", "string_type"),
    "array": ("list_type", "list_type"),
    "object": ("dict_type", "dict_type"),
    "null": ("none_required", "none_required"),
}
"""JSON type → pydantic's error, and its error for a string that cannot be read as that type."""

_BOUNDS: Final = {
    "minimum": ("greater_than_equal", "ge"),
    "exclusiveMinimum": ("greater_than", "gt"),
    "maximum": ("less_than_equal", "le"),
    "exclusiveMaximum": ("less_than", "lt"),
    "multipleOf": ("multiple_of", "multiple_of"),
    "minLength": ("string_too_short", "min_length"),
    "maxLength": ("string_too_long", "max_length"),
    "pattern": ("string_pattern_mismatch", "pattern"),
}
_LENGTHS: Final = {"minItems": ("too_short", "min_length"), "maxItems": ("too_long", "max_length")}


def check_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Refuse what is not a JSON schema, or refers to a definition that it does not hold; nothing is fetched.

    Raises:
        ValueError: The message names the schema.
    """
    from jsonschema import SchemaError

    validator = _validator(schema)
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise ValueError(f"the JSON schema of {name} is invalid at {place}: {error.message[:_LONGEST]}") from error
    for place in _references(schema):
        if not place.startswith("#") or not _holds(schema, place):
            raise ValueError(f"the JSON schema of {name} refers to {place!r}, which it does not hold")


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, item in cast("Mapping[object, object]", schema).items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from _references(item)
    elif isinstance(schema, list | tuple):
        for item in cast("list[object]", schema):
            yield from _references(item)


def _holds(schema: Mapping[str, Any], place: str) -> bool:
    """Whether a JSON pointer leads somewhere; an anchor, which is not a pointer, is left to the validator."""
    found: Any = schema
    for part in unquote(place).removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return False
    return True


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    # At first use, because it takes 0.2 s to import and most runs have no structured output.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    checks = Draft202012Validator.FORMAT_CHECKER
    return Draft202012Validator(
        schema, registry=Registry(), format_checker=checks
    )  # the default one fetches references


def schema_flaws(schema: Mapping[str, Any], value: object) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with `value`, as (path, message) in the order of the schema's properties; empty if nothing is."""
    order = {name: place for place, name in enumerate(cast("Mapping[str, Any]", schema.get("properties", {})))}
    errors = _validator(schema).iter_errors(cast("Any", value))
    found = dict.fromkeys(flaw for error in errors for flaw in _flaws(error))
    return sorted(found, key=lambda flaw: order.get(str(flaw[0][0]), len(order)) if flaw[0] else -1)


def _flaws(error: ValidationError) -> Iterator[tuple[tuple[str | int, ...], str]]:
    path = tuple(error.absolute_path)
    wanted, value, keyword = cast("Any", error.validator_value), cast("Any", error.instance), str(error.validator)
    match keyword:
        case "required":
            yield from (((*path, name), _said("missing")) for name in wanted if name not in value)
        case "additionalProperties" if wanted is False:
            known: Any = cast("Any", error.schema).get("properties", {})
            yield from (((*path, name), _said("extra_forbidden")) for name in value if name not in known)
        case "anyOf" | "oneOf" if error.context:
            yield from _flaws(error.context[0])
        case _:
            yield path, _message(keyword, wanted, value) or error.message[:_LONGEST]


def _message(keyword: str, wanted: Any, value: Any) -> str | None:
    match keyword:
        case "type":
            return _of_type(wanted, value)
        case "enum":
            return _said("literal_error", expected=_either(wanted))
        case "const":
            return _said("literal_error", expected=repr(wanted))
        case "format":
            return f"Input should be a valid {wanted}"
        case _ if keyword in _BOUNDS:
            kind, name = _BOUNDS[keyword]
            return _said(kind, **{name: wanted})
        case _ if keyword in _LENGTHS:
            kind, name = _LENGTHS[keyword]
            return _said(kind, **{"field_type": "List", name: wanted, "actual_length": len(value)})
        case _:
            return None


def _of_type(wanted: str | list[str], value: object) -> str:
    kinds = [wanted] if isinstance(wanted, str) else [one for one in wanted if one != "null"] or ["null"]
    plain, of_text = _TYPES[kinds[0]]
    if kinds[0] == "integer" and isinstance(value, float):
        return _said("int_from_float")
    return _said(of_text if isinstance(value, str) else plain)


def _either(options: list[Any]) -> str:
    *most, last = [repr(one) for one in options]
    return f"{', '.join(most)} or {last}" if most else last


def _said(kind: Any, **context: Any) -> str:
    return PydanticKnownError(kind, context or None).message()
