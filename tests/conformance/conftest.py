"""A fleet in this process for each test."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet

__all__: list[str] = []


@pytest.fixture(autouse=True)
def waiting_is_virtual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits before a failed call is made again take no time, as in the recordings; the events tell their length."""
    monkeypatch.setattr("playhead.runtime.loop.loop.rest_of_wait", lambda delay, **_: 0.0)


@pytest.fixture
def fleet(redis_url: str, prefix: str) -> Fleet:
    """A fleet without a worker or a client."""
    return Fleet(redis_url, prefix)
