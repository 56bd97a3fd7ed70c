"""`OpenAIAgentsGuest`: an agent of the OpenAI Agents SDK as a TARGET."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, ClassVar, Final, get_args

from agents import Agent
from agents.run import AgentRunner

from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.guests.openai_agents import forms
from playhead.runtime.guests.openai_agents.seams import quiet_spans, recorded_config
from playhead.runtime.guests.openai_agents.servers import connected, servers_of
from playhead.runtime.guests.sources import Make
from playhead.runtime.guests.verdicts import verdict_of
from playhead.runtime.host.context import GuestContext

__all__ = ["OpenAIAgentsGuest"]

_OPTIONS: Final = ("error_handlers", "hooks", "max_turns", "run_config")
_KEPT_ELSEWHERE: Final = ("session", "conversation_id", "previous_response_id", "auto_previous_response_id")


class OpenAIAgentsGuest(MadeGuest):
    """Runs each run by an `agents.Agent` as it is.

    After a takeover the agent runs again from its top: its model calls and tool calls get from the log what they gave. So
    its hooks, guardrails, dynamic instructions and `on_handoff` functions run again, too.

    Args:
        source: An agent, or a function without arguments that makes one after each claim of a run.
        context: What makes the context object of a run; None for the caller's values, `ctx.invocation_state`. What tools
            change in it is kept, if it is a dict, a dataclass or a pydantic model.
        options: As for `Runner.run_streamed`: `error_handlers`, `hooks`, `max_turns`, `run_config`.
        more: As for `MadeGuest`.

    Raises:
        TypeError: If `source` is neither, the function returns something else, or an option is unknown.
        ValueError: If an option or a tool keeps what the log has to keep, the name is invalid, or the agent is an
            `Agent[Context]` of a class and there is no `context`.
        AgentFactoryError: If the function raises.
    """

    kinds: ClassVar[tuple[type, ...]] = (Agent,)
    told = "an agents.Agent of the OpenAI Agents SDK"
    distribution = "openai-agents"

    def __init__(
        self,
        source: Agent[Any] | Make[Agent[Any]],
        *,
        context: Callable[[GuestContext], Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self._has_context = context is not None
        self._context = context or (lambda ctx: ctx.invocation_state)
        self._options: dict[str, Any] = dict(options or {})
        for name in self._options:
            if name in _KEPT_ELSEWHERE:
                raise ValueError(
                    f"{name} keeps the conversation beside the log: remove it, and pass session_id= to the run"
                )
            if name not in _OPTIONS:
                raise TypeError(f"options may have {', '.join(_OPTIONS)}, and not {name!r}")
        if isinstance(source, Agent) and servers_of(source):
            raise ValueError(
                f"{source.name} has MCP servers, which each run connects for itself: give a function that makes both"
            )
        super().__init__(source, **more)

    def check(self, agent: Any) -> None:
        """Refuse tools that act on this machine by other ways than a function, and an agent whose context is not known.

        Raises:
            ValueError: The message names the tool, or the class of the context.
        """
        for kind in get_args(getattr(agent, "__orig_class__", None)):  # of Agent[Context](…)
            if self._has_context or kind in (Any, object) or not isinstance(kind, type):
                continue
            if not issubclass(kind, dict | type(None)):
                needs = kind.__name__
                raise ValueError(
                    f"{self.name} needs a context ({needs}): serve OpenAIAgentsGuest(…, context=lambda ctx: …)"
                )
        for tool in agent.tools:
            if any(getattr(tool, name, None) is not None for name in ("computer", "editor", "executor")):
                raise ValueError(f"what {agent.name}'s tool {tool.name} does is not recorded: make it a function_tool")

    def around(self, agent: Any) -> AbstractAsyncContextManager[None]:
        """Its MCP servers are connected."""
        return connected(agent)

    async def run(self, agent: Any, ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any, None]:
        """Run the agent. Its events are the run's, without the chunks of its model, which are recorded as they pass."""
        quiet_spans()
        options: Any = {**self._options, "run_config": recorded_config(self._options.get("run_config"), ctx)}
        context, begin = self._context(ctx), [*ctx.past(forms.message_item), *forms.prompt_items(prompt)]
        while True:
            result: Any = AgentRunner().run_streamed(agent, begin, context=context, **options)
            async with aclosing(result.stream_events()) as events:
                try:
                    async for event in events:
                        if event.type != "raw_response_event":
                            yield forms.plain(event)
                except BaseException:
                    result.cancel()  # else its end would be waited for
                    raise
            if not result.interruptions:
                break
            begin = await _decided(ctx, result)
        ctx.result = forms.plain(result.final_output)
        said = (item for item in result.new_items if item.type != "tool_approval_item")
        ctx.items = [forms.plain(item.to_input_item()) for item in said]


async def _decided(ctx: GuestContext, result: Any) -> Any:
    """The state after a pause, in which a human has let each tool run or not."""
    state, asked = result.to_state(), result.interruptions
    responses = await ctx.ask_all(
        (f"approve {one.name}", {"tool": one.name, "input": forms.input_of(one.arguments), "agent": one.agent.name})
        for one in asked
    )
    for item, verdict in zip(asked, map(verdict_of, responses), strict=True):
        if verdict.allowed:
            state.approve(item)
        else:
            state.reject(item, rejection_message=verdict.told)
    return state
