"""The base class of playhead's errors."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["PlayheadError"]


class PlayheadError(Exception):
    """Base class of all errors of playhead; the text says what to do."""

    exit_code: ClassVar[int] = 1
