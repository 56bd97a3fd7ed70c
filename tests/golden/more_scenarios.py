"""More scenarios of the golden logs: what version 0.2.0 has added."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import anyio

from playhead.client import Run
from playhead.runtime import (
    AfterInvocationEvent,
    AfterToolCallEvent,
    Agent,
    AgentFactory,
    BeforeToolCallEvent,
    FunctionGuest,
    GuestContext,
    RunContext,
    SlidingWindowConversationManager,
    ToolContext,
    tool,
)
from playhead.runtime.core.converse import Chunk
from playhead.runtime.host.guest import Guest
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.models import chunks as c
from tests.golden.scenarios import answered, remember
from tests.golden.stage import PLAIN, Hanging, Stage, agent, broken, steps, streamed

__all__ = [
    "BLOCKS",
    "CHANGED",
    "HangingAfterTools",
    "PINNED",
    "answered_with_other_values",
    "ask_first",
    "called_again",
    "cancelled_after_its_tools",
    "cancelled_by_a_hook",
    "cancelled_with_a_message",
    "delegated",
    "described",
    "failing_guest",
    "goes_on",
    "goes_on_with_other_values",
    "hosted_question",
    "hold",
    "hosted_failure",
    "hosted_graph",
    "hosted_requests",
    "instead",
    "made_with_the_name_of_a_model",
    "managed",
    "named_model",
    "once_more",
    "stops",
    "twice",
    "with_a_delegate",
]


async def stops(event: BeforeToolCallEvent) -> None:
    """Cancel the run after the calls."""
    event.agent.cancel(message="Enough.")


async def cancelled_by_a_hook(stage: Stage) -> Run:
    return await stage.alone(agent(tool_call("steps", {"n": 1}, "t1"), hooks=[stops]))


async def answered_with_other_values(stage: Stage) -> Run:
    """A response has other values of the caller than the run began with."""
    async with stage.worker(agent(tool_call("pay", {"euros": 5}, "t1"), PLAIN)):
        run = await stage.asked("Pay.", invocation_state={"user": "ada", "raw": b"\x01"})
        interrupts = (await run.result(on_pause="end")).interrupts
        answers = {one.id: "yes" for one in interrupts or ()}
        await run.respond(answers, invocation_state={"user": "bob"}, signal_id="s1")
        return await stage.ended(run)


@tool
async def ask_first(context: ToolContext) -> str:
    """Count the questions, and ask."""
    context.state.set("asked", (context.state.get("asked") or 0) + 1)
    return f"done: {context.interrupt('sure')}"


async def instead(event: BeforeToolCallEvent) -> None:
    """Have another tool run, and forget the draft."""
    if event.tool_use["name"] == "steps":
        event.selected_tool = broken
        event.agent.state.delete("draft")


async def once_more(event: AfterToolCallEvent) -> None:
    """Drop the first result of each call, which changed the state."""
    times = event.agent.state.get("calls") or 0
    event.agent.state.set("calls", times + 1)
    event.retry = times in (0, 2)


CHANGED: Final[dict[str, Any]] = {"tools": [steps, broken, ask_first, remember], "hooks": [instead, once_more]}
CHANGED["state"] = {"draft": [1, None]}


async def called_again(stage: Stage) -> Run:
    """Hooks give a call to another tool and drop results; a tool changes the state and asks."""
    calls = [tool_call("remember", {"name": "Ada"}, "t1"), tool_call("steps", {"n": 1}, "t2")]
    return await answered(stage, agent(*calls, tool_call("ask_first", {}, "t3"), "Done.", **CHANGED), "yes")


BLOCKS: Final[list[Any]] = [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}]


async def described(stage: Stage) -> Run:
    """A system prompt of blocks, an agent that allows overrides, parameters of one run, tags, and tokens of a cache."""
    said = [*PLAIN[:-1], c.metadata(input_tokens=1, output_tokens=2, latency_ms=3)]
    said[-1]["metadata"]["usage"] |= {"cacheReadInputTokens": 7, "cacheWriteInputTokens": 0}
    served = agent(said, system_prompt=BLOCKS, allow_overrides={"params", "tools"})
    return await stage.alone(served, params={"temperature": 0}, metadata={"customer": "ada", "paid": True})


async def cancelled_with_a_message(stage: Stage) -> Run:
    async with stage.worker(agent(model=HangingAfterTools())):
        run = await stage.asked()
        await streamed(run, times=1)
        await run.cancel(message="Enough: 💥", signal_id="s1")
        return await stage.ended(run)


class HangingAfterTools(Hanging):
    """Calls a tool, and then sends the beginning of a message."""

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        """A call, or the beginning."""
        if len(messages) == 1:
            for chunk in tool_call("broken", {}, "t1"):
                yield chunk
            return
        async for chunk in super().stream(messages, *args, **kwargs):
            yield chunk


@tool
async def hold() -> str:
    """Return when the worker has surely heard of the cancel."""
    await anyio.sleep(2)
    return "held"


async def cancelled_after_its_tools(stage: Stage) -> Run:
    async with stage.worker(agent(tool_call("hold", {}, "t1"), tools=[hold])):
        run = await stage.asked()
        async for entry in run.records():
            if entry.record.type == "tool.started":
                break
        await run.cancel(message="Enough.", after_current_tools=True, signal_id="s1")
        return await stage.ended(run)


PINNED: Final = SlidingWindowConversationManager(window_size=4, per_turn=True, pin_first=1)


async def managed(stage: Stage) -> Run:
    """A history of which the first message is pinned, reduced before a call and at the end; its session was cut before."""
    served = agent(
        PLAIN, PLAIN, tool_call("broken", {}, "t1"), tool_call("broken", {}, "t2"), PLAIN, conversation_manager=PINNED
    )
    async with stage.worker(served):
        await stage.ended(await stage.asked())
        await stage.ended(await stage.asked("Again."))
        await stage.client.session("ada").trim(keep_last=2)
        return await stage.ended(await stage.asked("And again."))


async def twice(event: AfterToolCallEvent) -> None:
    """Drop the first result of the first call."""
    event.retry = not event.agent.state.get("called") and event.tool_use["toolUseId"] == "t1"
    event.agent.state.set("called", True)


def with_a_delegate(model: ScriptedModel) -> Agent:
    """An agent with another one that is called again, and one that answers in its place."""
    inner = Agent(ScriptedModel(["One.", "Two."]), name="inner", callback_handler=None)
    last = Agent(
        ScriptedModel([tool_call("steps", {"n": 1}, "d1"), PLAIN]), name="last", tools=[steps], callback_handler=None
    )
    return agent(model=model, tools=[inner, last.as_tool(delegate=True)], hooks=[twice])


async def delegated(stage: Stage) -> Run:
    """A call of an agent whose result is dropped, and one that answers."""
    calls = [tool_call("inner", {"input": "go"}, "t1"), tool_call("last", {"input": "say"}, "t2")]
    return await stage.alone(with_a_delegate(ScriptedModel(calls)))


def named_model(prompt: str) -> AgentFactory:
    """Makes an agent that has its model by name."""

    def make(ctx: RunContext) -> Agent:
        return Agent("demo", name="agent", system_prompt=f"{prompt} You help {ctx.session_id}.", callback_handler=None)

    return AgentFactory(make, name="agent")


async def made_with_the_name_of_a_model(stage: Stage) -> Run:
    async with stage.worker(named_model("Be brief.")):
        return await stage.ended(await stage.asked("Hello."))


def graph_guest() -> Guest:
    """A graph of Strands, whose nodes stream side by side."""
    from playhead.runtime.guests.strands import StrandsGuest  # these import Strands, which takes a second
    from tests.support.strands_agents import World, graph

    return StrandsGuest(lambda: graph(World()), name="agent")


async def hosted_graph(stage: Stage) -> Run:
    async with stage.worker(graph_guest()):
        return await stage.ended(await stage.asked("Go."))


async def failing_guest(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Run a step that raises."""

    async def fails() -> None:
        raise ValueError("nothing works: 💥")

    try:
        await ctx.step("fails", fails)
    except ValueError as error:
        yield {"failed": str(error)}
    ctx.result = prompt


