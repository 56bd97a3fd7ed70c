"""How a run came to each of its owners, in words: what ended the ownership before it, and what ran then. Pure."""

from __future__ import annotations

from playhead.runtime.core.guest_words import is_of_a_guest
from playhead.runtime.core.records import (
    ContextReduced,
    Entry,
    MessageAdded,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    RunClaimed,
    RunHandedOver,
    RunPaused,
    RunSubmitted,
    StepFinished,
    ToolFinished,
    ToolInterrupted,
    ToolStarted,
)

__all__ = ["OwnerChanges", "doing"]


def doing(tools: list[tuple[str, int]], call: int | None) -> str:
    """What a run does, as a subject: its tools, each with the record that began it, else the call of its model."""
    if tools:
        named = ", ".join(f"{name!r} (record {seq})" for name, seq in tools)
        return f"the tool{'s' if len(tools) > 1 else ''} {named}"
    return f"a call of its model (record {call})" if call is not None else "no step"


class OwnerChanges:
    """Give it the records of a run in order. Without the first ones it knows less, and says nothing that is wrong."""

    def __init__(self) -> None:
        self._worker = ""
        self._tools: dict[int | str, tuple[str, int]] = {}  # by the index in the batch; a guest's by their lanes
        self._call: int | None = None
        self._lane = ""  # of that call, if it is a guest's
        self._guest = False
        self._fork: tuple[str, int] | None = (
            None  # the parent and its last record here; None after the fork's first claim
        )
        self._left = ""  # how the present owner gave the run up; empty while it has not

    def feed(self, entry: Entry) -> str:
        """Take a record in. Returns what to say of it: empty, except for the first claim of a fork and of later owners."""
        record = entry.record
        self._guest = self._guest or is_of_a_guest(entry)
        match record:
            case RunSubmitted():
                fork = record.options.get("fork")
                self._fork = None if fork is None else (fork["run"], fork["at"])
            case RunClaimed():
                return self._claimed(entry, record)
            case RunHandedOver():
                self._left = "goes on with it"
            case RunPaused():
                self._left = "goes on after the pause"
            case ToolStarted():
                self._tools[record.lane or record.index] = record.tool_use["name"], entry.seq
            case ToolFinished() | ToolInterrupted():
                self._tools.pop(record.lane or record.index, None)
            case ModelStarted():
                self._call, self._lane = entry.seq, record.lane
            case StepFinished():
                if record.ends_call and record.key == self._lane:
                    self._call = None
            case ModelRetried() | ModelFailed() | MessageAdded() | ContextReduced():
                self._call = None
            case _:
                pass
        return ""

    def _claimed(self, entry: Entry, record: RunClaimed) -> str:
        former, left = self._worker, self._left
        ran = self._ran()
        self._worker, self._left = record.worker, ""
        self._tools.clear()
        if self._fork is not None and entry.seq > self._fork[1]:
            parent, at = self._fork
            self._fork = None  # a later claim is that of a pause, a hand-over or a takeover of the fork itself
            return f"forked from run {parent} at record {at}; {record.worker} goes on, owner {entry.epoch}"
        if entry.epoch <= 1:
            return ""
        if left:
            return f"{record.worker} {left}, owner {entry.epoch}"
        if former == record.worker:
            again = f"{former} was cut off or started again{ran}"
            return f"{again}; it takes the run over itself, owner {entry.epoch}"
        return (
            f"{former or 'the former worker'} died or was cut off{ran}; {record.worker} takes the run over, "
            f"owner {entry.epoch}"
        )

    def _ran(self) -> str:
        """What the former owner did, in words; of a guest's calls within others and its own code the log does not have the start."""
        if self._guest and not self._tools and self._call is None:
            return ""
        return f" while {doing(list(self._tools.values()), self._call)} ran"
