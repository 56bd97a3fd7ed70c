"""`playhead verify`: checks whether the agent would do today what was recorded, for one run or many."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypedDict
from xml.etree import ElementTree

import anyio
import typer
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from playhead.client.cli.filters import Since, State, filters_of, fitting
from playhead.client.cli.reach import archive_in_use, file_of, reach, run_pinned
from playhead.client.cli.render import EXIT_DIFFERS, EXIT_FAILED, agents_print_to_stderr, print_json, printable
from playhead.client.cli.tables import Column, print_table
from playhead.client.cli.verifying import Job, Outcome, verified, verify_many
from playhead.client.cli.watch import Json, Prefix, Url
from playhead.client.client import Client
from playhead.client.files import open_log
from playhead.runtime.core.arguments import check_choice
from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.log.listing import RunFilter
from playhead.runtime.replay.differences import KINDS
from playhead.runtime.replay.verify import Half
from playhead.runtime.targets import load_served, load_tools

__all__ = ["junit", "verify"]

_HALVES: Final = ("recorded", "live")


def verify(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN]... TARGET", help="Runs, or files of runs; then module:attribute or file.py[:attribute]."
        ),
    ],
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Without RUN: runs of this agent.")
    ] = None,
    since: Since = None,
    state: State = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="Without RUN: at most so many, newest first.")
    ] = 1000,
    tools: Annotated[
        str, typer.Option("--tools", metavar="HOW", help="recorded, live, or a file.py with functions that stand in.")
    ] = "recorded",
    model: Annotated[str, typer.Option("--model", metavar="HOW", help="recorded or live.")] = "recorded",
    hooks: Annotated[str, typer.Option("--hooks", metavar="HOW", help="recorded or live.")] = "live",
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="KIND", help="A kind of change not to report; repeatable.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", min=1, help="Processes for several runs. Default: one per core."),
    ] = None,
    report: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report.")] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Check today's code of an agent against recorded runs. Only its hooks are called; nothing is written to the log."""
    *runs, target = names
    with agents_print_to_stderr():
        agents = load_served([target])
        wanted = _wanted(agents, agent, target)
        filters = [filters_of(agent=one, state=state, since=since) for one in wanted]
        job = Job(None, prefix, target, **_checked(tools=tools, model=model, hooks=hooks, ignore=ignore or ()))
        done = anyio.run(
            _outcomes, job, url, list(_named(runs)), partial(_fitting, filters, limit), processes or os.cpu_count() or 1
        )
    if not done:
        typer.echo(f"no run was verified: none of {', '.join(wanted)} fits", err=True)
    if report is not None:
        report.write_text(junit(done), encoding="utf-8")
    raise typer.Exit(_tell(done, as_json=as_json, whole=bool(runs)))


def _wanted(agents: Collection[str], agent: str | None, target: str) -> list[str]:
    """The agents whose runs are looked for."""
    if agent is None:
        return list(agents)
    if agent not in agents:
        raise BadTargetError(f"{target} has no agent {agent!r}. Agents there: {', '.join(agents)}")
    return [agent]


async def _fitting(filters: Sequence[RunFilter], limit: int, url: str, prefix: str) -> list[str]:
    async with Client(url, prefix=prefix, archive=archive_in_use()) as client:
        found = [info for one in filters for info in await fitting(client, one, limit=limit)]
    newest = sorted(found, key=lambda info: (info.created, info.run_id), reverse=True)
    return [info.run_id for info in newest[:limit]]


async def _outcomes(
    job: Job,
    url: str | None,
    named: list[str],
    others: Callable[[str, str], Awaitable[list[str]]],
    processes: int,
) -> list[Outcome]:
    """The outcomes of the runs that are named, else of the `others`."""
    if named and all(map(file_of, named)):  # no server is needed
        return await _with_progress(job, named, processes)
    async with reach(url, at_rest=True) as where:
        chosen = named or await others(where, job.prefix)
        # Once, because each process would look for the newest run at a time of its own.
        chosen = [await run_pinned(run, where, job.prefix) for run in chosen]
        return await _with_progress(replace(job, url=where), chosen, processes)


