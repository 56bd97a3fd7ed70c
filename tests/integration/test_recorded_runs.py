"""A recorded run as a fixture: `recorded_run`, `assert_replays`, `--playhead-record`, `ScriptedModel.from_run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from playhead.client.pytest_plugin import OpenRun
from playhead.client.testing import RecordedRun, assert_replays
from playhead.runtime import Agent, ModelThrottledException, RetryPolicy, RunNotFoundError, ToolContext, tool
from playhead.runtime.core.records import MessageAdded, ModelStarted
from playhead.runtime.log.file.export import export_runs
from playhead.runtime.models import ScriptedCall, ScriptedModel, text_call, tool_call
from playhead.runtime.replay import EntriesRecording, verify
from playhead.runtime.replay.rerun import rerun
from tests.support.recorded_runs import Call, Plan, Play, played

__all__: list[str] = []

pytest_plugins = ["pytester"]


@tool
async def pay(euros: int, context: ToolContext) -> str:
    """Pay, if a human agrees."""
    return f"{euros}: {context.interrupt('approve')}"


def agent(*script: Any, **changes: Any) -> Agent:
    said = script or [tool_call("pay", {"euros": 5}), "Paid."]
    options: dict[str, Any] = {"name": "payer", "tools": [pay], "callback_handler": None, "system_prompt": "Be brief."}
    return Agent(ScriptedModel(said), **(options | changes))


async def recorded(who: Agent) -> EntriesRecording:
    """A run of the agent, with a pause."""
    play = Play(Plan(), agent=who)
    await play.to_its_end()
    return play.recording


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """The run of the agent, in a file."""
    path = tmp_path / "run.jsonl"
    log, run_id = await rerun(await recorded(agent()), agent())
    await export_runs(log, [run_id], path)
    return path


@pytest.mark.anyio
async def test_an_unchanged_agent_replays_a_file_also_within_an_event_loop(file: Path, recorded_run: OpenRun) -> None:
    run = recorded_run(file)
    assert_replays(agent(), run)
    assert {"run.paused", "run.resumed", "run.completed"} <= {entry.record.type for entry in run.entries}


@pytest.mark.anyio
async def test_a_changed_agent_fails_with_the_difference(file: Path, recorded_run: OpenRun) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_replays(agent(system_prompt="Be kind."), recorded_run(file))
    assert "system_prompt: the system prompt" in str(failed.value)
    assert "-Be brief.\n  +Be kind." in str(failed.value)
    assert_replays(agent(system_prompt="Be kind."), recorded_run(file), ignore=["system_prompt"])


@pytest.mark.anyio
async def test_a_file_that_is_recorded_again_has_what_the_agent_does_now(file: Path) -> None:
    changed = agent(tool_call("pay", {"euros": 6}), "Paid six.", system_prompt="Be kind.")
    before = RecordedRun(file, refresh=True)
    assert_replays(changed, before)
    before.close()
    after = RecordedRun(file)
    assert_replays(agent(system_prompt="Be kind."), after)
    assert after.id != before.id
    last = [entry.record.message for entry in after.entries if isinstance(entry.record, MessageAdded)][-1]
    assert last.get("content") == [{"text": "Paid six."}]
    after.close()


@pytest.mark.anyio
async def test_a_run_that_went_on_from_its_session_is_recorded_again_from_the_same_messages(tmp_path: Path) -> None:
    said: list[Any] = [
        {"role": "user", "content": [{"text": "I am Ada."}]},
        {"role": "assistant", "content": [{"text": "Hi."}]},
    ]
    model = ScriptedModel(["You are Ada."])
    one = Agent(model, name="payer", callback_handler=None)
    first, run_id = await rerun(
        await recorded(Agent(ScriptedModel(["Yes."]), name="payer", callback_handler=None)), one
    )
    entries = await first.read(run_id)
    submitted = entries[0].record.model_copy(update={"session": "ada"})  # pyright: ignore[reportAttributeAccessIssue]
    cycles = [
        entry._replace(record=entry.record.model_copy(update={"session_messages": 2}))  # pyright: ignore[reportAttributeAccessIssue]
        if entry.record.type == "cycle.started"
        else entry
        for entry in entries
    ]
    spoken = EntriesRecording([entries[0]._replace(record=submitted), *cycles[1:]], session=said)
    model = ScriptedModel(["You are Ada."])
    again, run_id = await rerun(spoken, Agent(model, name="payer", callback_handler=None))
    (request,) = model.requests
    assert request.messages[:2] == said
    path = tmp_path / "session.jsonl"
    await export_runs(again, [run_id], path)
    kept = RecordedRun(path)
    assert_replays(Agent(ScriptedModel([]), name="payer", callback_handler=None), kept)
    kept.close()


@pytest.mark.anyio
async def test_what_depends_on_a_moment_is_not_recorded_again() -> None:
    play = await played(Plan(steers=frozenset({5})))
    with pytest.raises(ValueError, match="a steer depends on its moment"):
        await rerun(play.recording, play.agent)
    with pytest.raises(ValueError, match="asks 'approve' now, which the recorded run was not asked"):
        await rerun((await played(Plan())).recording, agent())


@pytest.mark.anyio
async def test_a_file_has_to_have_the_run(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"no run '0-none' in .*; it has 0-"):
        RecordedRun(file, run_id="0-none")


@pytest.mark.anyio
async def test_the_fixture_and_the_option_work_in_a_project_of_a_user(
    pytester: pytest.Pytester, file_of_text: Path
) -> None:
    pytester.makepyfile(
        test_kept="""
        from playhead.client.testing import assert_replays
        from playhead.runtime import Agent
        from playhead.runtime.models import ScriptedModel

        def test_kept(recorded_run):
            agent = Agent(ScriptedModel(["Now I say more."]), name="payer", callback_handler=None)
            assert_replays(agent, recorded_run("kept.jsonl"), ignore=["agent"])

        def test_broken(recorded_run):
            agent = Agent(ScriptedModel([]), name="payer", system_prompt="Be kind.", callback_handler=None)
            assert_replays(agent, recorded_run("kept.jsonl"))
        """
    )
    (pytester.path / "kept.jsonl").write_bytes(file_of_text.read_bytes())
    options = ("-p", "no:cacheprovider", "-p", "no:randomly", "-n", "0")
    done = pytester.runpytest_subprocess(*options)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*system_prompt: the system prompt*", "*+Be kind.*"])
    done.stdout.no_fnmatch_line("*_here*")
    again = pytester.runpytest_subprocess(*options, "--playhead-record", "-k", "kept and not broken")
    again.assert_outcomes(passed=1, deselected=1)
    run = RecordedRun(pytester.path / "kept.jsonl")
    assert "more." in str(run.entries[-1].record)
    run.close()


@pytest.fixture
async def file_of_text(tmp_path: Path) -> Path:
    """A run that only speaks, in a file."""
    path = tmp_path / "text.jsonl"
    one = Agent(ScriptedModel(["I say.", "I say."]), name="payer", callback_handler=None)
    log, run_id = await rerun(await recorded(one), one)
    await export_runs(log, [run_id], path)
    return path


# The recorded run as a model


@pytest.mark.anyio
async def test_a_model_made_of_a_run_says_what_was_said_call_by_call() -> None:
    busy = ScriptedCall(text_call("Let me")[:4], error=ModelThrottledException("too many requests"))
    who = agent(busy, tool_call("pay", {"euros": 5}), "Paid.", retry=RetryPolicy(initial_delay=0))
    run = await recorded(who)
    model = ScriptedModel.from_run(run.entries)
    assert len(model.calls) == 3
    again, run_id = await rerun(run, _with(model))
    entries = await again.read(run_id, limit=10_000)
    assert [entry.record.type for entry in entries] == [entry.record.type for entry in run.entries]
    assert len(model.requests) == 3


def _with(model: ScriptedModel) -> Agent:
    retry = RetryPolicy(initial_delay=0)
    return Agent(model, name="payer", tools=[pay], system_prompt="Be brief.", retry=retry, callback_handler=None)


@pytest.mark.anyio
@pytest.mark.parametrize("on_partial", ["retract", "continue"])
async def test_a_call_that_a_takeover_cut_off_is_one_message_of_the_model(on_partial: Any) -> None:
    play = await played(Plan(calls=(Call(words=3),), owners=((6, False),), on_partial=on_partial))
    started = [entry.record for entry in play.entries if isinstance(entry.record, ModelStarted)]
    assert [one.continues for one in started] == [False, on_partial == "continue"]
    model = ScriptedModel.from_run(play.entries)
    assert len(model.calls) == 1
    last = [entry.record.message for entry in play.entries if isinstance(entry.record, MessageAdded)][-1]
    result = await Agent(model, callback_handler=None).invoke_async("go")
    assert result.message.get("content") == last.get("content")


@pytest.mark.anyio
async def test_a_model_made_of_a_run_fails_where_the_run_failed() -> None:
    play = await played(Plan(calls=(Call(fault="bug half-way"),)))
    model = ScriptedModel.from_run(play.recording)
    with pytest.raises(Exception, match="no such key") as raised:
        await Agent(model, callback_handler=None).invoke_async("go")
    assert type(raised.value).__name__ == "KeyError"
    assert (await verify(play.recording, play.agent)).same
