"""How an agent runs the tool calls of one message: its argument `tool_executor`."""

from __future__ import annotations

from typing import Final, Literal

from playhead.runtime.core.arguments import check_choice

__all__ = ["Executor", "chosen_executor"]

Executor = Literal["concurrent", "sequential"]

_OF_STRANDS: Final[dict[str, Executor]] = {
    "ConcurrentToolExecutor": "concurrent",
    "SequentialToolExecutor": "sequential",
}


def chosen_executor(given: object) -> Executor:
    """The executor of an agent's argument: its name, an object of one of Strands' two classes, or None for the default.

    Raises:
        TypeError: If it is an executor of another class, whose rules are not known here.
        ValueError: If it is something else.
    """
    if given is None:
        return "concurrent"
    cls = type(given)
    if cls.__module__.startswith("strands.") and cls.__name__ in _OF_STRANDS:
        return _OF_STRANDS[cls.__name__]
    if any(one.__name__ == "ToolExecutor" for one in cls.__mro__):
        raise TypeError(
            f"tool_executor must be 'concurrent' or 'sequential', not an executor of the class {cls.__name__}: a tool may "
            "run its call as it needs, and a hook may change the call"
        )
    check_choice("tool_executor", given, ("concurrent", "sequential"))
    return "sequential" if given == "sequential" else "concurrent"
