"""`LangGraphGuest`: a compiled graph of LangGraph as a TARGET."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, ClassVar, cast

from langchain_core.globals import get_llm_cache
from langchain_core.messages import BaseMessage, HumanMessage, messages_from_dict, messages_to_dict
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel
from langgraph.types import Command

from playhead.runtime.core.plain import plain
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.guests.langgraph import forms
from playhead.runtime.guests.langgraph.seams import GIVEN, Given
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.forms import VARIES

__all__ = ["LangGraphGuest"]


class LangGraphGuest(MadeGuest):
    """Runs each run by a compiled graph of LangGraph as it is.

    After a takeover the graph runs again from its start: the calls of its chat models and tools get from the log what they
    gave. So its nodes run again, too: what else has an effect in a node goes through `current_context().step(…)`.

    Args:
        source: A compiled graph, or a function without arguments that makes one after each claim of a run.
        input: What makes the graph's input of the context and the prompt. None for the messages of the session and the prompt
            as `messages`.
        more: As for `MadeGuest`.

    Raises:
        TypeError: If `source` is neither, or the function returns something else.
        ValueError: If the graph has a checkpointer other than an `InMemorySaver`, or a cache, if it has no `messages` and there is no `input`, or if the name
            is invalid.
        AgentFactoryError: If the function raises.
    """

    kinds: ClassVar[tuple[type, ...]] = (Pregel,)
    told = "a compiled graph of LangGraph"
    unnamed = "LangGraph"
    distribution = "langgraph"
    observed: ClassVar[bool] = True
    varies: ClassVar[frozenset[str]] = VARIES | {"id", "tool_call_id"}  # prebuilt handoffs make them up

    def __init__(
        self,
        source: Any,
        *,
        input: Callable[[GuestContext, Any], Any] | None = None,  # noqa: A002 - LangGraph's word
        **more: Any,
    ) -> None:
        self._input = input or _messages
        super().__init__(source, **more)

    def check(self, agent: Pregel[Any]) -> None:
        """Refuse a graph that would restore a part of what the log restores, or whose input is not known.

        Raises:
            ValueError: The message says what to do instead.
        """
        if agent.checkpointer and not isinstance(
            agent.checkpointer, InMemorySaver
        ):  # that one restores nothing elsewhere
            raise ValueError(
                f"{self.name} has a checkpointer, which would restore a part of what the log restores: compile the graph "
                "without one, and pass session_id= to the run"
            )
        if agent.cache is not None or get_llm_cache() is not None:
            raise ValueError(
                f"{self.name} has a cache, so what it does depends on what other runs did: compile the graph without "
                "cache=, and call set_llm_cache(None)"
            )
        if self._input is _messages and "messages" not in agent.channels:
            raise ValueError(
                f"{self.name} has no `messages` in its state: serve LangGraphGuest(…, input=lambda ctx, prompt: …)"
            )

    def lane_of(self, event: dict[str, Any]) -> str:
        """Nodes that run side by side end in any order, and so do the tasks of one: a lane has the events of one node."""
        if "updates" not in event:
            return " ".join(["custom", *event["ns"]])
        return " ".join(["updates", *event["ns"], *sorted(cast("dict[str, Any]", event["updates"]))])

    async def run(self, agent: Pregel[Any], ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any, None]:
        """Run the graph until it asks nothing any longer. Its updates and what its nodes write are the run's events."""
        tools = Given()
        GIVEN.set(tools)
        graph: Any = agent.copy({"checkpointer": InMemorySaver(serde=forms.Kept())})  # without one it could not ask
        config: Any = {"configurable": {**ctx.invocation_state, "thread_id": ctx.run_id}}
        context = ctx.invocation_state if agent.context_schema else None
        given: Any = self._input(ctx, prompt)
        before = [one for one in _messages_of(given) if not str(one.id).startswith(_prompt_id(ctx))]
        values: Any = {}
        modes = ["values", "updates", "custom"]
        while True:
            tools.entered += 1
            async for part in graph.astream(
                given, config, context=context, stream_mode=modes, subgraphs=True, durability="exit", version="v2"
            ):
                if part["type"] == "values" and not part["ns"]:
                    values = part["data"]
                elif part["type"] == "custom" or (part["type"] == "updates" and "__interrupt__" not in part["data"]):
                    where = [one.partition(":")[0] for one in part["ns"]]  # without the ids of tasks
                    yield {part["type"]: forms.shown(part["data"]), "ns": where}  # `data` is the text of the models
            state = await graph.aget_state(config)
            if not state.next:
                break
            given = await _resumed(ctx, state)
        said = _messages_of(values)
        ctx.items = plain(messages_to_dict(_new(said, before)))
        ctx.result = said[-1].text if said else forms.shown(values)


async def _resumed(ctx: GuestContext, state: Any) -> Command[Any] | None:
    """What a human responds to what the graph asks, or None to go on from a breakpoint."""
    asked = [(task.name, one) for task in state.tasks for one in task.interrupts]
    if not asked:
        await ctx.ask("breakpoint", {"next": list(state.next)})
        return None
    responses = await ctx.ask_all((name, plain(one.value)) for name, one in asked)
    return Command(resume={one.id: response for (_, one), response in zip(asked, responses, strict=True)})


def _messages(ctx: GuestContext, prompt: Any) -> dict[str, Any]:
    """The messages of the session and the prompt."""
    past = messages_from_dict(ctx.past(forms.message_of, with_prompts=True))
    prompts = [
        HumanMessage(forms.content_of(message), id=f"{_prompt_id(ctx)}{index}")
        for index, message in enumerate(prompt_messages(prompt) or [])
    ]
    return {"messages": [*past, *prompts]}


def _prompt_id(ctx: GuestContext) -> str:
    """What the ids of this invocation's prompts begin with; those of the run's earlier ones are in the history."""
    return f"{ctx.run_id}-{ctx.invocation}-"


def _new(said: list[BaseMessage], past: list[BaseMessage]) -> list[BaseMessage]:
    """The messages that are not those of the session. Some have no id, so places count unless the graph took some out."""
    if [one.id for one in said[: len(past)]] == [one.id for one in past]:
        return said[len(past) :]
    known = {one.id for one in past}
    return [one for one in said if one.id is None or one.id not in known]


def _messages_of(values: Any) -> list[BaseMessage]:
    found = values.get("messages", []) if isinstance(values, dict) else []
    return [one for one in found if isinstance(one, BaseMessage)]
