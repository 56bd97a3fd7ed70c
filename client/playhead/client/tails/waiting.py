"""The waits of a tail while nothing new arrives: how long it listens, and which notices it has sent. Pure."""

from __future__ import annotations

from typing import Final

from playhead.client.tails.notice import Notice, NoticeKind, silent
from playhead.runtime.core.interrupts import Interrupt
from playhead.runtime.log.values import LeaseInfo

__all__ = ["Waiting"]

_FIRST_LOOK_S: Final = 1.0  # soon enough to tell a person that no worker serves the agent
_LOOK_EVERY_S: Final = 5.0
_SOONEST_LOOK_S: Final = 0.5  # after a look that found nothing, whatever the lease says
_LOOKS_PER_S: Final = 200  # of all tails together, because a look takes a quarter of a millisecond of the client's CPU


class Waiting:
    """The waits of one tail, and the notices since its last new record.

    Args:
        channels: Runs that are watched by the client: all their tails share the looks.

    Attributes:
        listen_s: Seconds to listen before the next look at the run.
        waited_s: Seconds for which it listened before the last look.
    """

    __slots__ = ("_sent", "_share_s", "_unserved_s", "listen_s", "run_id", "waited_s")

    def __init__(self, run_id: str, *, channels: int) -> None:
        self.run_id: str = run_id
        # A reader that rejoins without new records may have left right after the terminal one, so it looks soon.
        self.listen_s: float = 0.0
        self.waited_s: float = 0.0
        self._sent: tuple[NoticeKind, ...] = ()
        self._share_s = channels / _LOOKS_PER_S
        self._unserved_s = 0.0

    def restart(self) -> None:
        """Start over, because new records have arrived."""
        self.listen_s, self._sent = _FIRST_LOOK_S, ()

    def silence(self, channels: int) -> None:
        """Note that no batch arrived for `listen_s`; `channels` runs are watched."""
        self.waited_s = self.listen_s
        self.share(channels)
        self.listen_s = min(max(_LOOK_EVERY_S, self._share_s), max(_FIRST_LOOK_S, 2 * self.listen_s))

    def share(self, channels: int) -> None:
        """Set how many runs are watched."""
        self._share_s = channels / _LOOKS_PER_S

    @property
    def rewound_s(self) -> float:
        """Seconds to wait for records that Redis lost."""
        return max(_FIRST_LOOK_S, self._share_s)

    def has_sent(self, kind: NoticeKind) -> bool:
        """Whether a notice of this kind was sent since the last new record."""
        return kind in self._sent

    def notice(self, kind: NoticeKind, message: str, *, interrupts: tuple[Interrupt, ...] = ()) -> Notice | None:
        """The notice to send; None if one of its kind was sent since the last new record."""
        if kind in self._sent:
            return None
        self._sent += (kind,)
        return Notice(kind, self.run_id, message, interrupts)

    def served(self) -> None:
        """Note that a worker serves the run's agent."""
        self._unserved_s = 0.0

    def unserved_s(self) -> float:
        """Note that no worker serves the run's agent, and return for how many seconds none has."""
        self._unserved_s += self.waited_s
        return self._unserved_s

    def lease(self, lease: LeaseInfo, worker: str | None) -> Notice | None:
        """Set the next look: when a renewal is overdue, then when the lease ends, so that the run is taken from its owner.

        Returns:
            A notice that the owner does not renew its lease, if it is to be sent.
        """
        notice = None
        if lease.now < lease.overdue:
            self._sent = tuple(kind for kind in self._sent if kind != "silent")
        elif "silent" not in self._sent:
            self._sent += ("silent",)
            notice = silent(self.run_id, worker, lease)
        due = (lease.overdue if lease.now < lease.overdue else lease.ends) - lease.now
        if due > 0:
            self.listen_s = min(self.listen_s, max(due / 1000, _SOONEST_LOOK_S, self._share_s))
        return notice
