"""`MadeGuest`: a guest whose runs are run by an agent of a framework, which a function makes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar

from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.records import Record
from playhead.runtime.guests.sources import Kinds, made_by, making
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import GeneratorGuest, Run
from playhead.runtime.host.guest import Visit
from playhead.runtime.host.versions import framework_of, note_version
from playhead.runtime.tools.hints import checked_outcomes
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["MadeGuest"]


class MadeGuest(GeneratorGuest):
    """Runs each run by an agent of a framework.

    Args:
        source: An agent, which serves all runs, or a function without arguments that makes one after each claim of a run. It may be
            async, or a context manager, async or not, that gives one: it is left when the run has ended, pauses or changes its
            owner.
        name: The name that clients use; None for the function's, or the agent's own.
        on_unknown_outcome: By the names of tools, what to do with a call that a worker began and did not finish because it
            died: `retry`, `fail`, which tells the model that the outcome is unknown, or `ask` a human. For other tools what their
            MCP annotations say, else `retry`.
        max_record_bytes: The size limit of one record.
        own_loop: Give each run a thread and an event loop of its own: for an agent that blocks its loop. By default the agents of
            frameworks share one loop in the process, because their clients are often global, and work on one loop only.

    Attributes:
        kinds: The classes of the framework's agents.
        told: What they are, for people.
        unnamed: The name that the framework gives to an agent without one.
        distribution: The framework's, if its version is to be recorded with each run: another one may do something else.

    Raises:
        TypeError: If `source` is neither, or the function returns something else.
        ValueError: If the name or an outcome is invalid, or the agent has what a guest cannot have.
        AgentFactoryError: If the function raises.
    """

    kinds: ClassVar[tuple[type, ...]] = ()
    told: ClassVar[str] = ""
    unnamed: ClassVar[str] = ""
    distribution: ClassVar[str] = ""

    def __init__(
        self,
        source: Any,
        *,
        name: str | None = None,
        on_unknown_outcome: Mapping[str, OnUnknownOutcome] | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
        own_loop: bool = False,
    ) -> None:
        self.outcomes: Mapping[str, OnUnknownOutcome] = checked_outcomes(on_unknown_outcome)
        self._source = source
        made = made_by(source, self._kinds)
        super().__init__(name or self._named(), max_record_bytes=max_record_bytes, shares_loop=not own_loop)
        self.check(made)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MadeGuest) and (self.name, self._source) == (other.name, other._source)

    def __hash__(self) -> int:
        return hash((self.name, id(self._source)))

    @property
    def framework(self) -> str | None:
        """The framework with its version; None if that is not to be recorded."""
        return framework_of(self.distribution) if self.distribution else None

    def makes_by(self, source: object) -> bool:
        """Whether it runs this agent, or calls this function."""
        return self._source is source

    def check(self, agent: Any) -> None:
        """Refuse an agent with what a guest cannot have.

        Raises:
            ValueError: The message says what to do instead.
        """

    @abstractmethod
    def run(self, agent: Any, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any, None]:
        """Run the agent from its top; see `GeneratorGuest.opened`."""

    async def drive(self, visit: Visit) -> Record:
        """Run the agent to its end; a warning if the run began with another version of its framework."""
        if (framework := self.framework) is not None:
            note_version(visit.recorder, framework)
        return await super().drive(visit)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Run]:
        """Make an agent, and give what runs it."""
        async with making(self._source, self._kinds) as agent, self.around(agent):
            yield partial(self.run, agent)

    def around(self, agent: Any) -> AbstractAsyncContextManager[object]:
        """What is held open while an agent runs."""
        del agent
        return nullcontext()

    @property
    def _kinds(self) -> Kinds:
        def is_agent(value: object) -> bool:
            return isinstance(value, self.kinds)

        return Kinds(is_agent, is_agent, f"not {self.told}")

    def _named(self) -> str:
        """The function's name, or the agent's own, if clients could use it."""
        name = getattr(self._source, "name", None) or getattr(self._source, "__name__", "")
        if name == self.unnamed:
            raise ValueError(f"the agent has no name: give {type(self).__name__} a name=, by which clients call it")
        try:
            check_agent(name)
        except ValueError as error:
            raise ValueError(f"the agent is named {name!r}: give {type(self).__name__} a name=. {error}") from None
        return name
