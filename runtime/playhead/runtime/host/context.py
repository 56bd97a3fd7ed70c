"""`GuestContext`: what `async def run(ctx, prompt)` does its work with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import anyio

from playhead.runtime.concurrency import run_apart
from playhead.runtime.core.converse import Message
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import now_ms
from playhead.runtime.host.current import in_scope
from playhead.runtime.host.forms import Form
from playhead.runtime.host.guest import Visit
from playhead.runtime.host.model_calls import ModelCalls
from playhead.runtime.host.steps import Steps
from playhead.runtime.host.tool_calls import Asks, ToolCalls
from playhead.runtime.tools.tool import OnUnknownOutcome

__all__ = ["CONTEXT", "ITEMS", "GuestContext", "context_here", "current_context"]

ITEMS: Final = "items"
"""Where a message of the session has `GuestContext.items`: in its `metadata["custom"]`, which is never sent to a model."""


class GuestContext:
    """One execution of a run. After a takeover the code runs again from its top, and gets from here what it got before.

    What is not done through the context happens again: so whatever has an effect, costs money or is another value each time
    goes through it. Use it on the event loop of the code.

    Attributes:
        run_id: The run.
        session_id: Its session, or None.
        invocation: 1, and more when the code has ended and begins again with a prompt that was sent to the running run and that
            it did not take.
        history: The messages of the session before this prompt, in the form of the Converse API; those of earlier invocations, too.
        result: What the run gives at its end; set it. A text is the last message; other plain data is the structured output.
        items: What the run adds to the conversation after its prompt, in a form of one's own, for `past` of the next run of the
            session; set it to plain data.
        outcomes: By the names of tools, what their guest says about calls of unknown outcome, for the code between a framework's tools
            and `tool`.
        usage: The tokens that the run took, as `Usage`: those of its models' items `{"metadata": {"usage": {…}}}`, unless you set it.
    """

    def __init__(self, visit: Visit) -> None:
        recorder = self._recorder = visit.recorder
        self.run_id: str = recorder.run_id
        self.session_id: str | None = visit.submitted.session
        self.invocation: int = 1
        self.history: Sequence[Message] = tuple(visit.said.messages)
        self._values = dict(visit.submitted.invocation_state)
        self._restated: dict[str, Any] | None = None
        self.result: Any = None
        self.items: Sequence[Any] = ()
        self._steps = Steps(recorder)
        self._models = ModelCalls(recorder)
        self.usage: Mapping[str, int] = self._models.usage
        self._tools = ToolCalls(recorder)
        self.outcomes: Mapping[str, OnUnknownOutcome] = {}

    @property
    def invocation_state(self) -> dict[str, Any]:
        """The caller's values: those of the last response that had some, else those of the submitted run."""
        restated = self._recorder.restated
        if restated is not None and restated is not self._restated:
            self._restated, self._values = restated, dict(restated)
        return self._values

    @property
    def replaying(self) -> bool:
        """Whether the log still answers: what happens now has happened before."""
        return self._recorder.replaying

    def past(self, of_message: Callable[[Message], Any], *, with_prompts: bool = False) -> list[Any]:
        """The conversation before this run: what earlier runs of the session set as `items`, and of each message that has
        none, such as a prompt or one of another agent, what `of_message` makes of it.

        Args:
            of_message: Makes an item of a message.
            with_prompts: The items of a run begin with its prompt, so its message is left out.
        """
        past: list[Any] = []
        prompts: list[Any] = []
        for message in self.history:
            kept = message.get("metadata", {}).get("custom", {}).get(ITEMS)
            if kept is not None:
                past += kept if with_prompts else [*prompts, *kept]
                prompts = []
            elif message.get("role") == "user":
                prompts.append(of_message(message))
            else:
                past += [*prompts, of_message(message)]
                prompts = []
        return past + prompts

    async def step(self, key: str, do: Callable[[], Awaitable[Any]]) -> Any:
        """The value of `do()`, computed once in the run; what it raises is raised again.

        Args:
            key: Names it in the log. One that is used several times counts them.
            do: Gives plain data or a pydantic model, which becomes a dict.

        Raises:
            EncodingError: If the value is not plain data.
        """
        self._recorder.check_cancelled()
        return await self._steps.step(key, do)

    def model(
        self, request: object, stream: Callable[[], AsyncIterable[Any]], *, name: str = "", form: Form | None = None
    ) -> AsyncGenerator[Any, None]:
        """The items of a model's stream, which readers see as they pass: as `event`, and a piece of text also as `data`.

        A call that broke off is withdrawn and made again. A second one beside it is not seen by readers.

        Args:
            request: What is asked, to note whether it is the same when the code runs again.
            stream: Asks. Its items are plain data or pydantic models, which become dicts.
            name: Names it in the log, where calls are made side by side in any order, as in threads: those with one name
                come in the same order each time.
            form: How items that are objects of a framework are stored; what in them is not plain data becomes it, as by
                `plain`. The code gets the objects.

        Raises:
            EncodingError: If an item is not plain data, and there is no `form`.
        """
        return self._models.stream(request, stream, name=name, form=form)

    async def tool(
        self,
        call: Mapping[str, Any],
        do: Callable[[], Awaitable[Any]],
        *,
        on_unknown_outcome: OnUnknownOutcome = "retry",
        shared: object = None,
        asks: Asks | None = None,
        form: Form | None = None,
    ) -> Any:
        """What a tool call gives: `do()` is called when its start is stored, and never again once its result is.

        Args:
            call: `{"name", "input", "toolUseId"}`; without an id the name is one.
            do: Gives plain data or a pydantic model. `current_call()` gives it the key of this call.
            on_unknown_outcome: If a worker died in `do`: call it again, raise `OutcomeUnknownError`, or ask a human.
            shared: A dict, a dataclass or a pydantic model that `do` may change. What it changes in its fields is stored with
                the result, as far as it is plain data, and changed again where the result comes from the log.
            asks: Two functions. The first says of an exception of `do` what it asks a human, as interrupts: then the call has
                not ended, and is made again, by another `tool`, when there is a response. After a takeover it asks again. The
                second makes such an exception of recorded interrupts: `verify` does not call `do`.
            form: How a value is stored that is an object of a framework. The code gets what is loaded again, also the first time.

        Raises:
            EncodingError: If the value is not plain data.
            OutcomeUnknownError: See `on_unknown_outcome`.
        """
        self._recorder.check_cancelled()
        made = do if form is None else _dumped(do, form)
        how: dict[str, Any] = {} if form is None else {"text": form.text}
        given = await self._tools.call(
            call, made, on_unknown_outcome=on_unknown_outcome, shared=shared, asks=asks, **how
        )
        return given if form is None else form.load(given)

    @contextmanager
    def within(self, name: str) -> Generator[None]:
        """Do what the block does, and the tasks that begin in it, under a name of its own: so it may be done beside the rest,
        in any order. Readers do not see its model calls.
        """
        with in_scope(self._recorder.key("within", name)):
            yield

    def wait(self, do: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What `await do()` gives, for code that is not async: in a thread that the guest began, or on its event loop, which
        then waits.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run_coroutine_threadsafe(do(), self._recorder.home).result()
        return run_apart(do)

    async def ask(self, name: str, reason: Any = None) -> Any:
        """The response of a human. The run pauses, and has no worker, until there is one."""
        self._recorder.check_cancelled()
        question = {"id": f"v1:guest:{self._recorder.key('ask', name).lstrip('/')}", "name": name}
        return await self._recorder.ask({**question, "reason": plain(reason), "response": None})

    async def ask_all(self, questions: Iterable[tuple[str, Any]]) -> list[Any]:
        """The responses to questions that are asked side by side, each a name and a reason, in their order."""
        asked = list(questions)
        responses: list[Any] = [None] * len(asked)

        async def ask(place: int, name: str, reason: Any) -> None:
            responses[place] = await self.ask(name, reason)

        async with anyio.create_task_group() as tasks:
            for place, (name, reason) in enumerate(asked):
                tasks.start_soon(ask, place, name, reason)
        return responses

    async def sleep(self, seconds: float) -> None:
        """Wait so long. In a long wait the run has no worker."""
        self._recorder.check_cancelled()
        await self._steps.sleep(seconds)

    def now(self) -> float:
        """The time, in unix seconds: when the code first came here."""
        return self._steps.at_once("now", lambda: now_ms() / 1000)

    def random(self) -> float:
        """A random number from 0 to 1: the same each time."""
        return self._steps.at_once("random", random.random)

    def invoked_again(self, said: Sequence[Message]) -> None:
        """The code has ended, and begins again with another prompt, after these messages of its last invocation."""
        self.invocation += 1
        self.history = (*self.history, *said)
        self.result, self.items = None, ()

    def steers(self) -> list[Any]:
        """Take the prompts that were sent to the run since the last call. The code is invoked again with those that it does not take."""
        taken = list(self._recorder.steers)
        self._recorder.steers.clear()
        return taken


def _dumped(do: Callable[[], Awaitable[Any]], form: Form) -> Callable[[], Awaitable[Any]]:
    async def dumped() -> Any:
        return form.dump(await do())

    return dumped


CONTEXT: ContextVar[GuestContext | None] = ContextVar("playhead_guest_context", default=None)
"""The context of the run whose code runs."""


def current_context() -> GuestContext | None:
    """The context of the run in which this code runs, in whatever depth, task and thread; None outside of a guest's run."""
    return CONTEXT.get()


def context_here() -> GuestContext:
    """The context of the run in which this code runs, which is part of one."""
    ctx = CONTEXT.get()
    assert ctx is not None, "this is called in the run of a guest"
    return ctx
