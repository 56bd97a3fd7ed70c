"""A client refuses overrides that each live worker of the agent would refuse, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.client.validation import check_allowed
from playhead.runtime.core.errors import OverrideRefusedError
from playhead.runtime.log.values import WorkerInfo

__all__: list[str] = []


def worker(started: int, *, agent: str = "guide", **extra: Any) -> WorkerInfo:
    return WorkerInfo(f"w{started}", [agent], started=started, extra=extra)


STRICT = worker(1, overrides={"guide": {"tools": ["look"]}})
OPEN = worker(2, overrides={"guide": {"model": True}})
FACTORY = worker(3, overrides={"guide": None})
OLD = worker(4)
OTHER = worker(5, agent="other", overrides={"other": {"model": True}})


@pytest.mark.parametrize("workers", [[], [OTHER], [STRICT, OPEN], [OPEN, OLD], [FACTORY, STRICT]])
def test_what_one_worker_may_allow_or_what_waits_for_a_worker_is_submitted(workers: list[WorkerInfo]):
    check_allowed("guide", {"model": "demo"}, workers)


@pytest.mark.parametrize("workers", [[STRICT], [OTHER, STRICT], [OLD], [OLD, STRICT]])
def test_what_no_worker_allows_is_refused(workers: list[WorkerInfo]):
    with pytest.raises(OverrideRefusedError, match="agent 'guide' does not allow model="):
        check_allowed("guide", {"model": "demo"}, workers)


def test_the_refusal_is_that_of_the_worker_that_started_last():
    for workers in ([STRICT, OLD], [OLD, STRICT]):
        with pytest.raises(OverrideRefusedError, match="it allows none"):
            check_allowed("guide", {"model": "demo"}, workers)
