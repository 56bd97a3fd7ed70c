"""One chaos from beginning to end."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from bench.chaos.audience import Audience
from bench.chaos.evidence import Violation
from bench.chaos.injuries import Injurer, Injury
from bench.chaos.load import Load
from bench.chaos.processes import Template
from bench.chaos.stage import Options, Stage
from bench.chaos.tally import figures
from bench.figures import Figure

__all__ = ["Outcome", "run_chaos"]

_SETTLE_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        server: Its name and version.
        took_s: From the first injury to the last run's end.
        complete: All injuries were inflicted within the time bound.
        folder: Where the logs, views and processes' own logs of what broke are; None if nothing broke.
    """

    server: str
    figures: list[Figure]
    violations: list[Violation]
    took_s: float
    complete: bool
    folder: Path | None


async def run_chaos(options: Options, say: Callable[[str], None]) -> Outcome:
    """Start everything, injure it, let it come to rest, check it, and end everything."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-chaos-"))
    violations: list[Violation] | None = None
    try:
        outcome = await _chaos(options, folder, say)
        violations = outcome.violations
        return outcome
    finally:
        if violations == []:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            say(f"what it left is in {folder}")


async def _chaos(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    dice = random.Random(options.seed)
    async with AsyncExitStack() as stack:
        template = await stack.enter_async_context(Template.running(str(folder / "template"), folder / "logs"))
        stage = Stage(options, folder=folder, template=template)
        audience = Audience(stage, random.Random(dice.random()))
        await stage.open(stack)
        load = Load(stage, audience, random.Random(dice.random()))
        await load.open(stack)
        injurer = Injurer(stage)
        began = time.monotonic()

        def tell(injury: Injury) -> None:
            with (folder / "injuries.jsonl").open("a") as file:
                file.write(f"{json.dumps(asdict(injury))}\n")
            over = sum(load.tally.runs.values())
            say(
                f"{time.monotonic() - began:6.1f} s  injury {len(injurer.done)} of {options.injuries}: {injury.kind}"
                f"  ({over} runs over, {len(load.violations)} promises broken)"
            )

        bound = anyio.CancelScope(deadline=anyio.current_time() + options.limit_s)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(load.run, settle_s=_SETTLE_S))
            with bound:
                await injurer.run(tell)
            load.stop()
            say("letting the runs come to their ends")
        took_s = time.monotonic() - began
        violations = [*load.violations, *(Violation("worker", one, None, "ended by itself") for one in stage.died)]
        kills: dict[int, list[int]] = defaultdict(list)
        for injury in injurer.done:
            if injury.kind == "kill -9 a worker":
                kills[injury.pid].append(injury.at)
        refused = folder / "refused"
        lines = figures(
            load.tally,
            injuries=Counter(injury.kind for injury in injurer.done),
            violations=Counter(violation.kind for violation in violations),
            kills=kills,
            refused=len(refused.read_bytes().splitlines()) if refused.exists() else 0,
            joins=audience.joins,
            lease_s=options.lease_s,
        )
        kind = stage.server.kind
    complete = not bound.cancelled_caught
    return Outcome(kind, lines, violations, took_s, complete, folder if violations else None)
