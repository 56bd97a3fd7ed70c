"""No argument and no attribute of Strands' `Agent` is ignored: playhead's has it, or refuses it and says what to use."""

from __future__ import annotations

import inspect
from typing import Any, Final

import pytest
import strands
from strands.tools.executors import ConcurrentToolExecutor, SequentialToolExecutor

from playhead.client import Client, RemoteAgent
from playhead.runtime import Agent, tool
from playhead.runtime.core.call_keywords import CallKeywords
from playhead.runtime.core.strands_names import ATTRIBUTES, REFUSED_ARGUMENTS, REMOTE_ATTRIBUTES
from playhead.runtime.core.terms import TermArguments
from playhead.runtime.models import ScriptedModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CALLS: Final = ("__call__", "invoke_async", "stream_async")
OTHER_CALLS: Final = ("structured_output", "structured_output_async", "cancel", "add_hook")


def parameters(function: Any) -> set[str]:
    named = inspect.signature(function).parameters.values()
    return {one.name for one in named if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)} - {"self"}


def agent(**options: Any) -> Agent:
    @tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    return Agent(ScriptedModel(["Hi"], repeat=True), tools=[add], callback_handler=None, **options)


def remote() -> RemoteAgent:
    return Client("redis://localhost:1").agent("assistant", session_id="s")


def attributes(of: object) -> set[str]:
    return {name for name, _ in inspect.getmembers(of) if not name.startswith("_")}


def strands_attributes() -> set[str]:
    model: Any = ScriptedModel(["Hi"])
    model.stateful = False
    return attributes(strands.Agent(model, callback_handler=None))


async def called(call: Any, name: str) -> None:
    given = call("Hi", **{name: "something"})
    if inspect.isawaitable(given):
        await given


KEPT: Final = parameters(Agent.__init__) | set(TermArguments.__annotations__)
ARGUMENTS: Final = sorted(parameters(strands.Agent.__init__))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_of_an_agent_of_strands_is_taken_or_refused_with_what_to_use(name: str) -> None:
    if name in KEPT:
        assert name not in REFUSED_ARGUMENTS
        return
    with pytest.raises(TypeError) as raised:
        agent(**{name: "something"})
    assert f"Agent() has no argument {name!r}. Strands has {name}; here {REFUSED_ARGUMENTS[name]}." in str(raised.value)


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - KEPT))
def test_the_default_of_an_argument_that_is_refused_is_accepted(name: str) -> None:
    default = inspect.signature(strands.Agent.__init__).parameters[name].default
    assert agent(**{name: default}).tool_names == ["add"]


@pytest.mark.parametrize("call", CALLS)
async def test_every_argument_of_a_call_is_taken_or_refused_with_what_to_use(call: str) -> None:
    for one in (agent(), remote()):
        kept = parameters(getattr(type(one), call)) | set(CallKeywords.__annotations__)
        names = parameters(getattr(strands.Agent, call))
        assert names > {"prompt", "limits"}
        for name in names - kept:
            with pytest.raises(TypeError) as raised:
                await called(getattr(one, call), name)
            assert f"Strands has {name}; here {REFUSED_ARGUMENTS[name]}." in str(raised.value)


@pytest.mark.parametrize("call", CALLS)
async def test_a_keyword_of_no_call_does_not_end_in_the_invocation_state(call: str) -> None:
    with pytest.raises(TypeError, match=r"has no argument 'mood'.*Values for the tools go into invocation_state"):
        await getattr(agent(), call)("Hi", mood="fine")


async def test_a_refused_argument_of_a_call_that_asks_for_nothing_is_accepted() -> None:
    result = await agent().invoke_async("Hi", cancel_signal=None, idempotency_token=None)  # type: ignore[call-arg]
    assert str(result) == "Hi\n"


@pytest.mark.parametrize("call", OTHER_CALLS)
def test_the_other_methods_take_the_same_arguments(call: str) -> None:
    assert parameters(getattr(strands.Agent, call)) <= parameters(getattr(Agent, call))
    if call != "add_hook":
        assert parameters(getattr(strands.Agent, call)) <= parameters(getattr(RemoteAgent, call))


@pytest.mark.parametrize(
    ("make", "table"), [(agent, ATTRIBUTES), (remote, REMOTE_ATTRIBUTES)], ids=["in process", "remote"]
)
def test_every_attribute_of_an_agent_of_strands_is_there_or_says_what_to_use(make: Any, table: dict[str, str]) -> None:
    one = make()
    have = attributes(one)
    assert strands_attributes() - have <= table.keys()
    assert not have & table.keys()
    for name, instead in table.items():
        with pytest.raises(AttributeError) as read:
            getattr(one, name)
        with pytest.raises(AttributeError) as written:
            setattr(one, name, None)
        assert str(read.value) == str(written.value) == f"Strands has {name}; here {instead}."
        assert not hasattr(one, name)


def test_another_attribute_is_missing_as_in_any_class_and_may_be_set() -> None:
    one: Any = agent()
    with pytest.raises(AttributeError, match=r"^'Agent' object has no attribute 'colour'$"):
        _ = one.colour
    one.colour = "red"
    assert one.colour == "red"


def test_an_attribute_error_within_a_property_is_not_hidden() -> None:
    class Broken(Agent):
        @property
        def mood(self) -> str:
            raise AttributeError("the mood has no colour")

    with pytest.raises(AttributeError, match="the mood has no colour"):
        _ = Broken(ScriptedModel(["Hi"])).mood


def test_an_executor_of_strands_is_taken_by_its_class() -> None:
    assert agent(tool_executor=SequentialToolExecutor()).tool_executor == "sequential"
    assert agent(tool_executor=ConcurrentToolExecutor()).tool_executor == "concurrent"
    assert agent(tool_executor=None).tool_executor == "concurrent"

    class Own(SequentialToolExecutor):
        pass

    with pytest.raises(TypeError, match="not an executor of the class Own"):
        agent(tool_executor=Own())


def test_an_agent_has_an_id_its_tools_names_and_a_description() -> None:
    assert agent(name="adder").agent_id == "adder"
    named = agent(name="adder", agent_id="adder-1", description="Adds.")
    assert (named.name, named.agent_id, named.description) == ("adder", "adder-1", "Adds.")
    assert named.tool_names == ["add"]
    with pytest.raises(TypeError, match="agent_id must be a text or None"):
        agent(agent_id=5)


def test_an_agent_without_tools_and_hooks_may_say_so_by_none() -> None:
    one = Agent(ScriptedModel(["Hi"]), tools=None, hooks=None)
    assert (one.tool_names, one.hooks.has_callbacks()) == ([], False)
