"""The pytest plugin: the fixture `recorded_run`, and the option `--playhead-record`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from playhead.client.testing import RecordedRun

__all__ = ["OpenRun", "pytest_addoption", "recorded_run"]


class OpenRun(Protocol):
    """The function that the fixture `recorded_run` returns."""

    def __call__(self, path: str | Path, *, run_id: str | None = None) -> RecordedRun:
        """Open the run in a file. A relative path starts in the folder of the test."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--playhead-record`."""
    group = parser.getgroup("playhead")
    group.addoption(
        "--playhead-record",
        action="store_true",
        help="run the agents of assert_replays for real, and keep what they do as the new recordings",
    )


@pytest.fixture
def recorded_run(request: pytest.FixtureRequest) -> Iterator[OpenRun]:
    """Open the file of a recorded run: `recorded_run("last_night.jsonl")`, relative to the test's folder."""
    from playhead.client.testing import RecordedRun  # here, so that tests without recordings do not load it

    opened: list[RecordedRun] = []

    def open_run(path: str | Path, *, run_id: str | None = None) -> RecordedRun:
        refresh = bool(request.config.getoption("--playhead-record"))
        opened.append(RecordedRun(request.path.parent / path, run_id=run_id, refresh=refresh))
        return opened[-1]

    yield open_run
    for run in opened:
        run.close()
