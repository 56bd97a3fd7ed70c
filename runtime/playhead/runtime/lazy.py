"""Imports the names of a package at their first use (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["import_at_first_use"]


def import_at_first_use(package: str, homes: Mapping[str, str]) -> None:
    """Give `package` a `__getattr__` and a `__dir__` that offer each name in `homes` from the module listed there.

    A type checker cannot read `homes`, so the package also imports its names under `TYPE_CHECKING`. A name that is not in
    `homes` raises AttributeError, as in a module without `__getattr__`.
    """
    space = vars(sys.modules[package])

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    space["__getattr__"] = get
    space["__dir__"] = lambda: sorted({*space, *homes})
