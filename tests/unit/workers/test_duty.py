"""What a worker does with a shard whose server it could not check when it started."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from playhead.runtime.core.errors import LogUnavailableError, NoReplicaError, UnusableServerError
from playhead.runtime.log.memory import MemoryLog
from playhead.workers.duty import Duty
from playhead.workers.options import WorkerOptions

__all__: list[str] = []

pytestmark = pytest.mark.anyio

GONE = LogUnavailableError("cannot reach Redis")
ALONE = NoReplicaError("Redis has no replica")


class Failing(MemoryLog):
    """A log whose checks fail with these errors before they pass."""

    def __init__(self, errors: Sequence[Exception]) -> None:
        super().__init__()
        self.errors = list(errors)

    async def check(self) -> list[str]:
        """Fail, or pass."""
        if self.errors:
            raise self.errors.pop(0)
        return []


def duty(*errors: Exception) -> Duty:
    """The duty for such a log."""
    return Duty(Failing(errors), worker="worker", options=WorkerOptions(), frameworks={}, visit=None)


async def test_a_server_without_a_replica_is_refused_at_the_start() -> None:
    with pytest.raises(NoReplicaError):
        await duty(ALONE).check()


async def test_a_new_master_without_a_replica_is_waited_for_if_the_check_was_put_off() -> None:
    one = duty(GONE, ALONE, ALONE)
    await one.check()
    for _ in range(2):
        with pytest.raises(LogUnavailableError, match="Redis has no replica") as raised:
            await one.claim({}, suspects=False)
        assert not isinstance(raised.value, UnusableServerError)
        one.outage.refused("claim", raised.value)  # raises what ends the worker
    assert await one.claim({}, suspects=False) is None
