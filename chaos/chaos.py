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
from typing import Final, Protocol

import anyio

from bench.figures import Figure
from chaos.audience import Audience
from chaos.collector import Collector
from chaos.evidence import Violation
from chaos.injuries import Injurer, Injury, summary
from chaos.load import Load
from chaos.provider import Provider
from chaos.sessions import Sessions
from chaos.stage import Options, Stage
from chaos.tally import figures, provider_figures
from testkit.processes import fork_server

__all__ = ["Outcome", "run_chaos"]

_SETTLE_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a chaos run.

    Attributes:
        server: Its name and version, and how it is set up.
        took_s: From the first injury to the last run's end.
        complete: Whether all injuries were inflicted within the time limit.
        folder: The folder with the logs and views of broken runs, the processes' logs and the injuries; None if not kept.
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


class _Load(Protocol):
    """The part that submits runs; `satisfied` is set when it has no more to submit."""

    satisfied: anyio.Event

    async def run(self, *, settle_s: float) -> None: ...

    def stop(self) -> None: ...


@dataclass(slots=True)
class _Scene:
    """All parts of a chaos run."""

    stage: Stage
    audience: Audience
    collector: Collector
    load: _Load
    injurer: Injurer
    provider: Provider | None

    @classmethod
    async def open(cls, options: Options, *, folder: Path, stack: AsyncExitStack) -> _Scene:
        """Start everything; `stack` ends it."""
        dice = random.Random(options.seed)
        forks = stack.enter_context(fork_server(worker="chaos.programs:worker", viewer="chaos.programs:viewer"))
        provider = await stack.enter_async_context(Provider().running()) if options.provided else None
        stage = Stage(options, folder=folder, forks=forks, provider=provider.url if provider else "")
        audience = Audience(stage, random.Random(dice.random()))
        await stage.open(stack)
        collector = Collector(stage, audience)
        await collector.open(stack)
        load: _Load = Load(collector, random.Random(dice.random()), at_once=options.runs)
        if provider is not None:
            load = Sessions(collector, seed=options.seed, sessions=options.runs, runs=options.provided)
        return cls(stage, audience, collector, load, Injurer(stage), provider)

    async def play(self, say: Callable[[str], None]) -> bool:
        """Injure and submit to the end; returns False if the time limit came first."""
        options, began = self.stage.options, time.monotonic()

        def tell(injury: Injury) -> None:
            with (self.stage.folder / "injuries.jsonl").open("a") as file:
                file.write(f"{json.dumps(asdict(injury))}\n")
            over, broken = sum(self.collector.tally.runs.values()), len(self._violations())
            say(
                f"{time.monotonic() - began:6.1f} s  injury {len(self.injurer.done)} of {options.injuries}: {injury.kind}"
                f"  ({over} runs over, {broken} promises broken)"
            )

        bound = anyio.CancelScope(deadline=anyio.current_time() + options.limit_s)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(self.load.run, settle_s=_SETTLE_S))
            with bound:
                await self.injurer.run(tell, until=self.load.satisfied)
                if self.provider is not None:
                    await self.load.satisfied.wait()
            self.load.stop()
            say("waiting for the runs to end")
        return not bound.cancelled_caught

    def _violations(self) -> list[Violation]:
        ended = [Violation("worker", one, None, "ended by itself") for one in self.stage.died]
        return [*self.collector.violations, *(self.provider.violations if self.provider else ()), *ended]

    def outcome(self, *, took_s: float, complete: bool) -> Outcome:
        """The figures; notes of all injuries are written to the folder."""
        options, folder, done = self.stage.options, self.stage.folder, summary(self.injurer.done)
        violations, refused = self._violations(), folder / "refused"
        for name, several in (
            ("injuries", map(asdict, self.injurer.done)),
            ("latencies", (latency._asdict() for latency in self.collector.tally.after_kills(done))),
        ):
            (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in several))
        kinds = Counter(violation.kind for violation in violations)
        lines = figures(
            self.collector.tally,
            injuries=done,
            violations=kinds,
            refused=len(refused.read_bytes().splitlines()) if refused.exists() else 0,
            joins=self.audience.joins,
            rewinds=self.audience.rewinds,
            lease_s=options.lease_s,
        )
        if self.provider is not None:
            lines += provider_figures(self.provider.served, violations=kinds, sessions=options.runs)
        server = f"{self.stage.servers.kind}, {self.stage.servers.about}"
        return Outcome(server, lines, violations, took_s, complete, folder if violations or options.keep else None)


async def _chaos(options: Options, folder: Path, say: Callable[[str], None]) -> Outcome:
    async with AsyncExitStack() as stack:
        scene = await _Scene.open(options, folder=folder, stack=stack)
        began = time.monotonic()
        complete = await scene.play(say)
        return scene.outcome(took_s=time.monotonic() - began, complete=complete)
