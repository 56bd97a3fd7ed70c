"""Hosting: what a chunk of a guest costs, beside the guest without a host and playhead's own loop; and a takeover of a long run.

In process, without a log: the host, the records and the projection are in it, as in `loop`. CPU of the whole process
counts, so of all its threads.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

import anyio

from bench import hosted
from bench.children import Child, Talk, child, cpu_seconds
from bench.figures import Figure, at_most, of_rounds
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime import Agent
from playhead.runtime.models import ScriptedModel, text_call

__all__ = ["host", "measure"]

_FRAMEWORKS: Final = {
    "pydantic-ai": "a pydantic-ai agent",
    "openai-agents": "an openai-agents agent",
    "langgraph": "a LangGraph graph",
}
"""The frameworks of `bench.frameworks`, which takes seconds to import, and what their agents are called."""

_ALONE: Final = " alone"
_RATE: Final = 50.0
"""Chunks a second of each of the runs that are paced."""

_RUNS: Final = 100
_TAKEOVER_RECORDS: Final = 20_000
_WARM_S: Final = 1.0


async def _per_event(stream: Any, count: int, name: str = "") -> float:
    gc.collect()
    began, seen = cpu_seconds(), 0
    async with aclosing(stream) as items:
        async for event in items:
            seen += not name or name in event
    assert seen == count, f"{seen} of {count} chunks came"
    return (cpu_seconds() - began) / count * 1e6


async def _chunks(what: str, count: int) -> float:
    match what:
        case "guest":
            return await _per_event(hosted.events(hosted.function_guest(count)), count, "data")
        case "strands":
            return await _per_event(hosted.events(hosted.strands_guest(count)), count, "data")
        case "guest alone":
            return await _per_event(hosted.alone(count), count, "contentBlockDelta")
        case "strands alone":
            agent = importlib.import_module("strands").Agent(model=hosted.strands_model(count), callback_handler=None)
            return await _per_event(agent.stream_async("go"), count, "data")
        case framework if framework.removesuffix(_ALONE) in _FRAMEWORKS:
            made = importlib.import_module("bench.frameworks").FRAMEWORKS[framework.removesuffix(_ALONE)]
            alone = framework.endswith(_ALONE)
            return await _per_event(
                made.alone(count) if alone else hosted.events(made.guest(count)), count, "" if alone else "data"
            )
        case _:
            own = Agent(ScriptedModel([text_call(" ".join(["token"] * count))]), callback_handler=None)
            return await _per_event(own.stream_async("go"), count, "data")


async def _takeover(records: int) -> dict[str, float]:
    """Run a Strands agent again over the log of its run, of which only the end is missing."""
    guest = hosted.strands_guest(records)
    entries = (await hosted.entries_of(guest))[:-1]
    gc.collect()
    began, cpu = time.monotonic(), cpu_seconds()
    host = hosted.host_of(guest, entries)
    async with aclosing(host.records()) as items:
        async for _ in items:
            pass
    assert host.head == len(entries) + 1, "it said something else"
    return {"s": time.monotonic() - began, "us": (cpu_seconds() - cpu) / len(entries) * 1e6}


async def _paced(what: str, runs: int, seconds: float) -> float:
    """The share of one core that so many runs take at `_RATE` chunks a second each."""
    count = int((seconds + 4 * _WARM_S) * _RATE) + 10
    make = {"guest": hosted.function_guest, "strands": hosted.strands_guest}.get(what)
    streams = [hosted.alone(count, every_s=1 / _RATE) for _ in range(runs)]
    if make is not None:
        streams = [hosted.events(make(count, every_s=1 / _RATE)) for _ in range(runs)]

    async def drain(stream: Any) -> None:
        async with aclosing(stream) as items:
            async for _ in items:
                pass

    share = 0.0
    async with anyio.create_task_group() as tasks:
        for stream in streams:
            tasks.start_soon(drain, stream)
        await anyio.sleep(min(_WARM_S, seconds))
        began, cpu = time.monotonic(), cpu_seconds()
        await anyio.sleep(seconds)
        share = (cpu_seconds() - cpu) / (time.monotonic() - began)
        tasks.cancel_scope.cancel()
    return share


async def host(config: dict[str, Any], talk: Talk) -> None:
    """Role: runs guests in a process of its own. Asks: `chunks` (`what`, `count`), `takeover` (`records`), `paced`."""
    del config
    async for question in talk.questions():
        match question.pop("ask"):
            case "chunks":
                talk.answer(await _chunks(**question))
            case "takeover":
                talk.answer(await _takeover(**question))
            case _:
                talk.answer(await _paced(**question))


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    del bench
    async with child(host, {}, uvloop=True) as process:
        figures = await _of_chunks(process, sizes, say)
        figures += await _of_frameworks(process, sizes, say)
        figures += await _of_takeovers(process, sizes, say)
        return figures + await _of_runs(process, sizes, say)


async def _of_chunks(process: Child, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    count = min(20_000, sizes.loop_chunks)
    us: dict[str, list[float]] = {name: [] for name in ("guest", "guest alone", "strands", "strands alone", "own")}
    for number in range(sizes.rounds):
        say(f"hosting: round {number + 1} of {sizes.rounds}")
        for name, rounds in us.items():
            rounds.append(await process.ask("chunks", what=name, count=count))
    guest = of_rounds("hosting", "CPU per chunk of a function", us["guest"], "µs", note=f"{count:,} chunks in a burst")
    strands = of_rounds("hosting", "CPU per chunk of a Strands agent", us["strands"], "µs", target=at_most(40))
    return [
        guest.beside(us["guest alone"], "its model's stream, without a host"),
        guest.beside(us["own"], "playhead's own loop, with its projection", called="beside the own loop"),
        strands.beside(us["strands alone"], "Strands without a host", target=at_most(40)),
        strands.beside(us["own"], "playhead's own loop, with its projection", called="beside the own loop"),
    ]


async def _of_frameworks(process: Child, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    count = min(5_000, sizes.loop_chunks)  # what LangGraph alone does for a chunk grows with their number
    figures: list[Figure] = []
    for name, agent in _FRAMEWORKS.items():
        say(f"hosting: {name}, {sizes.rounds} rounds")
        us: dict[str, list[float]] = {name: [], name + _ALONE: []}
        for _ in range(sizes.rounds):
            for what, rounds in us.items():
                rounds.append(await process.ask("chunks", what=what, count=count))
        told = f"CPU per chunk of {agent}"
        figure = of_rounds("hosting", told, us[name], "µs", target=at_most(40), note=f"{count:,} chunks in a burst")
        figures.append(figure.beside(us[name + _ALONE], f"{name} without a host", target=at_most(40)))
    return figures


async def _of_takeovers(process: Child, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    records = min(_TAKEOVER_RECORDS, sizes.loop_chunks)
    taken: list[dict[str, float]] = []
    for number in range(sizes.rounds):
        say(f"hosting: takeover {number + 1} of {sizes.rounds}")
        taken.append(await process.ask("takeover", records=records))
    note = f"a Strands agent's run of {records:,} records, run again from its top until its end is written"
    return [
        of_rounds("hosting", "CPU per record in a takeover", [one["us"] for one in taken], "µs", target=at_most(25)),
        of_rounds("hosting", "seconds of a takeover", [one["s"] for one in taken], "s", target=at_most(0.6), note=note),
    ]


async def _of_runs(process: Child, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    runs, seconds = min(_RUNS, sizes.runs), sizes.window_s
    shares: dict[str, list[float]] = {"guest": [], "strands": [], "alone": []}
    for number in range(sizes.rounds):
        say(f"hosting: {runs} runs, round {number + 1} of {sizes.rounds}")
        for name, rounds in shares.items():
            rounds.append(await process.ask("paced", what=name, runs=runs, seconds=seconds))
    note = f"{_RATE:g} chunks a second each, the waits of their models included"
    beside = "the same models on one event loop, their chunks dropped"
    kinds = {"guest": "functions", "strands": "Strands agents"}
    return [
        of_rounds(
            "hosting", f"share of a core, {runs} {kind}", shares[name], "", target=at_most(0.5), note=note
        ).beside(shares["alone"], beside, target=at_most(0.5))
        for name, kind in kinds.items()
    ]
