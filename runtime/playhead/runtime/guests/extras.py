"""Tells which extra brings a framework that is not installed, or is too old."""

from __future__ import annotations

import importlib
from importlib import metadata

__all__ = ["needs"]


def needs(module: str, *, extra: str, of: str, newer: tuple[str, str] | None = None) -> None:
    """Import a framework, or a module that it has since a version: `newer` names its distribution and that version.

    Raises:
        ModuleNotFoundError: If it is not installed, or too old. The message says what brings it.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if newer is not None:
            name, least = newer
            raise ModuleNotFoundError(
                f"{of} need {name} {least} or newer, and {metadata.version(name)} is installed: pip install -U {name}",
                name=module,
            ) from error
        raise ModuleNotFoundError(
            f"{of} need the extra {extra}: pip install 'playhead-runtime[{extra}]'", name=module
        ) from error
