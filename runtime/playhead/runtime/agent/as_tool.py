"""`AgentTool`: an agent as a tool of another agent. Each call of it is a run of its own, the child of the calling run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol, Self, cast

from playhead.runtime.agent.callbacks import CallbackHandler
from playhead.runtime.core.arguments import check_flag, check_text
from playhead.runtime.core.checks import check_agent
from playhead.runtime.core.children import (
    child_agent,
    child_of,
    child_question,
    child_result,
    own_answers,
    parts,
    records_after,
    told,
)
from playhead.runtime.core.converse import Messages, Prompt, ToolSpec, ToolUse
from playhead.runtime.core.errors import FencedError
from playhead.runtime.core.records import TERMINAL_TYPES, Record, RunPaused
from playhead.runtime.core.segments import Segment, record_of
from playhead.runtime.core.stopping import DELEGATED, Stop
from playhead.runtime.core.tool_results import error_result, invalid_name
from playhead.runtime.loop.spec import AgentSpec
from playhead.runtime.tools.agent_state import AgentState
from playhead.runtime.tools.children import ChildCall
from playhead.runtime.tools.context import NotBegunError, ToolContext
from playhead.runtime.tools.schema import read_input
from playhead.runtime.tools.tool import ChildBegan, ChildHeard, Interruption, Outcome, Tool, ToolItem

__all__ = ["AgentTool", "agent_within", "agent_tools", "agents_as_tools", "check_family", "family", "ToolAgent"]

_INPUT: Final = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The input to send to the agent tool."}},
    "required": ["input"],
}


_DELEGATES: Final = (
    " Calling this tool will return its response directly to the user as the final answer. It should be the only tool called"
    " in the turn."
)


class ToolsHolder(Protocol):
    """An agent, as far as its tools are asked for."""

    name: str
    tools: dict[str, Tool]


class ToolAgent(ToolsHolder, Protocol):
    """The agent that is a tool: an `Agent`, which makes its tool and so cannot be imported here."""

    description: str | None
    messages: Messages
    state: AgentState
    callback_handler: CallbackHandler | None
    max_record_bytes: int

    @property
    def spec(self) -> AgentSpec:
        """The part of the agent that the loop needs."""
        ...

    def snapshot(self) -> Self:
        """A copy that later changes do not affect."""
        ...

    async def invoke_async(self, prompt: Prompt = None) -> object:
        """Run the agent in this process."""
        ...


class AgentTool(Tool[..., Any]):
    """An agent as a tool; made by `Agent.as_tool`. Called as a function, it calls the agent in this process.

    Attributes:
        agent: The agent.
        delegates: Whether its answer ends the run that calls it.
        preserves: Whether a call goes on with the messages of the calls before it. If not, each begins with the messages that
            the agent had when the tool was made.
    """

    def __init__(
        self,
        agent: ToolAgent,
        *,
        name: str | None,
        description: str | None,
        preserve_context: bool,
        delegate: bool = False,
    ) -> None:
        check_text("name", name, optional=True)
        check_text("description", description, optional=True, empty=True)
        check_flag("preserve_context", preserve_context)
        check_flag("delegate", delegate)
        called = name or agent.name
        if flaw := invalid_name(called):
            raise ValueError(
                f"agent '{agent.name}' cannot be a tool: {flaw}: a tool's name has 1 to 64 letters, digits, '_' and '-'. "
                "Pass as_tool(name=…)."
            )
        self.agent: ToolAgent = agent
        self.preserves: bool = preserve_context
        self.delegates: bool = delegate
        self._messages = list(agent.messages)

        async def ask(input: str) -> str:  # noqa: A002 - Strands' name of the only parameter
            return str(await self.agent.invoke_async(input))

        said = description or agent.description
        said = said or f"Use the {called} agent as a tool by providing a natural language input"
        spec: ToolSpec = {
            "name": called,
            "description": f"{said}{_DELEGATES}" if delegate else said,
            "inputSchema": {"json": _INPUT},
        }
        super().__init__(ask, spec, reads=read_input(ask))

    def snapshot(self) -> AgentTool:
        """The tool with a snapshot of its agent."""
        taken = object.__new__(AgentTool)
        vars(taken).update(vars(self))
        taken.agent = self.agent.snapshot()
        return taken

    def agent_of_call(self) -> ToolAgent:
        """The agent that runs a child: a snapshot, with the messages that the child begins from in front of its session."""
        taken = self.agent.snapshot()
        if not self.preserves:
            taken.messages = list(self._messages)
        return taken

    async def stream(self, tool_use: ToolUse, context: ToolContext) -> AsyncGenerator[ToolItem, None]:
        """Run one call as the child of the run of `context`; without a run, call the agent in this process.

        The items are a `ChildBegan` for a child that is new in the log, a `ChildHeard` for its records as they are stored,
        and the `Outcome`, in Strands' words; if the child asks a question, the last is an `Interruption` with it.

        Raises:
            NotBegunError: If the run is no longer held.
        """
        if context.children is None:
            async with aclosing(super().stream(tool_use, context)) as items:
                async for item in items:
                    yield item
            return
        context.begin()
        place = context.children
        call_id = context.effect_key.removeprefix(f"{context.run_id}/")
        child = child_of(context.effect_key, place.known, parent=context.run_id)
        agent = child_agent(place.agent, self.name)
        if child is not place.known:
            yield ChildBegan(child.run, agent, child.attempt, self.delegates)
        call = ChildCall(
            run_id=child.run,
            parent=context.run_id,
            key=context.effect_key,
            agent=agent,
            made_by=self,
            prompt=_prompt(tool_use.get("input")),
            session=place.session,
            # The last record that the log of the caller has may be the child's end, which is the result of the call.
            after=max(0, child.upto - 1),
            responses=own_answers(call_id, context.responses),
        )
        context.stops_by(call.cancel)
        last: Record | None = None
        try:
            async with aclosing(place.runs.records(call)) as segments:
                async for segment in segments:
                    for heard in self._heard(segment, after=child.upto):
                        yield heard
                    end = record_of(segment.values[-1])
                    last = end if end.type in TERMINAL_TYPES or isinstance(end, RunPaused) else last
        except FencedError as error:
            raise NotBegunError(str(error)) from error
        except Exception as error:
            yield Outcome(error_result(tool_use["toolUseId"], f"Agent error: {error}"), error)
            return
        yield self._end(tool_use, last, call=call_id, context=context)

    def _heard(self, segment: Segment, *, after: int) -> Iterator[ChildHeard]:
        fresh = records_after(segment, after)
        for part in () if fresh is None else parts(fresh) if self.delegates else (fresh,):
            upto, values = told(part)
            if values:
                yield ChildHeard(upto, values)

    def _end(
        self, tool_use: ToolUse, last: Record | None, *, call: str, context: ToolContext
    ) -> Outcome | Interruption:
        if isinstance(last, RunPaused):
            return Interruption([child_question(call, one) for one in last.interrupts])
        if last is None:
            return Outcome(error_result(tool_use["toolUseId"], "Agent did not produce a result"))
        result = child_result(self.name, tool_use["toolUseId"], last, delegates=self.delegates)
        text = "\n".join(block.get("text", "") for block in result["content"])
        if self.delegates and result["status"] == "success" and text:
            context.stopping = Stop(DELEGATED, text)
        return Outcome(result)


def _prompt(given: object) -> str:
    if isinstance(given, Mapping):
        given = cast("Mapping[str, Any]", given).get("input", "")
    return given if isinstance(given, str) else str(given)


def agents_as_tools(item: object, kind: type[Any]) -> object:
    """The item, with the tool of each agent in its place; lists are searched."""
    if isinstance(item, kind):
        return cast("Any", item).as_tool()
    if isinstance(item, list | tuple | set | frozenset):
        return [agents_as_tools(one, kind) for one in cast("Sequence[object]", item)]
    return item


def agent_tools(agent: ToolsHolder) -> list[AgentTool]:
    """The agents among an agent's tools."""
    return [one for one in agent.tools.values() if isinstance(one, AgentTool)]


