"""The form in which a run is written: unchanged or redacted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from playhead.runtime.core.codec import pack, unpack
from playhead.runtime.core.converse import Message
from playhead.runtime.core.definition import AgentDefinition, StoredDefinition
from playhead.runtime.log.file.redaction import Redaction, Redactor
from playhead.runtime.log.values import EncodedEntry, RunInfo

__all__ = ["AsItIs", "Redacted", "RunForm"]


class RunForm(Protocol):
    """The form of one run. Call `feed` with its records in order, and `rest` after the last."""

    def feed(self, entry: EncodedEntry) -> Sequence[EncodedEntry]:
        """The records that can be written now."""
        ...

    def rest(self) -> Sequence[EncodedEntry]:
        """The records that were kept back."""
        ...

    def info(self, info: RunInfo) -> RunInfo:
        """The run."""
        ...

    def definition(self, stored: StoredDefinition) -> StoredDefinition:
        """A definition with the digest of its written form."""
        ...

    def message(self, message: Message) -> Message:
        """A message that the run began from."""
        ...


class AsItIs:
    """Writes everything byte for byte."""

    def feed(self, entry: EncodedEntry) -> Sequence[EncodedEntry]:
        """The record itself."""
        return [entry]

    def rest(self) -> Sequence[EncodedEntry]:
        """Nothing is kept back."""
        return ()

    def info(self, info: RunInfo) -> RunInfo:
        """The run itself."""
        return info

    def definition(self, stored: StoredDefinition) -> StoredDefinition:
        """The definition itself."""
        return stored

    def message(self, message: Message) -> Message:
        """The message itself."""
        return message


class Redacted:
    """Writes a run without the values that `redaction` takes out.

    `sessions` maps the names of sessions to those they were given: two sessions never get the same name.
    """

    def __init__(self, redaction: Redaction, run_id: str, sessions: dict[str, str]) -> None:
        self._redaction = redaction
        self._redactor = Redactor(redaction, run_id)
        self._sessions = sessions

    def feed(self, entry: EncodedEntry) -> Sequence[EncodedEntry]:
        """See `Redactor.feed`."""
        return self._redactor.feed(entry)

    def rest(self) -> Sequence[EncodedEntry]:
        """See `Redactor.rest`."""
        return self._redactor.rest()

    def info(self, info: RunInfo) -> RunInfo:
        """The run, with the same id, state, numbers and times."""
        names = {name: value for name in ("agent", "session", "worker") if (value := getattr(info, name)) is not None}
        # Record 1 has the metadata too, so what is taken out of it there must not be left here.
        noted = {"metadata": dict(info.metadata)} if info.metadata else {}
        kept = self._redaction.apply("run", {**names, **self._redaction.by_rules("run.submitted", noted)})
        if info.session is not None:
            kept["session"] = self._session(info.session, str(kept["session"]))
        return replace(info, metadata=kept.get("metadata", {}), **{name: str(kept[name]) for name in names})

    def _session(self, name: str, redacted: str) -> str:
        if name not in self._sessions:
            number, free = 0, redacted
            while free in self._sessions.values():
                number += 1
                free = f"{redacted[: -len(str(number))]}{number}"
            self._sessions[name] = free
        return self._sessions[name]

    def definition(self, stored: StoredDefinition) -> StoredDefinition:
        """The definition, encoded again."""
        kept = self._redaction.apply("definition", unpack(stored.data))
        AgentDefinition.of(data := pack(kept))  # refuses what cannot be read again
        return StoredDefinition(AgentDefinition.digest_of(data), data)

    def message(self, message: Message) -> Message:
        """The message."""
        return cast("Message", self._redaction.apply("message", cast("dict[str, Any]", dict(message))))
