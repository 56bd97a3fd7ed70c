"""Looks for secrets in a file of runs: in every string, name, number and byte, and in text streamed in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from playhead.runtime.core.errors import RunFileError
from playhead.runtime.log.file.index import lines_of
from playhead.runtime.log.file.lines import data_of, parse, value_of
from playhead.runtime.log.file.spoken import Spoken, ends_call

__all__ = ["Found", "find"]


class Found(NamedTuple):
    """A place where a pattern was found. The match itself is not reported, because it may be a secret.

    Attributes:
        line: The number of the line.
        where: The kind of line, or the record's type, and the names of the fields.
    """

    line: int
    where: str


def find(path: str | Path, patterns: Sequence[re.Pattern[str]]) -> Iterator[Found]:
    """The places where one of the patterns is found, each once.

    Raises:
        RunFileError: If the file cannot be read, or a line is not JSON.
    """
    spoken, numbers = Spoken(), list[int]()
    try:
        with Path(path).open("rb") as file:
            for line in lines_of(file, str(path)):
                try:
                    kind, value = _content(parse(line.data))
                except ValueError as error:
                    raise RunFileError(str(path), line.number, str(error)) from error
                spoken.take(len(numbers), value)
                numbers.append(line.number)
                for where in _places(value, patterns):
                    yield Found(line.number, f"{kind}{where}")
                if ends_call(value):
                    yield from _in_spoken(spoken, numbers, patterns)
                    spoken, numbers = Spoken(), []
            yield from _in_spoken(spoken, numbers, patterns)
    except OSError as error:
        raise RunFileError(str(path), 0, f"it cannot be read ({error.strerror})") from error


def _content(held: dict[str, Any]) -> tuple[str, Any]:
    """The kind of a line and the value in it; bytes that are a record are decoded."""
    name = "record" if "seq" in held else "value"
    if name not in held and "bytes" not in held:
        return next(iter(held), "line"), held
    data = data_of(held, name)
    value = held[name] if name in held else value_of(data)
    value = data if value is None else value
    if isinstance(value, dict) and name == "record":
        return str(cast("dict[str, Any]", value).get("type", "record")), value
    return "model.chunk" if name == "record" else next(iter(held)), value


def _in_spoken(spoken: Spoken, numbers: Sequence[int], patterns: Sequence[re.Pattern[str]]) -> Iterator[Found]:
    """Yield the matches that lie across the pieces of a block; one within a piece is found with its record."""
    for _, pieces in spoken.blocks:
        whole, ends = "".join(text for _, text in pieces), list[int]()
        for _, text in pieces:
            ends.append((ends[-1] if ends else 0) + len(text))
        for pattern in patterns:
            for found in pattern.finditer(whole):
                first = next((at for at, end in enumerate(ends) if end > found.start()), 0)
                if found.end() > ends[first]:
                    yield Found(numbers[pieces[first][0]], "model.chunk, over several records")


def _places(value: Any, patterns: Sequence[re.Pattern[str]], at: str = "") -> Iterator[str]:
    """The paths of the values, and of the names, in which a pattern is found."""
    if isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            if any(pattern.search(str(key)) for pattern in patterns):
                yield f"{at}, in the name of a field"
                yield from _places(item, patterns, f"{at}.*")
            else:
                yield from _places(item, patterns, f"{at}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(cast("list[Any]", value)):
            yield from _places(item, patterns, f"{at}.{number}")
    elif value is not None and any(pattern.search(text) for text in _texts(value) for pattern in patterns):
        yield at


def _texts(value: Any) -> list[str]:
    if isinstance(value, bytes):
        return [value.decode("latin-1"), value.decode("utf-8", "replace")]
    return [value if isinstance(value, str) else str(value)]
