"""Tells which extra brings a framework that is not installed."""

from __future__ import annotations

import importlib

__all__ = ["needs"]


def needs(module: str, *, extra: str, of: str) -> None:
    """Import a framework.

    Raises:
        ModuleNotFoundError: If it is not installed. The message says what brings it.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{of} need the extra {extra}: pip install 'playhead-runtime[{extra}]'", name=module
        ) from error
