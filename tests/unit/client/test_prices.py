"""What a run cost is told by the user's own prices, and only if each model that answered has one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from playhead.client import RunReader
from playhead.client.prices import Price, cost_of, read_prices
from playhead.client.tails.file_tail import file_tail
from playhead.runtime import Agent
from playhead.runtime.core.records import Entry, RunSubmitted
from playhead.runtime.models import ScriptedModel, text_call
from playhead.runtime.models.chunks import metadata
from playhead.runtime.replay.rerun import rerun

__all__: list[str] = []


class Known(ScriptedModel):
    """A model with an id."""

    def get_config(self) -> dict[str, str]:
        return {"model_id": "big-1"}


async def answered() -> RunReader:
    said = [*text_call("Hi")[:-1], metadata(input_tokens=2_000_000, output_tokens=500_000, latency_ms=1)]
    agent = Agent(Known([said]), callback_handler=None)
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent="agent", prompt="Hi"))], agent)
    return RunReader(run_id, log=log, open_tail=partial(file_tail, log))


@pytest.mark.anyio
async def test_a_run_costs_what_its_tokens_cost() -> None:
    run = await answered()
    did = (await run.diff(run)).left
    assert await cost_of(run, did, {"big-1": Price(input=0.25, output=2.0)}) == pytest.approx(1.5)
    assert await cost_of(run, did, {"small-1": Price(input=1, output=1)}) is None
    fork = await run.fork_here(Agent(Known(["Hello"]), callback_handler=None), at=1)
    assert await cost_of(fork, (await run.diff(fork)).right, {"big-1": Price(1, 1)}) is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not a table of prices: Expecting"),
        ("[]", "is not a table of prices: it needs prices by the model's id"),
        ('{"m": 5}', "the price of m must be"),
        ('{"m": {"input": 1}}', "the price of m must be"),
        ('{"m": {"input": 1, "output": "2"}}', "the price of m: output must be"),
        ('{"m": {"input": -1, "output": 2}}', "the price of m: input must be"),
    ],
)
def test_a_file_that_is_not_a_table_of_prices_is_refused(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_prices(file)
    with pytest.raises(ValueError, match="No such file"):
        read_prices(tmp_path / "none.json")


def test_a_table_of_prices_is_read(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"big-1": {"input": 0.25, "output": 2}}')
    assert read_prices(file) == {"big-1": Price(0.25, 2)}
