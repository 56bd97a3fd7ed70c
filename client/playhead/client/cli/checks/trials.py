"""The checks of what was tried: a write that is read back, a message that is received; and of the user's rights. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.client.cli.checks.check import Check
from playhead.runtime.core.errors import LogUnavailableError, PlayheadError, RedisAuthError
from playhead.runtime.log.redis.durability import Durability
from playhead.runtime.log.redis.rights import ROLES, Role

__all__ = ["Trial", "rights_checks", "trial_checks"]


_REMEDIES: Final = (
    ("maxmemory", "Free memory or raise maxmemory."),
    ("NOREPLICAS", "Connect the replicas that min-replicas-to-write asks for, or lower it."),
    ("no replica", "Connect a replica, or start the workers with another --durability."),
    ("not on disk", "Set appendonly yes and appendfsync always, or start the workers with another --durability."),
    ("replica", "Use the primary's address, or redis+sentinel:// or redis+cluster://, which find it."),
    ("MISCONF", "Look for a full or read-only disk; Redis' own log names the error."),
    ("loading", "Wait until Redis has loaded its data."),
)
"""By words of the error, the first that fits."""


@dataclass(slots=True, kw_only=True)
class Trial:
    """What came of the trials on one shard: the seconds that each took, or its error; neither if it was not made.

    Attributes:
        durability: What the write waited for.
    """

    shard: int
    durability: Durability
    write_s: float | None = None
    write_error: PlayheadError | None = None
    message_s: float | None = None
    message_error: PlayheadError | None = None


def rights_checks(missing: Mapping[Role, Sequence[str]]) -> list[Check]:
    """For which roles this user's rights suffice; failed if there are none. A user needs the rights of one role only."""
    enough = [role for role in ROLES if not missing[role]]
    found: list[Check] = []
    if enough:
        found.append(Check(check="rights", state="ok", what=f"the user has the rights of a {', a '.join(enough)}"))
    for role, rules in missing.items():
        if rules:
            found.append(
                Check(
                    check="rights",
                    state="ok" if enough else "failed",
                    what=f"as a {role} the user lacks {' '.join(rules)}",
                    do="" if enough else f"If it is to be a {role}: ACL SETUSER USER {' '.join(rules)}",
                )
            )
    return found


def trial_checks(trials: Sequence[Trial]) -> list[Check]:
    """The checks of all shards; those that are ok are one."""
    return [*_writes(trials), *_messages(trials)]


def _shard(trial: Trial, trials: Sequence[Trial]) -> int | None:
    return trial.shard if len(trials) > 1 else None


def _on_each(trials: Sequence[Trial]) -> str:
    return f" on each of {len(trials)} shards" if len(trials) > 1 else ""


def _writes(trials: Sequence[Trial]) -> Iterator[Check]:
    for trial in trials:
        if (error := trial.write_error) is None:
            continue
        may_not_wait = isinstance(error, RedisAuthError) and trial.durability != "memory"
        yield Check(
            check="write",
            state="warning" if may_not_wait else "failed",
            what=error.reason if isinstance(error, LogUnavailableError) else str(error),
            do="Give the user +wait +waitaof to have it tried." if may_not_wait else _remedy(str(error)),
            shard=_shard(trial, trials),
        )
    took = [trial.write_s for trial in trials if trial.write_s is not None]
    if took and len(took) == len(trials):
        safe = "" if trials[0].durability == "memory" else f", {trials[0].durability}"
        what = f"a key was written{safe} and read back{_on_each(trials)}, in {max(took) * 1000:.1f} ms"
        yield Check(check="write", state="ok", what=what)
    elif not took and not any(trial.write_error for trial in trials):
        yield Check(
            check="write",
            state="warning",
            what="not tried: the user may only read",
            do="Call doctor as a user with the rights of a client.",
        )


def _remedy(refusal: str) -> str:
    """What to do about a write that failed, by the words of the server."""
    known = next((do for words, do in _REMEDIES if words in refusal), "")
    return f"{known} Until then nothing is submitted; workers keep their runs and wait.".lstrip()


def _messages(trials: Sequence[Trial]) -> Iterator[Check]:
    for trial in trials:
        if trial.message_error is not None:
            yield Check(
                check="messages",
                state="failed",
                what=str(trial.message_error),
                do="Until it is mended, readers get records late: they read the log every few seconds.",
                shard=_shard(trial, trials),
            )
    took = [trial.message_s for trial in trials if trial.message_s is not None]
    if took and len(took) == len(trials):
        what = f"a message was published and received{_on_each(trials)}, in {max(took) * 1000:.1f} ms"
        yield Check(check="messages", state="ok", what=what)
