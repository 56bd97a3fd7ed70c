"""`show --request`: what a model was asked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from playhead.client.cli.render import agents_print_to_stderr, print_json, printable
from playhead.client.reader import RunReader

__all__ = ["show_request"]


async def show_request(run: RunReader, *, seq: int, here: str | None, as_json: bool) -> int:
    """Print what the model was asked in the call of record `seq`, as JSON.

    Args:
        run: The run.
        seq: The number of the record.
        here: The TARGET of the guest that is run again to see all of it; None to print what the log has.
        as_json: On one line.
    """
    stored = await run.log.read(run.id, after=seq - 1, limit=1) if seq > 0 else []
    record = dict(stored[0].record) if stored else {}
    if record.get("lane") or record.get("request"):
        found = await _of_guest(run, seq, here)
    elif here is not None and record.get("type") == "model.started":
        raise ValueError("--here is for the run of a guest: the log has the whole request of this one")
    else:
        found = await _of_agent(run, seq)
    print_json(found, indent=None if as_json else 2)
    return 0


async def _of_agent(run: RunReader, seq: int) -> dict[str, Any]:
    found = asdict(await run.request(seq))
    sent = found.pop("request")
    if sent["system_prompt_content"] is None:
        sent.pop("system_prompt_content")
    messages = sent.pop("messages")  # last, because they are long
    return {**found, "system_prompt": sent.pop("system_prompt"), **sent, "messages": messages}


async def _guest_of(run: RunReader, here: str) -> Any:
    """The guest of a target that has the run's name; raises ValueError if that is an agent of playhead's own."""
    from playhead.client.cli.verifying import agent_for  # agents are needed here only
    from playhead.runtime.host.guest import Guest
    from playhead.runtime.targets import load_served

    agent = agent_for((await run.info()).agent, load_served([here]), target=here)
    if not isinstance(agent, Guest):
        raise ValueError(f"{here} has an agent of playhead's own, {agent.name}, and the run is of a guest")
    return agent


async def _of_guest(run: RunReader, seq: int, here: str | None) -> dict[str, Any]:
    with agents_print_to_stderr():
        found = await run.guest_request(seq, agent=None if here is None else await _guest_of(run, here))
    if found.not_stored:
        names = _named(found.not_stored)
        _note(f"the log has a digest only of {names}; with --here TARGET the agent runs again, and all of it is known")
    if found.differs:
        _note(f"the agent of today asks something else than the run did in {_named(found.differs)}")
    parts = dict(found.parts)
    request = parts[""] if list(parts) == [""] else parts
    return {
        "run_id": found.run_id,
        "seq": found.seq,
        "call": found.call,
        "not_stored": list(found.not_stored),
        "differs": list(found.differs),
        "request": request,
    }


def _named(parts: tuple[str, ...]) -> str:
    return ", ".join(one or "what was asked" for one in parts)


def _note(text: str) -> None:
    typer.echo(printable(f"note: {text}"), err=True)
