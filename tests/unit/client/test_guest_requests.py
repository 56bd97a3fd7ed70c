"""What a guest asked a model is told as far as the log has it, and whole if the guest runs again."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from playhead.client import GuestRequest, RunReader
from playhead.client.cli.requests import show_request
from playhead.client.tails.file_tail import file_tail
from playhead.runtime import Agent
from playhead.runtime.core.errors import RequestNotFoundError
from playhead.runtime.core.records import Entry, ModelStarted, RunSubmitted, StepFinished
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.host.guest import Guest
from playhead.runtime.models import ScriptedModel
from playhead.runtime.replay.rerun import rerun
from tests.support.strands_agents import AGENTS, MANY, WORLD, World

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLERK = """
from playhead.runtime import GuestContext

async def words():
    yield "You owe."

async def clerk(ctx: GuestContext, prompt):
    texts = ["Be brief.", "Be very brief."]
    for text in texts:
        async for word in ctx.model({"system_prompt": text, "notes": [prompt, text]}, words):
            yield {"word": word}
    async for word in ctx.model([prompt], words):
        yield {"word": word}
"""


OWN = """
from playhead.runtime import Agent
from playhead.runtime.models import DemoModel

own = Agent(DemoModel(), name="own", callback_handler=None)
"""


def clerk(source: str = CLERK) -> FunctionGuest:
    """A guest of that source."""
    given: dict[str, Any] = {}
    exec(compile(source, "clerk.py", "exec"), given)
    return FunctionGuest(given["clerk"])


@cache
def agent(name: str) -> StrandsGuest:
    """A Strands agent of the scenarios."""
    World()
    return StrandsGuest(lambda: {**AGENTS, **MANY}[name](WORLD[-1]), name="agent")


async def made(guest: Guest) -> RunReader:
    """A run of a guest, in memory."""
    World()
    log, run_id = await rerun([Entry(1, 0, RunSubmitted(at=0, agent=guest.name, prompt="go"))], guest)
    World()
    return RunReader(run_id, log=log, open_tail=partial(file_tail, log))


async def calls(run: RunReader) -> list[int]:
    """The records of its model calls."""
    return [
        entry.seq
        for entry in await run.log.read(run.id)
        if isinstance(entry.record, ModelStarted) or (isinstance(entry.record, StepFinished) and entry.record.request)
    ]


async def test_the_log_has_all_that_a_strands_agent_asks_in_its_own_cycle() -> None:
    run = await made(agent("simple"))
    found = [await run.guest_request(seq) for seq in await calls(run)]
    for known in found:
        whole = await run.guest_request(known.seq, agent=agent("simple"))
        assert (known.not_stored, known.differs, whole.differs) == ((), (), ())
        assert known == whole
        assert known.parts["messages"][0] == {"role": "user", "content": [{"text": "go"}]}
        assert [one["name"] for one in known.parts["tool_specs"]][:2] == ["slow", "counting"]
    assert [len(one.parts["messages"]) for one in found] == [1, 3, 5]
    assert WORLD[-1].asked == 0


@pytest.mark.parametrize("name", ["sub_agents", "graph"])
async def test_of_an_agent_within_another_one_the_messages_are_known_when_it_runs_again(name: str) -> None:
    run = await made(agent(name))
    hidden = [seq for seq in await calls(run) if (await run.guest_request(seq)).call.count("/") > 1]
    assert len(hidden) >= 4
    for seq in hidden:
        known = await run.guest_request(seq)
        assert known.not_stored == ("messages",)
        whole = await run.guest_request(seq, agent=agent(name))
        assert whole.parts["messages"]
        assert {name: one for name, one in whole.parts.items() if name != "messages"} == known.parts


async def test_parts_that_change_from_call_to_call_are_named_and_known_when_it_runs_again() -> None:
    run = await made(clerk())
    first, second, third = await calls(run)
    assert await run.guest_request(second) == GuestRequest(
        run.id, second, "/model:2", {"system_prompt": "Be very brief."}, ("notes",)
    )
    assert (await run.guest_request(third)).not_stored == ("",)
    assert (await run.guest_request(third, agent=clerk())).parts == {"": ["go"]}
    other = await run.guest_request(first, agent=clerk(CLERK.replace("Be brief.", "Be kind.")))
    assert (other.differs, other.parts["notes"]) == (("system_prompt", "notes"), ["go", "Be kind."])


async def test_what_is_not_a_call_of_a_guest_is_refused_with_the_way_out() -> None:
    run = await made(clerk())
    first, *_ = seqs = await calls(run)
    listed = ", ".join(map(str, seqs))
    with pytest.raises(
        RequestNotFoundError, match=f"is a run.claimed. Give the number of a model.started; they are {listed}"
    ):
        await run.guest_request(2)
    with pytest.raises(RequestNotFoundError, match=rf"is of a guest.*run\.guest_request\({first}\)"):
        await run.request(first)
    with pytest.raises(TypeError, match="own is an agent of playhead's own"):
        await run.guest_request(first, agent=Agent(ScriptedModel([]), name="own", callback_handler=None))
    stops = clerk(CLERK.replace("    texts", "    yield {}\n    texts"))
    with pytest.raises(RequestNotFoundError, match=f"does not come to the call of record {first}: record {first}-1"):
        await run.guest_request(first, agent=stops)


async def test_the_command_prints_it_and_says_what_the_log_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = await made(clerk())
    _, second, third = await calls(run)
    await show_request(run, seq=second, here=None, as_json=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["request"] == {"system_prompt": "Be very brief."}
    assert told.err == (
        "note: the log has a digest only of notes; with --here TARGET the agent runs again, and all of it is known\n"
    )
    (tmp_path / "clerk.py").write_text(CLERK)
    await show_request(run, seq=third, here=f"{tmp_path}/clerk.py", as_json=False)
    told = capsys.readouterr()
    assert (json.loads(told.out)["request"], told.err) == (["go"], "")


async def test_a_target_of_another_kind_than_the_run_is_refused(tmp_path: Path) -> None:
    own = Agent(ScriptedModel(["Hi."]), name="own", callback_handler=None)
    (tmp_path / "clerk.py").write_text(CLERK)
    (tmp_path / "own.py").write_text(OWN)
    hosted, (log, run_id) = await made(clerk()), await rerun([Entry(1, 0, RunSubmitted(at=0, agent="own"))], own)
    of_own = RunReader(run_id, log=log, open_tail=partial(file_tail, log))
    with pytest.raises(ValueError, match=r"own.py has an agent of playhead's own, own, and the run is of a guest"):
        await show_request(hosted, seq=(await calls(hosted))[0], here=f"{tmp_path}/own.py", as_json=True)
    with pytest.raises(ValueError, match="the log has the whole request of this one"):
        await show_request(of_own, seq=(await calls(of_own))[0], here=f"{tmp_path}/clerk.py", as_json=True)
