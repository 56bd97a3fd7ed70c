"""The views of runs: each is assigned to a viewer process, and to another one when that is killed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio

from chaos.check_views import left_at, left_standing
from chaos.evidence import View
from chaos.programs import append_line
from chaos.stage import Stage, Victim

__all__ = ["Audience"]


@dataclass(eq=False, slots=True)
class _Order:
    name: str
    run: str
    what: Literal["records", "events"]
    viewer: Victim | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Audience:
    """The views of all runs.

    Attributes:
        joins: How often viewers joined, at the start and again.
        rewinds: How often a viewer got a `RewindError` because a failover had lost records that it had seen.
    """

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.joins = 0
        self.rewinds = 0
        self._stage = stage
        self._dice = dice
        self._orders: dict[str, _Order] = {}
        stage.on_line = self._done
        stage.on_end = self._gone

    async def watch(self, run: str, what: Literal["records", "events"]) -> None:
        """Have a viewer watch the run to its end."""
        order = _Order(f"{run}.{what}", run, what)
        self._orders[order.name] = order
        await self._assign(order)
        await order.done.wait()

    async def watch_again(self, run: str, what: Literal["records", "events"]) -> None:
        """Have an ended view continue at its cursor, because the log does not have the end that it saw."""
        append_line(self._stage.folder / "views" / f"{run}.{what}", ["again"])
        await self.watch(run, what)

    def place(self, run: str) -> str | None:
        """The position of the last record that the view of the run's records saw."""
        kept, _ = left_standing(self._notes(run, "records"))
        return kept[-1][1] if kept else None

    def view(self, run: str, what: Literal["records", "events"]) -> View:
        """The view of a run that is over; counts its joins and rewinds."""
        name, lines = f"{run}.{what}", self._notes(run, what)
        self.joins += sum(line[0] == "join" for line in lines)
        kept, forgotten = left_standing(lines)
        self.rewinds += len(forgotten)
        error, failed = lines[-1][1:] if lines and lines[-1][0] == "end" else ("it did not end", None)
        return View(
            name=name,
            what=what,
            seen=[(line[1], line[2]) for line in kept],
            error=error,
            failed=failed,
            forgotten=[[(line[1], line[2]) for line in group] for group in forgotten],
            left_at=left_at(lines),
        )

    def forget(self, run: str) -> None:
        """Remove the notes of a run that broke no promise."""
        for what in ("records", "events"):
            self._orders.pop(f"{run}.{what}", None)
            (self._stage.folder / "views" / f"{run}.{what}").unlink(missing_ok=True)

    def _notes(self, run: str, what: Literal["records", "events"]) -> list[Any]:
        file = self._stage.folder / "views" / f"{run}.{what}"
        return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []

    async def _assign(self, order: _Order) -> None:
        while not (viewers := self._stage.those("viewer") or self._stage.those("viewer", healthy=False)):  # noqa: ASYNC110
            await anyio.sleep(0.05)  # the last one was killed; a replacement is starting
        order.viewer = self._dice.choice(viewers)
        await order.viewer.process.tell(json.dumps({"view": order.name, "run": order.run, "what": order.what}))

    def _done(self, name: str) -> None:
        if (order := self._orders.get(name)) is not None:
            order.done.set()

    async def _gone(self, victim: Victim) -> None:
        for order in list(self._orders.values()):
            if order.viewer is victim and not order.done.is_set():
                await self._assign(order)
