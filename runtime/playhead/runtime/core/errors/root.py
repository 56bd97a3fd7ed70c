"""The base class of playhead's errors."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["PlayheadError"]


class PlayheadError(Exception):
    """The base class of all errors that playhead raises. The message says what to do."""

    exit_code: ClassVar[int] = 1
