"""An archive: the runs that have ended, as files in a folder or at any URL that fsspec knows."""

from __future__ import annotations

__all__: list[str] = []
