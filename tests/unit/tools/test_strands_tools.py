"""Whatever Strands' `tools=` takes works in an agent of ours, with what its tools may use of a run."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from strands import Agent as StrandsAgent
from strands import tool as strands_tool
from strands.models import Model as StrandsBase
from strands.tools.tool_provider import ToolProvider
from strands.tools.tools import PythonAgentTool
from strands.types.events import ToolResultEvent
from strands.types.tools import AgentTool
from strands.types.tools import ToolContext as StrandsContext
from strands.vended_tools import handoff_to_user, sleep, stop

from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.events import Event
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.tools.hints import outcome_by_hints
from playhead.runtime.tools.strands.loading import from_strands

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@strands_tool
def double(n: int) -> int:
    """Double."""
    return 2 * n


@strands_tool(name="double_async")
async def doubled(n: int) -> int:
    """Double."""
    return 2 * n


@strands_tool
async def count(n: int) -> AsyncGenerator[Any, None]:
    """Count."""
    for number in range(n):
        yield number
    yield f"counted {n}"


class Shop:
    factor = 3

    @strands_tool
    def price(self, n: int) -> int:
        """Give a price."""
        return self.factor * n


class Typed(AgentTool):
    """A tool of the user's own class, with Strands' event for its result."""

    def __init__(self, name: str = "typed") -> None:
        super().__init__()
        self.name = name

    @property
    def tool_name(self) -> str:
        return self.name

    @property
    def tool_type(self) -> str:
        return "own"

    @property
    def tool_spec(self) -> Any:
        return {"name": self.name, "description": "Do.", "inputSchema": {"json": {"type": "object", "properties": {}}}}

    async def stream(self, tool_use: Any, invocation_state: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        yield "half"
        yield ToolResultEvent({"toolUseId": "", "status": "success", "content": [{"text": "typed"}]})


class Plain(Typed):
    """One that yields values, the last of which is its result."""

    async def stream(self, tool_use: Any, invocation_state: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        yield {"status": "error", "content": [{"text": "plain"}]}


class Provider(ToolProvider):
    """Gives tools while it has consumers."""

    def __init__(self, *tools: AgentTool) -> None:
        self.tools = tools
        self.consumers = set[Any]()

    async def load_tools(self, **kwargs: Any) -> Sequence[AgentTool]:
        return self.tools

    def add_consumer(self, consumer_id: Any, **kwargs: Any) -> None:
        self.consumers.add(consumer_id)

    def remove_consumer(self, consumer_id: Any, **kwargs: Any) -> None:
        self.consumers.discard(consumer_id)


MODULE = """
TOOL_SPEC = {
    "name": "weather",
    "description": "Tell the weather.",
    "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

def weather(tool, **kwargs):
    kwargs["request_state"]["stop_event_loop"] = tool["input"]["city"] == "Atlantis"
    return {"toolUseId": tool["toolUseId"], "status": "success", "content": [{"text": "sunny in " + tool["input"]["city"]}]}
"""


@pytest.fixture
def weather(tmp_path: Path) -> str:
    """The path of a module that is a tool."""
    path = tmp_path / "weather.py"
    path.write_text(MODULE)
    return str(path)


def agent(tools: Sequence[object], *calls: tuple[str, dict[str, Any]], name: str = "t") -> Agent:
    """An agent whose model makes these calls, one after the other, and then says Done."""
    said = [tool_call(called, given, f"{name}{number}") for number, (called, given) in enumerate(calls)]
    return Agent(ScriptedModel([*said, "Done."]), tools=tools, callback_handler=None)


def results(called: Agent) -> list[tuple[str, str]]:
    """Status and text of each result in the agent's history."""
    blocks = [block for message in called.messages for block in message.get("content", [])]
    found = [cast("Any", block)["toolResult"] for block in blocks if "toolResult" in block]
    return [(result["status"], result["content"][0]["text"]) for result in found]


async def called(tools: Sequence[object], name: str, given: dict[str, Any]) -> tuple[str, str]:
    """The result of one call."""
    caller = agent(tools, (name, given))
    await caller.invoke_async("go")
    (result,) = results(caller)
    return result


class Below(StrandsBase):
    """A model of a Strands user."""

    def update_config(self, **model_config: Any) -> None: ...

    def get_config(self) -> Any:
        return {}

    def structured_output(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        for chunk in text_call("From below."):
            yield chunk


def sub_agent() -> Any:
    return StrandsAgent(model=Below(), name="below", callback_handler=None)


FORMS: dict[str, tuple[Callable[[], object], str, dict[str, Any], str]] = {
    "function": (lambda: double, "double", {"n": 4}, "8"),
    "async function": (lambda: doubled, "double_async", {"n": 4}, "8"),
    "async generator": (lambda: count, "count", {"n": 2}, "counted 2"),
    "method": (lambda: Shop().price, "price", {"n": 2}, "6"),
    "typed class": (Typed, "typed", {}, "typed"),
    "set": (lambda: [{double}], "double", {"n": 1}, "2"),
    "provider": (lambda: Provider(double), "double", {"n": 1}, "2"),
    "agent": (sub_agent, "below", {"input": "Say."}, "From below.\n"),
    "module name": (lambda: "strands.vended_tools.stop.stop", "stop", {"message": "Bye."}, "Bye."),
    "function by name": (lambda: f"{__name__}:double", "double", {"n": 5}, "10"),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_tool_of_each_form_runs(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    make, name, given, text = FORMS[form]
    status, said = await called([make()], name, given)
    assert (status, said.strip()) == ("success", text.strip())


def _this_module() -> ModuleType:
    module = ModuleType(__name__)
    vars(module).update(globals())
    return module


@pytest.mark.parametrize("form", ["path", "dict", "module"])
async def test_a_module_is_a_tool_by_its_path_and_as_an_object(weather: str, form: str) -> None:
    module = ModuleType("weather")
    module.__file__ = weather
    exec(MODULE, vars(module))
    given: object = {"path": weather, "dict": {"path": weather}, "module": module}[form]
    assert await called([given], "weather", {"city": "Rome"}) == ("success", "sunny in Rome")


async def test_the_last_value_of_an_own_class_is_the_result_and_others_are_progress() -> None:
    caller = agent([Plain("plain"), Typed(), count], ("plain", {}), ("typed", {}), ("count", {"n": 1}))
    streamed: list[Event] = [event async for event in caller.stream_async("go") if "tool_stream_event" in event]
    values = [event["tool_stream_event"]["data"] for event in streamed]
    assert values == [{"status": "error", "content": [{"text": "plain"}]}, "half", 0, "counted 1"]
    assert results(caller) == [("error", "plain"), ("success", "typed"), ("success", "counted 1")]


async def test_the_events_of_an_agent_as_a_tool_lose_its_live_objects() -> None:
    caller = agent([sub_agent()], ("below", {"input": "Say."}))
    events = [event async for event in caller.stream_async("go") if "tool_stream_event" in event]
    data = [event["tool_stream_event"]["data"] for event in events]
    assert "From below." in "".join(one.get("data", "") for one in data)
    assert not any({"agent", "messages", "event_loop_cycle_span"} & one.keys() for one in data)


async def test_a_wrong_input_and_an_exception_are_error_results_in_strands_words() -> None:
    @strands_tool
    def broken() -> str:
        """Break."""
        raise KeyError("k")

    caller = agent([double, broken], ("double", {"n": "many"}), ("broken", {}))
    await caller.invoke_async("go")
    (wrong, raised) = results(caller)
    assert wrong[1].startswith("Error: Validation failed for input parameters")
    assert raised == ("error", "Error: KeyError - 'k'")


# What a tool may use of a run


async def test_an_interrupt_pauses_and_each_call_asks_for_itself_although_its_id_is_used_again() -> None:
    asks = [tool_call("handoff_to_user", {"message": text}, "same") for text in ("First?", "Second?")]
    caller = Agent(ScriptedModel([*asks, "Done."]), tools=[handoff_to_user], callback_handler=None)
    result = await caller.invoke_async("go")
    asked = list[Any]()
    for answer in ("one", "two"):
        assert result.stop_reason == "interrupt"
        asked.extend(result.interrupts or [])
        result = await caller.invoke_async([{"interruptResponse": {"interruptId": asked[-1].id, "response": answer}}])
    assert [(one.name, one.reason) for one in asked] == [
        ("strands:handoff-to-user", "First?"),
        ("strands:handoff-to-user", "Second?"),
    ]
    assert len({one.id for one in asked}) == 2
    assert [text for _, text in results(caller)] == ["one", "two"]


async def test_the_context_has_the_call_the_agent_and_the_conversation() -> None:
    @strands_tool(context=True)
    def tell(tool_context: StrandsContext) -> str:
        """Tell."""
        context: Any = tool_context
        context.agent.messages.clear()  # a copy
        return f"{context.tool_use['name']} {context.agent.name} {context.invocation_state['user']}"

    caller = agent([tell], ("tell", {}))
    await caller.invoke_async("go", invocation_state={"user": "ada"})
    assert results(caller) == [("success", "tell agent ada")]
    assert len(caller.messages) == 4


async def test_an_attribute_that_the_agent_lacks_is_named_in_the_result() -> None:
    @strands_tool
    def greedy(agent: Any) -> str:
        """Ask for the model."""
        return str(agent.model)

    status, text = await called([greedy], "greedy", {})
    assert status == "error"
    assert "cannot use agent.model; it can use name, messages" in text


async def test_a_tool_leaves_values_for_the_next_one() -> None:
    @strands_tool(context=True)
    def write(tool_context: StrandsContext) -> str:
        """Write."""
        tool_context.invocation_state["left"] = 5
        return "written"

    @strands_tool(context=True)
    async def read(tool_context: StrandsContext) -> str:
        """Read."""
        return str(tool_context.invocation_state["left"])

    @tool
    def look(context: ToolContext) -> str:
        """Look."""
        return " ".join(sorted(context.invocation_state))

    caller = agent([write, read, look], ("write", {}), ("read", {}), ("look", {}))
    await caller.invoke_async("go")
    assert results(caller)[1:] == [("success", "5"), ("success", "left request_state")]


async def test_a_tool_stops_the_run_in_both_ways(weather: str) -> None:
    result = await agent([stop], ("stop", {"message": "Enough."})).invoke_async("go")
    assert (result.stop_reason, str(result)) == ("cancelled", "Enough.\n")
    result = await agent([weather], ("weather", {"city": "Atlantis"})).invoke_async("go")
    assert result.stop_reason == "tool_use"


async def test_a_cancel_ends_an_async_tool_and_is_seen_by_a_sync_one() -> None:
    began, seen = threading.Event(), threading.Event()

    @strands_tool(context=True)
    def waits(tool_context: StrandsContext) -> str:
        """Wait for the cancel."""
        began.set()
        if tool_context.cancel_signal.wait(20):
            seen.set()
        return "ended"

    both = tool_call("waits", {}, "a")[:-2] + tool_call("sleep", {"duration": 50}, "b")[1:]
    caller = Agent(ScriptedModel([both]), tools=[waits, sleep], callback_handler=None)
    async for event in caller.stream_async("go"):
        if event.get("message", {}).get("role") == "assistant":
            asyncio.get_running_loop().run_in_executor(None, began.wait, 20).add_done_callback(
                lambda _: caller.cancel()
            )
    assert await asyncio.to_thread(seen.wait, 20)
    assert [status for status, _ in results(caller)] == ["error", "error"]


async def test_many_sync_tools_run_at_once() -> None:
    everyone = threading.Barrier(40, timeout=20)

    @strands_tool
    def meet() -> str:
        """Wait for all the others."""
        return f"met {everyone.wait() >= 0}"

    calls = [tool_call("meet", {}, f"t{number}")[1:-2] for number in range(40)]
    whole = tool_call("meet", {})
    said = [whole[0], *[chunk for call in calls for chunk in call], *whole[-2:]]
    caller = Agent(ScriptedModel([said, "Done."]), tools=[meet], callback_handler=None)
    await caller.invoke_async("go")
    assert results(caller) == [("success", "met True")] * 40


# What is refused when the agent is made


class Nameless(Typed):
    @property
    def tool_spec(self) -> Any:
        return {"name": self.name, "description": "Do."}


@tool(name="double")
def ours() -> None: ...


REFUSED: dict[str, tuple[list[object], type[Exception], str]] = {
    "one name": ([double, ours], ValueError, "two tools are named 'double'"),
    "one name, both Strands'": ([double, Typed("double")], ValueError, "two tools are named 'double'"),
    "one name in a provider": ([Provider(double, double)], ValueError, "are named 'double'"),
    "illegal name": ([Typed("a b")], ValueError, "tool_name=<a b> | invalid tool name pattern"),
    "long name": ([Typed("a" * 65)], ValueError, "tool_name_max_length=<64>"),
    "method of a class": ([Shop.price], TypeError, "'price' is a method: pass it from an instance"),
    "no schema": ([Nameless()], ValueError, "tool 'typed' has an invalid specification"),
    "no module": (["no.such.module"], ValueError, "'no.such.module' cannot be loaded"),
    "no file": (["./nowhere.py"], ValueError, "nowhere.py"),
    "no tool": ([7], TypeError, "7 of type int is not a tool"),
    "no path": ([{"name": "x"}], TypeError, "of type dict is not a tool"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_tool_is_one_clear_error_when_the_agent_is_made(case: str) -> None:
    tools, kind, text = REFUSED[case]
    with pytest.raises(kind) as refused:
        agent(tools)
    assert text in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_name_that_may_be_of_strands_says_what_is_missing_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(TypeError, match=r"'calculator' of type str is not a tool\..*playhead-runtime\[strands\]"):
        agent(["calculator"])


def test_a_provider_has_a_consumer_as_long_as_a_tool_of_it_is_used() -> None:
    import gc

    provider = Provider(double)
    made = agent([provider])
    assert len(provider.consumers) == 1
    del made
    gc.collect()
    assert provider.consumers == set()


def test_from_strands_gives_a_tool_what_ours_can_have() -> None:
    (made,) = from_strands(double, timeout=5, on_unknown_outcome="ask")
    assert (made.timeout, made.on_unknown_outcome) == (5, "ask")
    with pytest.raises(TypeError, match="7 of type int is not a tool of Strands"):
        from_strands(7)


@pytest.mark.parametrize(
    ("hints", "outcome"),
    [
        (None, "retry"),
        ({}, "retry"),
        ({"readOnlyHint": True, "destructiveHint": True}, "retry"),
        ({"idempotentHint": True, "destructiveHint": True}, "retry"),
        ({"destructiveHint": True}, "fail"),
        ({"idempotentHint": False}, "fail"),
        ({"destructiveHint": False}, "retry"),
    ],
)
def test_hints_decide_what_happens_to_a_call_of_unknown_outcome(hints: Any, outcome: str) -> None:
    assert outcome_by_hints(hints) == outcome


def test_a_function_tool_of_strands_made_by_hand_runs_in_a_thread() -> None:
    spec: Any = {"name": "hand", "description": "Do.", "inputSchema": {"json": {"type": "object"}}}

    def where(tool_use: Any, **state: Any) -> Any:
        name = threading.current_thread() is threading.main_thread()
        return {"toolUseId": tool_use["toolUseId"], "status": "success", "content": [{"text": str(name)}]}

    assert asyncio.run(called([PythonAgentTool("hand", spec, where)], "hand", {})) == ("success", "False")
