"""The command that forks a run: `fork`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer

from playhead.client.cli.questions import read_values
from playhead.client.cli.reach import archive_in_use, file_of, opened, reach, run_named
from playhead.client.cli.render import EXIT_FAILED, agents_print_to_stderr, has_terminal, print_json, printable
from playhead.client.cli.run_view import RunView
from playhead.client.cli.verifying import agent_for
from playhead.client.cli.watch import Json, Prefix, RunOrFile, Url
from playhead.client.client import Client
from playhead.client.files import open_log
from playhead.client.forking_here import run_here
from playhead.runtime.agent.serving import Served
from playhead.runtime.core.errors import ForkAfterEffectsError
from playhead.runtime.core.fork import Fork
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import RunInfo
from playhead.runtime.targets import load_served

__all__ = ["fork"]

Values = list[str] | None


def fork(
    run_id: RunOrFile,
    at: Annotated[int, typer.Option("--at", metavar="SEQ", help="The last record of the run that the fork has, too.")],
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Another agent.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model than the agent's.")
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option("--system-prompt", metavar="TEXT", help="Another system prompt than the agent's.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Another prompt.")] = None,
    result: Annotated[
        Values, typer.Option("--result", metavar="TOOLUSE=VALUE", help="The result of a call that has none there.")
    ] = None,
    answer: Annotated[
        Values, typer.Option("--answer", metavar="INTERRUPT=VALUE", help="The answer to a question that is open there.")
    ] = None,
    say: Annotated[str | None, typer.Option("--say", metavar="TEXT", help="A user message to the fork.")] = None,
    here: Annotated[
        str | None, typer.Option("--here", metavar="TARGET", help="Run it in this process, by an agent of TARGET.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="With --here: write the fork to a file.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: fork also after tools have run.")] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Start a new run with the first records of another one, and a future of its own. The other one is not changed."""
    if output is not None and here is None:
        raise ValueError("--output is for a fork that runs --here; `playhead export` writes one of a fleet to a file")
    asked = Fork(
        at=at,
        agent=agent,
        model=model,
        system_prompt=system_prompt,
        prompt=prompt,
        results=read_values("--result", result or ()),
        answers=read_values("--answer", answer or ()),
        say=say,
        accept_effects=yes,
    )

    def start(change: Fork) -> int:
        if here is None:
            return anyio.run(partial(_on_the_fleet, run_id, change, url=url, prefix=prefix, as_json=as_json))
        with agents_print_to_stderr():
            agents = partial(agent_for, agents=load_served([here]), target=here)
        return anyio.run(partial(_here, run_id, change, agents, url=url, prefix=prefix, output=output, as_json=as_json))

    try:
        code = start(asked)
    except ForkAfterEffectsError as error:
        if not (has_terminal() and _is_accepted(error)):
            raise
        code = start(replace(asked, accept_effects=True))
    raise typer.Exit(code)


async def _on_the_fleet(run: str, change: Fork, *, url: str | None, prefix: str, as_json: bool) -> int:
    """Queue the fork, and print its id."""
    async with reach(url) as where, Client(where, prefix=prefix, archive=archive_in_use()) as client:
        if (named := file_of(run)) is None:
            made = await client.fork(await run_named(client, run), change)
        else:
            with open_log(named[0]) as file:
                made = await client.fork(file.run(named[1]), change)
    if as_json:
        print_json({"run": made.id, "parent": run, "at": change.at})
    else:
        typer.echo(made.id)
    return 0


async def _here(
    run: str,
    change: Fork,
    agent_of: Callable[[str], Served],
    *,
    url: str | None,
    prefix: str,
    output: Path | None,
    as_json: bool,
) -> int:
    """Run the fork in this process, and show it as it runs."""
    made = new_run_id()
    view = RunView(made, after=change.at)
    async with opened(run, url, prefix) as parent:
        agent = agent_of(change.agent or (await parent.info()).agent)
        show, where = (lambda _: None, agents_print_to_stderr()) if as_json else (view.feed, nullcontext())
        with where:
            log = await run_here(parent.log, parent.id, change, agent, run_id=made, on_entry=show)
    if output is not None:
        await export_runs(log, [made], output)
    info = await log.info(made)
    assert info is not None
    if as_json:
        print_json({"run": made, "parent": run, "at": change.at, "state": info.state, "records": info.head})
    elif info.state == "paused":
        view.note(await _how_to_answer(log, info, output), style="yellow")
    return EXIT_FAILED if info.state == "failed" else 0


async def _how_to_answer(log: LogReader, info: RunInfo, output: Path | None) -> str:
    """How a fork that is paused goes on: by a fork of it, for which it must be a file."""
    if output is None:
        return "it waits for an answer; with -o FILE it is kept, and can be forked with one"
    (last,) = await log.read_back(info.run_id, before=info.head + 1, limit=1)
    asked = [shlex.quote(f"{one['id']}=VALUE") for one in dict(last.record)["interrupts"]]
    answers = " ".join(f"--answer {one}" for one in asked)
    return f"it waits for an answer: playhead fork {shlex.quote(str(output))} --at {info.head} {answers} --yes --here TARGET"


def _is_accepted(error: ForkAfterEffectsError) -> bool:
    typer.echo(printable(error.warning), err=True)
    return typer.confirm("Fork nevertheless?", err=True)
