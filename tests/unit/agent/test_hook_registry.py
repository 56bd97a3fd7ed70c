"""How hooks are added to an agent: by events, annotations, providers and Strands' classes; and what is refused, with one error."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime import (
    AfterToolCallEvent,
    Agent,
    AgentInitializedEvent,
    BeforeModelCallEvent,
    BeforeToolCallEvent,
    HookRegistry,
)
from playhead.runtime.models import ScriptedModel

__all__: list[str] = []


def agent(*hooks: object) -> Agent:
    return Agent(ScriptedModel(["Fine."], repeat=True), hooks=hooks, callback_handler=None)


def no_event() -> None: ...


def two(event: BeforeToolCallEvent, more: int) -> None: ...


def unannotated(event) -> None: ...  # pyright: ignore[reportUnknownParameterType, reportMissingParameterType]


def of_no_event(event: int) -> None: ...


def generator(event: BeforeToolCallEvent) -> Any:
    yield event


async def initialised(event: AgentInitializedEvent) -> None: ...


class Provider:
    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None: ...


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "no parameter": (no_event, TypeError, "the hook no_event cannot be called with the event alone: too many"),
    "two parameters": (two, TypeError, "the hook two cannot be called with the event alone: missing"),
    "no annotation": (
        unannotated,
        ValueError,
        "the parameter 'event' of the hook unannotated does not say which event",
    ),
    "another annotation": (of_no_event, TypeError, "is not an event that hooks can be added for; those are Agent"),
    "a generator": (generator, TypeError, "the hook generator is a generator"),
    "an async constructor hook": (initialised, ValueError, "initialised is async"),
    "a class": (Provider, TypeError, r"hooks\[0\] is the class Provider; give an instance"),
    "a text": ("weather", TypeError, r"hooks\[0\] must have a method register_hooks or be a function, not 'weather'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_hook_is_refused_when_it_is_added(case: str) -> None:
    hook, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        agent(hook)


def test_an_event_that_is_not_one_and_an_empty_list_are_refused() -> None:
    registry = HookRegistry()
    with pytest.raises(TypeError, match="'BeforeToolCall' is not an event"):
        registry.add_callback("BeforeToolCall", unannotated)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the list of events is empty"):
        registry.add_callback([], unannotated)
    assert not registry.has_callbacks()


def test_a_hook_of_a_union_is_added_for_each_event() -> None:
    def both(event: BeforeToolCallEvent | AfterToolCallEvent) -> None: ...

    made = agent(both)
    assert made.hooks.callbacks_for("BeforeToolCallEvent") == made.hooks.callbacks_for("AfterToolCallEvent") == [both]


def test_an_event_class_of_strands_stands_for_the_one_of_the_same_name() -> None:
    of_strands = type("BeforeToolCallEvent", (), {"__module__": "strands.hooks.events"})
    of_others = type("BeforeToolCallEvent", (), {"__module__": "others.hooks"})
    registry = HookRegistry()
    registry.add_callback(of_strands, unannotated)
    assert registry.callbacks_for("BeforeToolCallEvent") == [unannotated]
    with pytest.raises(TypeError, match="is not an event"):
        registry.add_callback(of_others, unannotated)


def test_an_event_that_no_run_made_cannot_ask() -> None:
    event = BeforeToolCallEvent(None, None, {"toolUseId": "t", "name": "x", "input": {}}, {})
    with pytest.raises(RuntimeError, match="only an event that a run has made"):
        event.interrupt("approve")


@pytest.mark.anyio
async def test_a_snapshot_does_not_get_hooks_that_are_added_later() -> None:
    made = agent()
    taken = made.snapshot()
    came: list[str] = []
    made.add_hook(lambda event: came.append("asked"), BeforeModelCallEvent)
    await taken.invoke_async("go")
    assert came == []
    await made.invoke_async("go")
    assert came == ["asked"]
