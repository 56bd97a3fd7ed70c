"""A run in a log in memory, with everything that an export has: two owners, a definition, a session, and a secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.records import (
    CycleStarted,
    MessageAdded,
    ModelChunk,
    ModelStarted,
    Record,
    RunClaimed,
    RunCompleted,
    RunHandedOver,
    RunSubmitted,
    ToolFinished,
)
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import Batch, NewRun, RunEnd
from playhead.runtime.models import chunks as c

__all__ = ["DEFINITION", "PIECES", "SAID", "told", "with_run"]

DEFINITION = AgentDefinition("teller", {"class": "Scripted"}, "Be brief, Ada.")
SAID: Sequence[Message] = [
    {"role": "user", "content": [{"text": "My key is sk-12345."}]},
    {"role": "assistant", "content": [{"text": "I keep it."}]},
]
PIECES = ("Your key", " is sk-1", "23", "45, Ada", ".")


def told() -> list[Record]:
    """What the second owner of the run writes: a secret is streamed in pieces, and comes in a tool's result."""
    text = "".join(PIECES)
    result: Any = {"toolUseId": "t", "status": "success", "content": [{"json": {"sk-12345": [b"\x00sk-12345", 12345]}}]}
    chunks = [c.message_start(), c.block_start(), *(c.text_delta(piece) for piece in PIECES), c.block_stop()]
    inputs = [c.tool_start("t", "look"), c.tool_delta('{"key": "sk-1'), c.tool_delta('2345"}'), c.block_stop()]
    message: Any = {"role": "assistant", "content": [{"text": text}]}
    return [
        CycleStarted(at=3, cycle=1, session_messages=2),
        ModelStarted(at=4),
        *(ModelChunk(at=5, chunk=chunk) for chunk in [*chunks, *inputs, c.message_stop("end_turn")]),
        MessageAdded(at=6, message=message, origin="model", stop_reason="end_turn"),
        ToolFinished(at=7, index=0, name="look", result=result),
    ]


async def with_run(log: MemoryLog, run_id: str, *, session: str = "ada", ended: bool = True) -> None:
    """A run with two owners whose session had two messages before."""
    defined = {"teller": DEFINITION.stored()}
    claimed = {"teller": encode_record(RunClaimed(at=2, worker="w", definition=DEFINITION.stored().digest))}
    submitted = RunSubmitted(at=1, agent="teller", prompt="What is it?", session=session)
    if not await log.messages(session):
        await log.submit(NewRun(f"{run_id}-before", "teller", submitted, session))
        first = await log.claim(claimed, worker="w", token=f"{run_id}-0", lease_ms=60_000, definitions=defined)
        assert first is not None
        end = Batch(first.run_id, first.token, first.head, [encode_record(RunCompleted(at=3, result={}))])
        await log.finish(RunEnd(end, "completed", session, SAID))
    await log.submit(NewRun(run_id, "teller", submitted, session))
    first = await log.claim(claimed, worker="w", token=f"{run_id}-1", lease_ms=60_000, definitions=defined)
    assert first is not None
    await log.release(Batch(run_id, first.token, first.head, [encode_record(RunHandedOver(at=2, worker="w"))]))
    second = await log.claim(claimed, worker="w", token=f"{run_id}-2", lease_ms=60_000, definitions=defined)
    assert second is not None
    records = [encode_record(record) for record in told()]
    await log.append([Batch(run_id, second.token, second.head, records)])
    if ended:
        result = {
            "stop_reason": "end_turn",
            "message": {"role": "assistant", "content": []},
            "metrics": {},
            "state": {},
        }
        last = Batch(
            run_id, second.token, second.head + len(records), [encode_record(RunCompleted(at=8, result=result))]
        )
        assert (await log.finish(RunEnd(last, "completed", session, []))).stored
