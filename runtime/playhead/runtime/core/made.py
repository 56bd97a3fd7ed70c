"""The definitions of agents that a factory made: the log has them in `agent.made`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.records import AgentMade, Entry, RunClaimed, now_ms

__all__ = ["MadeAgent", "made_agent", "made_record"]


class MadeAgent(NamedTuple):
    """What a factory made for a run.

    Attributes:
        definition: The agent's definition, without what the run has instead of the agent's own.
        model_name: The name by which it has its model; None if it has a model object, or that of the environment.
    """

    definition: AgentDefinition
    model_name: str | None

    @classmethod
    def of(cls, record: AgentMade) -> MadeAgent:
        """What a record tells.

        Raises:
            ForeignRecordError: If that is not a definition.
        """
        return cls(AgentDefinition.of_held(record.definition), record.model_name)

    @property
    def digest(self) -> str:
        """The digest of the definition."""
        return self.definition.stored().digest


def made_agent(entries: Sequence[Entry]) -> MadeAgent | None:
    """What the last owner among `entries` had from a factory; None if it had its agent from its worker.

    An owner that has the same as the one before writes no `agent.made`.
    """
    for entry in reversed(entries):
        if isinstance(entry.record, AgentMade):
            return MadeAgent.of(entry.record)
        if isinstance(entry.record, RunClaimed) and entry.record.definition:
            return None
    return None


def made_record(made: MadeAgent) -> AgentMade:
    """The record of what a factory made."""
    return AgentMade(at=now_ms(), definition=made.definition.held, model_name=made.model_name)
