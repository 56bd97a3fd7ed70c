"""Values as a user sees them: on one line, without terminal escapes, or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from playhead.runtime.core.json_lines import json_line, json_ready
from playhead.runtime.core.records import Entry, ModelFailed

__all__ = [
    "EXIT_CANCELLED",
    "EXIT_DIFFERS",
    "EXIT_FAILED",
    "failed_call",
    "has_terminal",
    "print_json",
    "printable",
    "read_stdin",
    "record_line",
    "seconds",
    "short",
    "shown_content",
    "write_json",
]

EXIT_FAILED: Final = 1
EXIT_CANCELLED: Final = 3
EXIT_DIFFERS: Final = 4
_LONGEST: Final = 100


def printable(text: str) -> str:
    """Remove terminal escapes, other control characters and lone surrogates: a model must not control the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() or c in "\u200d\ufe0f" else "\ufffd" for c in text)


def short(value: Any, *, longest: int = _LONGEST) -> str:
    """A value on one line, cut to `longest` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def has_terminal() -> bool:
    """Whether a user can be asked something."""
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison] - None if closed


def read_stdin() -> str:
    """All of standard input, for an argument `-`.

    Raises:
        ValueError: If it is closed.
    """
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - closed, as by `<&-`
        raise ValueError("standard input is closed: there is nothing to read for the argument `-`")
    return sys.stdin.read()


def write_json(line: str) -> None:
    """Write one line of JSON, as made by `json_line`, to standard output, in UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as one line of JSON; on a terminal, indented and with control characters escaped.

    A value that is not plain data becomes a string.
    """
    if indent is None:
        write_json(json_line(value, other=str))
        return
    text = json.dumps(json_ready(value), ensure_ascii=False, default=str, indent=indent)
    write_json("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text))


def seconds(milliseconds: float) -> str:
    """A duration for people."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def record_line(entry: Entry) -> str:
    """A record with its position, on one line."""
    fields = {key: value for key, value in dict(entry.record).items() if key not in ("v", "type", "at")}
    return f"{entry.seq:>6}-{entry.epoch}  {entry.record.type:<18} {short(fields)}"


def failed_call(record: ModelFailed) -> str:
    """What failed and when it is tried again, in one line."""
    what = f"{record.error_type}: {short(record.message)}"
    return f"model call {record.attempt} failed: {what}; it is made again in {record.delay:.1f} s"


def shown_content(content: list[dict[str, Any]]) -> str:
    """The content blocks of a model or a tool as one string."""
    parts = [block["text"] if "text" in block else short(block.get("json", list(block))) for block in content]
    return " ".join(parts)
