"""A run's questions on the command line: what a person calls them, and how they are answered."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any

from playhead.runtime.interrupts import Interrupt

__all__ = ["how_to_answer", "names_of", "read_answers"]


def names_of(interrupts: Sequence[Interrupt]) -> dict[str, str]:
    """What a person calls each question, by its id: its name, or its id where others have that name."""
    times = Counter(one.name for one in interrupts)
    return {one.id: one.name if one.name and times[one.name] == 1 else one.id for one in interrupts}


def how_to_answer(run_id: str, interrupts: Sequence[Interrupt]) -> str:
    """The command that answers these questions, as a shell takes it."""
    if len(interrupts) == 1:
        return f"playhead respond {run_id} ANSWER"
    return " ".join(
        ["playhead respond", run_id, *(shlex.quote(f"{name}=ANSWER") for name in names_of(interrupts).values())]
    )


def read_answers(given: Sequence[str], interrupts: Sequence[Interrupt]) -> dict[str, Any]:
    """Answers by interrupt id, from arguments `ID=ANSWER`, `NAME=ANSWER`, or `ANSWER` where one question is open.

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
            raise ValueError(f"two answers to {names[interrupt]}")
        answers[interrupt] = _value(answer)
    return answers


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are not JSON, whatever Python reads