async def hosted_failure(stage: Stage) -> Run:
    async with stage.worker(FunctionGuest(failing_guest, name="agent")):
        return await stage.ended(await stage.asked("Go."))


async def telling_guest(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Ask models by named parts, the second in a tool."""

    async def words() -> AsyncGenerator[str]:
        yield "So it is."

    async def asks() -> str:
        asked = {"system_prompt": "Be kind.", "messages": [prompt]}
        return "".join([word async for word in ctx.model(asked, words)])

    yield {"said": [word async for word in ctx.model({"system_prompt": "Be brief.", "messages": [prompt]}, words)]}
    ctx.result = await ctx.tool({"name": "asks", "input": {}, "toolUseId": "t1"}, asks)


async def hosted_requests(stage: Stage) -> Run:
    async with stage.worker(FunctionGuest(telling_guest, name="agent")):
        return await stage.ended(await stage.asked("Go."))


def asking_guest() -> Guest:
    """An agent of Strands whose tool asks."""
    from playhead.runtime.guests.strands import StrandsGuest
    from tests.support.strands_agents import World, said

    calls = said("Let me.", calls=[("asks", "a", {"what": "x"})]), said("Done.")
    return StrandsGuest(lambda: World().agent(*calls), name="agent")


async def hosted_question(stage: Stage) -> Run:
    async with stage.worker(asking_guest()):
        run = await stage.asked("Go.", invocation_state={"user": "ada"})
        interrupts = (await run.result(on_pause="end")).interrupts
        answers = {one.id: "yes" for one in interrupts or ()}
        await run.respond(answers, invocation_state={"user": "bob"}, signal_id="s1")
        return await stage.ended(run)


async def goes_on(event: AfterInvocationEvent) -> None:
    """Go on once."""
    if event.result is not None and str(event.result) == "Paid.\n":
        event.resume = "And?"


async def goes_on_with_other_values(stage: Stage) -> Run:
    """A hook lets a run go on that has other values of the caller since a response."""
    async with stage.worker(agent(tool_call("pay", {"euros": 5}, "t1"), "Paid.", PLAIN, hooks=[goes_on])):
        run = await stage.asked("Pay.", invocation_state={"user": "ada"})
        interrupts = (await run.result(on_pause="end")).interrupts
        answers = {one.id: "yes" for one in interrupts or ()}
        await run.respond(answers, invocation_state={"user": "bob"}, signal_id="s1")
        return await stage.ended(run)
