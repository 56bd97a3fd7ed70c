"""Refuses keywords that a call does not accept, so that a typo or another library's option is never ignored. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping

from playhead.runtime.core.strands_names import REFUSED_ARGUMENTS, asks_for_nothing

__all__ = ["refuse_keywords"]


def refuse_keywords(
    function: Callable[..., object], given: Mapping[str, object], *, accepted: Iterable[str] = ()
) -> None:
    """Refuse the keywords that ended up in the `**keywords` of `function`.

    Args:
        function: The called function.
        given: The keywords. One of Strands that asks for nothing, such as `cancel_signal=None`, is not refused.
        accepted: Those of them that it takes.

    Raises:
        TypeError: If another keyword is given; the message lists the accepted arguments.
    """
    accepted = list(accepted)
    names = [name for name in given if name not in accepted and not asks_for_nothing(name, given[name])]
    if not names:
        return
    parameters = inspect.signature(function).parameters.values()
    known = [one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD]
    told = "".join(
        f" Strands has {name}; here {REFUSED_ARGUMENTS[name]}." for name in names if name in REFUSED_ARGUMENTS
    )
    shown = ", ".join(f"{name!r}" for name in names)
    values = " Values for the tools go into invocation_state={…}." if "invocation_state" in known else ""
    call = "an agent's call" if function.__name__ == "__call__" else f"{function.__name__}()"
    raise TypeError(f"{call} has no argument {shown}.{told} It has: {', '.join([*known, *accepted])}.{values}")
