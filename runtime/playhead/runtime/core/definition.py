"""An agent's definition as a value that the log keeps: with it, each request to the model can be rebuilt. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, cast

from playhead.runtime.core.codec import pack, unpack
from playhead.runtime.core.converse import ContentBlock, Message, ToolSpec
from playhead.runtime.core.errors import ForeignRecordError
from playhead.runtime.core.overrides import options_at, with_params_in
from playhead.runtime.core.records import Record, RunSubmitted

__all__ = ["AgentDefinition", "StoredDefinition", "place_of_fork", "session_of_submission"]

_VERSION = 1
_LATER = (
    "retry",
    "allow_overrides",
    "terms",
    "conversation_manager",
    "system_prompt_content",
)  # fields that the first definitions did not have


class StoredDefinition(NamedTuple):
    """A definition in its stored form.

    Attributes:
        digest: The first 32 hex digits of the SHA-256 of `data`; a `run.claimed` names the definition by it.
        data: The encoded definition.
    """

    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """Everything about an agent that determines what its model is asked, and how often. Plain data without secrets.

    Attributes:
        agent: The agent's name.
        model: The model's own description, such as its id and parameters.
        system_prompt: The text of the system prompt, or None.
        tool_specs: The tools' descriptions, in the order in which they are offered.
        tool_executor: `concurrent` or `sequential`.
        on_partial: What happens to the text of a model call that broke off: `retract` or `continue`.
        messages: The agent's own messages, which come before those of the session.
        retry: The fields of its `RetryPolicy` or `ModelRetryStrategy`; without one, `max_attempts` is 1. Empty in a definition written by a
            version that did not store them.
        allow_overrides: What a caller may replace for one run: see `overrides.Allowance`. Empty if nothing.
        terms: The agent's own `Terms`, in the form of `run.submitted.options`; empty if it has none.
        conversation_manager: The class of its conversation manager, and its arguments; empty likewise, and then all
            messages are kept.
        system_prompt_content: The system prompt as blocks, if it was given so; else None.
    """

    agent: str
    model: Mapping[str, Any]
    system_prompt: str | None = None
    tool_specs: Sequence[ToolSpec] = field(default_factory=list[ToolSpec])
    tool_executor: str = "concurrent"
    on_partial: str = "retract"
    messages: Sequence[Message] = field(default_factory=list[Message])
    retry: Mapping[str, Any] = field(default_factory=dict[str, Any])
    allow_overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    terms: Mapping[str, Any] = field(default_factory=dict[str, Any])
    conversation_manager: Mapping[str, Any] = field(default_factory=dict[str, Any])
    system_prompt_content: Sequence[ContentBlock] | None = None

    def stored(self) -> StoredDefinition:
        """The encoded definition with its digest; equal definitions have equal digests.

        Raises:
            EncodingError: If the definition holds something that is not plain data.
        """
        data = pack({"v": _VERSION, **self.held})
        return StoredDefinition(self.digest_of(data), data)

    @property
    def held(self) -> dict[str, Any]:
        """The definition as plain data, without the later fields that are empty: so an older definition keeps its digest."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in held.items() if value or name not in _LATER}

    def of_run(self, first: Record, *, seq: int) -> AgentDefinition:
        """The definition by which the run with this record 1 is run at record `seq`.

        The run may have a model, a system prompt, tools or parameters of its own, and the first records of a fork those of
        its parent. Such a model is known by its name only: `{"name": …}`.
        """
        options = options_at(first, seq)
        changes: dict[str, Any] = {}
        if "system_prompt" in options:
            changes |= {"system_prompt": options["system_prompt"], "system_prompt_content": None}
        if "tools" in options:
            changes["tool_specs"] = [spec for spec in self.tool_specs if spec["name"] in options["tools"]]
        model: Mapping[str, Any] = {"name": options["model"]} if "model" in options else self.model
        if "params" in options:
            model = with_params_in(model, options["params"])
        if model is not self.model:
            changes["model"] = model
        return replace(self, **changes) if changes else self

    @staticmethod
    def digest_of(data: bytes) -> str:
        """The digest of an encoded definition."""
        return hashlib.sha256(data).hexdigest()[:32]

    @classmethod
    def of(cls, data: bytes) -> AgentDefinition:
        """Decode the definition in `data`; fields added by a newer version are dropped.

        Raises:
            ForeignRecordError: If `data` is not an encoded definition.
        """
        return cls.of_held(unpack(data))

    @classmethod
    def of_held(cls, given: object) -> AgentDefinition:
        """The definition whose `held` this is; fields added by a newer version are dropped.

        Raises:
            ForeignRecordError: If it is not that of a definition.
        """
        known = {one.name for one in fields(cls)}
        try:
            return cls(**{name: value for name, value in cast("dict[str, Any]", given).items() if name in known})
        except (AttributeError, TypeError) as error:
            raise ForeignRecordError(f"not an agent's definition: {error} in {given!r:.40}") from error


def session_of_submission(first: Record) -> str | None:
    """The session in which the run with this record 1 was submitted; of a fork, which has another, that of its parent."""
    if not isinstance(first, RunSubmitted):
        return None
    return first.options.get("fork", {}).get("session", first.session)


def place_of_fork(first: Record) -> int:
    """How many of the first records of the run with this record 1 are its parent's; 0 if it is not a fork."""
    fork = first.options.get("fork") if isinstance(first, RunSubmitted) else None
    return cast("int", fork["at"]) if fork else 0
