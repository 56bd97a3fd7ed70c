"""In any order of pages, batches and looks a tail gives one history: each record once and in order, or an error.

A world is the log, what is published of it, and Redis that loses records; the tail's state is driven by what the
world returns. Nothing is asynchronous here.
"""

from __future__ import annotations

from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.client.tails.actions import (
    Action,
    AskHolder,
    AskLease,
    AskWorkers,
    End,
    Fail,
    Give,
    Listen,
    Look,
    Read,
    ReadPause,
    Rest,
    Rewound,
)
from playhead.client.tails.state import PAGE, TailState
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import GapError
from playhead.runtime.core.records import RunClaimed, RunCompleted, RunStateName, RunSubmitted
from playhead.runtime.core.segments import Segment, Stored, record_of, segments
from playhead.runtime.log.values import RunInfo

__all__: list[str] = []

Place = tuple[int, Stored]
"""The epoch of a record, and the record."""

_STEPS: Final = 40
_ENDS_WITHIN: Final = 60
"""Actions after the run has ended and nothing is lost now."""


class World:
    """A run's log, its owner, and what the tail has not yet received of it.

    Attributes:
        histories: The log after each change.
    """

    def __init__(self) -> None:
        self.log: list[Place] = [(0, RunSubmitted(at=1, agent="a"))]
        self.histories: list[list[Place]] = []
        self.state: RunStateName = "queued"
        self.epoch = 0
        self.lags = True
        self._count = 0
        self._waiting: list[bytes] = []  # published, not yet delivered
        self._heard: list[bytes] = []
        self._lost: list[Stored] = []  # the owner keeps it, and sends it again before anything else
        self._note()

    def _note(self) -> None:
        self.histories.append(list(self.log))

    def _append(self, *records: Stored) -> None:
        first = len(self.log) + 1
        self.log += [(self.epoch, record) for record in records]
        data = b"".join(encode_record(record_of(record)) for record in records)
        self._waiting.append(f"{first}-{self.epoch} {len(records)}\n".encode() + data)
        self._note()

    def _number(self) -> int:
        self._count += 1
        return self._count

    def grow(self, count: int) -> None:
        """The owner appends; where there is none, a worker becomes it."""
        if self.state == "queued":
            self.state, self.epoch = "running", self.epoch + 1
            self._append(RunClaimed(at=1, worker=f"w{self._number()}"))
        elif self.state == "running":
            again, self._lost = self._lost, []
            self._append(*again, *([1, 1, str(self._number())] for _ in range(count)))

    def dies(self) -> None:
        """The owner dies, and is noticed."""
        if self.state == "running":
            self.state, self._lost = "queued", []

    def end(self) -> None:
        """The run completes."""
        while self.state != "running" or self._lost:
            self.grow(0)
        self.state = "completed"
        self._append(RunCompleted(at=1, result={}))

    def lose(self, left: int) -> None:
        """A failover: the end of the log is lost, and every link is cut. An owner whose claim is left sends it again.

        What was published on the links that are cut does not come again on the new ones.
        """
        left = min(max(left, 1), len(self.log))
        lost = self.log[left:]
        self.log = self.log[:left]
        self._waiting.clear()
        self._heard.clear()
        self.lags = True
        if self.state == "running" and self.epoch == self.log[-1][0]:
            self._lost = [record for _, record in lost] + self._lost
        else:
            self.state, self._lost = "queued", []
        self.epoch = self.log[-1][0]
        self._note()

    def page(self, after: int, limit: int) -> list[Segment]:
        """As a log gives it."""
        found = self.log[after : after + limit]
        places = [(after + 1 + index, epoch) for index, (epoch, _) in enumerate(found)]
        return segments(places, [record for _, record in found])

    def info(self) -> RunInfo:
        """What is known of the run."""
        return RunInfo(
            "r", self.state, "a", None, head=len(self.log), epoch=self.epoch, crashes=0, created=1, updated=1
        )

    def deliver(self, draw: st.DataObject) -> list[bytes]:
        """Some of what was published: the next of it, some dropped, some that came before once more."""
        taken, self._waiting = self._waiting, []
        kept = [data for data in taken if draw.draw(st.integers(0, 4))]
        again = draw.draw(st.lists(st.sampled_from(self._heard), max_size=2)) if self._heard else []
        self._heard += kept
        batches = [*kept, *again]
        return draw.draw(st.permutations(batches)) if draw.draw(st.booleans()) else batches


