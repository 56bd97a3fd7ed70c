"""`AgentFactory`: a function that makes the agent of each run, from what the run was submitted with."""

from __future__ import annotations

import asyncio
import copy
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, Final, Self

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from playhead.runtime.agent.agent import Agent
from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.arguments import check_callable
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.definition import session_of_submission
from playhead.runtime.core.errors import AgentFactoryError
from playhead.runtime.core.records import Record, RunSubmitted

__all__ = ["LIMIT_S", "SOURCES", "AgentFactory", "AgentSource", "Make", "RunContext", "is_factory", "source_of"]

LIMIT_S: Final = 60.0
"""How long a factory may take. Without a limit, one that waits for ever would keep a run that nothing can cancel."""

_THREADS: Final = 40
_threads: RunVar[CapacityLimiter] = RunVar("playhead_factory_threads")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run was submitted with, for the factory that makes its agent.

    Attributes:
        run_id: The run.
        agent_name: The name of the agent that it was submitted to, which is the factory's.
        session_id: Its session, or None. Of a fork, which has a session of its own, that of its parent.
        metadata: What the caller passed as the run's metadata.
        invocation_state: The caller's values for the tools, as plain data: a copy.
    """

    run_id: str
    agent_name: str
    session_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    invocation_state: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, run_id: str, first: Record) -> Self:
        """The context of the run with this record 1."""
        if not isinstance(first, RunSubmitted):
            return cls(run_id=run_id, agent_name="")
        metadata: Mapping[str, str] = getattr(first, "metadata", None) or {}
        return cls(
            run_id=run_id,
            agent_name=first.agent,
            session_id=session_of_submission(first),
            metadata=dict(metadata),
            invocation_state=copy.deepcopy(first.invocation_state),
        )


Make = Callable[[RunContext], Agent | Awaitable[Agent]]
"""A function that makes the agent of a run."""


class AgentFactory:
    """Makes an agent for each run, in the worker that runs it: for tenants whose agents differ in more than a text.

    A worker calls the function after each claim of a run: at its start, after a pause and after a takeover. A function that
    is not async runs in a thread; an async one runs on the worker's event loop, which it must not block. What it made is in the log
    of the run. A later owner calls the function again, and then has what the log has: system prompt, messages, tools by
    their names, a model by its name, and the other options.

    Args:
        make: The function. It takes a `RunContext` and returns an `Agent`, whose own name does not count.
        name: The name that clients use; None for the function's name.

    Attributes:
        name: The name that clients use.
        defined_at: `file:line` of the function.

    Raises:
        TypeError: If `make` is not a function of one argument.
        ValueError: If the name is invalid.
    """

    max_record_bytes: int = MAX_RECORD_BYTES
    """The limit of the records that are written before the agent is made."""

    def __init__(self, make: Make, *, name: str | None = None) -> None:
        check_callable("make", make)
        if flaw := _flaw(make):
            raise TypeError(f"a factory takes one argument, the RunContext, and {_named(make)} {flaw}")
        self.name: str = _named(make) if name is None else name
        check_agent(self.name)
        self._make = make
        code = getattr(inspect.unwrap(make), "__code__", None)
        self.defined_at: str = f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""

    def __repr__(self) -> str:
        return f"AgentFactory(name={self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AgentFactory) and (self.name, self._make) == (other.name, other._make)

    def __hash__(self) -> int:
        return hash((self.name, self._make))

    def makes_by(self, function: object) -> bool:
        """Whether it calls this function."""
        return self._make is function

    async def agent(self, context: RunContext) -> Agent:
        """Make the agent of a run. It has the factory's name.

        Raises:
            AgentFactoryError: If the function raises, takes more than a minute, or does not return an Agent.
        """
        made: object = None
        with anyio.move_on_after(LIMIT_S) as scope:
            made = await self._called(context)
        if scope.cancelled_caught:
            raise AgentFactoryError(f"{self._told()} did not return within {LIMIT_S:g} s")
        if not isinstance(made, Agent):
            raise AgentFactoryError(f"{self._told()} returned {made!r:.80} of type {type(made).__name__}, not an Agent")
        taken = made.snapshot()
        taken.name = self.name
        return taken

    async def _called(self, context: RunContext) -> object:
        try:
            if inspect.iscoroutinefunction(inspect.unwrap(self._make)):
                made: object = self._make(context)
            else:
                made, error = await to_thread.run_sync(
                    _outcome, self._make, context, abandon_on_cancel=True, limiter=_thread_limiter()
                )
                if error is not None:
                    raise error
            return await made if inspect.isawaitable(made) else made
        except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            raise AgentFactoryError(f"{self._told()} raised {type(error).__name__}: {error}") from error

    def _told(self) -> str:
        return f"the factory {self.name!r} ({self.defined_at})" if self.defined_at else f"the factory {self.name!r}"


AgentSource = Agent | AgentFactory
"""What a worker serves: an agent, or what makes one for each run."""


SOURCES: Final = (Agent, AgentFactory, FunctionType, MethodType)
"""The types of what stands for an agent: see `source_of`."""


def source_of(value: object) -> AgentSource:
    """The agent or the factory that a value stands for; a function is made a factory.

    Raises:
        TypeError: If it is none of them.
    """
    if isinstance(value, Agent | AgentFactory):
        return value
    if isinstance(value, FunctionType | MethodType):
        return AgentFactory(value)
    raise TypeError(f"{value!r:.80} of type {type(value).__name__} is neither an Agent nor a function that makes one")


def is_factory(value: object) -> bool:
    """Whether a function says by its annotations that it makes agents: `def support(ctx: RunContext) -> Agent`."""
    if not inspect.isfunction(value) or _flaw(value):
        return False
    hints = _hints(value)
    returned = hints.pop("return", None)
    return any(_is(hint, RunContext) for hint in hints.values()) and _is(returned, Agent)


def _flaw(make: Callable[..., object]) -> str:
    """Why a function cannot be called with a `RunContext` alone; empty if it can."""
    try:
        parameters = list(inspect.signature(make).parameters.values())
    except (TypeError, ValueError):
        return ""
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if not positional or needed != positional[: len(needed)] or len(needed) > 1:
        return f"takes ({', '.join(one.name for one in parameters)})"
    hint = _hints(make).get(positional[0].name)
    return "" if _accepts(hint) else f"takes {positional[0]}"


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a name that is known to type checkers only
        return dict(getattr(function, "__annotations__", {}))


def _accepts(hint: object) -> bool:
    """Whether a parameter with this annotation may be a `RunContext`."""
    if isinstance(hint, str):
        return _is(hint, RunContext)
    return not isinstance(hint, type) or hint is Any or hint in RunContext.__mro__  # `issubclass` refuses a TypedDict


def _is(hint: object, kind: type) -> bool:
    if isinstance(hint, str):
        return hint.rpartition(".")[2] == kind.__name__
    return isinstance(hint, type) and issubclass(hint, kind)


def _named(make: Callable[..., object]) -> str:
    return getattr(make, "__name__", type(make).__name__)


def _outcome(make: Make, context: RunContext) -> tuple[object, BaseException | None]:
    """Call a factory in a thread. Whatever it raises is returned, because an exit must not reach the event loop."""
    try:
        return make(context), None
    except BaseException as error:
        return None, error


def _thread_limiter() -> CapacityLimiter:
    """The limit of an event loop, apart from anyio's threads, which must not wait for factories that hang."""
    try:
        return _threads.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _threads.set(limiter)
        return limiter
