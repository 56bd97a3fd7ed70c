"""What a person sees of a run: the answer on stdout as it streams, everything about it on stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from playhead.runtime.events import Projection
from playhead.runtime.records import (
    Entry,
    ModelRetried,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunSubmitted,
    SignalReceived,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)

__all__ = ["EXIT_CANCELLED", "EXIT_FAILED", "RunView", "seconds", "short"]

EXIT_FAILED: Final = 1
EXIT_CANCELLED: Final = 3
_LONGEST: Final = 100


def short(value: Any, *, longest: int = _LONGEST) -> str:
    """A value on one line, cut to `longest` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def seconds(milliseconds: float) -> str:
    """A duration for people."""
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


class RunView:
    """Prints one run, record by record.

    Attributes:
        exit_code: What the command should exit with once the run has ended.
    """

    def __init__(self, run_id: str, *, after: int = 0) -> None:
        self.exit_code = 0
        self._out = Console(highlight=False, soft_wrap=True)
        self._about = Console(stderr=True, highlight=False, soft_wrap=True)
        self._projection = Projection(run_id)
        self._run_id = run_id
        self._after = after
        self._began_at: int | None = None
        self._began = time.monotonic()
        self._mid_line = False

    def note(self, text: str, *, style: str = "dim") -> None:
        """One line about the run."""
        if self._mid_line:
            self._out.file.write("\n")
            self._out.file.flush()
            self._mid_line = False
        self._about.print(Text(text, style=style))

    def feed(self, entry: Entry) -> None:
        """Show one record; those at or before `after` only prepare what follows."""
        events = self._projection.feed(entry)
        self._began_at = entry.record.at if self._began_at is None else self._began_at
        if entry.seq <= self._after:
            return
        for event in events:
            if "data" in event:
                self._say(event["data"])
            elif "reasoningText" in event:
                self._think(event["reasoningText"])
            elif "retracted" in event:
                self.note(f"[withdrawn: {short(event['text'])}]", style="yellow")
        self._remark(entry)

    def _say(self, text: str) -> None:
        self._out.file.write(_printable(text))
        self._out.file.flush()
        self._mid_line = not text.endswith("\n")

    def _think(self, text: str) -> None:
        self._about.print(Text(text, style="dim italic"), end="")

    def _remark(self, entry: Entry) -> None:
        record = entry.record
        match record:
            case RunSubmitted():
                self.note(f"run {self._run_id} · {record.agent}")
            case RunClaimed() if entry.epoch > 1:
                self.note(f"[taken over by {record.worker}, owner {entry.epoch}]", style="yellow")
            case RunHandedOver():
                self.note(f"[handed over by {record.worker}]", style="yellow")
            case ModelRetried():
                self.note(f"[asking the model again: {record.reason}]", style="yellow")
            case ToolStarted():
                self.note(f"→ {record.tool_use['name']} {short(record.tool_use['input'])}", style="cyan")
            case ToolProgressed():
                self.note(f"… {record.tool_use['name']}: {short(record.data)}")
            case ToolFinished():
                mark, style = ("✓", "green") if record.result["status"] == "success" else ("✗", "red")
                what = short(_shown(record.result["content"]))
                self.note(f"{mark} {record.name}: {what} ({seconds(record.duration_ms)})", style=style)
            case SignalReceived():
                self.note(f"[{record.kind} received]", style="yellow")
            case RunCompleted() | RunCancelled() | RunFailed():
                self._end(entry, record)
            case _:
                pass

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


def _shown(content: list[dict[str, Any]]) -> str:
    parts = [block["text"] if "text" in block else short(block.get("json", list(block))) for block in content]
    return " ".join(parts)


def _printable(text: str) -> str:
    """Text without terminal escapes or lone surrogates: a model must not drive the reader's terminal."""
    safe = "".join(c if c in "\n\t" or c.isprintable() or c in "\u200d\ufe0f" else "\ufffd" for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return safe.encode(encoding, "replace").decode(encoding)