class Reader:
    """A tail's state and what it has given."""

    def __init__(self, world: World) -> None:
        self.given: list[Place] = []
        self.last: Action | None = None
        self._state = TailState("r", 0)
        self._action = self._state.ask()
        self._world = world

    @property
    def ended(self) -> bool:
        return isinstance(self._action, End | Fail | Rewound)

    @property
    def error(self) -> object:
        return self._action.error if isinstance(self._action, Fail) else self._action

    def step(self, draw: st.DataObject, *, quiet: bool) -> None:
        """Perform one action as `Tail` does it; `quiet`: whatever can be lost is lost."""
        state, world, action = self._state, self._world, self._action
        away = not quiet and not draw.draw(st.integers(0, 9))
        match action:
            case Give(new):
                for one in new:
                    assert one.first == len(self.given) + 1
                    self.given += [(one.epoch, value) for value in one.values]
                self._action = state.ask()
            case Listen():
                self._action = self._listen(draw, quiet=quiet)
            case Rest():
                self._action = state.ask()
            case _ if away:
                self._action = state.on_unreachable("away")
            case Read(after, limit):
                world.lags = False
                self._action = state.on_page(world.page(after, limit))
            case Look():
                self._action = state.on_info(world.info())
            case AskLease():
                self._action = state.on_lease(None)
            case AskWorkers():
                self._action = state.on_workers([])
            case ReadPause() | AskHolder() | End() | Fail() | Rewound():
                raise AssertionError(f"nothing here leads to {action}")

    def _listen(self, draw: st.DataObject, *, quiet: bool) -> Action:
        state, world = self._state, self._world
        if world.lags:
            return state.on_missed()
        if quiet or draw.draw(st.booleans()):
            return state.on_silence(1)
        batches = world.deliver(draw)
        return state.on_batches(batches) if batches else state.on_silence(1)


sizes = st.sampled_from([1, 2, 3, PAGE - 1, PAGE, PAGE + 2])


def to_the_end(world: World, reader: Reader, draw: st.DataObject) -> None:
    world.end()
    for _ in range(_ENDS_WITHIN):
        if reader.ended:
            return
        reader.step(draw, quiet=True)
    raise AssertionError("the tail does not end")


@settings(max_examples=3 * settings().max_examples // 2)
@given(st.data())
def test_a_log_that_grows_is_given_once_and_in_order_whatever_is_received(draw: st.DataObject) -> None:
    world = World()
    reader = Reader(world)
    for _ in range(draw.draw(st.integers(1, _STEPS))):
        if draw.draw(st.integers(0, 2)) == 0:
            world.grow(draw.draw(sizes))
        elif draw.draw(st.integers(0, 9)) == 0:
            world.dies()
        reader.step(draw, quiet=False)
    to_the_end(world, reader, draw)
    assert isinstance(reader.error, End)
    assert reader.given == world.log


@settings(max_examples=3 * settings().max_examples)
@given(st.data())
def test_a_log_that_loses_its_end_is_never_given_as_two_histories(draw: st.DataObject) -> None:
    world = World()
    reader = Reader(world)
    for _ in range(draw.draw(st.integers(1, _STEPS))):
        what = draw.draw(st.sampled_from(["grow", "grow", "dies", "lose", "lose", "nothing", "nothing", "nothing"]))
        if what == "grow":
            world.grow(draw.draw(st.integers(1, 3)))
        elif what == "dies":
            world.dies()
        elif what == "lose":
            world.lose(len(world.log) - draw.draw(st.integers(0, 4)))
        reader.step(draw, quiet=False)
        if reader.ended:
            break
    if not reader.ended:
        to_the_end(world, reader, draw)
    assert any(reader.given == history[: len(reader.given)] for history in world.histories), "two histories in one"
    if isinstance(reader.error, End):
        assert reader.given == world.log
    else:
        assert isinstance(reader.error, GapError | Rewound)
