"""`Agent`: a definition that a fleet runs, and that can also be called in this process without Redis."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Final, Literal, Self, TypeVar, Unpack, cast, get_args

from pydantic import BaseModel

from playhead.runtime.agent.callbacks import CallbackHandler, print_text
from playhead.runtime.agent.conversation.managers import (
    ConversationManager,
    conversation_manager_of,
    described_manager,
    recorded_manager,
)
from playhead.runtime.agent.conversation.proactive import with_limit
from playhead.runtime.agent.hooks.asking import AskedHooks
from playhead.runtime.agent.hooks.events import AgentInitializedEvent
from playhead.runtime.agent.hooks.registry import HookCallback, HookOrder, HookRegistry
from playhead.runtime.agent.in_process import InProcessRuns
from playhead.runtime.core.arguments import check_callable, check_choice, check_items, check_text, check_whole
from playhead.runtime.core.call_keywords import CallKeywords, call_options
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.converse import Messages, Prompt
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.core.events import Event
from playhead.runtime.core.intake import checked_messages, whole_text
from playhead.runtime.core.keywords import refuse_keywords
from playhead.runtime.core.overrides import (
    OVERRIDES,
    Allowance,
    checked_allowance,
    models_in,
    overrides_of,
    refuse_overrides,
)
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import CycleStarted, Entry, Record, RunSubmitted
from playhead.runtime.core.result import AgentResult
from playhead.runtime.core.retry import RetryPolicy
from playhead.runtime.core.retry_strategy import ModelRetryStrategy, chosen_retry, described, recorded_waits
from playhead.runtime.core.structured_output import requested_output
from playhead.runtime.core.terms import TermArguments, Terms, check_no_clash, terms_of
from playhead.runtime.loop.spec import AgentSpec, OnPartial
from playhead.runtime.models.description import describe
from playhead.runtime.models.model import Model
from playhead.runtime.models.params import with_params
from playhead.runtime.models.resolve import check_model, resolve_model
from playhead.runtime.tools.decorator import tool_index
from playhead.runtime.tools.tool import Tool

__all__ = ["Agent"]

_RETRY: Final = ModelRetryStrategy()

T = TypeVar("T", bound=BaseModel)


class Agent:
    """An agent: a model, tools, a system prompt, and its conversation in this process.

    Passed to a worker, it is only a definition: the worker takes a snapshot when it is made, and runs start from
    `messages` plus their session and do not change the object. Called in this process, it keeps its `messages` between
    calls, as a Strands `Agent` does.

    Args:
        model: A model object, a name (`"openai/gpt-5-mini"`, `"local/path.gguf"`, `"demo"`), or None for
            `PLAYHEAD_MODEL`, else OpenAI if its key is set, else the demo model. Resolved at first use.
        name: The name that clients use: 1 to 128 letters, digits, `_`, `-`, `.`.
        tools: `@tool` functions, plain functions, what Strands' `tools=` takes (extra `strands`), an `MCPServer`,
            or lists of them.
        system_prompt: The system prompt, sent with every model call.
        messages: The history to start from.
        callback_handler: Called with each event as keywords, in this process only. None for no output.
        tool_executor: Whether the calls of one batch run together or one after the other.
        on_partial: What to do after a takeover with the text of a model call that broke off. `retract` withdraws
            it and makes the call again. `continue` keeps it, if it is text only, and lets the model continue after it;
            the model must support that (its attribute `continues_partial` is true).
        hooks: Hook providers, and functions whose parameter is annotated with an event: called at events of its runs,
            and may change what happens next. See `add_hook`.
        retry: How often, and after which waits, a model call that failed with a transient error is made again: a
            `ModelRetryStrategy`, the default, or a `RetryPolicy`; None for never.
        retry_strategy: The same under Strands' name; an object of Strands' own class counts too. Give one of the two.
        allow_overrides: What a caller may replace for one run: a set of `model`, `system_prompt`, `tools` and `params`, or
            a dict of them. There True allows any value; a list allows these models, tools or parameters. Nothing else is
            allowed. A name of a model that is not listed may cost any price, or be a file of the worker's host.
        conversation_manager: How the history is kept within the context of the model: a
            `SlidingWindowConversationManager`, which is the default and keeps 40 messages, a
            `SummarizingConversationManager` or a `NullConversationManager`.
        description: A description for people.
        max_record_bytes: The limit of one record; a message may be larger than its chunks, see `codec.limit_of`.
        **terms: `structured_output_model`, `structured_output_prompt` and `limits`, for calls without their own; see
            `stream_async`.

    Attributes:
        hooks: The callbacks of its hooks; `hooks.add_callback(event, function)` adds one.
        terms: What its calls are asked for, unless they ask for something else.
        defined_at: `file:line` of the code that made it.

    Raises:
        ModelConfigurationError: If the model is neither a model object nor a name of a known form.
        ValueError: If an argument is out of its range, the name or a tool's name is invalid, two tools share one, the
            structured output is not an object or has the name of a tool, or it is not known which event a hook is for. If a file, module or server of tools cannot be
            loaded.
        TypeError: If an argument has the wrong type, an item of `tools` is not a tool, or one of `hooks` is not a hook.
        InvalidMessageError: If one of `messages` cannot be sent to a model.
        EncodingError: If one of `messages` is not plain data.
    """

    def __init__(
        self,
        model: str | Model | None = None,
        *,
        name: str = "agent",
        tools: Sequence[object] = (),
        system_prompt: str | None = None,
        messages: Messages | None = None,
        callback_handler: CallbackHandler | None = print_text,
        tool_executor: Literal["concurrent", "sequential"] = "concurrent",
        on_partial: OnPartial = "retract",
        hooks: Sequence[object] = (),
        retry: RetryPolicy | ModelRetryStrategy | None = _RETRY,
        retry_strategy: object = _RETRY,
        allow_overrides: Collection[str] | Allowance = (),
        conversation_manager: object = None,
        description: str | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
        **terms: Unpack[TermArguments],
    ) -> None:
        refuse_keywords(type(self), terms, accepted=TermArguments.__annotations__)
        self.terms: Terms = terms_of(terms)
        check_agent(name)
        check_model(model)
        check_choice("tool_executor", tool_executor, ("concurrent", "sequential"))
        check_choice("on_partial", on_partial, get_args(OnPartial))
        check_items("tools", tools, object, each="a function")
        check_text("system_prompt", system_prompt, optional=True, empty=True)
        check_text("description", description, optional=True, empty=True)
        check_items("messages", messages or [], Mapping, each="a message with role and content")
        check_callable("callback_handler", callback_handler, optional=True)
        check_whole("max_record_bytes", max_record_bytes, least=1)
        self.name = name
        self.description = description
        self.system_prompt: str | None = system_prompt if system_prompt is None else whole_text(system_prompt)
        self.messages: Messages = checked_messages(messages or [])
        self.callback_handler = callback_handler
        self.tool_executor: Literal["concurrent", "sequential"] = tool_executor
        self.on_partial: OnPartial = on_partial
        self.retry: RetryPolicy | ModelRetryStrategy | None = chosen_retry(retry, retry_strategy, default=_RETRY)
        self.conversation_manager: ConversationManager = conversation_manager_of(conversation_manager)
        self.max_record_bytes = max_record_bytes
        self.tools: dict[str, Tool] = tool_index(tools)
        self.allow_overrides: dict[str, bool | list[str]] = checked_allowance(allow_overrides, tools=self.tools)
        for allowed in models_in(self.allow_overrides):
            check_model(allowed)
        check_no_clash(self.terms, self.tools)
        self.hooks: HookRegistry = HookRegistry()
        self.hooks.add_all(hooks)
        self.defined_at: str = _caller()
        self._model = model
        self._resolved: Model | None = None
        self._params: dict[str, Any] = {}  # of the run that it is for
        self._runs = InProcessRuns()
        for callback in self.hooks.callbacks_for("AgentInitializedEvent"):
            callback(AgentInitializedEvent(agent=self))

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self.tools)})"

    @property
    def model(self) -> Model:
        """The model object, resolved at first use.

        Raises:
            ModelConfigurationError: If the name cannot be resolved, or `on_partial` is `continue` and the model cannot
                continue.
        """
        if self._resolved is None:
            model = resolve_model(self._model)
            if self._params:
                model = with_params(model, self._params)
            if self.on_partial == "continue" and not getattr(model, "continues_partial", False):
                raise ModelConfigurationError(
                    f"agent {self.name!r} has on_partial='continue', but {model!r} cannot go on from a partial message. "
                    "Use a model whose continues_partial is true, such as an OpenAIModel with continue_params, or "
                    "on_partial='retract'."
                )
            self._resolved = model
        return self._resolved

    def check_ready(self) -> None:
        """Check the model's key, file and packages before the first call. A worker does so at its start.

        Raises:
            ModelConfigurationError: If the model cannot be used; the message says why.
        """
        check = getattr(self.model, "check_ready", None)
        if callable(check):
            check()

    @property
    def spec(self) -> AgentSpec:
        """The part of the agent that the loop needs."""
        return AgentSpec(
            name=self.name,
            model=self.model,
            tools=self.tools,
            system_prompt=self.system_prompt,
            tool_executor=self.tool_executor,
            max_record_bytes=self.max_record_bytes,
            on_partial=self.on_partial,
            context=with_limit(self.conversation_manager, self.model),
            retry=self.retry,
            terms=self.terms,
            hooks=self.asked_hooks,
        )

    @property
    def asked_hooks(self) -> AskedHooks | None:
        """Its hooks as a run asks them; None without any."""
        return AskedHooks(self.hooks, self) if self.hooks.has_callbacks() else None

    @property
    def definition(self) -> AgentDefinition:
        """A value, without secrets, that determines the requests to the agent's model.

        A model whose name cannot be resolved is described by the name.
        """
        try:
            model = describe(self.model)
        except ModelConfigurationError:
            model = {"name": plain(self._model)}
        return AgentDefinition(
            agent=self.name,
            model=model,
            system_prompt=plain(self.system_prompt),
            tool_specs=plain([tool.spec for tool in self.tools.values()]),
            tool_executor=self.tool_executor,
            on_partial=self.on_partial,
            messages=plain(self.messages),
            retry=described(self.retry),
            allow_overrides=plain(self.allow_overrides),
            terms=plain(self.terms.options),
            conversation_manager=described_manager(with_limit(self.conversation_manager, self._resolved)),
        )

    def add_hook(
        self,
        callback: HookCallback,
        event_type: type[Any] | Sequence[type[Any]] | None = None,
        *,
        order: float = HookOrder.DEFAULT,
    ) -> None:
        """Have a function called at events of the agent's runs; arguments and errors are those of `HookRegistry.add_callback`.

        A worker takes a snapshot of the agent when it is made, and does not call a hook that is added later.
        """
        self.hooks.add_callback(event_type, callback, order=order)

    def snapshot(self) -> Self:
        """A copy of the agent that later changes to this object do not affect; the model and the tools are shared."""
        taken = copy.copy(self)
        taken.messages, taken.tools, taken.hooks = list(self.messages), dict(self.tools), self.hooks.copy()
        taken._runs = InProcessRuns()
        return taken

    def of_run(self, first: Record) -> Self:
        """The agent that runs the run with this record 1, with what the run has instead of the agent's own."""
        options = first.options if isinstance(first, RunSubmitted) else {}
        if not options.keys() & {*OVERRIDES}:
            return self
        taken = self.snapshot()
        taken.system_prompt = options.get("system_prompt", taken.system_prompt)
        if (names := options.get("tools")) is not None:
            taken.tools = {name: tool for name, tool in self.tools.items() if name in names}
        if options.keys() & {"model", "params"}:  # a name is resolved once: without a key each time warns of it
            taken._model, taken._resolved = options.get("model", self._resolved or self._model), None
            taken._params = options.get("params", {})
        return taken

    @property
    def model_name(self) -> str | None:
        """The name by which it has its model; None if it has an object, or that of the environment."""
        return self._model if isinstance(self._model, str) else None

    def as_recorded(self, definition: AgentDefinition, *, model: str | None) -> Self:
        """This agent with what the log has of it: texts, executor, retries, how its history is kept, terms, tools and model
        by their names.

        What is code stays as it is here: the functions of the tools with their schemas, and a model object.
        """
        taken = self.snapshot()
        taken.system_prompt, taken.messages = definition.system_prompt, list(definition.messages)
        taken.tool_executor = cast("Any", definition.tool_executor)
        if described(self.retry) != definition.retry:  # else it may be an object with a rule of its own, which is code
            taken.retry = recorded_waits(definition.retry)
        taken.conversation_manager = recorded_manager(definition.conversation_manager)
        terms = Terms.read(definition.terms)
        taken.terms = self.terms if terms.options == self.terms.options else terms  # its own may have the class
        names = [spec["name"] for spec in definition.tool_specs]
        taken.tools = {name: self.tools[name] for name in names if name in self.tools}
        taken.allow_overrides = dict(definition.allow_overrides)
        if model is not None:
            taken._model, taken._resolved = model, None
        return taken

    def check_overrides(self, entries: Sequence[Entry]) -> None:
        """Refuse what a run has instead of the agent's own, unless the agent allows it. `entries` are its records so far.

        A run that has begun its first cycle is not refused: an owner has allowed it, perhaps by another version of the agent.

        Raises:
            OverrideRefusedError: The message names the first that is not allowed, and what is.
        """
        if not any(isinstance(entry.record, CycleStarted) for entry in entries):
            refuse_overrides(self.name, overrides_of(entries[0].record), allowed=self.allowed_overrides)

    @property
    def allowed_overrides(self) -> Allowance:
        """What a caller may replace for one run, with the names of the tools, even if all are allowed."""
        allowed = self.allow_overrides
        return {**allowed, "tools": list(self.tools)} if allowed.get("tools") is True else allowed

    def cancel(self) -> None:
        """Ask the current invocation to stop: its next event is the "Cancelled by user" message.

        Without one, give up the invocation that waits for responses, if any. Call it on the event loop's thread.
        """
        self._runs.cancel()

    def stream_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AsyncGenerator[Event, None]:
        """Run the agent here and yield its events as they happen, the `result` last.

        If a tool asks a human, the result has stop reason `interrupt`; the next call responds and resumes. Leaving the
        iterator ends the run; the next call may be made at once, and waits until the abandoned stream is closed.

        Args:
            prompt: Text, content blocks, messages, or None to continue from the history. After an interrupt: a list of
                `{"interruptResponse": {"interruptId": …, "response": …}}`.
            invocation_state: Passed to tools unchanged; its plain-data keys come back in the events.
            **keywords: What this call has instead of the agent's own, if its `allow_overrides` allow it: `model`,
                `system_prompt`, `tools` (names) and `params` (of the model). And its terms: `structured_output_model`, a
                pydantic class, of which `result.structured_output` is then an instance, or the JSON schema of an object,
                for a dict; `structured_output_prompt`, the user message to a model that ended its turn without it. `limits`: after how many `turns` (cycles), `total_tokens` or `output_tokens` the
                run ends, with the stop reason `limit_turns` and so on. A call
                that responds keeps those of the call
                that it resumes.

        Raises:
            TypeError, ValueError: At once, for a keyword that is unknown or invalid.
            OverrideRefusedError: If the agent does not allow an override.
            StructuredOutputException: If the model did not give the structured output, although it was asked for it.
            AgentBusyError: If an invocation is in progress on this object.
            AgentPausedError: If the last invocation waits for responses and the prompt is something else.
            InterruptNotOpenError: If the prompt responds to an interrupt that is not open; nothing is changed.
            Exception: Any exception of the model, after a `force_stop` event.
            EncodingError, RecordTooLargeError: If the prompt, a response, or the model's output cannot be stored: it is
                not plain data, or over the limit of a record.
            MaxTokensReachedException: If the model stopped at its token limit.
            InvalidMessageError: If a part of the prompt cannot be sent to a model.
            ValueError: If the prompt has no known form.
        """
        asked = call_options(self.stream_async, keywords)
        check_no_clash(asked.terms, self.tools)
        return self._runs.stream(self, prompt, invocation_state or {}, asked)

    async def invoke_async(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """Run the agent here to its end; raises as `stream_async`."""
        call_options(self.invoke_async, keywords)
        result: AgentResult | None = None
        async with aclosing(self.stream_async(prompt, invocation_state=invocation_state, **keywords)) as events:
            async for event in events:
                result = event.get("result", result)
        return cast("AgentResult", result)

    async def structured_output_async(self, output_model: type[T], prompt: Prompt = None) -> T:
        """Run the agent here, and return its structured output: `invoke_async` with `structured_output_model`.

        Unlike in Strands, the prompt and the answer stay in the conversation, and the agent may use its tools.

        Raises:
            StructuredOutputException: Also if the run ended, or paused, before the model gave it.
            Exception: As `stream_async`.
        """
        result = await self.invoke_async(prompt, structured_output_model=output_model)
        return requested_output(output_model, result)

    def structured_output(self, output_model: type[T], prompt: Prompt = None) -> T:
        """`structured_output_async` for code that is not async."""
        return requested_output(output_model, self(prompt, structured_output_model=output_model))

    def __call__(
        self,
        prompt: Prompt = None,
        *,
        invocation_state: dict[str, Any] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> AgentResult:
        """`invoke_async` for code that is not async; works with and without a running event loop."""
        call_options(self.__call__, keywords)

        async def invoke() -> AgentResult:
            return await self.invoke_async(prompt, invocation_state=invocation_state, **keywords)

        with ThreadPoolExecutor(1) as thread:
            # Not anyio.run: under a running loop the copied context says so, and anyio refuses to start another.
            return thread.submit(contextvars.copy_context().run, lambda: asyncio.run(invoke())).result()


def _caller() -> str:
    """`file:line` of the first frame that is neither in this file nor in a subclass's constructor."""
    frame = inspect.currentframe()
    while frame is not None and (frame.f_code.co_filename == __file__ or frame.f_code.co_name == "__init__"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
