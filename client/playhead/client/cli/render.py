"""Shows a run to a user: the model's text on stdout as it streams, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import IO, Any, Final

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.core.json_lines import json_line, json_ready
from playhead.runtime.core.records import (
    Entry,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunPaused,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)

__all__ = [
    "EXIT_CANCELLED",
    "EXIT_DIFFERS",
    "EXIT_FAILED",
    "RunView",
    "failed_call",
    "print_json",
    "printable",
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
_QUIET_S: Final = 0.5
"""How long the output may pause before a terminal shows what the run waits for."""

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def printable(text: str) -> str:
    """Remove terminal escapes, other control characters and lone surrogates: a model must not control the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() or c in "\u200d\ufe0f" else "\ufffd" for c in text)


def short(value: Any, *, longest: int = _LONGEST) -> str:
    """A value on one line, cut to `longest` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


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


class RunView:
    """Prints one run, record by record.

    Attributes:
        exit_code: The exit code of the command once the run has ended.
    """

    def __init__(self, run_id: str, *, after: int = 0) -> None:
        self.exit_code: int = 0
        self._out = Console(highlight=False, soft_wrap=True)
        self._about = Console(stderr=True, highlight=False, soft_wrap=True)
        self._projection = Projection(run_id)
        self._run_id = run_id
        self._after = after
        self._began_at: int | None = None
        self._unfinished: IO[str] | None = None  # the stream whose last line is not finished
        self._waits_for: str | None = None
        self._waiting = False
        self._silent_since = time.monotonic()

    def note(self, text: str, *, style: str = "dim") -> None:
        """Print one line about the run."""
        self._begin(None)
        self._about.print(Text(printable(text), style=style))

    def tick(self) -> None:
        """On a terminal, show what the run waits for and for how long. Call it about ten times a second."""
        text = self._status()
        if text is None or self._unfinished or not self._about.is_terminal:
            return
        self._erase()
        line = Text(text, style="dim")
        line.truncate(self._about.width - 1)
        self._about.print(line, end="")
        self._waiting = True

    def _status(self) -> str | None:
        """The line of `tick`, or None for none."""
        silent = time.monotonic() - self._silent_since
        if self._waits_for is None or silent < _QUIET_S:
            return None
        return f"{_SPINNER[int(silent * 10) % len(_SPINNER)]} {self._waits_for} · {silent:.0f} s"

    def clear(self) -> None:
        """Remove the line of `tick`; the next output takes its place."""
        if self._waiting:
            self._erase()
            self._waiting = False
        self._silent_since = time.monotonic()

    def _begin(self, stream: IO[str] | None) -> None:
        """Start a new line, unless the next output continues the unfinished line of `stream`."""
        self.clear()
        if self._unfinished is not None and self._unfinished is not stream:
            self._unfinished.write("\n")
            self._unfinished.flush()
            self._unfinished = None

    def _erase(self) -> None:
        self._about.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))

    def feed(self, entry: Entry) -> bool:
        """Show one record, and return whether it is after `after`; earlier records only prepare later ones."""
        events = self._projection.feed(entry)
        self._began_at = entry.record.at if self._began_at is None else self._began_at
        if entry.seq <= self._after:
            return False
        for event in events:
            self._show(event)
        self._remark(entry)
        return True

    def _show(self, event: Event) -> None:
        if "data" in event:
            self._say(event["data"])
        elif "reasoningText" in event:
            self._think(event["reasoningText"])
        elif "retracted" in event:
            self.note(f"[withdrawn: {short(event['text'])}]", style="yellow")

    def _say(self, text: str) -> None:
        out = self._out.file
        self._begin(out)
        out.write(printable(text))
        out.flush()
        self._unfinished = None if text.endswith("\n") else out

    def _think(self, text: str) -> None:
        self._begin(self._about.file)
        self._about.print(Text(printable(text), style="dim italic"), end="")
        self._unfinished = None if text.endswith("\n") else self._about.file

    def _remark(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case RunSubmitted():
                self.note(f"run {self._run_id} · {record.agent}")
                self._waits_for = "waiting for a worker"
            case RunClaimed():
                if entry.epoch > 1:
                    self.note(f"[taken over by {record.worker}, owner {entry.epoch}]", style="yellow")
                self._waits_for = f"{record.worker} runs it"
            case RunHandedOver():
                self.note(f"[handed over by {record.worker}]", style="yellow")
                self._waits_for = "waiting for a worker"
            case ModelStarted():
                self._waits_for = "waiting for the model"
            case ModelRetried():
                self.note(f"[asking the model again: {record.reason}]", style="yellow")
            case ModelFailed():
                self.note(f"[{failed_call(record)}]", style="yellow")
                self._waits_for = f"waiting {record.delay:.1f} s to call the model again"
            case ToolStarted():
                self.note(f"→ {record.tool_use['name']} {short(record.tool_use['input'])}", style="cyan")
                self._waits_for = f"running {short(record.tool_use['name'], longest=40)}"
            case ToolProgressed():
                self.note(f"… {record.tool_use['name']}: {short(record.data)}")
            case ToolFinished():
                mark, style = ("✓", "green") if record.result["status"] == "success" else ("✗", "red")
                what = short(shown_content(record.result["content"]))
                self.note(f"{mark} {record.name}: {what} ({seconds(record.duration_ms)})", style=style)
            case RunPaused():
                self._ask(record)
            case SignalReceived():
                self.note(f"[{_heard(record)}]", style="yellow")
            case RunCompleted() | RunCancelled() | RunFailed():
                self._waits_for = None
                self._end(entry, record)
            case _:
                pass

    def _ask(self, record: RunPaused) -> None:
        for one in map(Interrupt, record.interrupts):
            self.note(f"? {one.name}{'' if one.reason is None else f': {short(one.reason)}'}", style="yellow")
        self._waits_for = "waiting for a response"

    def _end(self, entry: Entry, record: RunCompleted | RunCancelled | RunFailed) -> None:
        took = seconds(record.at - (self._began_at or record.at))
        if isinstance(record, RunFailed):
            self.exit_code = EXIT_FAILED
            self.note(f"failed after {took}: {record.error_type}: {record.message}", style="bold red")
            return
        self.exit_code = EXIT_CANCELLED if isinstance(record, RunCancelled) else 0
        usage = record.result.get("metrics", {}).get("usage", {})
        tokens = f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)} tokens"
        self.note(f"{record.result.get('stop_reason')} · {took} · {tokens} · {entry.seq} records")


def failed_call(record: ModelFailed) -> str:
    """What failed and when it is tried again, in one line."""
    what = f"{record.error_type}: {short(record.message)}"
    return f"model call {record.attempt} failed: {what}; it is made again in {record.delay:.1f} s"


def _heard(record: SignalReceived) -> str:
    match record:
        case SignalReceived(kind="respond", body=dict(answers)):
            return f"answered: {', '.join(map(short, answers.values()))}"
        case SignalReceived(kind="steer", body=said):
            return f"told: {short(said if isinstance(said, str) else shown_content(said))}"
        case _:
            return f"{record.kind} received"


def shown_content(content: list[dict[str, Any]]) -> str:
    """The content blocks of a model or a tool as one string."""
    parts = [block["text"] if "text" in block else short(block.get("json", list(block))) for block in content]
    return " ".join(parts)