def agent_within(agent: ToolAgent, name: str, wanted: str) -> ToolAgent:
    """The agent that runs of the name `wanted` are of, under that name, if it is a tool of this one; else this one.

    `name` is the name in the log of this one.
    """
    for one in agent_tools(agent):
        inner = child_agent(name, one.name)
        if wanted == inner:
            taken = one.agent_of_call()
            taken.name = wanted
            return taken
        if wanted.startswith(f"{inner}."):
            return agent_within(one.agent, inner, wanted)
    return agent


def check_family(agent: ToolsHolder) -> None:
    """Refuse an agent whose children could not be named.

    Raises:
        ValueError: If an agent is its own tool, or a tool of one of its tools, or the name of a child is too long.
    """
    for name in family(agent):
        check_agent(name)


def family(agent: ToolsHolder) -> dict[str, ToolAgent]:
    """The agents that runs of this one may start, by their names in the log. Raises ValueError as `check_family`."""
    return dict(_family(agent, agent.name, (agent,)))


def _family(agent: ToolsHolder, name: str, above: tuple[ToolsHolder, ...]) -> Iterator[tuple[str, ToolAgent]]:
    for one in agent_tools(agent):
        inner, way = child_agent(name, one.name), (*above, one.agent)
        if any(one.agent is agent_above for agent_above in above):
            raise ValueError(f"an agent cannot be its own tool: {' > '.join(each.name for each in way)}")
        yield inner, one.agent
        yield from _family(one.agent, inner, way)
