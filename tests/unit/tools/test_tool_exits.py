"""Whatever a tool's body raises is that tool's error: it ends neither the event loop nor the run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.models import ScriptedModel, tool_call

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Odd(BaseException):
    """Neither an exception nor an exit."""


RAISED: list[Callable[[], BaseException]] = [
    lambda: KeyboardInterrupt("key"),
    lambda: SystemExit(3),
    lambda: GeneratorExit("end"),
    lambda: asyncio.CancelledError("no"),
    lambda: Odd("odd"),
    lambda: BaseExceptionGroup("some", [SystemExit(3), ValueError("no")]),
]


@pytest.fixture
def signals_taken() -> Iterator[None]:
    """As in a worker's process, an interrupt by the user is not raised."""

    def ignore(number: int, frame: FrameType | None) -> None: ...

    former = signal.signal(signal.SIGINT, ignore)
    yield
    signal.signal(signal.SIGINT, former)


async def results(*tools: Any) -> list[Any]:
    calls = [tool_call(one.name, {}, one.name) for one in tools]
    agent = Agent(tools=list(tools), model=ScriptedModel([*calls, "done"]), callback_handler=None)
    assert str(await agent.invoke_async("go")).strip() == "done"
    return [
        block["toolResult"]
        for message in agent.messages
        for block in message.get("content", [])
        if "toolResult" in block
    ]


@pytest.mark.parametrize("make", RAISED)
async def test_what_a_tools_thread_raises_is_its_error(make: Callable[[], BaseException]) -> None:
    @tool
    def leaves() -> str:
        """Raise."""
        raise make()

    (result,) = await results(leaves)
    assert result["status"] == "error"
    assert type(make()).__name__ in result["content"][0]["text"]


@pytest.mark.parametrize("make", [one for one in RAISED if not isinstance(one(), GeneratorExit)])
@pytest.mark.usefixtures("signals_taken")
async def test_what_an_async_tool_raises_is_its_error(make: Callable[[], BaseException]) -> None:
    @tool
    async def leaves() -> str:
        """Raise."""
        raise make()

    (result,) = await results(leaves)
    assert result["status"] == "error"
    assert type(make()).__name__ in result["content"][0]["text"]
