"""A factory makes the agent of each run: by a function that may block, raise, hang or return something else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import anyio
import pytest

from playhead.runtime import (
    Agent,
    AgentFactory,
    AgentFactoryError,
    BeforeInvocationEvent,
    ModelRetryStrategy,
    NullConversationManager,
    RetryPolicy,
    RunContext,
    SlidingWindowConversationManager,
    tool,
)
from playhead.runtime.agent import factory as module
from playhead.runtime.agent.factory import is_factory, source_of
from playhead.runtime.core.records import RunClaimed, RunSubmitted
from playhead.runtime.models import DemoModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CONTEXT = RunContext(run_id="r", agent_name="support", session_id="ada")


def support(ctx: RunContext) -> Agent:
    return Agent("demo", name="other", system_prompt=f"For {ctx.session_id}.")


async def lazy(ctx: RunContext) -> Agent:
    await anyio.lowlevel.checkpoint()
    return support(ctx)


def prompt_of(ctx: RunContext) -> str:
    return str(ctx)


def plain(ctx: Any) -> Any:
    return support(ctx)


def text(ctx: str) -> Agent:
    return Agent("demo", name=ctx)


@tool
def left() -> str:
    """Go left."""
    return "left"


@tool
def right() -> str:
    """Go right."""
    return "right"


def test_a_context_is_made_of_record_1_and_the_run_keeps_its_own_state():
    state = {"tenant": {"name": "bakery"}}
    first = RunSubmitted.model_validate(
        {"at": 0, "agent": "support", "session": "ada", "invocation_state": state, "metadata": {"plan": "free"}}
    )
    context = RunContext.of("r", first)
    assert (context.run_id, context.agent_name, context.session_id) == ("r", "support", "ada")
    assert (context.metadata, context.invocation_state) == ({"plan": "free"}, state)
    context.invocation_state["tenant"]["name"] = "bank"
    assert first.invocation_state["tenant"]["name"] == "bakery"
    assert RunContext.of("r", RunSubmitted(at=0, agent="support")).metadata == {}
    assert RunContext.of("r", RunClaimed(at=0, worker="w")) == RunContext(run_id="r", agent_name="")


@pytest.mark.parametrize("make", [support, lazy, partial(support), lambda ctx: lazy(ctx)])
async def test_an_agent_is_made_for_a_run_and_has_the_name_of_its_factory(make: Any) -> None:
    agent = await AgentFactory(make, name="help-desk").agent(CONTEXT)
    assert (agent.name, agent.system_prompt) == ("help-desk", "For ada.")


async def test_a_function_that_is_not_async_runs_beside_the_event_loop() -> None:
    threads: list[threading.Thread] = []
    agent = Agent("demo")

    def make(ctx: RunContext) -> Agent:
        del ctx
        threads.append(threading.current_thread())
        return agent

    made = await AgentFactory(make).agent(CONTEXT)
    assert threads[0] is not threading.current_thread()
    assert made is not agent, "what is changed for a run does not change the agent of another"


def leave(ctx: RunContext) -> NoReturn:
    raise SystemExit(3)


def stop(ctx: RunContext) -> NoReturn:
    raise KeyboardInterrupt


def lack(ctx: RunContext) -> NoReturn:
    raise KeyError(str(ctx.session_id))


async def lack_later(ctx: RunContext) -> NoReturn:
    raise KeyError(str(ctx.session_id))


async def cancelled(ctx: RunContext) -> NoReturn:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lack, r"the factory 'lack' \(.*test_factory.py:\d+\) raised KeyError: 'ada'"),
        (lack_later, r"the factory 'lack_later' .* raised KeyError: 'ada'"),
        (leave, "raised SystemExit: 3"),
        (stop, "raised KeyboardInterrupt"),
        (cancelled, "raised CancelledError"),
        (prompt_of, 'returned "RunContext.* of type str, not an Agent'),
        (partial(lambda _: None), "the factory 'f' returned None of type NoneType, not an Agent"),
    ],
)
async def test_a_factory_that_makes_no_agent_is_one_clear_error(make: Any, says: str) -> None:
    with pytest.raises(AgentFactoryError, match=says):
        await AgentFactory(make, name="f" if isinstance(make, partial) else None).agent(CONTEXT)


async def test_what_a_factory_raised_is_the_cause() -> None:
    with pytest.raises(AgentFactoryError) as raised:
        await AgentFactory(lack).agent(CONTEXT)
    assert isinstance(raised.value.__cause__, KeyError)


async def test_a_factory_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_S", 0.02)
    done = threading.Event()

    def hang(ctx: RunContext) -> Agent:
        done.wait(10)
        return support(ctx)

    try:
        with pytest.raises(AgentFactoryError, match=r"the factory 'hang' .* did not return within 0.02 s"):
            await AgentFactory(hang).agent(CONTEXT)
    finally:
        done.set()


def test_a_function_says_by_its_annotations_that_it_is_a_factory():
    assert [is_factory(one) for one in (support, lazy)] == [True, True]
    assert [is_factory(one) for one in (prompt_of, plain, text, Agent, 5, left)] == [False] * 6

    def unknown(ctx: object) -> object:
        return ctx

    unknown.__annotations__ = {"ctx": "elsewhere.RunContext", "return": "Agent"}
    assert is_factory(unknown), "the names may be known to type checkers only"


def two(ctx: RunContext, more: int) -> Agent:
    return Agent("demo", name=f"{ctx}{more}")


def none() -> Agent:
    return Agent("demo")


def keyword(*, ctx: RunContext) -> Agent:
    return support(ctx)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (two, r"two takes \(ctx, more\)"),
        (none, r"none takes \(\)"),
        (keyword, "keyword takes"),
        (text, "takes ctx: 'str'"),
    ],
)
def test_a_function_of_other_arguments_is_refused(make: Callable[..., Agent], says: str):
    with pytest.raises(TypeError, match=f"a factory takes one argument, the RunContext, and {says}|{says}"):
        AgentFactory(make)


def test_a_function_becomes_a_factory_and_the_same_one_is_equal():
    made = source_of(support)
    assert isinstance(made, AgentFactory)
    assert (made.name, made.defined_at.rpartition("/")[2].partition(":")[0]) == ("support", "test_factory.py")
    assert source_of(made) is made
    assert (made == source_of(support), made == AgentFactory(support, name="x")) == (True, False)
    assert len({made, source_of(support)}) == 1
    agent = Agent("demo")
    assert source_of(agent) is agent
    assert isinstance(source_of(plain), AgentFactory)
    for other in (5, left, Agent):
        with pytest.raises(TypeError, match="neither an Agent nor a function that makes one"):
            source_of(other)
    with pytest.raises(ValueError, match="cannot name an agent"):
        AgentFactory(lambda _: agent)


def begun(event: BeforeInvocationEvent) -> None:
    """A hook."""


def test_an_agent_has_the_waits_and_the_conversation_manager_of_the_log():
    waits, window = ModelRetryStrategy(initial_delay=7), SlidingWindowConversationManager(window_size=7)
    recorded = Agent("demo", retry=waits, conversation_manager=window).definition
    newer = replace(recorded, retry={**recorded.retry, "later": 1})
    for definition in (recorded, newer):
        same = Agent("demo").as_recorded(definition, model=None)
        assert (same.retry, same.conversation_manager) == (waits, window)
    hooked = Agent("demo", hooks=[begun]).as_recorded(recorded, model=None)
    assert hooked.hooks.callbacks_for("BeforeInvocationEvent") == [begun], "hooks are code, which stays as it is here"
    older = replace(recorded, conversation_manager={})
    assert Agent("demo").as_recorded(older, model=None).conversation_manager == NullConversationManager()


def test_an_agent_has_what_the_log_has_and_its_own_code():
    recorded = Agent(
        "demo",
        system_prompt="Then.",
        tools=[right, left],
        tool_executor="sequential",
        retry=RetryPolicy(max_attempts=2),
        messages=[{"role": "user", "content": [{"text": "Hello"}]}],
        allow_overrides={"tools"},
    )
    now = Agent(DemoModel(delay=0), system_prompt="Now.", tools=[left])
    same = now.as_recorded(recorded.definition, model="demo")
    assert (same.system_prompt, same.tool_executor, same.allow_overrides) == ("Then.", "sequential", {"tools": True})
    assert (same.messages, same.retry) == (recorded.messages, RetryPolicy(max_attempts=2))
    assert list(same.tools) == ["left"], "of the tools that the log names those that are still there"
    assert same.definition.model == recorded.definition.model
    assert now.as_recorded(recorded.definition, model=None).model is now.model
    assert (now.system_prompt, now.messages) == ("Now.", [])
