"""The scenarios of the golden logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

import anyio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from playhead.client import Run
from playhead.runtime import (
    AfterInvocationEvent,
    AfterModelCallEvent,
    AfterToolCallEvent,
    AfterToolsEvent,
    Agent,
    AgentFactory,
    BeforeInvocationEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    BeforeToolsEvent,
    ContextWindowOverflowException,
    FunctionGuest,
    GuestContext,
    HookRegistry,
    ModelRetryStrategy,
    ModelThrottledException,
    RetryPolicy,
    RunContext,
    SlidingWindowConversationManager,
    SummarizingConversationManager,
    ToolContext,
    tool,
)
from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.core.records import ModelChunk
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from tests.golden.stage import PERSON, PLAIN, Hanging, Stage, agent, broken, dangling, guarded, pay, streamed, thinking

__all__ = [
    "LongAnswers",
    "PATIENT",
    "REMEMBERING",
    "Rules",
    "SUMMARY",
    "TOO_LONG",
    "WINDOW",
    "answered",
    "answered_in_full",
    "at_its_token_limit",
    "cancelled",
    "cancelled_without_an_owner",
    "chatty",
    "children",
    "counts",
    "crashed_too_often",
    "factory",
    "failing",
    "forked",
    "guarded_and_repaired",
    "guest",
    "handed_over",
    "hooked",
    "hooked_batch",
    "hosted",
    "leave",
    "limited",
    "made_by_a_factory",
    "paused_and_steered",
    "plain",
    "postponed",
    "reduced",
    "remember",
    "remembered",
    "retried",
    "stopped_by_a_tool",
    "structured",
    "summarized",
    "taken_over",
    "taken_over_and_continued",
    "traced",
    "with_children",
]


async def plain(stage: Stage) -> Run:
    await stage.alone(agent(PLAIN))
    run = await stage.alone(agent(PLAIN), "Hello?", invocation_state={"user": "ada", "raw": b"\x01"})
    await stage.alone(agent(PLAIN), "Later.")
    return run


async def chatty(stage: Stage) -> Run:
    first = [*tool_call("steps", {"n": 2}, "t1")[:-2], *tool_call("broken", {}, "t2")[1:]]
    return await stage.alone(agent(first, tool_call("steps", {"n": 1}, "t1", "Again."), thinking()), "Step.")


async def guarded_and_repaired(stage: Stage) -> Run:
    return await stage.alone(agent(guarded(), messages=dangling()), [{"text": "A secret."}])


async def failing(stage: Stage) -> Run:
    return await stage.alone(agent(ScriptedCall(text_call("Half an")[:4], error=ConnectionError("closed")), retry=None))


async def retried(stage: Stage) -> Run:
    busy = ScriptedCall(text_call("Half an")[:4], error=ModelThrottledException("too many requests"))
    return await stage.alone(agent(busy, PLAIN, retry=RetryPolicy(initial_delay=0)))


async def at_its_token_limit(stage: Stage) -> Run:
    return await stage.alone(agent(text_call("Half", stop_reason="max_tokens")))


async def cancelled(stage: Stage) -> Run:
    async with stage.worker(agent(model=Hanging())):
        run = await stage.asked()
        await streamed(run, times=1)
        await run.cancel(signal_id="s1")
        return await stage.ended(run)


async def cancelled_without_an_owner(stage: Stage) -> Run:
    run = await stage.asked()
    await run.cancel(signal_id="s1")
    return run


async def paused_and_steered(stage: Stage) -> Run:
    async with stage.worker(agent(tool_call("pay", {"euros": 5}), "Paid.")):
        run = await stage.asked("Pay.")
        interrupts = (await run.result(on_pause="end")).interrupts
        await run.steer("And be quick.", signal_id="s1")
        await run.respond({one.id: "yes" for one in interrupts or ()}, signal_id="s2")
        return await stage.ended(run)


async def handed_over(stage: Stage) -> Run:
    return await _continued(stage, dies=False)


async def taken_over(stage: Stage) -> Run:
    return await _continued(stage, dies=True)


async def taken_over_and_continued(stage: Stage) -> Run:
    return await _continued(stage, dies=True, on_partial="continue")


async def _continued(stage: Stage, *, dies: bool, **options: Any) -> Run:
    await stage.alone(agent(PLAIN))
    async with stage.worker(agent(model=Hanging(), **options), dies=dies):
        run = await stage.asked()
        await streamed(run, times=1)
    async with stage.worker(agent("Hello there, Ada. How are you?", system_prompt="Be kind.", **options)):
        return await stage.ended(run)


async def traced(stage: Stage) -> Run:
    """Taken over, with a caller and owners that have an SDK of OpenTelemetry."""
    trace.set_tracer_provider(TracerProvider())
    with trace.get_tracer("golden").start_as_current_span("request"):
        return await _continued(stage, dies=True)


async def crashed_too_often(stage: Stage) -> Run:
    run: Run | None = None
    for times in range(1, 5):
        async with stage.worker(agent(model=Hanging()), dies=True):
            run = run or await stage.asked()
            await streamed(run, times=times)
    assert run is not None
    async with stage.worker(agent(model=Hanging())):  # which fails it
        return await stage.ended(run)


async def forked(stage: Stage) -> Run:
    parent = await stage.alone(agent(tool_call("broken", {}, "t1"), PLAIN), "Do it.")
    asked = [entry.seq async for entry in parent.records() if entry.record.type == "message.added"][1]
    async with stage.worker(agent(PLAIN)):
        fork = await parent.fork(at=asked, results={"t1": "It works."}, system_prompt="Be kind.")
        return await stage.ended(fork)


async def structured(stage: Stage) -> Run:
    wrong, right = tool_call("Person", {"age": "old"}, "t2"), tool_call("Person", {"name": "Ada", "age": 36}, "t3")
    served = agent(tool_call("steps", {"n": 1}, "t1"), "Ada is 36.", wrong, right)
    return await stage.alone(served, "Who?", structured_output_model=PERSON, structured_output_prompt="Fill it in.")


def factory(system_prompt: str) -> AgentFactory:
    """Makes the agent of a run by its session."""

    def answer(messages: Messages) -> Any:
        return "Paid." if "toolResult" in str(messages[-1]) else tool_call("pay", {"euros": 5})

    def make(ctx: RunContext) -> Agent:
        prompt = f"{system_prompt} You help {ctx.session_id}."
        return agent(answer, answer, system_prompt=prompt, allow_overrides={"tools"})

    return AgentFactory(make, name="agent")


async def made_by_a_factory(stage: Stage) -> Run:
    async with stage.worker(factory("Be brief.")):
        run = await stage.asked("Pay.", tools=["pay"])
        interrupts = (await run.result(on_pause="end")).interrupts
    async with stage.worker(factory("Be kind.")):  # it has what the log has
        await run.respond({one.id: "yes" for one in interrupts or ()}, signal_id="s1")
        return await stage.ended(run)


@tool
def leave(context: ToolContext) -> str:
    """Leave."""
    context.stop_run("Goodbye.")
    return "left"


async def stopped_by_a_tool(stage: Stage) -> Run:
    both = [*tool_call("leave", {}, "t1")[:-2], *tool_call("broken", {}, "t2")[1:]]
    return await stage.alone(agent(both, tools=[leave, broken]), "Leave.")


async def limited(stage: Stage) -> Run:
    served = agent(tool_call("steps", {"n": 1}, "t1"), tool_call("broken", {}, "t2"), limits={"turns": 2})
    return await stage.alone(served, "Step.", limits={"total_tokens": 10_000})


class LongAnswers(Hanging):
    """Sends a whole answer, and does not end its stream."""

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
        """The answer."""
        for chunk in text_call("Hello there, Ada"):
            yield chunk
        await anyio.sleep_forever()


async def answered_in_full(stage: Stage) -> Run:
    async with stage.worker(agent(model=LongAnswers()), dies=True):
        run = await stage.asked()
        async for entry in run.records():
            if isinstance(entry.record, ModelChunk) and "metadata" in entry.record.chunk:
                break
    async with stage.worker(agent(model=LongAnswers())):
        return await stage.ended(run)


PATIENT: Final = ModelRetryStrategy(initial_delay=6)


async def postponed(stage: Stage) -> Run:
    busy = ScriptedCall(text_call("Half an")[:4], error=ModelThrottledException("too many requests"))
    return await stage.alone(agent(busy, PLAIN, retry_strategy=PATIENT))


TOO_LONG: Final = ScriptedCall(error=ContextWindowOverflowException("too long"))
WINDOW: Final = SlidingWindowConversationManager(window_size=4)
SUMMARY: Final = SummarizingConversationManager(summary_ratio=0.5, preserve_recent_messages=1)


async def reduced(stage: Stage) -> Run:
    """The history is shortened after an overflow, trimmed after another and at the end, also of the run after it."""
    said = [{"toolResult": {"toolUseId": "t0", "status": "success", "content": [{"text": "word " * 200}]}}]
    prompt: Any = [*dangling(), {"role": "user", "content": said}, {"role": "user", "content": [{"text": "And now?"}]}]
    served = agent(TOO_LONG, TOO_LONG, tool_call("broken", {}, "t1"), PLAIN, PLAIN, conversation_manager=WINDOW)
    async with stage.worker(served):
        run = await stage.ended(await stage.asked(prompt))
        await stage.ended(await stage.asked("Again."))
        return run


async def summarized(stage: Stage) -> Run:
    served = agent(PLAIN, TOO_LONG, "They said hello.", PLAIN, conversation_manager=SUMMARY)
    async with stage.worker(served):
        await stage.ended(await stage.asked())
        return await stage.ended(await stage.asked("Again."))


class Rules:
    """Hooks that decide something at each event, by what the run has said."""

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        """Add them."""
        registry.add_callback(BeforeInvocationEvent, self.polite)
        registry.add_callback(BeforeModelCallEvent, self.briefly)
        registry.add_callback(AfterModelCallEvent, self.again)
        registry.add_callback(BeforeToolsEvent, self.batch)
        registry.add_callback(BeforeToolCallEvent, self.call)
        registry.add_callback(AfterToolCallEvent, self.result)
        registry.add_callback(AfterToolsEvent, self.enough)
        registry.add_callback(AfterInvocationEvent, self.more)

    async def polite(self, event: BeforeInvocationEvent) -> None:
        """Change the messages of the prompt."""
        if event.messages and event.messages[0].get("content", []) == [{"text": "Do it."}]:
            event.messages = [{"role": "user", "content": [{"text": "Do it, please."}]}]

    async def briefly(self, event: BeforeModelCallEvent) -> None:
        """Do not call the model for a second prompt."""
        if event.agent.messages[-1]["content"] == [{"text": "And?"}]:
            event.cancel = "That is all."

    async def again(self, event: AfterModelCallEvent) -> None:
        """Do not take a message that says nothing, and call again after an error."""
        said = event.stop_response and event.stop_response.message.get("content", [])
        event.retry = said == [{"text": "Hm."}] or isinstance(event.exception, KeyError)

    async def batch(self, event: BeforeToolsEvent) -> None:
        """Ask about calls without a text, and cancel them."""
        if "text" not in event.message.get("content", [])[0] and event.interrupt("all") != "yes":
            event.cancel = "Not these."

    async def call(self, event: BeforeToolCallEvent) -> None:
        """Change one call, cancel one, ask about one."""
        match event.tool_use["name"]:
            case "steps":
                event.tool_use["input"]["n"] += 1
            case "broken":
                event.cancel_tool = "It is broken."
            case _:
                event.interrupt("may I", {"euros": 5})

    async def result(self, event: AfterToolCallEvent) -> None:
        """Change a result."""
        if event.result["content"] == [{"text": "2 steps"}] and event.cancel_message is None:
            event.result["content"].append({"text": "and no more"})

    async def enough(self, event: AfterToolsEvent) -> None:
        """End the turn after calls that were cancelled."""
        if all(block["toolResult"]["status"] == "error" for block in event.message.get("content", [])):
            event.end_turn = "Then not."

    async def more(self, event: AfterInvocationEvent) -> None:
        """Go on once."""
        if event.result is not None and str(event.result) == "Paid.\n":
            event.resume = "And?"


async def answered(stage: Stage, served: Agent, response: str) -> Run:
    """A run whose questions all get the same response."""
    async with stage.worker(served):
        run = await stage.asked("Do it.")
        for number in range(5):
            interrupts = (await run.result(on_pause="end")).interrupts
            if not interrupts:
                break
            await run.respond({one.id: response for one in interrupts}, signal_id=f"s{number}")
        return await stage.ended(run)


async def hooked(stage: Stage) -> Run:
    calls = [
        *tool_call("steps", {"n": 1}, "t1", "Let me.")[:-2],
        *tool_call("broken", {}, "t2")[1:-2],
        *tool_call("pay", {"euros": 5}, "t3")[1:],
    ]
    bug = ScriptedCall(text_call("Half an")[:4], error=KeyError("bug"))
    return await answered(stage, agent("Hm.", bug, calls, "Paid.", hooks=[Rules()], retry=RetryPolicy()), "yes")


async def hooked_batch(stage: Stage) -> Run:
    return await answered(
        stage, agent(tool_call("pay", {"euros": 5}, "t1"), hooks=[Rules()], retry=RetryPolicy()), "no"
    )


def with_children(model: ScriptedModel) -> Agent:
    """An agent with two agents as tools: one asks a human in a tool of its own, one fails."""
    payer = ScriptedModel([tool_call("pay", {"euros": 5}, "p1"), "It is paid."], continues_partial=True)
    inner = Agent(payer, name="payer", tools=[pay], description="Pays.", callback_handler=None)
    bad = ScriptedModel([ScriptedCall(text_call("Half an")[:4], error=KeyError("bug"))], continues_partial=True)
    return agent(model=model, tools=[inner, Agent(bad, name="failing", retry=None, callback_handler=None)])


async def children(stage: Stage) -> Run:
    """Calls of two agents that are tools."""
    calls = [*tool_call("payer", {"input": "pay"}, "t1")[:-2], *tool_call("failing", {"input": "go"}, "t2")[1:]]
    return await answered(stage, with_children(ScriptedModel([calls, "Done."], continues_partial=True)), "yes")


@tool
def remember(name: str, context: ToolContext) -> str:
    """Remember a name."""
    context.state.set("name", name)
    context.state.delete("draft")
    return "noted"


async def counts(event: AfterToolCallEvent) -> None:
    """Count the calls of tools."""
    event.agent.state.set("calls", (event.agent.state.get("calls") or 0) + 1)


REMEMBERING: Final[dict[str, Any]] = {"tools": [remember, broken], "hooks": [counts], "state": {"draft": [1, None]}}


async def remembered(stage: Stage) -> Run:
    """The second run of a session begins from the state that the first left, and changes it."""
    calls = [tool_call("remember", {"name": "Ada"}, "t1"), PLAIN, tool_call("remember", {"name": "Bob"}, "t2"), PLAIN]
    async with stage.worker(agent(*calls, **REMEMBERING)):
        await stage.ended(await stage.asked())
        return await stage.ended(await stage.asked("Again."))


async def guest(ctx: GuestContext, prompt: Any) -> AsyncGenerator[dict[str, Any]]:
    """Run a run by code of its own, with every kind of work."""

    async def look() -> dict[str, Any]:
        return {"page": prompt, "raw": b"\x00\xff"}

    async def words() -> AsyncGenerator[Any]:
        for word in ("Größe", {"choices": [{"delta": {"content": " 🌞"}}]}):
            yield word

    async def fails() -> None:
        raise ValueError("nothing works: 💥")

    yield {"seen": await ctx.step("look", look)}
    async for word in ctx.model({"prompt": prompt}, words):
        yield {"word": word}
    try:
        await ctx.tool({"name": "fails", "input": {"n": 1}, "toolUseId": "t1"}, fails)
    except ValueError as error:
        yield {"failed": str(error)}
    ctx.result = {"approved": await ctx.ask("approve", {"at": ctx.now()})}


async def hosted(stage: Stage) -> Run:
    async with stage.worker(FunctionGuest(guest, name="agent")):
        run = await stage.asked("Go.")
        interrupts = (await run.result(on_pause="end")).interrupts
        await run.respond({one.id: "yes" for one in interrupts or ()}, signal_id="s1")
        return await stage.ended(run)
