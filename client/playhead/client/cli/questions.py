"""Responses from the command line: which question each argument responds to, and with what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from playhead.client.questions import names_of
from playhead.runtime.core.interrupts import Interrupt

__all__ = ["read_responses"]


def read_responses(given: Sequence[str], interrupts: Sequence[Interrupt]) -> dict[str, Any]:
    """Responses by interrupt id, from arguments `ID=ANSWER`, `NAME=ANSWER`, or `ANSWER` if one question is open.

    Raises:
        ValueError: One of them names no open question, or two name the same.
    """
    names = names_of(interrupts)
    keys = {**{name: key for key, name in names.items()}, **{key: key for key in names}}
    answers: dict[str, Any] = {}
    for text in given:
        matching = [key for key in keys if text.startswith(f"{key}=")]
        if matching:
            key = max(matching, key=len)
            interrupt, answer = keys[key], text[len(key) + 1 :]
        elif len(interrupts) == len(given) == 1 and not text.startswith("v1:"):
            interrupt, answer = interrupts[0].id, text
        else:
            asked = ", ".join(f"{name} ({key})" if name != key else key for key, name in names.items())
            raise ValueError(f"{text!r} names no open question; pass ID=ANSWER. Open are: {asked}")
        if interrupt in answers:
            raise ValueError(f"two responses to {names[interrupt]}")
        answers[interrupt] = _value(answer)
    return answers


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON, whatever Python reads
