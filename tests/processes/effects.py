"""What the agents that die do to the world: each effect is a line of a file in the current directory."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from playhead.runtime import current_call

__all__ = ["dies_before", "look", "note", "pay"]


def note(what: str) -> int:
    """Note an effect; how often it was there before."""
    file = Path("effects.txt")
    before = file.read_text().splitlines() if file.exists() else []
    with file.open("a") as out:
        out.write(f"{what}\n")
    return before.count(what)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def dies_before(piece: str) -> None:
    """Die before the last piece of an answer, which ends in `!`, the first time that one is given."""
    if piece.endswith("!") and note("asked") == 0:
        await asyncio.sleep(0.3)  # the pieces before are in the log by now
        _die()


def look() -> str:
    """Look."""
    note("look")
    return "seen"


def pay() -> str:
    """Pay, and die the first time."""
    call = current_call()
    assert call is not None
    if note(f"pay {call.effect_key.rpartition('/')[2]}") == 0:
        _die()
    return f"paid in attempt {call.attempt}"
