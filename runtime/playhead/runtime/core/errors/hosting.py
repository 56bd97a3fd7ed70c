"""Errors of the runs of hosted guests."""

from __future__ import annotations

from playhead.runtime.core.errors.root import PlayheadError

__all__ = ["DivergedError", "OutcomeUnknownError", "RecordedError"]


class DivergedError(PlayheadError):
    """Run again after a takeover, a guest did something else than the log has. The message names the first such record."""

    exit_code = 65


class OutcomeUnknownError(PlayheadError):
    """A tool call was begun by a worker that died, and its tool is declared not to run again."""


class RecordedError(PlayheadError):
    """What a step or a tool raised before a takeover, if its class cannot be made again here.

    Attributes:
        error_type: The name of that class.
    """

    error_type: str = "RecordedError"
