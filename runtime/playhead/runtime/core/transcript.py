"""The transcript of a run: what was said and done, in order, for a person to read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from playhead.runtime.core.children import child_messages
from playhead.runtime.core.converse import ContentBlock
from playhead.runtime.core.guest_words import handover_in, is_told_elsewhere, said_in, text_of, who_said, worded
from playhead.runtime.core.hook_words import hook_words
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.core.owner_changes import OwnerChanges
from playhead.runtime.core.records import (
    CALL_FAILED,
    ChildRecorded,
    ChildStarted,
    ContextReduced,
    Entry,
    EventEmitted,
    HookDecided,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCancelled,
    RunClaimed,
    RunCompleted,
    RunFailed,
    RunHandedOver,
    RunPaused,
    SignalReceived,
    StepFinished,
    StructuredOutputProduced,
    ToolDecided,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)

__all__ = ["Item", "ItemKind", "Transcript", "content_text", "reduction_text", "transcript"]

ItemKind = Literal["user", "text", "reasoning", "call", "progress", "result", "error", "question", "note", "end"]


@dataclass(slots=True)
class Item:
    """One part of a transcript.

    Attributes:
        kind: What it is; `error` is a tool's error result, or the error that ended the run.
        first: The record by which it begins.
        title: The tool, the role, or what happened.
        texts, seqs: The pieces of its text, and the record of each piece.
        withdrawn: The record that withdrew it because its model call was cut off; None if it counts.
    """

    kind: ItemKind
    first: int
    title: str = ""
    texts: list[str] = field(default_factory=list[str])
    seqs: list[int] = field(default_factory=list[int])
    withdrawn: int | None = None

    @property
    def text(self) -> str:
        """Its whole text."""
        return "".join(self.texts)


def transcript(entries: Iterable[Entry]) -> list[Item]:
    """Make the transcript of a run from its records: all of them, or those so far."""
    writing = Transcript()
    for entry in entries:
        writing.add(entry)
    return writing.items


def reduction_text(record: ContextReduced) -> str:
    """What a reduction of the history did, in words."""
    if record.cut is not None:
        return "long tool results are shortened"
    if not record.removed:
        return "no summary was written"
    count = sum(last - first + 1 for first, last in record.removed)
    return f"{count} message{'' if count == 1 else 's'} {'left out' if record.summary is None else 'summarized'}"


def content_text(content: Sequence[ContentBlock]) -> str:
    """Content blocks as one text: their texts, and the rest as JSON."""
    return " ".join(str(block["text"]) if "text" in block else _worded(block) for block in content)


def _worded(block: ContentBlock) -> str:
    said = worded(block)
    return said if isinstance(said, str) else json_line(block, other=str)


class Transcript:
    """The transcript so far. It holds the texts of the run, and none of its records.

    Attributes:
        items: Its items; a later record may add to the last of them, or withdraw one.
    """

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._call = 0  # where the items of the open model call begin
        self._streamed = False
        self._quiet = False  # the model writes a summary, not an answer
        self._owners = OwnerChanges()
        self._child_names: dict[int, str] = {}  # by the index of the call
        self._lanes: dict[str, str] = {}  # of a guest's run: the names of tools by the lanes of their calls
        self._guest = False

    def add(self, entry: Entry) -> None:
        """Take the next record."""
        seq, _, record = entry
        change = self._owners.feed(entry)
        match record:
            case ModelChunk():
                if not self._quiet:
                    self._chunk(seq, record.chunk)
            case ModelStarted(continues=continues):
                self._quiet = bool(record.summarizes)
                self._guest = self._guest or bool(record.lane)
                if not continues:
                    self._call, self._streamed = len(self.items), False
            case MessageAdded():
                self._message(seq, record)
            case ModelRetried():
                for item in self.items[self._call :]:
                    if item.kind in ("text", "reasoning"):
                        item.withdrawn = seq
                if record.reason != CALL_FAILED:  # of that one the next record tells more
                    self._put(seq, "note", f"the model is asked again: {record.reason}")
            case _:
                self._note(entry, change)

    def _chunk(self, seq: int, chunk: dict[str, Any]) -> None:
        if self._guest and (text := text_of(chunk)):
            self._stream(seq, "text", text)
            return
        delta = (chunk.get("contentBlockDelta") or {}).get("delta") or {}
        if isinstance(text := delta.get("text"), str):
            self._stream(seq, "text", text)
        elif isinstance(text := (delta.get("reasoningContent") or {}).get("text"), str):
            self._stream(seq, "reasoning", text)

    def _stream(self, seq: int, kind: ItemKind, text: str) -> None:
        self._streamed = True
        open_item = self.items[-1] if len(self.items) > self._call else None
        if open_item is None or open_item.kind != kind:
            open_item = Item(kind, seq)
            self.items.append(open_item)
        open_item.texts.append(text)
        open_item.seqs.append(seq)

    def _message(self, seq: int, record: MessageAdded) -> None:
        """Add a message that was not streamed: the prompt, a steer, what asks for the structured output, or a message without chunks."""
        content = record.message.get("content", [])
        if record.origin in ("prompt", "steer", "structured_output"):
            self._put(seq, "user", record.origin, content_text(content))
        elif record.origin in ("stop", "model"):
            texts = [block["text"] for block in content if "text" in block]
            if texts and not self._has_shown(record, texts):
                self._put(seq, "text", "", "\n".join(texts))
        self._call, self._streamed = len(self.items), False

    def _has_shown(self, record: MessageAdded, texts: Sequence[str]) -> bool:
        """Whether the text was streamed. A guest's own result comes after an answer that may be another text."""
        if record.origin == "stop" or not self._streamed:
            return False
        shown = [item.text for item in self.items[self._call :] if item.kind == "text" and item.withdrawn is None]
        return not self._guest or "".join(texts) == "".join(shown)

    def _of_guest(self, seq: int, record: StepFinished | EventEmitted) -> None:
        if isinstance(record, EventEmitted):
            if told := handover_in(record):
                self._put(seq, "note", told)
        elif record.ends_call and (said := said_in(record)):
            self._put(seq, "progress", who_said(record.key, self._lanes), said)

    def _note(self, entry: Entry, change: str) -> None:
        seq, _, record = entry
        match record:
            case ToolStarted():
                self._lanes[record.lane] = record.tool_use["name"]
                self._put(seq, "call", record.tool_use["name"], json_line(record.tool_use["input"], other=str))
            case StepFinished() | EventEmitted():
                self._of_guest(seq, record)
            case ToolProgressed() if is_told_elsewhere(record):
                pass
            case ToolProgressed():
                said = record.data if isinstance(record.data, str) else json_line(record.data, other=str)
                self._put(seq, "progress", record.tool_use["name"], said)
            case ChildStarted():
                self._child_names[record.index] = record.tool_use["name"]
                self._put(seq, "note", f"child run {record.run} of {record.agent}")
            case ChildRecorded():
                for message in child_messages(record):
                    said = content_text(message.get("content", []))
                    self._put(seq, "progress", self._child_names.get(record.index, ""), said)
            case ToolFinished():
                kind: ItemKind = "result" if record.result["status"] == "success" else "error"
                self._put(seq, kind, record.name, content_text(record.result["content"]))
            case StructuredOutputProduced():
                self._put(seq, "result", f"structured output {record.name}", json_line(record.value, other=str))
            case RunPaused():
                for one in record.interrupts:
                    reason = one.get("reason")
                    said = reason if isinstance(reason, str) else json.dumps(reason, default=str)
                    self._put(seq, "question", str(one.get("name", "")), "" if reason is None else said)
            case RunClaimed():
                if change:
                    self._put(seq, "note", change)
            case _:
                self._remark(seq, record)

    def _remark(self, seq: int, record: Record) -> None:
        match record:
            case RunHandedOver():
                wait = f"; it waits {record.delay:.1f} s for the next one" if record.delay else ""
                self._put(seq, "note", f"handed over by {record.worker}{wait}")
            case ContextReduced():
                said = "" if record.summary is None else content_text(record.summary.get("content", []))
                self._put(seq, "note", f"the history is reduced: {reduction_text(record)}", said)
            case ModelFailed(overflow=True):
                self._put(seq, "note", f"model call {record.attempt} failed: {record.error_type}: {record.message}")
            case ModelFailed():
                what = f"model call {record.attempt} failed: {record.error_type}: {record.message}"
                self._put(seq, "note", f"{what}; it is made again in {record.delay:.1f} s")
            case ToolDecided() | HookDecided():
                self._put(seq, "note", hook_words(record))
            case SignalReceived():
                said = "" if record.body is None else json_line(record.body, other=str)
                self._put(seq, "note", f"{record.kind} received", said)
            case RunFailed():
                self._put(seq, "error", record.error_type, record.message)
            case RunCompleted() | RunCancelled():
                self._put(seq, "end", str(record.result.get("stop_reason", "")))
            case _:
                pass

    def _put(self, seq: int, kind: ItemKind, title: str, text: str = "") -> None:
        self.items.append(Item(kind, seq, title, [text] if text else [], [seq] if text else []))
