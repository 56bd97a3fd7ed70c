"""What makes the agents of guests: an agent itself, or a function without arguments, which may be async or a context manager."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.errors import AgentFactoryError

__all__ = ["Kinds", "Make", "made_by", "making"]

T = TypeVar("T")

Make: TypeAlias = Callable[[], T | Awaitable[T] | AbstractContextManager[T] | AbstractAsyncContextManager[T]]
"""A function that makes an agent; a context manager holds open what the agent needs, until its owner leaves the run."""

_HAS_LOOP: Final = "asyncio.run() cannot be called"
_ASYNC: Final = "a worker calls it on a running event loop: write `async def` and `await`"


class Kinds(NamedTuple):
    """What agents of a framework are.

    Attributes:
        is_source: Whether a value is an agent that is a source itself.
        is_made: Whether it is what a function may make.
        told: What these are, for errors, such as "not a pydantic_ai.Agent".
    """

    is_source: Callable[[object], bool]
    is_made: Callable[[object], bool]
    told: str


def _named(make: object) -> str:
    """The function's name, for errors."""
    return getattr(make, "__name__", "the function")


@asynccontextmanager
async def making(source: Any, kinds: Kinds) -> AsyncGenerator[Any]:
    """The agent that a source is or makes, for the block; at its end what the function holds open is closed.

    Args:
        source: An agent, or a function that gives one, gives it when it is awaited, or gives a context manager of it.
        kinds: What the agents are.

    Raises:
        TypeError: If the function makes something else.
        AgentFactoryError: If it raises.
    """
    if kinds.is_source(source):
        yield source
        return
    raised: BaseException | None = None
    async with AsyncExitStack() as stack:
        made = await _entered(source, kinds, stack)
        if not kinds.is_made(made):
            what = f"{_named(source)} returned {made!r:.80} of type {type(made).__name__}"
            raise TypeError(f"{what}, {kinds.told}")
        try:
            yield made
        except BaseException as error:
            raised = error
            raise
    if raised is not None:  # a context manager kept it, and a run that failed would complete
        raise raised


async def _entered(source: Callable[[], Any], kinds: Kinds, stack: AsyncExitStack) -> Any:
    """What a function gives, awaited and entered; an agent may be a context manager, which its framework enters itself."""
    try:
        made = source()
        if inspect.isawaitable(made):
            made = await made
        if kinds.is_made(made):
            return made
        if isinstance(made, AbstractAsyncContextManager):
            return await stack.enter_async_context(made)
        return stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
    except Exception as error:
        advice = f". {_ASYNC}" if str(error).startswith(_HAS_LOOP) else ""
        raise AgentFactoryError(f"{_named(source)} raised {type(error).__name__}: {error}{advice}") from error


def made_by(source: Any, kinds: Kinds) -> Any:
    """An agent of a source, to look at: what the function held open is closed. It is called on an event loop, as for runs.

    Raises:
        TypeError, AgentFactoryError: As `making`.
    """

    async def made() -> Any:
        async with making(source, kinds) as agent:
            return agent

    return source if kinds.is_source(source) else run_apart(made)
