"""The messages of a session: which of them a run began from, and where they can be cut. Pure.

Messages are numbered 1, 2, 3, … over the life of a session. Its oldest messages can be cut, and the numbers of the
others stay, so that the log of an old run never gets messages that the run did not begin from.

A log also holds a marker for each reduction of the history, and numbers it like a message. People do not see markers, and
do not count them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from playhead.runtime.core.context import is_marker
from playhead.runtime.core.converse import Message
from playhead.runtime.core.history_repair import blocks_of, lacks_results
from playhead.runtime.core.records import CycleStarted, StepFinished

__all__ = ["BEGAN_STEP", "BeganFrom", "StoredMessages", "check_fork_place", "first_kept", "fork_of", "said_in"]


BEGAN_STEP: Final = "/session:1"
"""The key of the first step of a guest whose run has a session: it tells what the run began from."""


@dataclass(frozen=True, slots=True)
class BeganFrom:
    """The messages of its session that a run began from.

    Attributes:
        cut: The messages that had been cut from the session before.
        count: The messages after those, which the run began from.
    """

    cut: int = 0
    count: int = 0

    @classmethod
    def of(cls, record: CycleStarted) -> BeganFrom:
        """What the record tells of its run."""
        return cls(record.session_cut, record.session_messages)

    @classmethod
    def told_by(cls, record: object) -> BeganFrom | None:
        """What any record tells of it: a `cycle.started`, and the first step of a guest; None for others."""
        match record:
            case CycleStarted():
                return cls.of(record)
            case StepFinished(key=key, value={"cut": int(cut), "messages": int(messages)}) if key == BEGAN_STEP:
                return cls(cut, messages)
            case _:
                return None

    @property
    def value(self) -> dict[str, int]:
        """The value of the first step of a guest."""
        return {"cut": self.cut, "messages": self.count}


class StoredMessages(NamedTuple):
    """What a log has of a session: what a run begins from.

    Attributes:
        cut: How many have been cut: the first of `messages` has the number `cut + 1`.
        messages: The others, oldest first.
        agent_state: The state of the agent after the last run that had one; None if no run had.
    """

    cut: int = 0
    messages: Sequence[Message] = ()
    agent_state: Mapping[str, Any] | None = None

    @property
    def began_from(self) -> BeganFrom:
        """What a run began from that begins from all of them."""
        return BeganFrom(self.cut, len(self.messages))

    def part(self, began: BeganFrom) -> list[Message]:
        """Those of the messages that a run began from which are here."""
        first = began.cut - self.cut
        return list(self.messages[max(0, first) : max(0, first + began.count)])


def said_in(stored: Sequence[Message]) -> list[Message]:
    """The messages of a session, without the markers of the reductions."""
    return [message for message in stored if not is_marker(message)]


def first_kept(messages: Sequence[Message], keep_last: int) -> int:
    """The index from which stored messages are kept, so that at least the last `keep_last` are, and whole turns.

    A turn begins with a user's message that has no result of a tool. So the rest never begins with a result whose call was
    cut, nor with the assistant.
    """
    said = [index for index, message in enumerate(messages) if not is_marker(message)]
    wanted = said[-keep_last] if keep_last <= len(said) else 0
    return next((index for index in range(wanted, 0, -1) if _begins_turn(messages[index])), 0)


def _begins_turn(message: Message) -> bool:
    of_user = message.get("role") == "user" and not is_marker(message)
    return of_user and not any("toolResult" in block for block in blocks_of(message))


def fork_of(stored: Sequence[Message], at: int | None) -> list[Message]:
    """What a copy of the first `at` messages holds: those, and the markers before the next message; all if it is None.

    Raises:
        ValueError: As `check_fork_place`.
    """
    if at is None:
        return list(stored)
    check_fork_place(said_in(stored), at)
    places = [index for index, message in enumerate(stored) if not is_marker(message)]
    return list(stored[: places[at]] if at < len(places) else stored)


def check_fork_place(messages: Sequence[Message], at: int) -> None:
    """Refuse to copy the first `at` messages if there are fewer, or if the last of them calls tools and the next has the results.

    Raises:
        ValueError: The message names the places that are possible.
    """
    if not 1 <= at <= len(messages):
        raise ValueError(f"at must be from 1 to {len(messages)}, the number of messages of the session, not {at!r}")
    calls = any("toolUse" in block for block in blocks_of(messages[at - 1]))
    if calls and at < len(messages) and not lacks_results(messages[at - 1 : at + 1]):
        places = f"{at - 1} or {at + 1}" if at > 1 else f"{at + 1}"
        raise ValueError(f"message {at} calls tools, and message {at + 1} has their results: fork at {places}")
