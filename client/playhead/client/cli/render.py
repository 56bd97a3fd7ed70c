"""Values as a user sees them: on one line, without terminal escapes, or as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, redirect_stdout
from datetime import datetime
from typing import Any, Final

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.guest_words import worded
from playhead.runtime.core.json_lines import json_line, json_ready
from playhead.runtime.core.metadata import Metadata, tags_of
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import Entry, ModelFailed, now_ms

__all__ = [
    "EXIT_CANCELLED",
    "EXIT_DIFFERS",
    "EXIT_FAILED",
    "STATE_STYLES",
    "age",
    "counted",
    "date",
    "failed_call",
    "has_terminal",
    "preview",
    "print_json",
    "printable",
    "read_stdin",
    "record_line",
    "seconds",
    "short",
    "shown_content",
    "tags_text",
    "write_json",
]

STATE_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "running": "cyan",
    "queued": "yellow",
    "cancelled": "magenta",
    "paused": "bright_yellow",
}

EXIT_FAILED: Final = 1
EXIT_CANCELLED: Final = 3
EXIT_DIFFERS: Final = 4
_LONGEST: Final = 100


def counted(number: int, what: str) -> str:
    """`1 run`, `2 runs`, `1,000 runs`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


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


def agents_print_to_stderr() -> AbstractContextManager[object]:
    """For a block in which code of agents is called here: stdout is for what the command tells, which a program may read."""
    return redirect_stdout(sys.stderr)


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
    """A duration for people: `3 ms`, `2.4 s`, `2 min 5 s`, `10 h 17 min`, `3 d 4 h`."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 120_000:
        return f"{milliseconds / 1000:.1f} s"
    whole = int(milliseconds // 1000)
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def age(at_ms: int) -> str:
    """How long ago a time was, in its largest unit, by this machine's clock."""
    passed = max(0, now_ms() - at_ms)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if passed >= size:
            return f"{passed // size} {unit}"
    return f"{passed // 1000} s"


def date(at_ms: int) -> str:
    """A time as a date, in local time; a number that is not one as it is."""
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def preview(prompt: Any, *, longest: int = _LONGEST) -> str:
    """What a run was asked, on one line: the last message of its prompt."""
    try:
        messages = prompt_messages(prompt)
    except (ValueError, PlayheadError):  # not a prompt of this version
        return short(prompt, longest=longest)
    said = messages[-1].get("content", []) if messages else []
    return short(shown_content([dict(block) for block in said]), longest=longest)


def tags_text(metadata: Metadata) -> str:
    """A run's metadata on one line."""
    return " ".join(tags_of(metadata))


def record_line(entry: Entry) -> str:
    """A record with its position, on one line."""
    fields = {key: value for key, value in dict(entry.record).items() if key not in ("v", "type", "at")}
    return f"{entry.seq:>6}-{entry.epoch}  {entry.record.type:<18} {short(fields)}"


def failed_call(record: ModelFailed) -> str:
    """What failed and when it is tried again, in one line."""
    what = f"{record.error_type}: {short(record.message)}"
    if record.overflow:
        return f"model call {record.attempt} failed, because the history is too long: {what}"
    return f"model call {record.attempt} failed: {what}; it is made again in {record.delay:.1f} s"


def shown_content(content: list[dict[str, Any]]) -> str:
    """The content blocks of a model or a tool as one string."""
    parts = [
        block["text"] if "text" in block else short(worded(block) if "json" in block else list(block))
        for block in content
    ]
    return " ".join(parts)
