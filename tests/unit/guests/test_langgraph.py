"""Graphs of LangGraph, as they are: killed after each record of their runs, in sessions, and what is refused."""

from __future__ import annotations

import importlib
import itertools
import json
import logging
import sys
import threading
import uuid
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, SystemMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.cache.memory import InMemoryCache as InMemoryNodeCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode
from langgraph.types import Command, interrupt

from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.records import (
    Entry,
    EventEmitted,
    MessageAdded,
    ModelRetried,
    ModelStarted,
    RunPaused,
    StepFinished,
    ToolFinished,
)
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.langgraph.forms import CHUNK, asked_of, loaded, stored
from playhead.runtime.host.context import GuestContext
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.replay import verify
from playhead.runtime.targets import load_served
from tests.support.guest_owners import RUN, Owners, cuts
from tests.support.langgraph_agents import GRAPHS, WORLD, Streams, World, agent, in_turn, joke, slow

__all__: list[str] = []

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[3] / "examples"


def owners(name: str, log: list[Entry] | None = None) -> Owners:
    """The owners of a run of that graph."""
    World()
    return Owners(LangGraphGuest(GRAPHS[name], name="graph"), list(log or []))


def steady(value: Any) -> Any:
    """Without ids, which LangChain makes up."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key != "id"}
    return [steady(item) for item in value] if isinstance(value, list) else value


def shown(run: Owners) -> tuple[list[str], list[str]]:
    """What a reader sees, in order, and apart from it what nodes and tools give that run side by side."""
    rest: list[str] = []
    apart: list[str] = []
    for event in run.events():
        event.pop("message", None)
        told = json.dumps(steady(dict(event)), sort_keys=True, default=str)
        (apart if "updates" in event or "tool_interrupt_event" in event else rest).append(told)
    return rest, sorted(apart)


@pytest.mark.parametrize("name", GRAPHS)
async def test_a_graph_runs_as_it_is(name: str) -> None:
    run, world = owners(name), World()
    await run.to_the_end()
    assert (run.end.type == "run.failed") == (name == "failing"), run.end
    assert run.finished(but="ValidationError") == world.effects
    assert run.of(ModelRetried) == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", GRAPHS)
async def test_cut_after_any_record_it_comes_to_the_same_end(name: str) -> None:
    whole, first = owners(name), World()
    await whole.to_the_end()
    wanted = shown(whole)
    for run, where in cuts(whole, partial(owners, name)):
        world = World()
        world.refused = sum(isinstance(one, StepFinished) and one.error is not None for one in run.records)
        done, answered = run.finished(but="ValidationError"), run.answered()
        await run.to_the_end()
        assert run.end.type == whole.end.type, f"{where}: {run.end}"
        if name in (
            "threads",
            "sends",
        ):  # what readers see of one of the models, and of which, depends on which begins first
            assert run.end.result["message"] == whole.end.result["message"], where
        else:
            assert shown(run) == wanted, where
        assert world.effects + done == first.effects, f"{where}: a finished tool ran again"
        assert world.asked + answered <= first.asked + len(run.of(ModelRetried)), f"{where}: asked again"


async def test_tools_beside_one_that_asks_run_once() -> None:
    run, world = owners("asks"), World()
    await run.to_the_end()
    assert world.effects == {"asks": 1, "slow": 1}, "LangGraph alone runs each tool of the node again"
    (first, *_) = [one.interrupts for one in run.of(RunPaused)]
    assert [(one["name"], one["reason"]) for one in first] == [("tools", {"pay": 3})]


class Asked(BaseCallbackHandler):
    """Counts what a model is asked."""

    def __init__(self) -> None:
        self.count = 0

    def on_chat_model_start(self, *given: Any, **more: Any) -> None:
        self.count += 1


async def test_callbacks_of_a_model_are_silent_for_what_the_log_answers() -> None:
    asked, _ = Asked(), World()
    guest = LangGraphGuest(lambda: agent([("plain", "c", {"n": 3})], ["It is so."], callbacks=[asked]), name="graph")
    whole = Owners(guest)
    await whole.to_the_end()
    assert asked.count == 2
    first = next(one.seq for one in whole.log if isinstance(one.record, StepFinished) and "/model" in one.record.key)
    again = Owners(guest, whole.log[:first])
    await again.to_the_end()
    assert asked.count == 3
    assert again.end.result["message"] == whole.end.result["message"]


def talk() -> Any:
    """A graph that says what it was told."""

    def tell(state: MessagesState) -> dict[str, Any]:
        told = " | ".join(f"{one.type}: {one.content!r}" for one in state["messages"])
        return {"messages": [AIMessage(told, additional_kwargs={"signature": "s"})]}

    graph = StateGraph(MessagesState)
    graph.add_node("tell", tell)
    graph.add_edge(START, "tell")
    return graph.compile()


async def test_a_session_goes_on_in_langchain_s_own_messages() -> None:
    guest, said = LangGraphGuest(talk), list[Any]([{"role": "user", "content": [{"text": "of another"}]}])
    for prompt, wanted in [
        ("one", "human: 'of another' | human: 'one'"),
        (
            [{"text": "two"}, {"image": {"format": "png", "source": {"bytes": b"\xff"}}}],
            "human: [{'type': 'text', 'text': 'two'",
        ),
        ("three", "'base64': '/w==', 'mime_type': 'image/png'}] | ai: "),
    ]:
        run = Owners(guest, prompt=prompt, said=StoredMessages(messages=list(said)))
        await run.to_the_end()
        assert wanted in run.end.result["message"]["content"][0]["text"]
        added = [one.message for one in run.of(MessageAdded)]
        assert added[-1]["metadata"]["custom"]["items"][-1]["data"]["additional_kwargs"] == {"signature": "s"}
        said += json.loads(json.dumps(added, default=lambda data: data.hex()).replace(RUN, f"before {prompt!r:.9}"))
    assert len(said) == 7


async def test_a_state_without_messages_is_made_by_input_and_is_the_structured_output() -> None:
    def of_prompt(ctx: GuestContext, prompt: Any) -> dict[str, Any]:
        return {"topic": f"{prompt} and {ctx.invocation_state['user']}"}

    run = Owners(LangGraphGuest(joke, input=of_prompt), prompt="cats")
    await run.to_the_end()
    assert run.end.result["structured_output"] == {"topic": "cats and ada", "joke": "About cats and ada."}
    with pytest.raises(ValueError, match=r"joke has no `messages` in its state: serve LangGraphGuest\(…, input="):
        LangGraphGuest(joke)


async def test_a_state_may_have_objects_that_only_this_process_has() -> None:
    class Locked(MessagesState):
        lock: Any

    def makes(state: Locked) -> dict[str, Any]:
        return {"lock": threading.Lock()}

    def uses(state: Locked) -> dict[str, Any]:
        with state["lock"]:
            return {"messages": [AIMessage(str(interrupt("go on?")))]}

    def make() -> Any:
        graph = StateGraph(Locked)
        graph.add_node("makes", makes)
        graph.add_node("uses", uses)
        graph.add_edge(START, "makes")
        graph.add_edge("makes", "uses")
        return graph.compile()

    run = Owners(LangGraphGuest(make))
    await run.to_the_end()
    assert run.end.result["message"]["content"] == [{"text": "yes"}]


async def test_a_breakpoint_of_the_graph_asks_whether_to_go_on() -> None:
    def stops() -> Any:
        return talk().copy({"interrupt_before_nodes": ["tell"]})

    run = Owners(LangGraphGuest(stops))
    await run.to_the_end()
    (paused,) = run.of(RunPaused)
    assert [(one["name"], one["reason"]) for one in paused.interrupts] == [("breakpoint", {"next": ["tell"]})]
    assert run.end.result["message"]["content"] == [{"text": "human: 'go'"}]


class Elsewhere(BaseCheckpointSaver[int]):
    """A checkpointer that keeps a state beside the log."""


async def test_the_log_takes_the_place_of_a_saver_in_memory() -> None:
    saver = InMemorySaver()
    run = Owners(LangGraphGuest(talk().copy({"checkpointer": saver}), name="graph"))
    await run.to_the_end()
    assert run.end.result["message"]["content"] == [{"text": "human: 'go'"}]
    assert saver.storage == {}


def teams() -> Any:
    """A node that makes a message without an id, then a tool that hands the whole state over to another node."""

    @tool
    def hand_over(
        state: Annotated[dict[str, Any], InjectedState], tool_call_id: Annotated[str, InjectedToolCallId]
    ) -> Any:
        """Hand over."""
        done = ToolMessage("handed over", tool_call_id=tool_call_id)
        return Command(goto="tells", update={"messages": [*state["messages"], done]})

    def makes(state: MessagesState) -> dict[str, Any]:
        call: Any = {"name": "hand_over", "args": {}, "id": "call_1"}
        return {"messages": [AIMessage("made by a node"), AIMessage("", tool_calls=[call])]}

    def tells(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(" | ".join(one.text for one in state["messages"]))]}

    graph = StateGraph(MessagesState)
    graph.add_node("makes", makes)
    graph.add_node("tools", ToolNode([hand_over]))
    graph.add_node("tells", tells)
    graph.add_edge(START, "makes")
    graph.add_edge("makes", "tools")
    return graph.compile()


async def test_a_handoff_of_the_whole_state_adds_no_message_twice_after_a_takeover() -> None:
    guest = LangGraphGuest(teams)
    whole = Owners(guest)
    await whole.to_the_end()
    assert whole.end.result["message"]["content"] == [{"text": "go | made by a node |  | handed over"}]
    for cut in [one.seq for one in whole.log if isinstance(one.record, ToolFinished | EventEmitted)]:
        again = Owners(guest, whole.log[:cut])
        await again.to_the_end()
        assert (again.end.type, again.end.result["message"]) == ("run.completed", whole.end.result["message"]), cut


def test_what_a_model_is_asked_is_compared_part_by_part_and_without_ids() -> None:
    def asked(use_id: str, time: str) -> dict[str, list[Any]]:
        call: Any = {"name": "pay", "args": {"euros": 3}, "id": use_id}
        said: list[Any] = [
            SystemMessage(f"It is {time}."),
            AIMessage("", tool_calls=[call]),
            ToolMessage("ok", tool_call_id=use_id),
        ]
        return asked_of(FakeListChatModel(responses=[]), said)

    assert asked("a", "noon") == asked("b", "noon")
    assert asked("a", "noon")["messages"] == asked("a", "one")["messages"], "only the system prompt differs"


async def test_a_handoff_may_make_up_the_id_of_its_tool_call() -> None:
    def hands_back(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ToolMessage("back", tool_call_id=str(uuid.uuid4()))]}

    graph = StateGraph(MessagesState)
    graph.add_node("hands_back", hands_back)
    graph.add_edge(START, "hands_back")
    guest = LangGraphGuest(graph.compile(), name="graph")
    whole = Owners(guest)
    await whole.to_the_end()
    cut = next(one.seq for one in whole.log if isinstance(one.record, EventEmitted))
    again = Owners(guest, whole.log[:cut])
    await again.to_the_end()
    assert (again.end.type, len(again.of(EventEmitted))) == ("run.completed", 1)


def test_what_would_restore_a_part_of_the_log_is_refused_with_what_takes_its_place() -> None:
    with pytest.raises(ValueError, match=r"named has a checkpointer.*session_id="):
        LangGraphGuest(lambda: talk().copy({"checkpointer": Elsewhere()}), name="named")
    with pytest.raises(ValueError, match=r"named has a cache.*without cache="):
        LangGraphGuest(lambda: talk().copy({"cache": InMemoryNodeCache()}), name="named")
    set_llm_cache(InMemoryCache())
    try:
        with pytest.raises(ValueError, match=r"set_llm_cache\(None\)"):
            LangGraphGuest(talk)
    finally:
        set_llm_cache(None)


FILE = """
from __future__ import annotations
from langgraph.graph.state import CompiledStateGraph
from tests.support.langgraph_agents import agent
from playhead.runtime.guests.langgraph import LangGraphGuest
from playhead.runtime.guests.langgraph.forms import loaded, stored
from tests.support.langgraph_agents import Joke, State, joke
clerk = agent(["hi"])
def a_node(state: Joke):
    return {}
