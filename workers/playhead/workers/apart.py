"""Which runs a worker may hold together: a suspect, a run whose owners crashed twice in a row, is held alone.

So a run past its crash limit is guilty: no other run was in the process when it ended for the last times.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from playhead.runtime.log.values import is_suspect
from playhead.workers.duty import Duty
from playhead.workers.execution import Execution

__all__ = ["Apart"]


class Apart:
    """The suspect that a worker holds, and what the worker must not claim because of it.

    Attributes:
        execution: The suspect held, until it gets on.
        empty_for: The shard for whose suspect the worker hands its runs over; only this shard is claimed from, and only
            when no run is held.
    """

    def __init__(self, held: Mapping[str, Execution]) -> None:
        """`held` are the runs that the worker holds at any time."""
        self.execution: Execution | None = None
        self.empty_for: Duty | None = None
        self._held = held
        self._claims = 0  # in flight

    @property
    def could_empty(self) -> bool:
        """Whether runs are held that could be handed over for a suspect."""
        return bool(self._held) and self.execution is None

    def may_claim(self, duty: Duty) -> bool:
        """Whether the worker may claim another run from this shard now."""
        if self.execution is not None:
            return False
        return self.empty_for is None or (self.empty_for is duty and not self._held)

    @contextmanager
    def claiming(self, duty: Duty) -> Generator[bool, None, None]:
        """A claim from this shard. Gives whether it may take a suspect: nothing is held, or will be by another claim."""
        suspects = not self._held and not self._claims
        self._claims += 1
        try:
            yield suspects
        finally:
            self._claims -= 1
            if self.empty_for is duty and suspects:
                self.empty_for = None

    def take(self, execution: Execution, *, crash_limit: int) -> bool:
        """Whether the run just claimed may be held beside those that are held; if not, it must be handed over.

        A claim whose reply was lost may have taken a suspect though other runs were claimed meanwhile.
        """
        if self.execution is not None:
            return False
        if is_suspect(execution.claim.crash_streak, crash_limit=crash_limit):
            if self._held:
                return False
            self.execution = execution
        return True

    def leave(self, run_id: str) -> None:
        """The run got on, or is not held any more."""
        if self.execution is not None and self.execution.claim.run_id == run_id:
            self.execution = None
