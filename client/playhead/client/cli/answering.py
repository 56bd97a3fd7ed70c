"""Asks the user at the terminal what a paused run asks, and responds, while the run is watched."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import anyio

from playhead.client.cli.questions import read_value
from playhead.client.cli.render import has_terminal
from playhead.client.cli.run_view import RunView
from playhead.client.questions import how_to_respond
from playhead.client.run import Run
from playhead.runtime.core.errors import InterruptNotOpenError, RunEndedError
from playhead.runtime.core.interrupts import Interrupt, names_of

__all__ = ["Answering", "can_ask"]

_MOST_WAITING: Final = 16


def can_ask() -> bool:
    """Whether a user at a terminal can be asked, and waited for without blocking what is shown meanwhile."""
    return sys.platform != "win32" and has_terminal() and sys.stderr.isatty()


class Answering:
    """Asks for the responses that one run waits for. `run` is a task; `ask` and `withdraw` are called beside it."""

    def __init__(self, run: Run, view: RunView) -> None:
        self._run = run
        self._view = view
        self._asked, self._received = anyio.create_memory_object_stream[Sequence[Interrupt]](_MOST_WAITING)
        self._asking: anyio.CancelScope | None = None
        self._ended = False

    def ask(self, interrupts: Sequence[Interrupt]) -> bool:
        """The run waits for responses to these. Returns whether the user is asked: not after the end of the input."""
        if not self._ended:
            self.withdraw()  # some of them may have been answered elsewhere
            self._asked.send_nowait(interrupts)
        return not self._ended

    def withdraw(self) -> None:
        """The run does not wait any longer for what the user is being asked."""
        if self._asking is not None:
            self._asking.cancel()

    async def run(self) -> None:
        """Ask, and respond, until standard input ends."""
        async with self._asked, self._received:
            async for interrupts in self._received:
                answers: dict[str, object] | None = None
                with anyio.CancelScope() as self._asking:
                    answers = await self._answers(interrupts)
                withdrawn, self._asking = self._asking.cancelled_caught, None
                if withdrawn:
                    continue
                if answers is None:
                    self._ended = True
                    self._view.note(f"[respond: {how_to_respond(self._run.id, interrupts)}]", style="yellow")
                    return
                try:
                    await self._run.respond(answers)
                except (InterruptNotOpenError, RunEndedError):
                    self._view.note("[this was answered elsewhere]", style="yellow")

    async def _answers(self, interrupts: Sequence[Interrupt]) -> dict[str, object] | None:
        """The responses by id; None at the end of the input."""
        names = names_of(interrupts)
        answers: dict[str, object] = {}
        for one in interrupts:
            while one.id not in answers:
                self._view.prompt(f"{names[one.id]}> ")
                await anyio.wait_readable(sys.stdin.fileno())  # of a terminal: when a line is complete
                line = sys.stdin.readline()
                self._view.prompted()
                if not line:
                    return None
                if line.strip():
                    try:
                        answers[one.id] = read_value(line.strip())
                    except ValueError as error:
                        self._view.note(f"[{error}]", style="yellow")
        return answers