def another(state: State) -> dict[str, str]:
    return {}
tells = joke()
named = LangGraphGuest(tells, name="by-name", input=lambda ctx, prompt: {"topic": prompt})
def make_graph() -> CompiledStateGraph:
    return agent(["hi"])
def plain():
    return agent(["hi"])
"""


@dataclass(frozen=True)
class Price:
    """What a tool gives that is of a class of its own."""

    euros: int


def test_a_chunk_is_stored_as_a_copy_of_what_is_not_empty() -> None:
    chunk = AIMessageChunk(content="so", response_metadata={"model": {"name": "m"}}, id="1")
    stored_chunk = CHUNK.dump(chunk)
    chunk.response_metadata["model"]["name"] = "changed later"
    assert stored_chunk == {
        "content": "so",
        "type": "AIMessageChunk",
        "id": "1",
        "response_metadata": {"model": {"name": "m"}},
    }
    assert CHUNK.load(stored_chunk) == AIMessageChunk(content="so", response_metadata={"model": {"name": "m"}}, id="1")


def test_what_a_tool_gives_is_kept_only_if_reading_it_runs_no_code_that_the_log_names() -> None:
    command = Command(update={"seen": {1, 2}}, goto="next")
    assert loaded(stored(command)) == command
    assert stored(command)["is"] == "Command to next", "which is what people read"
    for value in (Price(1), Command(update={"price": Price(1)})):
        with pytest.raises(EncodingError, match="cannot be kept in the log: return text"):
            stored(value)


def clocks() -> Any:
    """Nodes side by side that put a number into the state which is another one each time; then one that calls a tool."""
    numbers = itertools.count()

    def stamps(state: MessagesState) -> dict[str, Any]:
        get_stream_writer()({"begun at": next(numbers)})
        return {"messages": [AIMessage(f"done at {next(numbers)}")]}

    async def calls(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(await slow.ainvoke({"n": 1}))]}

    graph: Any = StateGraph(MessagesState)
    for name in ("one", "other"):
        graph.add_node(name, stamps)
        graph.add_edge(START, name)
        graph.add_edge(name, "calls")
    graph.add_node("calls", calls)
    return graph.compile()


async def test_a_node_may_put_the_time_into_the_state_and_what_readers_saw_of_it_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "playhead.runs")
    World()
    guest = LangGraphGuest(clocks(), name="clocks")
    whole = Owners(guest)
    await whole.to_the_end()
    events = [one.record.event for one in whole.log if isinstance(one.record, EventEmitted)]
    for upto in range(1, len(whole.log)):
        again = Owners(guest, whole.log[:upto])
        await again.to_the_end()
        assert again.end.type == "run.completed", again.end
        seen = [one.record.event for one in again.log if isinstance(one.record, EventEmitted)]
        assert Counter(map(of_node, seen)) == Counter(map(of_node, events))
        kept = [one.record.event for one in whole.log[:upto] if isinstance(one.record, EventEmitted)]
        assert seen[: len(kept)] == kept
    assert "differs from record" in caplog.text
    verdict = await verify(whole.log, guest)
    assert not verdict.same, "which verify tells of"


def of_node(event: dict[str, Any]) -> tuple[str, ...]:
    """Which node it is of."""
    return ("updates", *event["updates"]) if "updates" in event else ("custom",)


@tool(response_format="content_and_artifact")
def look_up(word: str) -> tuple[list[Any], dict[str, Any]]:
    """Give blocks and an object for the code, as the tool of an MCP server does."""
    WORLD[-1].effects["look_up"] += 1
    return [{"type": "text", "text": f"{word}: a fruit"}, "sweet"], {"pages": [7]}


async def test_readers_see_the_text_of_a_message_of_blocks_and_the_graph_gets_all_of_it_again() -> None:
    def make() -> Any:
        def finds(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage("", tool_calls=[{"name": "look_up", "args": {"word": "pear"}, "id": "c"}])]}

        def tells(state: MessagesState) -> dict[str, Any]:
            found = cast("ToolMessage", state["messages"][-1])
            return {"messages": [AIMessage(f"{found.content_blocks} {found.artifact}")]}

        return in_turn(finds=finds, tools=ToolNode([look_up]), tells=tells)

    World()
    run = Owners(LangGraphGuest(make, name="graph"))
    await run.to_the_end()
    (result,) = [entry.record.result for entry in run.log if isinstance(entry.record, ToolFinished)]
    assert result["content"] == [{"text": "pear: a fruit\nsweet"}]
    finished = next(entry.seq for entry in run.log if isinstance(entry.record, ToolFinished))
    again = Owners(run.guest, run.log[:finished])
    await again.to_the_end()
    assert again.end.result["message"] == run.end.result["message"]
    assert "{'pages': [7]}" in again.end.result["message"]["content"][0]["text"]
    assert WORLD[-1].effects["look_up"] == 1


def test_graphs_and_annotated_functions_of_a_module_are_served(tmp_path: Path) -> None:
    file = tmp_path / "of_langgraph.py"
    file.write_text(FILE)
    assert list(load_served([str(file)])) == ["clerk", "by-name", "make_graph"]
    assert list(load_served([f"{file}:plain"])) == ["plain"]


async def test_models_and_tools_outside_of_a_graph_s_run_work_as_before() -> None:
    model = Streams(said=[["a", "b"], ["c"]])

    async def run(ctx: GuestContext, prompt: Any) -> AsyncGenerator[Any]:
        yield {"said": [one.text async for one in model.astream("go")][:2], "tool": await slow.ainvoke({"n": 3})}

    LangGraphGuest(talk)  # which puts the seams
    World()
    owned = Owners(FunctionGuest(run))
    await owned.to_the_end()
    assert {"said": ["a", "b"], "tool": "slow 3"} in owned.events()
    assert owned.of(ModelStarted) == owned.of(ToolFinished) == []
    assert (model.invoke("go").text, type(model)) == ("ab", Streams)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("playhead.runtime.guests.langgraph")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langgraph", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'playhead-runtime\[langgraph\]'"):
        importlib.import_module("playhead.runtime.guests.langgraph")


@pytest.mark.exhaustive
async def test_the_example_adds_and_goes_on_in_its_session() -> None:
    (guest,) = load_served([str(EXAMPLES / "calculator_graph.py")]).values()
    said: list[Any] = []
    for prompt, wanted in (("Add 3 and 4.", "The sum is 7. "), ("Add 5 and 6.", "The sum is 11. ")):
        run = Owners(cast("LangGraphGuest", guest), prompt=prompt, said=StoredMessages(messages=list(said)))
        await run.to_the_end()
        assert run.end.result["message"]["content"] == [{"text": wanted}]
        assert [one.result["content"] for one in run.of(ToolFinished)] == [[{"json": 7 if not said else 11}]]
        added = json.dumps([one.message for one in run.of(MessageAdded)])
        said += json.loads(added.replace(RUN, "before"))
    assert [len(one["metadata"]["custom"]["items"]) for one in said if "metadata" in one] == [4, 4]
