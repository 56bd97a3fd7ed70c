"""Rebuilds the request of a model call from the run's records. Pure.

The loop makes its requests with the same functions, `evolve` and `model_request`, from the same records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, cast

from playhead.runtime.core.context import messages_at
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.message_assembler import partial_text
from playhead.runtime.core.model_input import ModelRequest, model_request, summary_request
from playhead.runtime.core.records import Entry, ModelStarted, RunClaimed
from playhead.runtime.core.session import BeganFrom
from playhead.runtime.core.state import open_chunks
from playhead.runtime.core.terms import Terms

__all__ = ["began_from", "claimed_definition", "request_of"]

_DIFFERING: Final = ("messages", "tool_specs", "system_prompt", "tool_choice")


def began_from(entries: Sequence[Entry]) -> BeganFrom:
    """The messages of its session that the run began from; none if it has not begun."""
    told = (BeganFrom.told_by(one.record) for one in entries)
    return next((one for one in told if one is not None), BeganFrom())


def claimed_definition(entries: Sequence[Entry]) -> str:
    """The digest of the definition that the last owner among `entries` uses; empty if it names none."""
    return next((one.record.definition for one in reversed(entries) if isinstance(one.record, RunClaimed)), "")


def request_of(
    entries: Sequence[Entry], *, definition: AgentDefinition, session: Sequence[Message] = ()
) -> ModelRequest:
    """The request of the model call that the last of `entries` begins.

    Args:
        entries: The records of the run up to a `model.started`, from record 1 on.
        definition: The definition that `claimed_definition` names.
        session: The messages of its session that the run began from; more may follow.
    """
    *before, last = entries
    started = cast("ModelStarted", last.record)
    state = fold(before, history=[*definition.messages, *session[: began_from(before).count]])
    if started.summarizes:
        asked = messages_at(state.messages, started.summarizes)
        return summary_request(asked, system_prompt=started.differs.get("system_prompt"))
    terms = state.terms.over(Terms.read(definition.terms))
    tool_specs, tool_choice = terms.offered(definition.tool_specs, forced=state.forced)
    request = model_request(
        state.messages,
        tool_specs=tool_specs,
        tool_choice=tool_choice,
        system_prompt=definition.system_prompt,
        system_prompt_content=definition.system_prompt_content,
        partial=partial_text(open_chunks(state, before)) if started.continues else None,
    )
    return replace(request, **{name: started.differs[name] for name in _DIFFERING if name in started.differs})
