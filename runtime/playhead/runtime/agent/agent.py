"""`Agent`: a definition that a fleet runs, and that can also be called in this process without Redis."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, Unpack, cast, get_args

from playhead.runtime.agent.as_tool import AgentTool, agents_as_tools, check_family
from playhead.runtime.agent.callbacks import CallbackHandler, PrintingCallbackHandler
from playhead.runtime.agent.called import CalledAgent
from playhead.runtime.agent.conversation.managers import ConversationManager, conversation_manager_of
from playhead.runtime.agent.executors import Executor, chosen_executor
from playhead.runtime.agent.hooks.events import AgentInitializedEvent
from playhead.runtime.agent.hooks.registry import HookCallback, HookOrder, HookRegistry
from playhead.runtime.core.arguments import (
    check_callable,
    check_choice,
    check_flag,
    check_items,
    check_text,
    check_whole,
)
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.codec import MAX_RECORD_BYTES
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.intake import checked_messages
from playhead.runtime.core.keywords import refuse_keywords
from playhead.runtime.core.overrides import Allowance, checked_allowance, models_in
from playhead.runtime.core.retry import RetryPolicy
from playhead.runtime.core.retry_strategy import ModelRetryStrategy, chosen_retry
from playhead.runtime.core.system_prompt import SystemPromptArgument
from playhead.runtime.core.terms import TermArguments, Terms, check_no_clash, terms_of
from playhead.runtime.loop.spec import OnPartial
from playhead.runtime.models.model import Model
from playhead.runtime.models.resolve import check_model
from playhead.runtime.telemetry.operations import Attribute, Attributes, checked_attributes
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.decorator import tool_index
from playhead.runtime.tools.tool import Tool

__all__ = ["Agent"]

_RETRY: Final = ModelRetryStrategy()
_PRINTING: Final = PrintingCallbackHandler()
"""Stands for a new one: each counts the tools of its agent."""


class Agent(CalledAgent):
    """An agent: a model, tools, a system prompt, and its conversation in this process.

    Passed to a worker, it is only a definition: the worker takes a snapshot when it is made, and runs start from
    `messages` plus their session and do not change the object. Called in this process, it keeps its `messages` between
    calls, as a Strands `Agent` does.

    Args:
        model: A model object, a name (`"openai/gpt-5-mini"`, `"local/path.gguf"`, `"demo"`), or None for
            `PLAYHEAD_MODEL`, else OpenAI if its key is set, else the demo model. Resolved at first use.
        name: The name that clients use: 1 to 128 letters, digits, `_`, `-`, `.`.
        tools: `@tool` functions, plain functions, agents (see `as_tool`), what Strands' `tools=` takes (extra `strands`), an
            `MCPServer`, or lists of them.
        system_prompt: The system prompt, sent with every model call: a text, or blocks with cache points. May be set later.
        messages: The history to start from.
        callback_handler: Called with each event as keywords, in this process only: a function, a handler of Strands, or
            None for none. The default is a `PrintingCallbackHandler`.
        tool_executor: Whether the calls of one batch run together, which is the default, or one after the other. An
            executor of Strands counts, too.
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
        record_direct_tool_call: Whether a call `agent.tool.name(…)` is added to `messages`.
        agent_id: A name for hooks and tools to read; the agent's `name` if it is None.
        trace_attributes: Attributes of every span of its runs, by name: texts, numbers, bools, or lists of one of these.
        state: The key-value state that its tools and hooks read and change, as JSON: a dict, or an `AgentState`. In a fleet
            the first run of a session begins from it, and each later one from what the run before it left.
        description: A description for people.
        max_record_bytes: The limit of one record; a message may be larger than its chunks, see `codec.limit_of`.
        **terms: `structured_output_model`, `structured_output_prompt` and `limits`, for calls without their own; see
            `stream_async`.

    Attributes:
        tool: Its tools as methods: `agent.tool.add(a=1, b=2)`.
        tool_names: The names of its tools.
        hooks: The callbacks of its hooks; `hooks.add_callback(event, function)` adds one.
        state: Its key-value state, with `get`, `set` and `delete`. Of a run in a fleet, tools and hooks have their own.
        terms: What its calls are asked for, unless they ask for something else.
        defined_at: `file:line` of the code that made it.

    Raises:
        ModelConfigurationError: If the model is neither a model object nor a name of a known form.
        ValueError: If an argument is out of its range, the name or a tool's name is invalid, two tools share one, the
            structured output is not an object or has the name of a tool, a value of `state` is not JSON, or it is not known which event a hook is for. If a file, module or server of tools cannot be
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
        tools: Sequence[object] | None = (),
        system_prompt: SystemPromptArgument = None,
        messages: Messages | None = None,
        callback_handler: CallbackHandler | None = _PRINTING,
        tool_executor: Literal["concurrent", "sequential"] | None = "concurrent",
        on_partial: OnPartial = "retract",
        hooks: Sequence[object] | None = (),
        retry: RetryPolicy | ModelRetryStrategy | None = _RETRY,
        retry_strategy: object = _RETRY,
        allow_overrides: Collection[str] | Allowance = (),
        conversation_manager: object = None,
        record_direct_tool_call: bool = True,
        agent_id: str | None = None,
        trace_attributes: Attributes | None = None,
        state: Mapping[str, Any] | AgentState | None = None,
        description: str | None = None,
        max_record_bytes: int = MAX_RECORD_BYTES,
        **terms: Unpack[TermArguments],
    ) -> None:
        refuse_keywords(type(self), terms, accepted=TermArguments.__annotations__)
        self.terms: Terms = terms_of(terms)
        check_agent(name)
        check_model(model)
        super().__init__(model)
        check_choice("on_partial", on_partial, get_args(OnPartial))
        check_items("tools", tools or (), object, each="a function")
        check_text("agent_id", agent_id, optional=True)
        check_text("description", description, optional=True, empty=True)
        check_items("messages", messages or [], Mapping, each="a message with role and content")
        check_callable("callback_handler", callback_handler, optional=True)
        check_flag("record_direct_tool_call", record_direct_tool_call)
        check_whole("max_record_bytes", max_record_bytes, least=1)
        self.name: str = name
        self.record_direct_tool_call: bool = record_direct_tool_call
        self.agent_id: str = name if agent_id is None else agent_id
        self.description: str | None = description
        self.system_prompt = system_prompt
        self.messages: Messages = checked_messages(messages or [])
        self.callback_handler: CallbackHandler | None = (
            PrintingCallbackHandler() if callback_handler is _PRINTING else callback_handler
        )
        self.tool_executor: Executor = chosen_executor(tool_executor)
        self.on_partial: OnPartial = on_partial
        self.retry: RetryPolicy | ModelRetryStrategy | None = chosen_retry(retry, retry_strategy, default=_RETRY)
        self.conversation_manager: ConversationManager = conversation_manager_of(conversation_manager)
        self.trace_attributes: dict[str, Attribute] = checked_attributes("trace_attributes", trace_attributes or {})
        self.state: AgentState = _state_of(state)
        self.max_record_bytes: int = max_record_bytes
        self.tools: dict[str, Tool] = tool_index([agents_as_tools(one, Agent) for one in tools or ()])
        self.allow_overrides: dict[str, bool | list[str]] = checked_allowance(allow_overrides, tools=self.tools)
        for allowed in models_in(self.allow_overrides):
            check_model(allowed)
        check_no_clash(self.terms, self.tools)
        check_family(self)
        self.hooks: HookRegistry = HookRegistry()
        self.hooks.add_all(() if hooks is None else hooks)
        self.defined_at: str = _caller()
        for callback in self.hooks.callbacks_for("AgentInitializedEvent"):
            callback(AgentInitializedEvent(agent=self))

    def __repr__(self) -> str:
        return f"Agent(name={self.name!r}, tools={list(self.tools)})"

    def as_tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        preserve_context: bool = False,
        delegate: bool = False,
    ) -> AgentTool:
        """The agent as a tool of another one, whose calls are runs of their own; `tools=[agent]` is the same.

        Args:
            name: The tool's name: 1 to 64 letters, digits, `_` and `-`. Defaults to the agent's.
            description: What the calling model reads. Defaults to the agent's description, else a sentence with the name.
            preserve_context: Whether a call goes on with the conversation of the calls before it; in a fleet those of the
                same session, or of the same run without one. Else each begins with the messages that the agent has now.
            delegate: Whether its answer ends the calling run, as the run's last message, without another model call. Its events
                are then the calling run's own, and no other tool may be called in the same message.

        Raises:
            ValueError: If the name is not one for a tool.
            TypeError: If an argument has the wrong type.
        """
        return AgentTool(self, name=name, description=description, preserve_context=preserve_context, delegate=delegate)

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


def _state_of(given: object) -> AgentState:
    if isinstance(given, AgentState):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"state must be a dict, an AgentState or None, not {type(given).__name__}")
    return AgentState(cast("Mapping[str, Any] | None", given))


def _caller() -> str:
    """`file:line` of the first frame that is neither in this file nor in a subclass's constructor."""
    frame = inspect.currentframe()
    while frame is not None and (frame.f_code.co_filename == __file__ or frame.f_code.co_name == "__init__"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
