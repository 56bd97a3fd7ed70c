"""`Guest`: an agent of another framework, or one's own loop, as a TARGET."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from playhead.runtime.core.cancels import Cancel
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.errors import OverrideRefusedError
from playhead.runtime.core.overrides import overrides_of, refuse_overrides
from playhead.runtime.core.records import Record, RunSubmitted
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.core.terms import TERM_OPTIONS
from playhead.runtime.host.forms import steady
from playhead.runtime.host.recorder import Recorder
from playhead.runtime.loop.runner import Opening

__all__ = ["Guest", "Visit"]


class Visit:
    """What a guest is run with: one execution, from its top.

    Attributes:
        recorder: What it goes through again, and records with.
        submitted: Record 1.
        said: The messages of the run's session.
        cancel: How a cancel lets the guest end; None to cancel its task.
        error: The exception by which it failed, for the worker's log.
    """

    def __init__(self, recorder: Recorder, opening: Opening) -> None:
        first = opening.entries[0].record
        assert isinstance(first, RunSubmitted), "a log begins with it"
        self.recorder: Recorder = recorder
        self.submitted: RunSubmitted = first
        self.said: StoredMessages = opening.said
        self.cancel: Callable[[Cancel], object] | None = None
        self.error: Exception | None = None


class Guest(ABC):
    """Runs a run by code of its own, which playhead runs again after a takeover.

    Attributes:
        name: The name that clients use.
        max_record_bytes: The size limit of one record, in bytes.
        shares_loop: Whether its runs share an event loop with those of other guests that do, in one thread of the process. Else
            each has a thread and a loop of its own: then a run that blocks its loop stalls no other one.

    Raises:
        ValueError: If the name is invalid.
    """

    def __init__(self, name: str, *, max_record_bytes: int = MAX_RECORD_BYTES, shares_loop: bool = False) -> None:
        check_agent(name)
        self.name: str = name
        self.shares_loop: bool = shares_loop
        self.max_record_bytes: int = max_record_bytes

    def check_options(self, first: Record) -> None:
        """Refuse what the run with this record 1 is to have instead of the guest's own, or as its terms: nothing is known.

        Raises:
            OverrideRefusedError: The message names it.
        """
        refuse_overrides(self.name, overrides_of(first), allowed={})
        options = first.options if isinstance(first, RunSubmitted) else {}
        for name in TERM_OPTIONS:
            if name in options:
                raise OverrideRefusedError(self.name, f"{name}=", allowed=[])

    @property
    def framework(self) -> str | None:
        """The framework that runs its runs, with its version, such as `strands-agents 1.45.0`; None without one.

        While a worker with the framework of a run is alive, no other worker takes the run over.
        """
        return None

    @property
    def sources(self) -> Mapping[str, object]:
        """The functions that it is made of: its own under an empty name, and those of its tools by their names."""
        return {}

    def steady(self, value: Any) -> Any:
        """Plain data of its records without what is made up in each execution, such as random ids and clocks."""
        return steady(value)

    @abstractmethod
    async def drive(self, visit: Visit) -> Record:
        """Run the guest from its top to its end; the terminal record. An exception fails the run.

        It is called in another thread than the worker's; see `shares_loop`.
        """
