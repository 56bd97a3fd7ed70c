"""The base class of playhead's errors."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from playhead.runtime.core.errors.strands import add_bases_of_strands

__all__ = ["PlayheadError"]


class PlayheadError(Exception):
    """The base class of all errors that playhead raises. The message says what to do."""

    exit_code: ClassVar[int] = 1

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        add_bases_of_strands()
        return super().__new__(cls, *args, **keywords)

    def __init__(self, *args: object) -> None:
        Exception.__init__(self, *args)  # not that of a base of Strands, which wants other arguments
