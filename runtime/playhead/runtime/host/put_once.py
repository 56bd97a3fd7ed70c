"""`put_once`: puts a seam in the place of a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

__all__ = ["put_once"]

_SEAM: Final = "__playhead_seam__"


def put_once(holder: Any, name: str, wrap: Callable[[Any], Callable[..., Any]]) -> None:
    """Put what `wrap` makes of a method of an object, or of a class, in its place, unless that was done."""
    method = getattr(holder, name)
    if not hasattr(method, _SEAM):
        seam: Any = wraps(method)(wrap(method))
        setattr(seam, _SEAM, True)
        setattr(holder, name, seam)
