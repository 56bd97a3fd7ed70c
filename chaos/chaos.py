"""One chaos from beginning to end."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from bench.figures import Figure
from chaos.audience import Audience
from chaos.collector import Collector
from chaos.evidence import Violation
from chaos.injuries import Injurer, Injury, summary
from chaos.load import Load
from chaos.stage import Options, Stage
from chaos.tally import figures
from testkit.processes import fork_server

__all__ = ["Outcome", "run_chaos"]

_SETTLE_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a chaos run.

    Attributes:
        server: Its name and version, and how it is set up.
        took_s: From the first injury to the last run's end.
        complete: All injuries were inflicted within the time limit.
        folder: With the logs and views of broken runs, the processes' logs and the injuries; None if not kept.
    """

    server: str
    figures: list[Figure]
    violations: list[Violation]
    took_s: float
    complete: bool
    folder: Path | None


async def run_chaos(options: Options, say: Callable[[str], None]) -> Outcome:
    """Start everything, injure it, wait until all runs are over, check them, and stop everything."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-chaos-"))
    keep = True
    try:
        outcome = await _chaos(options, folder, say)
        keep = outcome.folder is not None
        return outcome
    except anyio.get_cancelled_exc_class():
        keep = (folder / "broken").exists()
        raise
    finally:
        if keep:
            say(f"the logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def _chaos(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    dice = random.Random(options.seed)
    async with AsyncExitStack() as stack:
        forks = stack.enter_context(fork_server(worker="chaos.programs:worker", viewer="chaos.programs:viewer"))
        stage = Stage(options, folder=folder, forks=forks)
        audience = Audience(stage, random.Random(dice.random()))
        await stage.open(stack)
        collector = Collector(stage, audience)
        await collector.open(stack)
        load = Load(collector, random.Random(dice.random()), at_once=options.runs)
        injurer = Injurer(stage)
        began = time.monotonic()

        def tell(injury: Injury) -> None:
            with (folder / "injuries.jsonl").open("a") as file:
                file.write(f"{json.dumps(asdict(injury))}\n")
            over = sum(collector.tally.runs.values())
            say(
                f"{time.monotonic() - began:6.1f} s  injury {len(injurer.done)} of {options.injuries}: {injury.kind}"
                f"  ({over} runs over, {len(collector.violations)} promises broken)"
            )

        bound = anyio.CancelScope(deadline=anyio.current_time() + options.limit_s)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(load.run, settle_s=_SETTLE_S))
            with bound:
                await injurer.run(tell, until=load.satisfied)
            load.stop()
            say("waiting for the runs to end")
        took_s = time.monotonic() - began
        violations = [*collector.violations, *(Violation("worker", one, None, "ended by itself") for one in stage.died)]
        refused = folder / "refused"
        done = summary(injurer.done)
        for name, several in (
            ("injuries", map(asdict, injurer.done)),
            ("latencies", (latency._asdict() for latency in collector.tally.after_kills(done))),
        ):
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in several))
        lines = figures(
            collector.tally,
            injuries=done,
            violations=Counter(violation.kind for violation in violations),
            refused=len(refused.read_bytes().splitlines()) if refused.exists() else 0,
            joins=audience.joins,
            rewinds=audience.rewinds,
            lease_s=options.lease_s,
        )
        kind = f"{stage.servers.kind}, {stage.servers.about}"
    complete = not bound.cancelled_caught
    return Outcome(kind, lines, violations, took_s, complete, folder if violations or options.keep else None)
