"""Refuses keywords that a call does not accept, so that a typo or another library's option is never ignored. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from playhead.runtime.core.strands_names import REFUSED_ARGUMENTS, asks_for_nothing

__all__ = ["names_keywords", "refuse_keywords"]

T = TypeVar("T")


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
    has = [*known, *accepted]
    told = "".join(
        f" Strands has {name}; here {REFUSED_ARGUMENTS[name]}." for name in names if name in REFUSED_ARGUMENTS
    )
    shown = ", ".join(f"{name!r}" for name in names)
    values = " Values for the tools go into invocation_state={…}." if "invocation_state" in known else ""
    call = "an agent's call" if function.__name__ == "__call__" else f"{function.__name__}()"
    taken = f"It has: {', '.join(has)}." if has else "It has none."
    raise TypeError(f"{call} has no argument {shown}.{told or _meant(names, has)} {taken}{values}")


def _meant(names: Iterable[str], has: Iterable[str]) -> str:
    """Ask whether the arguments that are spelt nearly the same are meant; nothing if there are none."""
    from difflib import get_close_matches

    near = dict.fromkeys(one for name in names for one in get_close_matches(name, list(has), n=1))
    return f" Did you mean {' and '.join(map(repr, near))}?" if near else ""


def names_keywords(kind: type[T]) -> type[T]:
    """Decorate a class so that its public methods refuse an unknown keyword as `refuse_keywords` does.

    Without it the message is Python's own, which does not say what is accepted. Methods with `**keywords` refuse them
    on their own.
    """
    for name, member in list(vars(kind).items()):
        public = not name.startswith("_") or name == "__init__"
        if public and inspect.isfunction(member) and not member.__code__.co_flags & inspect.CO_VARKEYWORDS:
            setattr(kind, name, _refusing(member, kind if name == "__init__" else member))
    return kind


def _refusing(function: Callable[..., Any], told: Callable[..., object]) -> Callable[..., Any]:
    """Wrap a function so that it refuses unknown keywords, with the signature of `told` in the message."""
    code = function.__code__
    known = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

    def check(keywords: Mapping[str, object]) -> None:
        if not known.issuperset(keywords):
            refuse_keywords(told, {name: value for name, value in keywords.items() if name not in known})

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        check(keywords)
        return function(*arguments, **keywords)

    @functools.wraps(function)
    async def awaited(*arguments: Any, **keywords: Any) -> Any:
        check(keywords)
        return await function(*arguments, **keywords)

    return awaited if inspect.iscoroutinefunction(function) else call  # a caller may ask which of the two it is
