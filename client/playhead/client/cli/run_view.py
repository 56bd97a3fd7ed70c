"""Shows a run to a user: the model's text on standard output, everything else on standard error."""

from __future__ import annotations

import time
from typing import IO, Final

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from playhead.client.cli.render import (
    EXIT_CANCELLED,
    EXIT_FAILED,
    failed_call,
    printable,
    seconds,
    short,
    shown_content,
)
from playhead.runtime.core.children import child_messages
from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.fork_gap import ForkGap
from playhead.runtime.core.guest_words import (
    FRAMEWORK_STEP,
    handover_in,
    is_of_a_guest,
    is_told_elsewhere,
    own_event,
    said_in,
    spoken_within,
    who_said,
)
from playhead.runtime.core.hook_words import hook_message, hook_words
from playhead.runtime.core.interrupts import Interrupt
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
    RunSubmitted,
    SignalReceived,
    StepFinished,
    StructuredOutputProduced,
    ToolDecided,
    ToolFinished,
    ToolProgressed,
    ToolStarted,
)
from playhead.runtime.core.transcript import reduction_text

__all__ = ["QUIET_S", "RunView"]

QUIET_S: Final = 0.5
"""How long nothing may be printed before a terminal shows what the run waits for."""

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class RunView:
    """Prints one run, record by record.

    A terminal shows the model's text as it streams, and what is withdrawn afterwards is said to be. A pipe or a file
    gets the text of each message when the message is complete, because nothing can be taken back from there.

    Attributes:
        exit_code: The exit code of the command once the run has ended.
    """

    def __init__(self, run_id: str, *, after: int = 0) -> None:
        self.exit_code: int = 0
        self._out = Console(highlight=False, soft_wrap=True)
        self._about = Console(stderr=True, highlight=False, soft_wrap=True)
        self._streams = self._out.file.isatty()
        self._projection = Projection(run_id)
        self._run_id = run_id
        self._after = after
        self._began_at: int | None = None
        self._gap = ForkGap()
        self._unfinished: IO[str] | None = None  # the stream whose last line is not finished
        self._child_names: dict[int, str] = {}  # by the index of the call
        self._lanes: dict[str, str] = {}  # of a guest's run: the names of tools by the lanes of their calls
        self._guest = False
        self._framework = False  # the guest is an agent of one
        self._answered = False  # a message of the model, or in its place, is in the log
        self._streamed = ""  # of the last answer of a model
        self._whole = ""  # of a guest: an answer that is complete, and of which a message may come next
        self._told = ""  # the last of them that was shown
        self._within: tuple[str, str] | None = None  # which agent within a guest speaks, and what it has said so far
        self._progress_of: int | None = None  # the tool call whose values are on the last line
        self._waits_for: str | None = None
        self._waiting = False
        self._silent_since = time.monotonic()
        self._calls = 0
        self._owners = OwnerChanges()

    def note(self, text: str, *, style: str = "dim") -> None:
        """Print one line about the run."""
        self._begin(None)
        self._about.print(Text(printable(text), style=style))

    def prompt(self, text: str) -> None:
        """Begin a line that the user is to complete; until `prompted` nothing is shown of what the run waits for."""
        self._begin(None)
        self._about.print(Text(printable(text), style="bold yellow"), end="")
        self._about.file.flush()
        self._unfinished = self._about.file

    def prompted(self) -> None:
        """The user has completed the line."""
        self._unfinished = None
        self._silent_since = time.monotonic()

    def tick(self) -> None:
        """On a terminal, show what the run waits for and for how long. Call it about ten times a second."""
        text = self._status()
        if text is None or self._unfinished or not self._about.is_terminal:
            return
        self._erase()
        self._print_in_line(Text(text, style="dim"))
        self._waiting = True

    def _print_in_line(self, line: Text) -> None:
        """Print a line that can be erased: it must not be longer than the terminal is wide."""
        line.truncate(self._about.width - 1)
        self._about.print(line, end="")

    def _status(self) -> str | None:
        """The line of `tick`, or None for none."""
        silent = time.monotonic() - self._silent_since
        if self._waits_for is None or silent < QUIET_S:
            return None
        spinner = _SPINNER[int(silent * 10) % len(_SPINNER)]
        if self._within is None:
            return f"{spinner} {self._waits_for} · {silent:.0f} s"
        head, said = f"{spinner} {self._within[0]}: ", printable(" ".join(self._within[1].split()))
        return head + said[-max(1, self._about.width - 1 - len(head)) :]

    def clear(self) -> None:
        """Remove the line of `tick`; the next output takes its place."""
        if self._waiting:
            self._erase()
            self._waiting = False
        self._silent_since = time.monotonic()

    def _begin(self, stream: IO[str] | None) -> None:
        """Start a new line, unless the next output continues the unfinished line of `stream`."""
        self.clear()
        self._progress_of = None
        if self._unfinished is not None and self._unfinished is not stream:
            self._unfinished.write("\n")
            self._unfinished.flush()
            self._unfinished = None

    def _erase(self) -> None:
        self._about.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))

    def feed(self, entry: Entry) -> bool:
        """Show one record; those at or before `after` only prepare later ones. Returns whether it was after `after`."""
        events, change = self._projection.feed(entry), self._owners.feed(entry)
        self._began_at = entry.record.at if self._began_at is None else self._began_at
        self._gap.add(entry)
        if isinstance(entry.record, ModelStarted):
            self._calls, self._streamed, self._told = entry.record.attempt, "", ""
        elif isinstance(entry.record, MessageAdded):
            self._calls, self._answered = 0, self._answered or entry.record.origin in ("model", "stop")
        elif isinstance(entry.record, StepFinished):
            self._framework = self._framework or entry.record.key == FRAMEWORK_STEP
        self._streamed += "".join(event["data"] for event in events if "data" in event)
        if entry.seq <= self._after:
            return False
        for event in events:
            self._show(event)
        self._remark(entry, change=change)
        return True

    def _show(self, event: Event) -> None:
        if "data" in event:
            if self._streams:
                self._say(event["data"])
        elif "reasoningText" in event:
            self._think(event["reasoningText"])
        elif "retracted" in event and event["text"]:  # a call of tools that broke off had no text
            self.note(f"[withdrawn: {short(event['text'])}]", style="yellow")

    def _say(self, text: str) -> None:
        out = self._out.file
        self._begin(out)
        out.write(printable(text))
        out.flush()
        self._unfinished = None if text.endswith("\n") else out

    def _finish(self, message: Message) -> None:
        """Show a message of the model that is complete, unless it was shown as it streamed."""
        text = "\n".join(block["text"] for block in message.get("content", []) if "text" in block)
        of_its_own = self._guest and text != self._streamed  # a guest's result need not be what its model said
        told = self._told != "" and "".join(text.split()) == "".join(self._told.split())
        if (of_its_own or not self._streams) and not told:
            self._say_whole(text)

    def _say_whole(self, text: str) -> None:
        """Show a text on lines of its own."""
        if text.strip():
            self._begin(None)
            self._say(text if text.endswith("\n") else f"{text}\n")

    def _tell_answer(self, record: Record) -> None:
        """Where nothing is shown as it streams, show an answer of a guest's model for which no message comes."""
        whole, self._whole = self._whole, ""
        if whole and not isinstance(record, MessageAdded):
            self._say_whole(whole)
            self._told = whole

    def _say_for(self, record: ToolDecided | HookDecided) -> None:
        """Show the message that a hook has in place of the model's."""
        if (text := hook_message(record)) is not None:
            self._say(f"{text}\n")

    def _think(self, text: str) -> None:
        self._begin(self._about.file)
        self._about.print(Text(printable(text), style="dim italic"), end="")
        self._unfinished = None if text.endswith("\n") else self._about.file

    def _remark(self, entry: Entry, *, change: str) -> None:
        """Show a record; `change` says how its owner came to the run."""
        record = entry.record
        self._tell_answer(record)
        match record:
            case RunSubmitted():
                self.note(f"run {self._run_id} · {record.agent}")
                self._waits_for = "waiting for a worker"
            case RunClaimed():
                if change:
                    self.note(f"[{change}]", style="yellow")
                self._waits_for = f"{record.worker} runs it"
            case RunHandedOver(delay=delay) if delay:
                self._waits_for = "waiting until its model is called again"
            case RunHandedOver():
                self.note(f"[handed over by {record.worker}]", style="yellow")
                self._waits_for = "waiting for a worker"
            case RunPaused():
                self._ask(record)
            case SignalReceived():
                self.note(f"[{_heard(record)}]", style="yellow")
            case RunCompleted() | RunCancelled() | RunFailed():
                self._waits_for = None
                self._end(entry, record)
            case _:
                if not self._remark_guest(entry):
                    self._remark_step(entry)

    def _remark_guest(self, entry: Entry) -> bool:
        """Show what the runs of guests have besides; whether nothing else is to be shown of the record."""
        record, self._guest = entry.record, self._guest or is_of_a_guest(entry)
        match record:
            case ModelStarted():
                if record.lane:  # of a guest: two answers may follow one another without a message between them
                    self._begin(None)
            case ToolStarted(lane=lane) if lane:
                self._lanes[lane] = record.tool_use["name"]
            case EventEmitted():
                self._hear(spoken_within(record))
                if told := handover_in(record):
                    self.note(f"[{told}]", style="yellow")
                elif (own := own_event(record, framework=self._framework)) is not None:
                    self.note(f"· {short(own)}")
            case ToolProgressed():
                self._hear(spoken_within(record))
                return is_told_elsewhere(record)
            case StepFinished():
                self._within = None
                if record.ends_call and record.value is None and record.error is None and not self._streams:
                    self._whole = self._streamed
                elif record.ends_call and (said := said_in(record)):
                    self.note(f"… {who_said(record.key, self._lanes)}: {short(said)}")
            case _:
                pass
        return False

    def _hear(self, piece: tuple[str, str] | None) -> None:
        """Keep what an agent within a guest says for the line of `tick`, until its whole answer is shown."""
        if piece is not None:
            who, said = piece
            before = self._within[1] if self._within is not None and self._within[0] == who else ""
            self._within = who, before + said

    def _remark_step(self, entry: Entry) -> None:
        """Show a record of the model or of a tool."""
        record = entry.record
        match record:
            case ModelStarted():
                self._waits_for = "waiting for the model"
            case ContextReduced():
                self.note(f"[the history is reduced: {reduction_text(record)}]", style="yellow")
            case ModelRetried(reason=reason) if reason != CALL_FAILED:  # of that one the next record tells more
                self.note(f"[asking the model again: {reason}]", style="yellow")
            case ModelFailed():
                self.note(f"[{failed_call(record)}]", style="yellow")
                self._waits_for = f"waiting {record.delay:.1f} s to call the model again" if record.delay else "running"
            case ToolDecided() | HookDecided():
                self.note(f"[{short(hook_words(record))}]", style="yellow")
                self._say_for(record)
            case MessageAdded(origin="model") if record.stop_reason != "cancelled":
                self._finish(record.message)
            case MessageAdded(origin="stop"):
                self._say(
                    "".join(f"{block['text']}\n" for block in record.message.get("content", []) if "text" in block)
                )
            case ToolStarted():
                self.note(f"→ {record.tool_use['name']} {short(record.tool_use['input'])}", style="cyan")
                self._waits_for = f"running {short(record.tool_use['name'], longest=40)}"
            case ToolProgressed():
                self._progress(record)
            case ChildStarted() | ChildRecorded():
                self._child(record)
            case ToolFinished():
                mark, style = ("✓", "green") if record.result["status"] == "success" else ("✗", "red")
                what = short(shown_content(record.result["content"]))
                self.note(f"{mark} {record.name}: {what} ({seconds(record.duration_ms)})", style=style)
            case StructuredOutputProduced():
                self.note(f"= {record.name}: {short(record.value)}", style="green")
            case _:
                pass

    def _child(self, record: ChildStarted | ChildRecorded) -> None:
        """Name the run of an agent that is a tool, and show each message of its model."""
        if isinstance(record, ChildStarted):
            self._child_names[record.index] = record.tool_use["name"]
            self.note(f"  child run {record.run} · {record.agent}")
            return
        for message in child_messages(record):
            said = short(shown_content(message.get("content", [])))
            self.note(f"… {self._child_names.get(record.index, 'child')}: {said}")

    def _progress(self, record: ToolProgressed) -> None:
        """Show what a tool yields: on a terminal each value in the place of the one before, elsewhere after it."""
        goes_on = self._progress_of == record.index
        value = short(record.data)
        line = Text(printable(f"… {record.tool_use['name']}: {value}"), style="dim")
        if not goes_on:
            self._begin(None)
        if self._about.is_terminal:
            self._erase()
            self._print_in_line(line)
        else:
            self._about.print(Text(printable(f" · {value}")) if goes_on else line, end="")
        self._unfinished, self._progress_of = self._about.file, record.index

    def _ask(self, record: RunPaused) -> None:
        for one in map(Interrupt, record.interrupts):
            self.note(f"? {one.name}{'' if one.reason is None else f': {short(one.reason)}'}", style="yellow")
        self._waits_for = "waiting for a response"

    def _end(self, entry: Entry, record: RunCompleted | RunCancelled | RunFailed) -> None:
        took = seconds(max(0, record.at - (self._began_at or record.at) - self._gap.ms))
        if isinstance(record, RunFailed):
            self.exit_code = EXIT_FAILED
            calls = f" (call {self._calls} of the model for this message)" if self._calls > 1 else ""
            self.note(f"failed after {took}: {record.error_type}: {record.message}{calls}", style="bold red")
            return
        self.exit_code = EXIT_CANCELLED if isinstance(record, RunCancelled) else 0
        if (
            self._guest and not self._answered and "message" in record.result
        ):  # of a graph, whose nodes have told it in parts
            self._finish(record.result["message"])
        usage = record.result.get("metrics", {}).get("usage", {})
        tokens = f"{usage.get('inputTokens', 0)} + {usage.get('outputTokens', 0)} tokens"
        self.note(f"{record.result.get('stop_reason')} · {took} · {tokens} · {entry.seq} records")


def _heard(record: SignalReceived) -> str:
    match record:
        case SignalReceived(kind="respond", body=dict(answers)):
            return f"answered: {', '.join(map(short, answers.values()))}"
        case SignalReceived(kind="cancel", body=dict(asked)):
            when = ", after the current tools" if asked.get("after_current_tools") else ""
            return f"cancel received{when}" + (f": {short(asked['message'])}" if asked.get("message") else "")
        case SignalReceived(kind="steer", body=said):
            return f"told: {short(said if isinstance(said, str) else shown_content(said))}"
        case _:
            return f"{record.kind} received"
