"""What makes the agents of guests: an agent itself, or a function without arguments, which may be async or a context manager."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.errors import AgentFactoryError

__all__ = ["LIMIT_S", "Kinds", "Make", "made_by", "making"]

T = TypeVar("T")

Make: TypeAlias = Callable[[], T | Awaitable[T] | AbstractContextManager[T] | AbstractAsyncContextManager[T]]
"""A function that makes an agent; a context manager holds open what the agent needs, until its owner leaves the run."""

logger: logging.Logger = logging.getLogger(__name__)

LIMIT_S: Final = 60.0
"""How long it may be awaited: a server that does not answer would keep a worker from its start, and say nothing."""

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

    An error in closing is logged: it comes after the end of what the agent did, which stands.

    Args:
        source: An agent, or a function that gives one, gives it when it is awaited, or gives a context manager of it.
        kinds: What the agents are.

    Raises:
        TypeError: If the function makes something else.
        AgentFactoryError: If it raises, or is awaited for more than a minute.
    """
    if kinds.is_source(source):
        yield source
        return
    raised: BaseException | None = None
    ended = False
    try:
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
            ended = True
    except Exception:
        if not ended:
            raise
        logger.warning("%s raised in closing what its agent needed; the agent had ended", _named(source), exc_info=True)
    if raised is not None:  # a context manager kept it, and a run that failed would complete
        raise raised


async def _entered(source: Callable[[], Any], kinds: Kinds, stack: AsyncExitStack) -> Any:
    """What a function gives, awaited and entered; an agent may be a context manager, which its framework enters itself."""
    limit = asyncio.timeout(LIMIT_S)  # not anyio's, within which a scope that a context manager opens must end
    try:
        async with limit:
            made = source()
            if inspect.isawaitable(made):
                made = await made
            if kinds.is_made(made):
                return made
            if isinstance(made, AbstractAsyncContextManager):
                return await stack.enter_async_context(made)
            return stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
    except Exception as error:
        if limit.expired():
            raise AgentFactoryError(f"{_named(source)} did not give an agent within {LIMIT_S:g} s") from error
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
