"""Verifies a recorded run: today's agent against the recorded messages and results, record by record.

For each owner of the run, the real loop runs from the fold of the records up to its claim. The model streams what was
recorded, the tools give what was recorded, and signals come where they were recorded. What the loop yields is compared
with what the owner wrote. No network is used and nothing is written, unless a half is asked to run live.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from playhead.runtime.agent.of_run import agent_of_today
from playhead.runtime.agent.serving import Servable, served_of
from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.definition import AgentDefinition, place_of_fork
from playhead.runtime.core.errors import RunNotFoundError
from playhead.runtime.core.made import MadeAgent
from playhead.runtime.core.records import AgentMade, Record, RunClaimed
from playhead.runtime.core.segments import Stored
from playhead.runtime.host.guest import Guest
from playhead.runtime.replay.differences import KINDS, Difference, place_of
from playhead.runtime.replay.guests import difference_of_guest
from playhead.runtime.replay.owner import Owner, Subject
from playhead.runtime.replay.past import Past
from playhead.runtime.replay.recording import Recorded, Recording, recording_of
from playhead.runtime.tools.decorator import as_tool

__all__ = ["Half", "Verification", "verify"]

Half = Literal["recorded", "live"]
"""Where the answers of the model, the results of the tools, or the verdicts of the hooks come from."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of a verification.

    Attributes:
        run_id: The run.
        agent: The agent that the run was submitted to.
        records: How many records were read, and compared as far as an owner wrote them.
        difference: The first record that differs; None if none does.
        notes: What could not be compared, and why.
    """

    run_id: str
    agent: str
    records: int
    difference: Difference | None = None
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.difference is None

    @property
    def text(self) -> str:
        """The outcome as lines of text."""
        found = f"run {self.run_id}: nothing differs in {self.records:,} records"
        lines = [found if self.difference is None else self.difference.text]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


async def verify(
    run: Recorded,
    agent: Servable,
    *,
    tools: Half = "recorded",
    model: Half = "recorded",
    hooks: Half = "live",
    stubs: Sequence[object] = (),
    ignore: Collection[str] = (),
    after: int | None = None,
) -> Verification:
    """Whether `agent` would do today what was recorded of a run. Nothing is written to the log.

    Times, durations, and the new ids of messages are not compared. A wait before a model call is not waited again.

    Args:
        run: A handle on a run, such as `client.run(id)`, a `Recording`, or the entries of a run.
        agent: The agent; or the factory, a function too, which makes it as it does today for what the run was submitted with;
            or the guest, or what stands for it, such as a `strands.Agent`. A guest runs again from its top over the log, and
            stops where it would do what the log does not have. Only the defaults are possible then, and `ignore`.
        tools: `live` runs each tool that ran to its own end, with the recorded input and under the recorded effect key.
        hooks: `live` asks the agent's hooks, except those of `MessageAddedEvent`, which decide nothing; `recorded` repeats the
            recorded verdicts and asks none.
        model: `live` calls the agent's model for each message in the log, and compares the messages.
        stubs: Tools or functions that run in place of the agent's tools of their names.
        ignore: Kinds of changes that are not reported, of `differences.KINDS`.
        after: Leave out owners that claimed the run up to this record. None leaves out those of the parent of a fork, which
            ran with the parent's options, and what the fork was given; else no owner.

    Raises:
        RunNotFoundError: If the run has no records.
        GapError: If a record is missing.
        AgentFactoryError: If the factory raises, takes too long, or returns no Agent.
        AgentStuckError: If a guest blocks, never ends, or waits for something that is not in the log.
        ValueError: If an argument is out of its range, or a stub has the name of none of the agent's tools.
    """
    check_choice("tools", tools, ("recorded", "live"))
    check_choice("model", model, ("recorded", "live"))
    check_choice("hooks", hooks, ("recorded", "live"))
    for kind in ignore:
        check_choice("ignore", kind, KINDS)
    recording = recording_of(run)
    past = Past(recording)
    if (spot := await past.tape.peek()) is None:
        raise RunNotFoundError(f"run {recording.run_id} has no records; it does not exist, or was removed")
    source = served_of(agent)
    if isinstance(source, Guest):
        _check_halves(tools, model, hooks, stubs)
        return await _of_guest(past, source, ignore=ignore)
    today = await agent_of_today(source, recording.run_id, first := spot.record)
    replaced = {one.name: one for one in map(as_tool, stubs)}
    if unknown := sorted(replaced.keys() - today.tools.keys()):
        raise ValueError(f"a stub is named {unknown[0]!r}; the agent has the tools {', '.join(today.tools) or 'none'}")
    used = today.snapshot().of_run(first)
    forked = place_of_fork(first)
    places = {"": used.defined_at, **{name: place_of(tool) for name, tool in used.tools.items()}}
    first_hooks = used.asked_hooks.first() if used.asked_hooks is not None else {}
    places |= {f"hook of {event}": place_of(hook) for event, hook in first_hooks.items()}
    runs = {**used.tools, **replaced} if tools == "live" else replaced
    subject = Subject(
        used,
        today.definition.of_run(first, seq=forked + 1),
        places,
        runs,
        live_model=model == "live",
        live_hooks=hooks == "live",
        ignore=frozenset(ignore),
    )
    return await _verification(recording, past, subject, first=first, after=forked if after is None else after)


def _check_halves(tools: Half, model: Half, hooks: Half, stubs: Sequence[object]) -> None:
    if (tools, model, hooks) != ("recorded", "recorded", "live") or stubs:
        raise ValueError(
            "a guest is verified with the recorded answers of its models, the recorded results of its tools, and its own "
            "hooks: leave out tools, model, hooks and stubs"
        )


async def _of_guest(past: Past, guest: Guest, *, ignore: Collection[str]) -> Verification:
    said, entries = await past.whole()
    run_id = past.run_id
    difference, notes = await difference_of_guest(guest, entries, run_id=run_id, said=said, ignore=ignore)
    return Verification(run_id, past.state.agent, past.records, difference, (*past.notes, *notes))


async def _verification(
    recording: Recording, past: Past, subject: Subject, *, first: Record, after: int
) -> Verification:
    difference, notes = None, dict[str, None]()
    made: AgentDefinition | None = None  # that of the last owner with an agent that a factory made
    await past.begin(subject.agent.messages)
    notes |= dict.fromkeys(past.notes)
    while difference is None and (spot := await past.tape.peek()) is not None:
        past.advance()
        made = _made_by(spot.stored, before=made)
        if not isinstance(spot.stored, RunClaimed) or spot.seq <= after:
            continue
        digest = spot.stored.definition
        if (following := await past.tape.peek()) is not None and isinstance(following.stored, AgentMade):
            spot, made = following, _made_by(following.stored, before=made)
            past.advance()
        definition = await recording.definition(digest) if digest else made
        if definition is None:
            why = f"definition {digest} is not in the log" if digest else "the log names no definition"
            notes[f"what the model was asked is not compared, because {why}"] = None
        else:
            definition = definition.of_run(first, seq=spot.seq)
        owner = Owner(subject, past, run_id=recording.run_id, claimed=spot, definition=definition)
        difference = await owner.difference()
    return Verification(recording.run_id, past.state.agent, past.records, difference, tuple(notes))


def _made_by(stored: Stored, *, before: AgentDefinition | None) -> AgentDefinition | None:
    """The definition that a factory made, after one more record."""
    if isinstance(stored, AgentMade):
        return MadeAgent.of(stored).definition
    return None if isinstance(stored, RunClaimed) and stored.definition else before
