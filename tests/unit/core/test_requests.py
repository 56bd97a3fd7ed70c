"""The request of every model call is known from the records: it is what the loop sent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from playhead.runtime import Agent, tool
from playhead.runtime.core.codec import decode_record, encode_record
from playhead.runtime.core.converse import Chunk, Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.records import (
    CycleStarted,
    Entry,
    ModelChunk,
    ModelStarted,
    Record,
    RunClaimed,
    RunSubmitted,
)
from playhead.runtime.core.requests import began_from, claimed_definition, request_of
from playhead.runtime.core.segments import record_of
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.core.signals import Signal
from playhead.runtime.core.state import open_chunks
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.loop import Loop
from playhead.runtime.loop.spec import Flush
from playhead.runtime.models import ScriptedModel, text_call, tool_call
from playhead.runtime.models import chunks as c

__all__: list[str] = []

pytestmark = pytest.mark.anyio

GREETING: Message = {"role": "user", "content": [{"text": "Greet me."}]}
SESSION: list[Message] = [
    {"role": "user", "content": [{"text": "Earlier."}]},
    {"role": "assistant", "content": [{"text": "Yes?"}]},
]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Walk:
    """A run of one agent over several owners; each record goes through its bytes."""

    def __init__(self, model: Any, *, prompt: Any = "Hi", session: Sequence[Message] = (), **options: Any) -> None:
        self.agent = Agent(model, name="a", tools=[add], callback_handler=None, **options)
        self.session = session
        self.log: list[Entry] = []
        self.epoch = 0
        self.control = Control()
        self.store(RunSubmitted(at=0, agent="a", prompt=prompt))

    def store(self, record: Record) -> None:
        self.log.append(Entry(len(self.log) + 1, self.epoch, decode_record(encode_record(record))))

    async def owned(self, *, until: int | None = None) -> None:
        """The next owner goes on, to the end or until it dies after so many records in all."""
        self.epoch += 1
        self.store(RunClaimed(at=0, worker="w", definition=self.agent.definition.stored().digest))
        state = fold(self.log, history=[*self.agent.messages, *self.session])
        loop = Loop(
            self.agent.spec,
            run_id="r",
            state=state,
            head=len(self.log),
            epoch=self.epoch,
            control=self.control,
            partial=open_chunks(state, self.log),
            began_from=BeganFrom(count=len(self.session)),
        )
        async with aclosing(loop.records()) as items:
            async for item in items:
                if not isinstance(item, Flush):
                    self.store(record_of(item))
                if until is not None and len(self.log) >= until:
                    return

    def requests(self, *, said_later: Sequence[Message] = ()) -> list[ModelRequest]:
        """The request of each model call by the records."""
        begun = [place for place, entry in enumerate(self.log, 1) if isinstance(entry.record, ModelStarted)]
        session = [*self.session, *said_later]
        return [request_of(self.log[:place], definition=self.agent.definition, session=session) for place in begun]


async def test_a_call_was_sent_the_agents_messages_the_sessions_and_the_runs() -> None:
    model = ScriptedModel([tool_call("add", {"a": 1, "b": 2}), "3."])
    walk = Walk(model, messages=[GREETING], session=SESSION, system_prompt="Be brief.")
    await walk.owned()
    assert walk.requests(said_later=[GREETING]) == model.requests
    assert len(model.requests) == 2
    assert [len(request.messages) for request in model.requests] == [4, 6]
    assert model.requests[0].tool_specs == [add.spec]


async def test_a_call_was_sent_the_blocks_of_the_system_prompt() -> None:
    blocks: Any = [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}, {"text": "Be kind."}]
    model = ScriptedModel(["Hello."])
    walk = Walk(model, system_prompt=blocks)
    await walk.owned()
    assert walk.requests() == model.requests
    assert model.requests[0].system_prompt == "Be brief.\nBe kind."
    assert model.requests[0].system_prompt_content == blocks


async def test_a_run_without_a_session_began_from_none_of_its_messages() -> None:
    model = ScriptedModel(["Hello."])
    walk = Walk(model)
    await walk.owned()
    assert (began_from(walk.log), walk.requests(said_later=SESSION)) == (BeganFrom(), model.requests)


async def test_a_history_with_open_calls_was_sent_repaired() -> None:
    use = {"toolUseId": "t1", "name": "add", "input": {}}
    model = ScriptedModel(["Hello."])
    walk = Walk(model, session=[*SESSION, {"role": "assistant", "content": [{"toolUse": use}]}])
    await walk.owned()
    assert walk.requests() == model.requests
    assert model.requests[0].messages[-2]["content"][0]["toolResult"]["toolUseId"] == "t1"  # pyright: ignore[reportTypedDictNotRequiredAccess]


async def test_a_redacted_prompt_was_not_sent_again() -> None:
    verdict: Chunk = {"redactContent": {"redactUserContentMessage": "[redacted]"}}
    call = [c.message_start(), verdict, *tool_call("add", {"a": 1, "b": 2})[1:]]
    model = ScriptedModel([call, "3."])
    walk = Walk(model, prompt="a secret")
    await walk.owned()
    assert walk.requests() == model.requests
    assert "a secret" in repr(model.requests[0])
    assert "a secret" not in repr(model.requests[1])


async def test_a_call_that_is_made_again_asks_what_a_guardrail_had_redacted() -> None:
    verdict: Chunk = {"redactContent": {"redactUserContentMessage": "[redacted]"}}
    model = ScriptedModel([[c.message_start(), verdict, *text_call("No.")[1:]]], repeat=True)
    walk = Walk(model, prompt="a secret")
    await walk.owned(until=7)
    assert isinstance(walk.log[-1].record, ModelChunk)
    assert "a secret" not in repr(fold(walk.log).messages)
    await walk.owned()
    first, second = model.requests
    assert first == second
    assert walk.requests() == model.requests
    assert "a secret" not in repr(fold(walk.log).messages), "the verdict is given again"


@pytest.mark.parametrize("on_partial", ["continue", pytest.param("retract", marks=pytest.mark.exhaustive)])
async def test_a_call_after_a_takeover_is_known_wherever_its_owner_died(on_partial: Any) -> None:
    whole = Walk(ScriptedModel([tool_call("add", {"a": 1, "b": 2}), "It is three."]), on_partial="retract")
    await whole.owned()
    for until in range(3, len(whole.log)):
        model = ScriptedModel([played, played], repeat=True, continues_partial=True)
        walk = Walk(model, session=SESSION, on_partial=on_partial)
        await walk.owned(until=until)
        await walk.owned(until=until + 5)
        await walk.owned()
        announced = walk.requests(said_later=SESSION)
        assert [one for one in announced if one in model.requests] == announced, f"died after {until}"
        assert announced[-1] == model.requests[-1]
        assert began_from(walk.log) == BeganFrom(count=2)


def played(messages: Sequence[Message]) -> Any:
    answered = any("toolResult" in block for message in messages for block in message.get("content", []))
    return "It is three." if answered else tool_call("add", {"a": 1, "b": 2})


async def test_a_steer_was_sent_with_the_next_call() -> None:
    model = ScriptedModel(["One.", "Two."])
    walk = Walk(model)
    walk.control.deliver([Signal("s1", "steer", "And now?")])
    await walk.owned()
    assert walk.requests() == model.requests
    assert "And now?" in repr(model.requests)


async def test_what_differs_at_a_call_was_sent_instead() -> None:
    walk = Walk(ScriptedModel(["Hello."]), session=SESSION)
    await walk.owned()
    place = next(place for place, entry in enumerate(walk.log) if isinstance(entry.record, ModelStarted))
    choice = {"any": {}}
    differs = {"tool_choice": choice, "messages": [GREETING], "tool_specs": None, "later": 1}
    differing = [*walk.log[:place], walk.log[place]._replace(record=ModelStarted(at=0, differs=differs))]
    definition = AgentDefinition("a", {}, "Be brief.", [add.spec])
    request = request_of(differing, definition=definition, session=SESSION)
    assert request == ModelRequest([GREETING], None, "Be brief.", choice)


def test_the_definition_of_a_call_is_that_of_its_owner() -> None:
    records = [
        RunSubmitted(at=0, agent="a"),
        RunClaimed(at=0, worker="w", definition="d1"),
        CycleStarted(at=0, cycle=1, session_messages=3),
        RunClaimed(at=0, worker="w", definition="d2"),
        CycleStarted(at=0, cycle=2, session_messages=3),
        ModelChunk(at=0, chunk=text_call("x")[2]),
    ]
    entries = [Entry(seq, 1, record) for seq, record in enumerate(records, 1)]
    assert [claimed_definition(entries[:count]) for count in range(1, 5)] == ["", "d1", "d1", "d2"]
    assert [began_from(entries[:count]) for count in range(1, 6)] == [*[BeganFrom()] * 2, *[BeganFrom(count=3)] * 3]
