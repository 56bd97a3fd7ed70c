"""The interface of a tail over any log, and of the function that opens one."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from playhead.client.tails.notice import OnNotice
from playhead.client.tails.state import OnPause
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.records import Entry
from playhead.runtime.core.segments import Segment

__all__ = ["AnyTail", "OpenTail"]


class AnyTail(Protocol):
    """A tail, like `Tail`, over any log: enter it, and call `next` until it returns None."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def next(self) -> list[Segment] | None:
        """See `Tail.next`."""
        ...

    async def settle(self) -> None:
        """See `Tail.settle`."""
        ...


class OpenTail(Protocol):
    """Makes a tail of a run."""

    def __call__(
        self,
        run_id: str,
        *,
        after: Cursor | Entry,
        wait_for_worker: float | None = None,
        on_pause: OnPause = "wait",
        on_notice: OnNotice | None = None,
    ) -> AnyTail: ...
