"""Errors of the runs of hosted guests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.core.errors.root import PlayheadError

if TYPE_CHECKING:
    from playhead.runtime.core.records import Entry

__all__ = ["AgentStuckError", "DivergedError", "OutcomeUnknownError", "RecordedError"]


class DivergedError(PlayheadError):
    """Run again after a takeover, a guest did something else than the log has. The message names the first such record.

    Attributes:
        logged: That record.
        did: What the guest did instead, in words.
    """

    exit_code = 65
    logged: Entry | None = None
    did: str = ""


class AgentStuckError(PlayheadError):
    """Run again offline, a guest does not go on: it blocks, never ends, or waits for what is not in the log."""


class OutcomeUnknownError(PlayheadError):
    """A tool call was begun by a worker that died, and its tool is declared not to run again."""


class RecordedError(PlayheadError):
    """What a step or a tool raised before a takeover, if its class cannot be made again here.

    Attributes:
        error_type: The name of that class.
    """

    error_type: str = "RecordedError"
