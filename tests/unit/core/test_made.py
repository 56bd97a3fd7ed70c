"""The log says what a factory made, and which owner had it."""

from __future__ import annotations

import pytest

from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.made import MadeAgent, made_agent, made_record
from playhead.runtime.core.records import AgentMade, Entry, Record, RunClaimed, RunSubmitted
from playhead.runtime.core.run_acts import Acts

__all__: list[str] = []

FIRST = MadeAgent(AgentDefinition("support", {"class": "DemoModel"}, "Be brief."), "demo")
SECOND = MadeAgent(AgentDefinition("support", {"class": "DemoModel"}, "Be kind."), None)


def entries(*records: Record) -> list[Entry]:
    return [Entry(seq, 1, record) for seq, record in enumerate((RunSubmitted(at=0, agent="support"), *records), 1)]


def claimed(digest: str = "") -> RunClaimed:
    return RunClaimed(at=0, worker="w", definition=digest)


def test_a_record_tells_what_was_made():
    assert MadeAgent.of(made_record(FIRST)) == FIRST
    assert MadeAgent.of(made_record(SECOND)) == SECOND
    assert FIRST.digest == FIRST.definition.stored().digest
    with pytest.raises(ForeignRecordError, match="not an agent's definition"):
        MadeAgent.of(AgentMade(at=0, definition={"model": {}}))


def test_an_owner_without_a_record_of_its_own_has_what_the_one_before_had():
    assert made_agent(entries(claimed())) is None
    assert made_agent(entries(claimed(), made_record(FIRST), claimed())) == FIRST
    assert made_agent(entries(claimed(), made_record(FIRST), claimed(), made_record(SECOND))) == SECOND


def test_an_owner_that_names_a_definition_has_its_agent_from_no_factory():
    assert made_agent(entries(claimed(), made_record(FIRST), claimed("d1"))) is None
    assert made_agent(entries(claimed("d1"), claimed(), made_record(FIRST))) == FIRST


def test_the_acts_of_a_run_know_by_which_definition_each_was():
    acts = Acts()
    for entry in entries(claimed(), made_record(FIRST), claimed(), made_record(SECOND), claimed("d1")):
        acts.add(entry)
    assert acts.made == {FIRST.digest: FIRST.definition, SECOND.digest: SECOND.definition}
