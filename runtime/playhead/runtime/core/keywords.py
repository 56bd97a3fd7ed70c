"""Refuses keywords that a call does not accept, so that a typo or another library's option is never ignored. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["refuse_keywords"]

_INSTEAD: Final = {
    "cancel_signal": "cancel from anywhere with agent.cancel(), or run.cancel() in a fleet",
    "checkpointing": "every record is a checkpoint, after which any process goes on with the run",
    "idempotency_token": "choose a run_id for client.start(): one id is one run, however often it is submitted",
}
"""Keywords of Strands that playhead does not have, and what to use in their place."""


def refuse_keywords(function: Callable[..., object], given: Iterable[str], *, accepted: Iterable[str] = ()) -> None:
    """Refuse the keywords that ended up in the `**keywords` of `function`.

    Args:
        function: The called function.
        given: The names.
        accepted: Those of them that it takes.

    Raises:
        TypeError: If another keyword is given; the message lists the accepted arguments.
    """
    accepted = list(accepted)
    names = [name for name in given if name not in accepted]
    if not names:
        return
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD]
    told = "".join(f" Strands has {name}; here {_INSTEAD[name]}." for name in names if name in _INSTEAD)
    shown = ", ".join(f"{name!r}" for name in names)
    values = " Values for the tools go into invocation_state={…}." if "invocation_state" in known else ""
    call = "an agent's call" if function.__name__ == "__call__" else f"{function.__name__}()"
    raise TypeError(f"{call} has no argument {shown}.{told} It has: {', '.join([*known, *accepted])}.{values}")
