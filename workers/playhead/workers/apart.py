"""Decides which runs a worker may hold together: a suspect, whose owners crashed twice in a row, is held alone.

So a run past its crash limit caused the crashes: no other run was in the process at the last of them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

from playhead.runtime.log.values import is_suspect
from playhead.workers.duty import Duty
from playhead.workers.execution import Execution

__all__ = ["Apart"]


class Apart:
    """The suspect that a worker holds, and the limits that follow for its claims.

    Attributes:
        execution: The suspect that is held, until it gets on.
        empty_for: The shard for whose suspect the worker hands its runs over. The worker then claims only from this
            shard, and only when it holds no run.
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
        """Make a claim from this shard within the block. Yields whether it may take a suspect: nothing is held, and no other claim is in flight."""
        suspects = not self._held and not self._claims
        self._claims += 1
        try:
            yield suspects
        finally:
            self._claims -= 1
            if self.empty_for is duty and suspects:
                self.empty_for = None

    def take(self, execution: Execution, *, crash_limit: int) -> bool:
        """Note a claimed run. Returns whether it may be held beside the others; if not, it must be handed over.

        A claim whose reply was lost may have taken a suspect although other runs were claimed meanwhile.
        """
        if self.execution is not None:
            return False
        if is_suspect(execution.claim.crash_streak, crash_limit=crash_limit):
            if self._held:
                return False
            self.execution = execution
        return True

    def leave(self, run_id: str) -> None:
        """Note that the run got on, or is no longer held."""
        if self.execution is not None and self.execution.claim.run_id == run_id:
            self.execution = None
