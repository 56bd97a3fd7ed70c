"""Fork: a new run begins with the first half of a long one. Its records are copied, so its cost in memory is told, too.

To share them instead would cost the server nothing for the fork, and the whole parent for as long as a fork of it lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.children import Talk, child, cpu_seconds, rss_bytes
from bench.figures import Figure, at_most, of_rounds
from bench.seeding import append, claim_run, conversation, opened_log
from bench.server import Bench
from bench.sizes import Sizes
from playhead.client import Client

__all__ = ["forker", "measure"]

_MB = 1e6


def _peak_bytes() -> int:
    """The most memory that this process had (Linux), elsewhere what it has now."""
    status = Path("/proc/self/status")
    if status.exists():  # not `ru_maxrss`, which a child process has of its parent
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return rss_bytes()


async def forker(config: dict[str, Any], talk: Talk) -> None:
    """Role: forks one run at one place. Answers the fork's id and records, seconds, CPU seconds and the memory used."""
    async with Client(config["url"], prefix=config["prefix"]) as client:
        run = client.run(config["run"])
        async for _ in talk.questions():
            began, cpu, held = time.monotonic(), cpu_seconds(), rss_bytes()
            fork = await run.fork(at=config["at"])
            spent = {"s": time.monotonic() - began, "cpu": cpu_seconds() - cpu, "rss": max(0, _peak_bytes() - held)}
            talk.answer({"id": fork.id, "records": (await fork.info()).head, **spent})


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    at = sizes.replay_records // 2
    say(f"fork: writing {sizes.replay_records:,} records")
    async with opened_log(bench.url, prefix="fork") as log:
        claim = await claim_run(log)
        await append(log, claim, claim.head, conversation(sizes.replay_records))
        config = {"url": bench.url, "prefix": "fork", "run": claim.run_id, "at": at}
        forked: list[dict[str, Any]] = []
        async with child(forker, config, uvloop=False) as process:
            for number in range(sizes.rounds):
                say(f"fork: round {number + 1} of {sizes.rounds}")
                forked.append(await process.ask("fork"))
        keys = [log.keys.log(run_id) for run_id in (forked[0]["id"], claim.run_id)]
        copied, parent = [(await bench.admin.memory_usage(key, samples=0) or 0) / _MB for key in keys]
    assert {one["records"] for one in forked} == {at}
    note = f"at record {at:,} of {sizes.replay_records:,}; the records are copied"
    return [
        of_rounds(
            "fork", "until a fork is queued", [one["s"] * 1000 for one in forked], "ms", target=at_most(1000), note=note
        ),
        of_rounds("fork", "CPU per record copied", [one["cpu"] / at * 1e6 for one in forked], "µs"),
        Figure(
            group="fork",
            name="memory of the copies on the server",
            value=copied,
            unit="MB",
            yardstick=parent,
            yardstick_name="the parent, which a fork that shared its records would keep from being removed",
        ),
        Figure(
            group="fork",
            name="memory of the client meanwhile",
            value=forked[0]["rss"] / _MB,
            unit="MB",
            note="above what it had before its first fork",
        ),
    ]
