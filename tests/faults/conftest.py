"""Programs in processes of their own; `tests/support/programs.py` says what a test can do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testkit.processes import ForkServer
from tests.support.programs import Programs, program_forks

__all__: list[str] = []


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """Where programs are started."""
    with program_forks() as server:
        yield server


@pytest.fixture
async def programs(forks: ForkServer, redis_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[Programs]:
    """Starts programs; none outlives the test."""
    made = Programs(forks, redis_url, prefix, tmp_path)
    try:
        yield made
    finally:
        await made.close()
