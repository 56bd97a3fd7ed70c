"""`playhead dev --reload`: learns that a Python file of the agents has changed."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.targets import file_of

__all__ = ["NoWatcherError", "source_changes", "source_folders"]


class NoWatcherError(PlayheadError):
    """`--reload` was asked for, and the package that watches files is not installed."""

    exit_code = 78


def source_folders(targets: Sequence[str]) -> list[Path]:
    """The folders of the code of targets that are loaded: of a file its own, of a module that of its top package."""
    folders: dict[Path, None] = {}
    for target in targets:
        where, is_file = file_of(target)
        if is_file:
            folders[Path(where).resolve().parent] = None
            continue
        module = sys.modules.get(where.partition(".")[0])
        found = getattr(module, "__file__", None) or getattr(sys.modules.get(where), "__file__", None)
        folders[Path(found).resolve().parent if found else Path.cwd()] = None
    return list(folders)


def source_changes(folders: Sequence[Path]) -> AsyncGenerator[list[Path], None]:
    """Yields the Python files that changed in the folders, and below; changes of one moment together.

    Raises:
        NoWatcherError: If watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, awatch
    except ImportError as error:
        raise NoWatcherError(
            "--reload needs the package watchfiles. Install it with: uv add 'playhead-workers[reload]'"
        ) from error

    async def changes() -> AsyncGenerator[list[Path], None]:
        async for batch in awatch(*folders, watch_filter=PythonFilter(), raise_interrupt=False):
            yield sorted({Path(path) for _, path in batch})

    return changes()
