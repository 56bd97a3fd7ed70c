"""Agents of the OpenAI Agents SDK for tests of their host: what a model says follows from what it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from agents import (
    Agent,
    GuardrailFunctionOutput,
    Model,
    RunContextWrapper,
    Runner,
    function_tool,
    handoff,
    input_guardrail,
)
from agents.testing import ScriptedModel, assistant_message, function_call
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

__all__ = ["AGENTS", "WORLD", "Booking", "Script", "World", "called", "said"]


class World:
    """What is outside of the log."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        WORLD[:] = [self]


WORLD: list[World] = []


def said(text: str) -> Any:
    """An answer of a model: a text."""
    return assistant_message(text)


def called(name: str, call_id: str, **given: Any) -> Any:
    """An answer of a model: a call of a tool."""
    return function_call(name, given, call_id=call_id)


class Script(Model):
    """Says these answers in their order: which one is next follows from the results of calls that it is told."""

    def __init__(self, name: str, *answers: list[Any], others: int = 0) -> None:
        self._name = name
        self._answers = answers
        self._others = others  # the results of calls of other agents that it is told, too

    def _step(self, given: Any) -> ScriptedModel:
        WORLD[-1].asked[self._name] += 1
        items = [] if isinstance(given, str) else given
        last = max((n for n, item in enumerate(items) if item.get("role") == "user"), default=0)
        told = items[last:]
        calls = [len([one for one in answer if one.type == "function_call"]) for answer in self._answers]
        results = sum(item.get("type") == "function_call_output" for item in told) - self._others
        done = next(
            n for n in range(len(calls) + 1) if sum(calls[:n]) >= results and (n == 0 or sum(calls[:n]) == results)
        )
        return ScriptedModel([self._answers[min(done, len(self._answers) - 1)]])

    async def get_response(self, system_instructions: Any, input: Any, *given: Any, **more: Any) -> Any:  # noqa: A002
        """A whole answer."""
        return await self._step(input).get_response(system_instructions, input, *given, **more)

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,  # noqa: A002
        *given: Any,
        **more: Any,
    ) -> AsyncIterator[Any]:
        """An answer word by word."""
        async for event in self._step(input).stream_response(system_instructions, input, *given, **more):
            if not isinstance(event, ResponseTextDeltaEvent):
                yield event
                continue
            for word in event.delta.split(" "):
                yield event.model_copy(update={"delta": f"{word} "})


class Booking(BaseModel):
    """What a tool changes."""

    seat: str = ""


class Total(BaseModel):
    """A structured output."""

    total: int


@function_tool
async def slow(n: int) -> str:
    """Wait."""
    await asyncio.sleep(0.001 * (3 - n))
    WORLD[-1].effects["slow"] += 1
    return f"slow {n}"


@function_tool
def book(context: RunContextWrapper[Any], seat: str) -> str:
    """Book, in a thread."""
    WORLD[-1].effects["book"] += 1
    context.context["seat"] = seat
    return f"{seat} is booked"


@function_tool
def booked(context: RunContextWrapper[Any]) -> tuple[str, int]:
    """What is booked."""
    WORLD[-1].effects["booked"] += 1
    return context.context["seat"], 1


@function_tool
async def fails(n: int) -> str:
    """Fail."""
    WORLD[-1].effects["fails"] += 1
    raise ValueError(f"{n} is too much")


@function_tool(timeout=0.1)  # it has begun by then, on a busy machine too
async def hangs() -> str:
    """Hang."""
    WORLD[-1].effects["hangs"] += 1
    await asyncio.sleep(60)
    return "never"


@function_tool(needs_approval=True)
async def pay(euros: int) -> str:
    """Pay."""
    WORLD[-1].effects["pay"] += 1
    return f"{euros} euros paid"


def _agent(name: str, *answers: list[Any], **more: Any) -> Agent[Any]:
    return Agent(name=name, model=Script(name, *answers), **more)


def _side_by_side() -> Agent[Any]:
    both = [called("slow", "s1", n=1), called("slow", "s2", n=2)]
    return _agent(
        "side by side",
        both,
        [called("book", "b1", seat="7A")],
        [called("booked", "b2")],
        [said("All is done.")],
        tools=[slow, book, booked],
    )


def _handoffs() -> Agent[Any]:
    model = Script("Booking Clerk", [called("book", "b1", seat="7A")], [said("You have seat 7A.")], others=1)
    clerk = Agent[Any](name="Booking Clerk", model=model, tools=[book])
    clerk.handoffs = [_agent("Unused", [said("Never.")])]
    to_clerk = handoff(clerk, on_handoff=lambda context: context.context.update(flight="LH 1"))
    triage = _agent("Triage", [called("transfer_to_booking_clerk", "h1")], handoffs=[to_clerk])
    clerk.handoffs.append(triage)
    return triage


def _guarded(trips: bool) -> Callable[[], Agent[Any]]:
    judge = _agent("Judge", [said("bad" if trips else "good")])

    @input_guardrail
    async def polite(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        verdict = (await Runner.run(judge, given, context=context.context)).final_output
        return GuardrailFunctionOutput(output_info=verdict, tripwire_triggered=verdict == "bad")

    def make() -> Agent[Any]:
        return _agent(
            "Guarded", [called("slow", "s1", n=1)], [said("You are polite.")], tools=[slow], input_guardrails=[polite]
        )

    return make


def _agents_as_tools() -> Agent[Any]:
    inner = [
        _agent(name, [called("slow", f"{name} s", n=n)], [said(f"{name} is done.")], tools=[slow]).as_tool(name, name)
        for n, name in ((1, "first"), (2, "second"))
    ]
    both = [called("first", "f1", input="go"), called("second", "f2", input="go")]
    return _agent("Manager", both, [said("Both are done.")], tools=inner)


def _approval() -> Agent[Any]:
    calls = [called("pay", "p1", euros=17), called("slow", "s1", n=1)]
    return _agent("Payer", calls, [said("It is paid.")], tools=[pay, slow])


def _nested_approval() -> Agent[Any]:
    payer = _agent("Payer", [called("pay", "p1", euros=17)], [said("Paid.")], tools=[pay])
    return _agent(
        "Boss",
        [called("payer", "a1", input="pay")],
        [said("The payer has paid.")],
        tools=[payer.as_tool("payer", "Pays")],
    )


def _structured() -> Agent[Any]:
    return _agent("Counter", [called("slow", "s1", n=2)], [said('{"total": 3}')], tools=[slow], output_type=Total)


def _failing_tools() -> Agent[Any]:
    return _agent(
        "Unlucky",
        [called("fails", "f1", n=9)],
        [called("hangs", "h1")],
        [said("Nothing worked.")],
        tools=[fails, hangs],
    )


AGENTS: dict[str, Callable[[], Agent[Any]]] = {
    "side by side": _side_by_side,
    "handoffs": _handoffs,
    "guarded": _guarded(False),
    "tripwire": _guarded(True),
    "agents as tools": _agents_as_tools,
    "approval": _approval,
    "nested approval": _nested_approval,
    "structured": _structured,
    "failing tools": _failing_tools,
}
