"""The file that runs in memory are exported to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.file.redaction import Redaction
from playhead.runtime.log.memory import MemoryLog
from tests.support.told_runs import with_run

__all__: list[str] = []

Exported = Callable[..., Awaitable[Path]]


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """Exports the runs named, each made by `with_run`, to `run.jsonl`."""

    async def export(
        *run_ids: str, redaction: Redaction | None = None, ended: bool = True, sessions: Sequence[str] = ()
    ) -> Path:
        log, path = MemoryLog(), tmp_path / "run.jsonl"
        for number, run_id in enumerate(run_ids):
            await with_run(log, run_id, ended=ended, session=sessions[number] if sessions else "ada")
        await export_runs(log, run_ids, path, redaction=redaction)
        return path

    return export
