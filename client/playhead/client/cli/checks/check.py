"""A check: what was looked at, what was found, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Check", "CheckState", "age", "exit_code", "named"]

CheckState = Literal["ok", "warning", "failed"]
"""`failed`: runs are lost, refused or not served, or will be. `warning`: a setting or a load that leads there."""

_NAMED: Final = 5
"""How many ids a text names; a program gets all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was checked.

    Attributes:
        check: Its name, one word.
        state: How it is.
        what: What was found, in one line.
        do: What to do about it, in one line; empty if it is ok.
        shard: The shard that it is about, the first one of a server; None for the whole deployment, or if there is one server.
        runs: The ids of the runs that it is about, all of them.
    """

    check: str
    state: CheckState
    what: str
    do: str = ""
    shard: int | None = None
    runs: Sequence[str] = ()


def exit_code(checks: Iterable[Check], *, strict: bool) -> int:
    """1 if a check failed, or, if `strict`, if one is a warning; else 0."""
    bad: tuple[CheckState, ...] = ("failed", "warning") if strict else ("failed",)
    return int(any(check.state in bad for check in checks))


def named(run_ids: Sequence[str]) -> str:
    """The first ids, and how many more there are."""
    more = len(run_ids) - _NAMED
    return ", ".join(run_ids[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def age(milliseconds: float) -> str:
    """How long something has lasted, in its largest whole unit."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if milliseconds >= size:
            return f"{milliseconds // size:.0f} {unit}"
    return f"{max(0.0, milliseconds) // 1000:.0f} s"
