"""A fleet in this process for each test."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet

__all__: list[str] = []


@pytest.fixture
def fleet(redis_url: str, prefix: str) -> Fleet:
    """A fleet without a worker or a client."""
    return Fleet(redis_url, prefix)
