"""The port through which an agent that is a tool has its calls run: each a child, a run of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from playhead.runtime.core.children import Child
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.segments import Segment

__all__ = ["ChildCall", "ChildPlace", "ChildRuns"]


@dataclass(slots=True, kw_only=True)
class ChildCall:
    """One attempt at a call whose child is to be begun, or gone on with.

    Attributes:
        run_id: The child.
        parent: The run whose call it is.
        key: The effect key of the call.
        agent: The name of the child's agent in the log.
        made_by: The tool, which has the agent.
        prompt: The child's prompt.
        session: The session of the parent; None for none.
        after: The number of the last record of the child that its parent's log has.
        responses: The responses to the child's questions, by its own ids.
        cancelled: Whether the call is to be stopped.
    """

    run_id: str
    parent: str
    key: str
    agent: str
    made_by: object
    prompt: Any
    session: str | None = None
    after: int = 0
    responses: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cancelled: bool = False
    _act: Callable[[], None] | None = None

    def asks_elsewhere(self) -> PlayheadError:
        """The error of a call whose agent keeps its context, while another call of it waits for a response."""
        return PlayheadError("the agent waits for a response in another call; call it again afterwards")

    def cancel(self) -> None:
        """Stop the call, on the event loop's thread: the child is cancelled."""
        self.cancelled = True
        if self._act is not None:
            self._act()

    def when_cancelled(self, act: Callable[[], None]) -> None:
        """Set what `cancel` does, and do it if that was already called."""
        self._act = act
        if self.cancelled:
            act()


class ChildRuns(Protocol):
    """Runs the children of one owner of a run."""

    def records(self, call: ChildCall) -> AsyncGenerator[Segment, None]:
        """Begin the child, or go on with it, and yield its records after `call.after` as they are stored.

        It ends when the child has ended, or when it waits for responses that `call.responses` does not have; the last
        terminal or `run.paused` record that it yielded tells which.

        Raises:
            FencedError: If the parent has ended or is lost: no child may begin for it.
            PlayheadError: If the child cannot be stored, such as a prompt over the limit of a record.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChildPlace:
    """Where a call's child is run.

    Attributes:
        runs: Runs it.
        agent: The name of the parent's agent in the log.
        session: The session of the parent; None for none.
        known: The child that the log has of the call, if it has one.
    """

    runs: ChildRuns
    agent: str
    session: str | None
    known: Child | None
