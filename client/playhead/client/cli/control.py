"""Commands that send a signal to a run: `cancel`, `respond`, `steer`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Annotated, Final
from uuid import uuid4

import anyio
import typer

from playhead.client.cli.questions import read_responses
from playhead.client.cli.reach import run_named, with_client
from playhead.client.cli.render import print_json, printable, read_stdin
from playhead.client.cli.watch import Json, Last, Prefix, RunId, RunOrLast, Url, run_or_last
from playhead.client.client import Client
from playhead.client.run import Run, run_ended
from playhead.runtime.core.cancels import Cancel, cancel_of
from playhead.runtime.core.cursor import Cursor
from playhead.runtime.core.errors import RunEndedError
from playhead.runtime.core.interrupts import names_of

__all__ = ["cancel", "respond", "steer"]

_PATIENCE_S: Final = 5.0


def cancel(
    run_id: RunOrLast = None,
    last: Last = False,
    message: Annotated[
        str | None, typer.Option("--message", metavar="TEXT", help="The text of the run's last message.")
    ] = None,
    after_tools: Annotated[
        bool, typer.Option("--after-tools", help="Let the tools that the model called run to their end first.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Stop a run. A queued or paused run ends at once; a running one stops at its next word, with its tools."""
    asked = cancel_of(message, after_tools)
    with_client(url, prefix, partial(_cancel, named=run_or_last(run_id, last), asked=asked, as_json=as_json))


async def _cancel(client: Client, *, named: str, asked: Cancel, as_json: bool) -> int:
    run = await run_named(client, named)
    run_id = run.id
    before = await run.info()
    state = await run.cancel(message=asked.message, after_current_tools=asked.after_current_tools)
    if as_json:
        print_json({"run": run_id, "state": state, "had_ended": before.ended})
        return 0
    if state == "running":
        with anyio.move_on_after(_PATIENCE_S):
            async with aclosing(run.records(after=f"{before.head}-{before.epoch}")) as entries:
                async for _ in entries:
                    pass
        state = (await run.info()).state
    if before.ended:
        _say(f"run {run_id} has already ended: {state}")
    elif state in ("running", "queued"):
        _say(
            f"run {run_id}: still {state}; the cancel is sent, and takes effect when its worker receives it, or without "
            "one if that worker is gone"
        )
    else:
        _say(f"run {run_id}: {state}")
    return 0


def respond(
    run_id: RunId,
    responses: Annotated[
        list[str],
        typer.Argument(
            metavar="ID=RESPONSE",
            help="The question's id, or its name if no other open one has it, and the response: JSON if it is, else text. "
            "If one question is open, the response alone is enough.",
        ),
    ],
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Respond to the questions of a paused run. The first response to a question counts."""
    with_client(url, prefix, partial(_respond, named=run_id, given=responses, as_json=as_json))


async def _respond(client: Client, *, named: str, given: Sequence[str], as_json: bool) -> int:
    run = await run_named(client, named)
    run_id = run.id
    pause = await run.pause()
    if pause is None:
        info = await run.info()
        if info.ended:
            raise run_ended(run_id, info.state)
        raise ValueError(f"run {run_id} is {info.state}: it does not wait for a response")
    responses = read_responses(given, pause.interrupts)
    signal_id = uuid4().hex
    state = await run.respond(responses, signal_id=signal_id)
    received = await _is_received(run, signal_id, after=pause.cursor)
    if as_json:
        print_json({"run": run_id, "signal": signal_id, "state": state, "received": received})
        return 0
    left = names_of([one for one in pause.interrupts if one.id not in responses])
    if left:
        _say(f"run {run_id}: answered; it still waits for {', '.join(left.values())}")
    elif received:
        _say(f"run {run_id}: answered; it goes on")
    else:
        _say(f"run {run_id}: the response is stored, and the run waits for a worker")
    return 0


def steer(
    run_id: RunId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The message; - reads it from standard input.")],
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Send a message to a running run. The run receives it before its next model call."""
    said = read_stdin() if text == "-" else text
    with_client(url, prefix, partial(_steer, named=run_id, text=said, as_json=as_json))


async def _steer(client: Client, *, named: str, text: str, as_json: bool) -> int:
    run = await run_named(client, named)
    run_id = run.id
    before = await run.info()
    signal_id = uuid4().hex
    state = await run.steer(text, signal_id=signal_id)
    received = state == "running" and await _is_received(run, signal_id, after=f"{before.head}-{before.epoch}")
    if as_json:
        print_json({"run": run_id, "signal": signal_id, "state": state, "received": received})
    elif received:
        _say(f"run {run_id}: received")
    elif state == "running":
        _say(f"run {run_id}: sent; the run receives it before its next model call")
    else:
        _say(f"run {run_id}: sent; the run is {state} and receives it when it resumes")
    return 0


async def _is_received(run: Run, signal_id: str, *, after: Cursor) -> bool:
    """Whether the signal takes effect within a few seconds."""
    with anyio.move_on_after(_PATIENCE_S), suppress(RunEndedError):
        await run.received(signal_id, after=after)
        return True
    return False


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)
