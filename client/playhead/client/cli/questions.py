"""Reads responses from the command line: the question that each argument responds to, and the value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from playhead.runtime.core.interrupts import Interrupt, ids_by_name, names_of

__all__ = ["read_responses", "read_value", "read_values"]


def read_responses(given: Sequence[str], interrupts: Sequence[Interrupt]) -> dict[str, Any]:
    """Read responses by interrupt id from arguments: `ID=RESPONSE`, `NAME=RESPONSE`, or `RESPONSE` if one question is open.

    A text with a `=` is a `RESPONSE` alone only if it is JSON: otherwise the part before it may be a misspelt name, and
    the response to a question that is not open must never approve another one.

    Raises:
        ValueError: If an argument does not name an open question, or two name the same one.
    """
    names = names_of(interrupts)
    keys = ids_by_name(interrupts)
    responses: dict[str, Any] = {}
    for text in given:
        matching = [key for key in keys if text.startswith(f"{key}=")]
        if matching:
            key = max(matching, key=len)
            interrupt, response = keys[key], text[len(key) + 1 :]
        elif len(interrupts) == len(given) == 1 and ("=" not in text or _is_json(text)):
            interrupt, response = interrupts[0].id, text
        else:
            asked = ", ".join(f"{name} ({key})" if name != key else key for key, name in names.items())
            raise ValueError(f"{text!r} does not name an open question; pass ID=RESPONSE. Open are: {asked}")
        if interrupt in responses:
            raise ValueError(f"two responses to {names[interrupt]}")
        responses[interrupt] = read_value(response)
    return responses


def read_value(text: str) -> Any:
    """Read a value from the command line: parsed if it is JSON, else the string itself.

    Raises:
        ValueError: If it begins like an object or a list and is not JSON: a value that was meant otherwise must not count.
    """
    try:
        return _parsed(text)
    except ValueError as error:
        if text.lstrip()[:1] not in ("{", "["):
            return text
        quoted = json.dumps(text, ensure_ascii=False)
        raise ValueError(
            f"{text!r:.200} is not JSON ({error}). If it is a text, put it in quotes: {quoted:.200}"
        ) from error


def read_values(option: str, given: Sequence[str]) -> dict[str, Any]:
    """Read the values of an option `ID=VALUE` that may be repeated, by id.

    Raises:
        ValueError: If one has no `=`, or no id before it.
    """
    values: dict[str, Any] = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not (key and equals):
            raise ValueError(f"{option} needs ID=VALUE, not {one!r}")
        values[key] = read_value(text)
    return values


def _is_json(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON, whatever Python reads
