"""Refuses keywords that a call does not accept, so that a typo or another library's option is never ignored. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["refuse_keywords"]

_STRANDS_ONLY: Final = frozenset(
    {"structured_output_model", "structured_output_prompt", "limits", "idempotency_token", "cancel_signal"}
)
"""Keywords of Strands' calls that playhead does not support yet."""


def refuse_keywords(function: Callable[..., object], given: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Refuse the keywords that ended up in the `**unknown` of `function`; `also` are those that it accepts there.

    Raises:
        TypeError: If there is such a keyword; the message lists the accepted arguments.
    """
    names = list(given)
    if not names:
        return
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD]
    known += list(also)
    later = [name for name in names if name in _STRANDS_ONLY]
    told = f" Strands has {', '.join(later)}; playhead does not support that yet." if later else ""
    shown = ", ".join(f"{name!r}" for name in names)
    values = " Values for the tools go into invocation_state={…}." if "invocation_state" in known else ""
    call = "an agent's call" if function.__name__ == "__call__" else f"{function.__name__}()"
    raise TypeError(f"{call} has no argument {shown}.{told} It has: {', '.join(known)}.{values}")