def _named(runs: Sequence[str]) -> Iterator[str]:
    """Yield the runs that a user named; a file stands for each of its runs."""
    for run in runs:
        named = file_of(run)
        if named is None or named[1] is not None:
            yield run
        else:
            with open_log(named[0]) as file:
                yield from (f"{named[0]}#{run_id}" for run_id in file.run_ids)


class _How(TypedDict):
    tools: str
    model: Half
    hooks: Half
    ignore: tuple[str, ...]


def _checked(*, tools: str, model: str, hooks: str, ignore: Sequence[str]) -> _How:
    """Check the options that say how to verify; a file of tools that cannot be imported is refused before any run is read."""
    for kind in ignore:
        check_choice("--ignore", kind, KINDS)
    check_choice("--model", model, _HALVES)
    check_choice("--hooks", hooks, _HALVES)
    if tools.endswith(".py"):
        load_tools(tools)
    else:
        check_choice("--tools", tools, _HALVES)
    halves: dict[str, Half] = {"live": "live", "recorded": "recorded"}
    return {"tools": tools, "model": halves[model], "hooks": halves[hooks], "ignore": tuple(ignore)}


async def _with_progress(job: Job, runs: Sequence[str], processes: int) -> list[Outcome]:
    """Verify one run here, or several in processes, with a progress bar on a terminal."""
    if len(runs) == 1:
        return [await verified(runs[0], job, load_served([job.target]))]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("verifying", total=len(runs))
        return await verify_many(job, runs, processes=processes, done=lambda count: progress.advance(bar, count))


def _tell(done: Sequence[Outcome], *, as_json: bool, whole: bool) -> int:
    """Print the outcomes and return the exit code."""
    differing = [one for one in done if one.difference is not None]
    failed = [one for one in done if one.error is not None]
    if as_json:
        for one in done:
            print_json(one.as_json())
    else:
        console = Console(highlight=False, soft_wrap=True)
        for one in done if whole else failed:
            console.print(Text(printable(one.text)))
        if not whole or len(done) > 1:
            print_table(_SUMMARY, _summary(done))
    return EXIT_DIFFERS if differing else EXIT_FAILED if failed else 0


_SUMMARY: Final = (
    Column("runs"),
    Column("outcome"),
    Column("for example"),
    Column("record", 1),
    Column("what differs"),
)


def _summary(done: Sequence[Outcome]) -> Iterator[list[str | Text]]:
    """Summarise how many runs differ, by the kind of their first change, each with the first such run."""
    same = sum(one.difference is None and one.error is None for one in done)
    yield [str(same), Text("the same", style="green"), "", "", ""]
    kinds = Counter(one.difference.kind for one in done if one.difference is not None)
    for kind, count in kinds.most_common():
        first = next(found for one in done if (found := one.difference) is not None and found.kind == kind)
        place, what = f"{first.seq}-{first.epoch} {first.record}", printable(first.changes[0].what)
        yield [str(count), Text(kind, style="red"), first.run_id, place, what]
    if failed := sum(one.error is not None for one in done):
        yield [str(failed), Text("not verified", style="yellow"), "", "", ""]


def junit(done: Sequence[Outcome]) -> str:
    """Make a JUnit report with one test case per run, which fails if the run differs."""
    counts = {
        "tests": len(done),
        "failures": sum(one.difference is not None for one in done),
        "errors": sum(one.error is not None for one in done),
    }
    totals = {name: str(count) for name, count in counts.items()}
    suite = ElementTree.Element("testsuite", {"name": "playhead verify", **totals})
    for one in done:
        named = {"classname": one.agent or "unknown", "name": one.run_id, "time": f"{one.took_s:.3f}"}
        case = ElementTree.SubElement(suite, "testcase", named)
        if one.difference is not None:
            told = {"type": one.difference.kind, "message": printable(one.difference.changes[0].what)}
            ElementTree.SubElement(case, "failure", told).text = printable(one.text)
        elif one.error is not None:
            ElementTree.SubElement(case, "error", {"message": printable(one.error)})
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
