"""Presents a run's questions to a user: their names, and the command that responds to them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Final

from playhead.runtime.core.interrupts import Interrupt, names_of

__all__ = ["how_to_respond", "waiting_for"]

_LONGEST_REASON: Final = 200


def how_to_respond(run_id: str, interrupts: Sequence[Interrupt]) -> str:
    """The command that responds to these questions, quoted for a shell."""
    if len(interrupts) == 1:
        return f"playhead respond {run_id} RESPONSE"
    return " ".join(
        ["playhead respond", run_id, *(shlex.quote(f"{name}=RESPONSE") for name in names_of(interrupts).values())]
    )


def waiting_for(run_id: str, interrupts: Sequence[Interrupt]) -> str:
    """What a run waits for and how to respond, in one line for a log."""
    questions: list[str] = []
    for one in interrupts:
        reason = one.reason if isinstance(one.reason, str) else json.dumps(one.reason, default=str)
        questions.append(f"{one.name}{'' if one.reason is None else f': {reason[:_LONGEST_REASON]}'} ({one.id})")
    return (
        f"run {run_id} waits for a response to {'; '.join(questions)}. Respond: {how_to_respond(run_id, interrupts)}, "
        "or run.respond({id: answer})"
    )
