"""Runs that earlier versions recorded into `tests/golden/`, read from their files."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from playhead.runtime.core.codec import decode_record, unpack
from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.records import Entry
from playhead.runtime.replay import EntriesRecording

__all__ = ["FILES", "OldRun"]

FILES = sorted(Path(__file__).parents[1].glob("golden/*/*.jsonl"))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


class OldRun:
    """One file, read."""

    def __init__(self, file: Path) -> None:
        lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        self.entries = [self._entry(line["id"], line["record"]) for line in lines if "id" in line]
        self.events = [(line["event"], line["value"]) for line in lines if "event" in line]
        self.error: list[str] | None = lines[-1]["error"]
        self.definitions = {line["definition"]: _bytes(line["data"]) for line in lines if "definition" in line}
        self.session = [unpack(_bytes(line["session_message"])) for line in lines if "session_message" in line]
        self.requests = {line["request"]: unpack(_bytes(line["sent"])) for line in lines if "request" in line}

    @staticmethod
    def _entry(place: str, data: str) -> Entry:
        seq, epoch = map(int, place.split("-"))
        return Entry(seq, epoch, decode_record(_bytes(data)))

    def play(self, after: str | None = None) -> tuple[list[Event], Projection]:
        """The events after a cursor, by today's code."""
        projection = Projection("old", after=after)
        return [event for entry in self.entries for event in projection.feed(entry)], projection

    @property
    def recording(self) -> EntriesRecording:
        """The run with all that its requests were made of."""
        definitions = {digest: AgentDefinition.of(data) for digest, data in self.definitions.items()}
        return EntriesRecording(self.entries, definitions, self.session)
