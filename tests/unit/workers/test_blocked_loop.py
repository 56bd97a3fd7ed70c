"""A blocked event loop is warned of once, with the line that blocks it; a stopped process is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from playhead.workers.blocked_loop import BlockedLoop

__all__: list[str] = []


class Loop:
    """A loop that makes the calls it is sent when `turn` is called."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        while self.calls:
            self.calls.pop()()


class Watched:
    """A loop, a clock, and what watches the one by the other."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loop = Loop()
        self.blocked = BlockedLoop(cast("Any", self.loop), thread_id=threading.get_ident(), now=lambda: self.now)

    def look_for(self, seconds: float, *, every: float = 0.25) -> None:
        for _ in range(round(seconds / every)):
            self.now += every
            self.blocked.look()


def test_a_loop_that_turns_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    for _ in range(20):
        watched.look_for(0.25)
        watched.loop.turn()
    assert caplog.messages == []


def test_a_blocked_loop_is_warned_of_once_and_its_going_on_is_said(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.look_for(1.0)
    assert caplog.messages == []
    watched.look_for(5.0)
    (warning,) = caplog.messages
    assert "blocked for more than 1 s" in warning
    assert f"{__file__}, line " in warning
    watched.loop.turn()
    assert caplog.messages[1:] == ["the event loop goes on after 5.8 s"]


def test_a_process_that_was_stopped_is_not_a_blocked_loop(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.look_for(0.25)
    watched.look_for(60.0, every=30.0)
    watched.loop.turn()
    assert caplog.messages == []


def test_at_most_one_call_is_on_its_way_to_a_blocked_loop() -> None:
    watched = Watched()
    watched.look_for(30.0)
    assert len(watched.loop.calls) == 1
