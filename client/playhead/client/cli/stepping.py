"""`playhead replay --step`: a person steps through a recorded run with keys, forward and back."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final, Literal

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.text import Text

from playhead.client.cli.place import doing, next_step
from playhead.client.cli.render import printable, record_line, seconds, short
from playhead.client.reader import RunReader
from playhead.client.states import StateAt
from playhead.runtime.core.records import ChildRecorded, Entry, ModelChunk, ToolProgressed

__all__ = ["Move", "NextKey", "Stepping", "keys_of_stdin", "move_of", "step_through"]

Move = Literal["next", "back", "next step", "step back", "first", "last", "help", "quit"]

_HELP: Final = (
    "→ n space: next record · ← p: back · ↓ s enter: next step · ↑ b: step back · g: first · G: last · q: leave"
)
_KEYS: Final[dict[str, Move]] = {
    **dict.fromkeys(("n", "l", " ", "\x1b[C", "\x1bOC", "\xe0M", "\x00M"), "next"),
    **dict.fromkeys(("p", "h", "\x7f", "\x08", "\x1b[D", "\x1bOD", "\xe0K", "\x00K"), "back"),
    **dict.fromkeys(("s", "j", "\r", "\n", "\x1b[B", "\x1bOB", "\xe0P", "\x00P"), "next step"),
    **dict.fromkeys(("b", "k", "\x1b[A", "\x1bOA", "\xe0H", "\x00H"), "step back"),
    **dict.fromkeys(("g", "\x1b[H", "\x1b[1~", "\x1bOH", "\xe0G", "\x00G"), "first"),
    **dict.fromkeys(("G", "\x1b[F", "\x1b[4~", "\x1bOF", "\xe0O", "\x00O"), "last"),
    **dict.fromkeys(("q", "\x1b", "\x03", "\x04", ""), "quit"),
}
"""The keys by the characters that terminals send: Unix, its application mode, and Windows. An empty string is the end of the input."""

_KEY: Final = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O.)|.", re.DOTALL)
_LINE_ENDS: Final = "\r\n"
_PIECES: Final = (ModelChunk, ToolProgressed, ChildRecorded)
"""The records that a step skips: the pieces of a message, of a tool's output or of a child."""
_PAGE: Final = 500


def move_of(key: str) -> Move:
    """The move that a key asks for; an unknown key asks for help."""
    return _KEYS.get(key, "help")


NextKey = Callable[[], Awaitable[str]]
"""Returns the next key; an empty string at the end of the input."""


@contextmanager
def keys_of_stdin() -> Generator[NextKey]:
    """Read keys from standard input. Without a terminal, they are its characters except line breaks."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - closed, as by `<&-`
        raise ValueError("standard input is closed: --step needs a terminal, or keys to read")
    if not sys.stdin.isatty():
        yield _Keys(_LINE_ENDS).next
    elif sys.platform == "win32":
        yield partial(anyio.to_thread.run_sync, typer.getchar)
    else:
        import termios  # which Windows lacks
        import tty

        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin, termios.TCSADRAIN)  # once, because keys that come in between would be lost
        try:
            yield _Keys().next
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class _Keys:
    """The keys of standard input, except `ignored` ones; one read may hold several."""

    def __init__(self, ignored: str = "") -> None:
        self._ignored = ignored
        self._read: list[str] = []

    async def next(self) -> str:
        """The next key; an empty text at the end of the input."""
        fd = sys.stdin.fileno()
        while not self._read:
            with suppress(PermissionError):  # a file on disk cannot be waited for, and is always readable
                await anyio.wait_readable(fd)
            data = os.read(fd, 1024)
            if not data:
                return ""
            self._read = [key for key in _KEY.findall(data.decode(errors="replace")) if key not in self._ignored]
        return self._read.pop(0)


async def step_through(run: RunReader, *, first: int, key: NextKey) -> int:
    """Show the run at `first`, then follow the keys until one leaves; returns the exit code."""
    stepping = Stepping(run)
    await stepping.go_to(first)
    stepping.say(_HELP)
    while (move := move_of(await key())) != "quit":
        await stepping.follow(move)
    return 0


class Stepping:
    """A place in a run, and the ways from there.

    Attributes:
        seq: The number of the record at which it is.
    """

    def __init__(self, run: RunReader) -> None:
        self.seq: int = 0
        self._run = run
        self._log = run.log
        self._states = run.states()
        self._console = Console(highlight=False, soft_wrap=True)
        self._began_at: int | None = None

    def say(self, text: str) -> None:
        """Print one line that is not part of the run."""
        self._console.print(Text(printable(text), style="dim"))

    async def follow(self, move: Move) -> None:
        """Go where a key leads, and show the place; at an end of the run, say so."""
        info = await self._run.info()
        match move:
            case "help" | "quit":
                self.say(_HELP)
                return
            case "first":
                await self.go_to(1)
                return
            case "last":
                await self.go_to(info.head)
                return
            case "next" | "next step":
                target = await self._forward(info.head, steps=move == "next step")
            case "back" | "step back":
                target = await self._back(steps=move == "step back")
        if target is None:
            at_end = "the run ends here" if info.ended else "this is the last record so far; the run goes on"
            self.say(at_end if move in ("next", "next step") else "the run begins here")
            return
        await self.go_to(target)

    async def go_to(self, seq: int) -> None:
        """Show the record and the state after it; what was streamed on the way is shown on one line."""
        place = await self._states.at(seq)
        if self._began_at is None:
            self._began_at = (await self._states.at(1)).entry.record.at
        if seq > self.seq + 1 > 1:
            await self._show_skipped(self.seq + 1, seq - 1)
        self.seq = seq
        self._show(place)

    async def _forward(self, head: int, *, steps: bool) -> int | None:
        """The next record, or the next one that is a step; the last record there is, if no step follows."""
        if self.seq >= head:
            return None
        if not steps:
            return self.seq + 1
        after = self.seq
        while page := await self._log.read(self._run.id, after=after, limit=_PAGE):
            if (found := _first_step(page)) is not None:
                return found
            after = page[-1].seq
        return after

    async def _back(self, *, steps: bool) -> int | None:
        if self.seq <= 1:
            return None
        if not steps:
            return self.seq - 1
        before = self.seq
        while page := await self._log.read_back(self._run.id, before=before, limit=_PAGE):
            if (found := _first_step(page)) is not None:
                return found
            before = page[-1].seq
        return 1

    async def _show_skipped(self, first: int, last: int) -> None:
        page = await self._log.read(self._run.id, after=first - 1, limit=min(_PAGE, last - first + 1))
        chunks = (one.record.chunk for one in page if isinstance(one.record, ModelChunk))
        deltas = ((chunk.get("contentBlockDelta") or {}).get("delta") or {} for chunk in chunks)
        text = "".join(delta.get("text", "") for delta in deltas)
        self.say(f"        {last - first + 1} records{f': {short(text)}' if text else ''}")

    def _show(self, place: StateAt) -> None:
        show = partial(self._console.print, end="\n")
        passed = place.entry.record.at - (self._began_at or place.entry.record.at)
        show(Text(printable(record_line(place.entry)), style="bold"))
        show(Text(f"        {place.entry.seq} of {place.head} · {seconds(passed)} after the beginning", style="dim"))
        show(Text(printable(f"        {doing(place.state, place.open_calls)}"), style="cyan"))
        show(
            Text(
                printable(f"        next: {next_step(place.step, guest=place.guest)}"),
                style="cyan",
            )
        )


def _first_step(entries: list[Entry]) -> int | None:
    return next((one.seq for one in entries if not isinstance(one.record, _PIECES)), None)
