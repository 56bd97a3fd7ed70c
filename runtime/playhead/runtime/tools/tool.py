"""`Tool`: a function with the description that a model needs, and the execution of one call."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, Self, cast, overload

from typing_extensions import ParamSpec, TypeVar

from playhead.runtime.concurrency import is_being_cancelled
from playhead.runtime.core.converse import ToolResult, ToolSpec, ToolUse
from playhead.runtime.core.plain import plain
from playhead.runtime.core.tool_results import error_result, exception_result, tool_result
from playhead.runtime.core.tracebacks import exc_info
from playhead.runtime.tools.body import END, BodyExit, BodyStopped, ToolBody
from playhead.runtime.tools.context import BodyInterrupted, NotBegunError, ToolContext
from playhead.runtime.tools.schema import ToolInput

__all__ = ["ChildBegan", "ChildHeard", "Interruption", "OnUnknownOutcome", "Outcome", "Progress", "Tool", "ToolItem"]

logger: logging.Logger = logging.getLogger(__name__)

OnUnknownOutcome = Literal["retry", "fail", "ask"]
"""What to do after a takeover with a call that was started and not finished: run it again, tell the model that its
outcome is unknown, or pause the run and ask a human."""

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)
S = TypeVar("S")
Q = ParamSpec("Q")


@dataclass(frozen=True, slots=True)
class Progress:
    """A value, as plain data, that a running tool yielded."""

    value: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a tool call; `result` is plain data, and `error` is what made it, if the call raised."""

    result: ToolResult
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Interruption:
    """The end of an attempt that stopped to ask: each of `interrupts` is `{"id", "name", "reason", "response"}`."""

    interrupts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ChildBegan:
    """The call has a child: see `ChildStarted`."""

    run: str
    agent: str
    attempt: int
    delegate: bool = False


@dataclass(frozen=True, slots=True)
class ChildHeard:
    """Records that the child of the call stored: see `ChildRecorded`."""

    upto: int
    values: list[Any]


ToolItem = Progress | Outcome | Interruption | ChildBegan | ChildHeard
"""What the stream of a call yields."""


class Tool(Generic[P, R]):
    """A function with the description that a model needs; made by `tool` and `as_tool` and not changed afterwards.

    Calling it calls the function. As a class attribute it binds like a method. Safe to share between runs and tasks.
    """

    __name__: str

    def __init__(
        self,
        fn: Callable[P, R],
        spec: ToolSpec,
        *,
        reads: ToolInput,
        timeout: float | None = None,
        on_unknown_outcome: OnUnknownOutcome = "retry",
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._spec = spec
        self._reads = reads
        self._timeout = timeout
        self._on_unknown_outcome: OnUnknownOutcome = on_unknown_outcome
        self._on_loop = inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)

    @property
    def name(self) -> str:
        """The name that the model uses."""
        return self._spec["name"]

    @property
    def spec(self) -> ToolSpec:
        """The description that the model gets. Do not change it."""
        return self._spec

    @property
    def timeout(self) -> float | None:
        """The time limit of a call in seconds; None for no limit."""
        return self._timeout

    @property
    def on_unknown_outcome(self) -> OnUnknownOutcome:
        """What to do after a takeover with a call that was started and not finished."""
        return self._on_unknown_outcome

    @property
    def is_unbound_method(self) -> bool:
        """Whether it was taken from a class instead of an instance, so that it lacks its `self`."""
        return self._reads.method and not inspect.ismethod(self._fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._fn(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self: Tool[Concatenate[S, Q], R], instance: S, owner: type | None = None) -> Tool[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Tool[..., R]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None or not self.is_unbound_method:
            return self
        bound = cast(Any, self._fn).__get__(instance, owner)
        return Tool(
            bound,
            self._spec,
            reads=self._reads,
            timeout=self._timeout,
            on_unknown_outcome=self._on_unknown_outcome,
        )

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    async def stream(self, tool_use: ToolUse, context: ToolContext) -> AsyncGenerator[ToolItem, None]:
        """Run one call: a `Progress` for every value the body yields, the last included, then exactly one `Outcome`.

        If the body asks a question that has no response, the last item is one `Interruption` instead. Errors of the
        input or the body, a time limit, `context.stop` and results that cannot be stored are outcomes of status
        "error". Sync bodies run in a thread. A caller that stops before the end must `aclose` the stream in the same
        task; the body's generator is then closed, `context.cancel_requested` becomes true, and a thread runs on alone.

        Raises:
            NotBegunError: If `context.begin` refused; the body was not called.
            BaseException: Cancellation of the calling task, and what a body on the event loop raises that is not an
                `Exception`; in a thread that is an outcome, too.
        """
        tool_use_id = tool_use.get("toolUseId", "unknown")
        body: ToolBody | None = None
        end: Outcome | Interruption
        ended = False
        try:
            args, kwargs = self._reads.arguments(tool_use.get("input"), context)
            call = functools.partial(_begun, context, self._fn, *args, **kwargs)
            body = ToolBody(call, on_loop=self._on_loop, timeout=self._timeout, name=self.name)
            context.stops_by(body.stop)
            while (value := await body.take()) is not END:
                yield Progress(plain(value))
            end = Outcome(tool_result(tool_use_id, body.result, tool_name=self.name))
            ended = True
        except NotBegunError:
            raise
        except BodyStopped as stopped:
            end = Outcome(error_result(tool_use_id, str(stopped)))
        except Exception as raised:
            error = raised.error if isinstance(raised, BodyExit) else raised
            if body is not None and not body.is_late:  # else the input was wrong, or the time limit reached
                logger.warning("run %s: the tool %r raised", context.run_id, self.name, exc_info=exc_info(error))
            end = Outcome(exception_result(tool_use_id, error), error)
            ended = body is None or not body.is_late
        except (BodyInterrupted, BaseExceptionGroup) as asked:
            end = Interruption(_questions(asked))
            ended = True
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            # The body awaited something that other code cancelled; raised, it would end the run without a result.
            end = Outcome(exception_result(tool_use_id, error))
        finally:
            if not ended:
                context.abandon()
            if body is not None:
                await body.aclose()
        yield end


def _questions(asked: BodyInterrupted | BaseExceptionGroup[BaseException]) -> list[dict[str, Any]]:
    """The questions of a body; several if its own task group wrapped them.

    Other errors of that group are dropped, because the body runs again; a cancellation or an exit is raised.
    """
    if isinstance(asked, BodyInterrupted):
        return [asked.interrupt]
    questions, rest = asked.split(BodyInterrupted)
    if questions is None or not (rest is None or isinstance(rest, Exception)):
        raise asked
    found: list[dict[str, Any]] = []
    for inner in questions.exceptions:
        found += _questions(cast("BodyInterrupted", inner))
    return found


def _begun(context: ToolContext, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> object:
    # Checked here, not earlier: a body may have waited for a thread, and the process may have slept meanwhile.
    context.begin()
    return fn(*args, **kwargs)
