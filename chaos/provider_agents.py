"""The agents whose model is the fake provider: a real `OpenAIModel`, and tools that accept any input.

Every parameter of a tool has a default, so a call whose arguments were lost would run and be seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

import anyio

from chaos.agents import TRACES
from chaos.answers import result_text
from chaos.provider import FAULTS_PER_TURN
from playhead.runtime import Agent, NullConversationManager, RetryPolicy, ToolContext, tool
from playhead.runtime.models import OpenAIModel

__all__ = ["NAMES", "provider_agents"]

NAMES: Final = ("provided", "provided_in_turn")

_KEEP: Final = NullConversationManager()  # the checks follow each history from its first message on
_RETRY: Final = RetryPolicy(max_attempts=FAULTS_PER_TURN + 2, initial_delay=0.01)


@tool
async def look(context: ToolContext, link: str = "", ms: int = 0, value: Any = None) -> str:
    """A body on the event loop."""
    TRACES.begin(context)
    await anyio.sleep(ms / 1000)
    return result_text("look", {"link": link, "ms": ms, "value": value})


@tool
def add(context: ToolContext, link: str = "", ms: int = 0, value: Any = None) -> str:
    """A body in a thread."""
    TRACES.begin(context)
    time.sleep(ms / 1000)
    return result_text("add", {"link": link, "ms": ms, "value": value})


@tool
async def look_up(context: ToolContext, link: str = "", ms: int = 0, value: Any = None) -> AsyncGenerator[str, None]:
    """A body that streams its progress."""
    TRACES.begin(context)
    yield "looking"
    await anyio.sleep(ms / 1000)
    yield result_text("look_up", {"link": link, "ms": ms, "value": value})


def provider_agents(url: str) -> list[Agent]:
    """The agents, for a provider with this base URL."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    model, tools = OpenAIModel("fake", base_url=url, api_key="sk-chaos-0123456789"), [look, add, look_up]
    together, in_turn = NAMES
    return [
        Agent(model, name=together, tools=tools, callback_handler=None, conversation_manager=_KEEP, retry=_RETRY),
        Agent(
            model,
            name=in_turn,
            tools=tools,
            callback_handler=None,
            conversation_manager=_KEEP,
            retry=_RETRY,
            tool_executor="sequential",
        ),
    ]
