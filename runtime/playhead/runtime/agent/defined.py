"""What of an agent determines its runs, and the values that the loop, the log and a worker take from it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self, cast

from playhead.runtime.agent.as_tool import AgentTool, check_family
from playhead.runtime.agent.callbacks import CallbackHandler
from playhead.runtime.agent.conversation.managers import ConversationManager, described_manager, recorded_manager
from playhead.runtime.agent.conversation.proactive import with_limit
from playhead.runtime.agent.executors import Executor
from playhead.runtime.agent.hooks.asking import AskedHooks
from playhead.runtime.agent.hooks.registry import HookRegistry
from playhead.runtime.agent.in_process import InProcessRuns
from playhead.runtime.core.converse import ContentBlock, Messages
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.core.overrides import OVERRIDES, Allowance, overrides_of, refuse_overrides
from playhead.runtime.core.plain import plain
from playhead.runtime.core.records import CycleStarted, Entry, Record, RunSubmitted
from playhead.runtime.core.retry import RetryPolicy
from playhead.runtime.core.retry_strategy import ModelRetryStrategy, described, recorded_waits
from playhead.runtime.core.strands_names import ATTRIBUTES, RefusesAttributes
from playhead.runtime.core.system_prompt import SystemPrompt, SystemPromptArgument, sent_blocks, system_prompt_of
from playhead.runtime.core.terms import Terms
from playhead.runtime.loop.spec import AgentSpec, OnPartial
from playhead.runtime.models.description import describe
from playhead.runtime.models.model import Model
from playhead.runtime.models.params import with_params
from playhead.runtime.models.resolve import resolve_model
from playhead.runtime.telemetry.operations import Attribute
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.tool import Tool

__all__ = ["DefinedAgent"]


class DefinedAgent(RefusesAttributes):
    """The base class of `Agent` that holds its parts; `Agent` sets and describes them."""

    _elsewhere = ATTRIBUTES

    name: str
    agent_id: str
    record_direct_tool_call: bool
    description: str | None
    messages: Messages
    callback_handler: CallbackHandler | None
    tool_executor: Executor
    on_partial: OnPartial
    retry: RetryPolicy | ModelRetryStrategy | None
    conversation_manager: ConversationManager
    max_record_bytes: int
    tools: dict[str, Tool]
    allow_overrides: dict[str, bool | list[str]]
    terms: Terms
    hooks: HookRegistry
    trace_attributes: dict[str, Attribute]
    state: AgentState

    def __init__(self, model: str | Model | None) -> None:
        self._system_prompt = SystemPrompt()
        self._model = model
        self._resolved: Model | None = None
        self._params: dict[str, Any] = {}  # of the run that it is for
        self._runs = InProcessRuns()

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
    def system_prompt(self) -> str | None:
        """The text of the system prompt. It may be set to a text, blocks or None."""
        return self._system_prompt.text

    @system_prompt.setter
    def system_prompt(self, given: SystemPromptArgument) -> None:
        self._system_prompt = system_prompt_of(given)

    @property
    def system_prompt_content(self) -> list[ContentBlock] | None:
        """The system prompt as blocks, with its cache points; None if there is none."""
        return sent_blocks(*self._system_prompt)

    @property
    def tool_names(self) -> list[str]:
        """The names of its tools, in the order in which they are offered to the model."""
        return list(self.tools)

    @property
    def spec(self) -> AgentSpec:
        """The part of the agent that the loop needs."""
        return AgentSpec(
            name=self.name,
            model=self.model,
            tools=self.tools,
            system_prompt=self.system_prompt,
            system_prompt_content=self._system_prompt.content,
            tool_executor=self.tool_executor,
            max_record_bytes=self.max_record_bytes,
            on_partial=self.on_partial,
            context=with_limit(self.conversation_manager, self.model),
            retry=self.retry,
            terms=self.terms,
            hooks=self.asked_hooks,
            trace_attributes=self.trace_attributes,
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
            system_prompt_content=self._system_prompt.content,
            tool_specs=plain([tool.spec for tool in self.tools.values()]),
            tool_executor=self.tool_executor,
            on_partial=self.on_partial,
            messages=plain(self.messages),
            retry=described(self.retry),
            allow_overrides=plain(self.allow_overrides),
            terms=plain(self.terms.options),
            conversation_manager=described_manager(with_limit(self.conversation_manager, self._resolved)),
        )

    def snapshot(self) -> Self:
        """A copy of the agent that later changes to this object do not affect; the model and the tools are shared."""
        check_family(self)
        taken = copy.copy(self)
        taken.messages, taken.hooks = list(self.messages), self.hooks.copy()
        taken.tools = {
            name: tool.snapshot() if isinstance(tool, AgentTool) else tool for name, tool in self.tools.items()
        }
        taken.state = AgentState(self.state.get())
        taken._runs = InProcessRuns()
        return taken

    def of_run(self, first: Record) -> Self:
        """The agent that runs the run with this record 1, with what the run has instead of the agent's own."""
        options = first.options if isinstance(first, RunSubmitted) else {}
        if not options.keys() & {*OVERRIDES}:
            return self
        taken = self.snapshot()
        if "system_prompt" in options:
            taken.system_prompt = options["system_prompt"]
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
        blocks = definition.system_prompt_content
        taken._system_prompt = SystemPrompt(definition.system_prompt, None if blocks is None else list(blocks))
        taken.messages = list(definition.messages)
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
