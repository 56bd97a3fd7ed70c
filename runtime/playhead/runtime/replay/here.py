"""Owns runs of a memory log in this process, for real, as a worker owns those of a fleet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, cast

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.invocation import InProcessChildren
from playhead.runtime.agent.serving import Served, target_of_run
from playhead.runtime.core.codec import decode_record, encode_chunk, encode_record, limit_of
from playhead.runtime.core.failures import failure
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.ownership import Ownership
from playhead.runtime.core.records import Entry, Record, RunClaimed, RunPaused, RunStateName, now_ms
from playhead.runtime.core.segments import Encoded
from playhead.runtime.core.session import StoredMessages
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.reading import read_all
from playhead.runtime.log.values import DEFAULT_LEASE_MS, Batch, Claim, RunEnd
from playhead.runtime.loop.control import Control
from playhead.runtime.loop.runner import Opening, Runner
from playhead.runtime.loop.spec import Flush

__all__ = ["OwnerHere"]

_WORKER: Final = "this process"


def _ignore(entry: Entry) -> None:
    del entry


@dataclass(frozen=True, slots=True)
class OwnerHere:
    """Runs an agent or a guest on the queued runs of a log, one at a time.

    Attributes:
        log: The log. Nothing else writes to it.
        agent: The agent, the factory that makes it, or the guest.
        on_entry: Called with each record of a run: first those that are stored, then each new one as it is made.
    """

    log: MemoryLog
    agent: Served
    on_entry: Callable[[Entry], object] = _ignore

    async def claim(self) -> Claim:
        """Claim the run that is queued."""
        name = self.agent.name
        definitions = {name: self.agent.definition.stored()} if isinstance(self.agent, Agent) else {}
        digest = definitions[name].digest if definitions else ""
        record = encode_record(RunClaimed(at=now_ms(), worker=_WORKER, definition=digest))
        claim = await self.log.claim(
            {name: record},
            worker=_WORKER,
            token=new_token(),
            lease_ms=DEFAULT_LEASE_MS,
            definitions=definitions,
        )
        assert claim is not None, "the run is queued, and nothing else claims it"
        return claim

    async def own(self) -> Record:
        """Own the queued run up to its end or its next pause, and store what it did there; returns its last record.

        Raises:
            ModelConfigurationError: If the agent's model cannot be used.
            AgentFactoryError, OverrideRefusedError: As `target_of_run`.
            Exception: What `on_entry` raises; then nothing of this ownership is stored.
        """
        claim = await self.claim()
        entries = await read_all(self.log, claim.run_id, head=claim.head)
        for entry in entries:
            self.on_entry(entry)
        last = entries[-1].record
        target, made, _ = await target_of_run(self.agent, claim.run_id, entries)
        said = StoredMessages() if claim.session is None else await self.log.stored_messages(claim.session)
        control, limit = Control(), target.max_record_bytes
        control.deliver(signals := await self.log.inbox(claim.run_id))
        kept = [] if made is None else [encode_record(made, limit=limit)]
        runner = target.open(
            Opening(
                run_id=claim.run_id,
                epoch=claim.epoch,
                entries=entries,
                head=claim.head + len(kept),
                said=said,
                control=control,
                ownership=Ownership(claim.run_id),
                children=InProcessChildren(self.log),
            )
        )
        if made is not None:
            self.on_entry(Entry(claim.head + 1, claim.epoch, made))
        async with aclosing(self._encoded(runner, limit=limit)) as stored:
            async for data in stored:
                kept.append(data)
                last = decode_record(data)
                self.on_entry(Entry(claim.head + len(kept), claim.epoch, last))
        batch = Batch(claim.run_id, claim.token, claim.head, kept, len(signals))
        if isinstance(last, RunPaused):
            await self.log.pause(batch, interrupts=[str(one["id"]) for one in last.interrupts])
        else:
            ended = cast("RunStateName", last.type.removeprefix("run."))
            state = runner.state
            await self.log.finish(RunEnd(batch, ended, claim.session, state.added, agent_state=state.agent_state))
        return last

    async def _encoded(self, runner: Runner, *, limit: int) -> AsyncGenerator[bytes, None]:
        """What the runner yields, encoded; the last is the end of the run, its failure if a record cannot be stored, or a pause."""
        try:
            async with aclosing(runner.records()) as items:
                async for item in items:
                    if isinstance(item, list):
                        yield encode_chunk(item, limit=limit)
                    elif isinstance(item, Encoded):
                        yield item.data
                    elif not isinstance(item, Flush):
                        yield encode_record(item, limit=limit_of(item, limit))
        except Exception as error:
            yield encode_record(failure(error))
