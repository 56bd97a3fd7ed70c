"""What an agent in this process prints, and the handlers that it calls instead."""

from __future__ import annotations

from typing import Any

import pytest
import strands
from strands import handlers as theirs

from playhead.runtime import (
    Agent,
    CompositeCallbackHandler,
    ModelThrottledException,
    PrintingCallbackHandler,
    RetryPolicy,
    tool,
)
from playhead.runtime.core.converse import Chunk
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio

REASONING: list[Chunk] = [
    c.message_start(),
    {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "Let me think. "}}}},
    c.block_stop(),
    *[chunk for chunk in text_call("Two words.") if "messageStart" not in chunk],
]


def said() -> ScriptedModel:
    model: Any = ScriptedModel([tool_call("look", {"at": "x"}), tool_call("look", {"at": "y"}), REASONING], repeat=True)
    model.stateful = False  # Strands asks for it
    return model


def look(at: str) -> str:
    """Look."""
    return at


def here(**options: Any) -> Agent:
    return Agent(said(), tools=[tool(look)], **options)


def test_an_agent_prints_by_default_what_one_of_strands_prints(capsys: pytest.CaptureFixture[str]) -> None:
    strands.Agent(said(), tools=[strands.tool(look)])("Go")  # type: ignore[arg-type]
    expected = capsys.readouterr().out
    here()("Go")
    assert capsys.readouterr().out == expected == "\nTool #1: look\n\nTool #2: look\nLet me think. Two words."


def test_each_agent_counts_its_own_tools(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = here(), here()
    first("Go")
    first("Go")
    second("Go")
    assert capsys.readouterr().out.count("Tool #1: look") == 2
    for one, count in ((first, 4), (second, 2)):
        assert isinstance(one.callback_handler, PrintingCallbackHandler)
        assert one.callback_handler.tool_count == count


@pytest.mark.parametrize("module", [theirs, None], ids=["of Strands", "ours"])
def test_handlers_print_the_same(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []

    def note(**event: Any) -> None:
        heard.append(str(event.get("data", "")))

    printing = module.PrintingCallbackHandler if module else PrintingCallbackHandler
    composite = theirs.CompositeCallbackHandler if module else CompositeCallbackHandler
    here(callback_handler=composite(printing(verbose_tool_use=False), note))("Go")
    assert capsys.readouterr().out == "Let me think. Two words."
    assert "".join(heard) == "Two words."


def test_no_handler_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    here(callback_handler=None)("Go")
    here(callback_handler=theirs.null_callback_handler)("Go")
    assert capsys.readouterr().out == ""


def test_a_call_that_is_made_again_and_text_that_is_withdrawn_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    failing = ScriptedCall(text_call("Half a word")[:3], error=ModelThrottledException("slow down"))
    agent = Agent(ScriptedModel([failing, "Whole."]), retry=RetryPolicy(initial_delay=0.01))
    agent("Go")
    printed = capsys.readouterr().out
    assert "Half" in printed
    assert "[the model call failed: ModelThrottledException: slow down; it is made again in 0.0 s]" in printed
    assert "[the text of this message is withdrawn]" in printed
    assert printed.endswith("Whole.")
