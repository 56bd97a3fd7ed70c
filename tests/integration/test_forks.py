"""A fork begins with the first records of a run, and has a future of its own; the run that it is of is not changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client, Fork, Run, open_log
from playhead.runtime import Agent
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import ForkAfterEffectsError, RunConflictError, RunFailedError, RunNotFoundError
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.core.records import (
    Entry,
    MessageAdded,
    ModelStarted,
    Record,
    RunPaused,
    RunSubmitted,
    ToolFinished,
    ToolStarted,
)
from playhead.runtime.log.redis.inspection import faults_of
from playhead.runtime.models import ScriptedModel, tool_call
from playhead.runtime.replay import verify
from tests.support import till as support

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def script(messages: Messages) -> Any:
    """Uses the tool that the user named, and says what it gave; else it says what the user said."""
    last = messages[-1].get("content", [])[-1]
    if "toolResult" in last:
        return f"It says: {last['toolResult']['content'][0]['text']}."
    text = last.get("text", "")
    return tool_call(text, {}, "t1", text="Let me see.") if text in ("pay", "ask") else f"You said {text}."


class Till(support.Till):
    def __init__(self) -> None:
        super().__init__(script, system_prompt="Be brief.")


async def ended(client: Client, prompt: str = "pay", **options: Any) -> tuple[Run, list[Entry]]:
    run = await client.start("till", prompt, **options)
    await run.result()
    return run, await stored(run)


async def stored(run: Run) -> list[Entry]:
    info = await run.info()
    return await run.log.read(run.id, limit=info.head)


def place_of(entries: list[Entry], kind: type[Record]) -> int:
    """The number of the first record of a kind."""
    return next(entry.seq for entry in entries if isinstance(entry.record, kind))


def contents(messages: Messages) -> list[Any]:
    return [message.get("content") for message in messages]


async def test_a_fork_goes_on_with_another_result_and_its_parent_is_not_changed(fleet: Fleet) -> None:
    till = Till()
    async with fleet.worker(till.agent), fleet.client() as client:
        run, entries = await ended(client)
        before = await run.info(), await run.log.read_encoded(run.id)
        at = place_of(entries, ToolFinished) - 1
        with pytest.raises(ForkAfterEffectsError, match=r"has run tools: pay \(1\).*--yes") as refused:
            await run.fork(at=at, results={"t1": "refused"})
        assert refused.value.calls == {"pay": 1}
        assert len(await client.runs()) == 1
        fork = await run.fork(at=at, results={"t1": "refused"}, accept_effects=True)
        assert str(await fork.result()) == "It says: refused.\n"
        assert till.keys == [f"{run.id}/t1"], "the call with a result did not run"
        assert (await run.info(), await run.log.read_encoded(run.id)) == before
        first, *copied = (await run.log.read_encoded(fork.id))[:at]
        assert copied == before[1][1:at]
        told = (await stored(fork))[0].record
        assert isinstance(told, RunSubmitted)
        assert told.options["fork"] == {"run": run.id, "at": at}
        assert (first.seq, first.epoch, told.at) == (1, 0, entries[0].record.at)
        found = await run.diff(fork)
        assert found.common == at
        assert found.parted is not None
        assert found.pairs[found.parted].either.name == "pay"
        assert faults_of(await client.log_of(fork.id).stored(fork.id)) == []


async def test_a_call_that_runs_again_in_a_fork_has_an_effect_key_of_the_fork(fleet: Fleet) -> None:
    till = Till()
    async with fleet.worker(till.agent), fleet.client() as client:
        run, entries = await ended(client)
        fork = await run.fork(at=place_of(entries, ToolStarted), accept_effects=True)
        assert str(await fork.result()) == "It says: paid.\n"
        again = await fork.fork(at=place_of(await stored(fork), ToolStarted), accept_effects=True)
        await again.result()
        assert till.keys == [f"{one.id}/t1" for one in (run, fork, again)]


async def test_a_fork_of_a_pause_gets_another_answer_or_asks_again(fleet: Fleet) -> None:
    till = Till()
    async with fleet.worker(till.agent), fleet.client() as client:
        run = await client.start("till", "ask")
        (question,) = (await run.result()).interrupts or []
        at = place_of(await stored(run), RunPaused)
        other = await run.fork(at=at, answers={question.id: "no"}, accept_effects=True)
        assert str(await other.result()) == "It says: no.\n"
        asks = await run.fork(at=at, accept_effects=True)
        assert [one.id for one in (await asks.result()).interrupts or []] == [question.id]
        await asks.respond({question.id: "later"})
        assert str(await asks.result(on_pause="wait")) == "It says: later.\n"
        assert (await run.info()).state == "paused"
        await run.respond({question.id: "yes"})
        assert str(await run.result(on_pause="wait")) == "It says: yes.\n"
        assert till.keys == [f"{one.id}/t1" for one in (other, asks, run)]
        with pytest.raises(ValueError, match=r"no call 't1' needs a result after record \d+: no call does"):
            await run.fork(at=at, results={"t1": "x"}, accept_effects=True)
        with pytest.raises(ValueError, match=rf"no question 'q' is open after record {at}: those are {question.id}"):
            await run.fork(at=at, answers={"q": "x"}, accept_effects=True)
        named = await run.fork(at=at, answers={question.name: "by name"}, accept_effects=True)
        assert str(await named.result(on_pause="wait")) == "It says: by name.\n"


async def test_a_run_can_be_forked_at_every_place_before_its_end(fleet: Fleet) -> None:
    till = Till()
    async with fleet.worker(till.agent), fleet.client() as client:
        await ended(client, "Hello", session_id="ada")
        run, entries = await ended(client, session_id="ada")
        said = await client.reader.messages("ada")
        await ended(client, "Bye", session_id="ada")
        asked = await run.request(place_of(entries, ModelStarted))
        for at in range(1, len(entries)):
            fork = await run.fork(at=at, accept_effects=True)
            assert str(await fork.result()) == "It says: paid.\n", at
            session = (await fork.info()).session or ""
            assert session == f"forked-{fork.id}"
            assert contents(await client.reader.messages(session)) == contents(said)
            call = place_of(await stored(fork), ModelStarted)
            assert (await fork.request(call)).request == asked.request, at
        with pytest.raises(ValueError, match=rf"record {len(entries)} ended run .* \(run.completed\): fork it at"):
            await run.fork(at=len(entries), accept_effects=True)
        assert len(await client.reader.messages("ada")) == len(said) + 2


async def test_a_fork_has_another_prompt_or_is_told_something(fleet: Fleet) -> None:
    async with fleet.worker(Till().agent), fleet.client() as client:
        run, entries = await ended(client, "Hello")
        began = place_of(entries, MessageAdded)
        for at in range(1, began):
            fork = await run.fork(at=at, prompt="Good evening")
            assert str(await fork.result()) == "You said Good evening.\n"
            assert (await run.diff(fork)).common == 0
        with pytest.raises(ValueError, match=rf"has begun with its prompt at record {began}: .* at {began - 1} or"):
            await run.fork(at=began, prompt="Good evening")
        for at in (1, began, len(entries) - 1):
            fork = await run.fork(at=at, say="Stop")
            assert str(await fork.result()) == "You said Stop.\n"
        with pytest.raises(ValueError, match="steer"):
            await run.fork(at=1, say="")


async def test_a_place_that_a_run_does_not_have_is_refused_and_nothing_is_stored(fleet: Fleet) -> None:
    async with fleet.worker(Till().agent), fleet.client() as client:
        run, entries = await ended(client, "Hello")
        for at in (0, -1, len(entries) + 1):
            with pytest.raises(ValueError, match=rf"has records 1 to {len(entries)}, so it cannot be forked at {at}"):
                await run.fork(at=at)
        with pytest.raises(ValueError, match=r"no question 'q' is open after record 3: no question is"):
            await run.fork(at=3, answers={"q": 1})
        with pytest.raises(RunNotFoundError):
            await client.run("gone").fork(at=1)
        waits = await client.start("unserved", "Hello", session_id="eve")
        with pytest.raises(ValueError, match="has not begun a cycle"):
            await waits.fork(at=1)
        assert len(await client.runs()) == 2


async def test_a_fork_outlives_its_parent(fleet: Fleet) -> None:
    till = Till()
    async with fleet.client(shards=3) as client:
        async with fleet.worker(till.agent, more=fleet.logs(range(1, 3))):
            await ended(client, "Hello", session_id="ada")
            run, entries = await ended(client, session_id="ada")
        at = place_of(entries, ModelStarted)
        fork = await run.fork(at=at)
        log = client.log_of(run.id)
        await fleet.ask("DEL", log.keys.run(run.id), log.keys.log(run.id), log.keys.messages("ada"))
        second = await fork.fork(at=at)
        async with fleet.worker(till.agent, more=fleet.logs(range(1, 3))):
            for one in (fork, second):
                assert str(await one.result()) == "It says: paid.\n"
                assert (await one.request(at)).request.system_prompt == "Be brief."
                assert len((await one.request(at)).request.messages) == 3
        with pytest.raises(RunNotFoundError):
            await run.fork(at=at)


async def test_a_fork_has_another_model_or_system_prompt_and_is_known_by_them(fleet: Fleet) -> None:
    async with fleet.worker(Till().agent), fleet.client() as client:
        run, entries = await ended(client, "Hello")
        started = place_of(entries, ModelStarted)
        fork = await run.fork(at=started, model="demo", system_prompt="Be kind.")
        assert "demo model" in str(await fork.result())
        assert (await fork.request(started)).request.system_prompt == (await run.request(started)).request.system_prompt
        own = [entry.seq for entry in await stored(fork) if isinstance(entry.record, ModelStarted)][-1]
        asked = await fork.request(own)
        assert (asked.model, asked.request.system_prompt) == ({"name": "demo"}, "Be kind.")
        found = await run.diff(fork)
        assert found.common == started
        assert (found.right.model, found.right.system_prompt) == ("demo", "Be kind.")
        assert (await verify(fork, Till().agent)).same
        kept = await fork.fork(at=started)
        await kept.result()
        assert (await kept.request(own)).model == {"name": "demo"}, "a fork of a fork keeps them"
        broken = await run.fork(at=started, model="demon")
        with pytest.raises(RunFailedError, match="model='demon' is not a model that playhead knows"):
            await broken.result()
        with pytest.raises(ValueError, match="model"):
            await run.fork(at=started, model="")
        with pytest.raises(ValueError, match="agent"):
            await run.fork(at=started, agent="no such agent")


async def test_a_fork_of_another_agent_has_nothing_that_was_set_for_the_first(fleet: Fleet) -> None:
    other = Agent(ScriptedModel(["I am another."]), name="other", callback_handler=None)
    async with fleet.worker(Till().agent, other), fleet.client() as client:
        run, entries = await ended(client, "Hello")
        at = place_of(entries, ModelStarted)
        fork = await (await run.fork(at=at, model="demo")).fork(at=at, agent="other")
        assert str(await fork.result()) == "I am another.\n"
        assert (await fork.info()).agent == "other"
        found = await run.diff(fork)
        assert (found.common, found.left.agent, found.right.agent) == (at, "till", "other")


async def test_the_same_fork_under_one_id_is_one_run(fleet: Fleet) -> None:
    till = Till()
    async with fleet.client() as client:
        async with fleet.worker(till.agent):
            run, entries = await ended(client)
        at, name = place_of(entries, ToolStarted), await client.new_run_id()
        what: dict[str, Any] = {"results": {"t1": "refused"}, "say": "Go on", "accept_effects": True}
        forks = [await run.fork(at=at, run_id=name, **what) for _ in range(2)]
        assert {fork.id for fork in forks} == {name}
        changes: list[tuple[dict[str, Any], str]] = [
            ({"say": "Stop"}, "results, answers or say"),
            ({"say": None}, "results, answers or say"),
            ({"model": "demo", "agent": "other"}, "agent and model"),
            ({"at": 1, "results": {}, "prompt": "x"}, "at and prompt"),
        ]
        for change, differs in changes:
            asked: dict[str, Any] = {"at": at, **what, **change}
            with pytest.raises(RunConflictError, match=f"another {differs}, and one run_id is one run"):
                await run.fork(run_id=name, **asked)
        with pytest.raises(RunConflictError, match="another parent"):
            await run.fork(at=at, run_id=run.id, **what)
        async with fleet.worker(till.agent):
            await forks[0].result()
        await run.fork(at=at, run_id=name, **what)
        assert len(await client.runs()) == 2
        with pytest.raises(ValueError, match="names shard 7"):
            await run.fork(at=at, run_id=new_run_id(shard=7), **what)


async def test_the_same_fork_inside_an_answer_is_one_run(fleet: Fleet) -> None:
    async with fleet.worker(Till().agent), fleet.client() as client:
        run, entries = await ended(client, "Hello")
        at, name = place_of(entries, ModelStarted) + 4, await client.new_run_id()
        forks = [await run.fork(at=at, say="Stop", run_id=name) for _ in range(2)]
        assert str(await forks[0].result()) == "You said Stop.\n"
        words = [entry.record.message for entry in await stored(forks[1]) if isinstance(entry.record, MessageAdded)]
        assert [one.get("content", [{}])[0].get("text") for one in words] == [
            "Hello",
            "You said",
            "Stop",
            "You said Stop.",
        ]


async def test_a_run_of_a_file_is_forked_into_a_fleet_that_does_not_have_it(fleet: Fleet, tmp_path: Path) -> None:
    till, path = Till(), tmp_path / "run.jsonl"
    async with fleet.worker(till.agent), fleet.client() as client:
        await ended(client, "Hello", session_id="ada")
        run, entries = await ended(client, session_id="ada")
        await run.export(path)
        log = client.log_of(run.id)
        await fleet.ask("DEL", log.keys.run(run.id), log.keys.log(run.id), log.keys.messages("ada"))
        at = place_of(entries, ToolFinished) - 1
        with open_log(path) as file:
            fork = await client.fork(file.run(), Fork(at=at, results={"t1": "refused"}, accept_effects=True))
            assert str(await fork.result()) == "It says: refused.\n"
            assert (await file.run().diff(fork)).common == at
        assert contents((await fork.request(place_of(entries, ModelStarted))).request.messages)[0] == [
            {"text": "Hello"}
        ]
        assert faults_of(await client.log_of(fork.id).stored(fork.id)) == []
