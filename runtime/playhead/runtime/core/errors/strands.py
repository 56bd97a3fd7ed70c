"""Makes `except strands.types.exceptions.X` catch playhead's exception of the same meaning. Strands is never imported here.

`except` looks at the real base classes of an exception, so a registered or pretended subclass does not help. The class of
Strands becomes a base of ours as soon as one of our exceptions is made in a process that has imported Strands: who names
a class in an `except` has imported it before that.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

__all__ = ["add_bases_of_strands", "also_in_strands"]

_MODULE: Final = "strands.types.exceptions"

C = TypeVar("C", bound=type[Exception])

_missing: Final[dict[type[Exception], str]] = {}  # the classes without their base, with its name


def also_in_strands(name: str) -> Callable[[C], C]:
    """Decorate an exception that `except strands.types.exceptions.<name>` is to catch as well."""

    def note(cls: C) -> C:
        _missing[cls] = name
        return cls

    return note


def add_bases_of_strands() -> None:
    """Give the noted classes their bases of Strands, if this process has imported Strands."""
    module: Any = sys.modules.get(_MODULE)
    if module is None or not _missing:
        return
    for cls, name in list(_missing.items()):
        theirs = getattr(module, name, None)  # None while the module is being imported, or in another version
        if isinstance(theirs, type):
            with suppress(
                TypeError
            ):  # another thread was faster; or a program has a class of both in an impossible order
                cls.__bases__ = (*cls.__bases__, theirs)
            _missing.pop(cls, None)
