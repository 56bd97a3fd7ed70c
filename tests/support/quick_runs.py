"""An agent whose runs go through at once, and what is true of the log of every run."""

from __future__ import annotations

from playhead.client import Client, Run
from playhead.runtime import Agent
from playhead.runtime.models import ScriptedModel

__all__ = ["assert_dense", "completes", "quick"]


def quick(name: str = "quick") -> Agent:
    """An agent that says one word and ends."""
    return Agent(ScriptedModel(["Done."], repeat=True), name=name, callback_handler=None)


async def completes(client: Client, agent: str = "quick") -> None:
    """A new run of it goes through."""
    assert str(await client.invoke_async(agent, "Hi")) == "Done.\n"


async def assert_dense(run: Run) -> list[str]:
    """The types of the run's records, whose numbers have no hole."""
    entries = [entry async for entry in run.records()]
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1].seq == (await run.info()).head
    return [entry.record.type for entry in entries]
