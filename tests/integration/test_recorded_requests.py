"""A client tells, from the log alone, what the model of each call was asked: exactly what its owner sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from playhead.client import Client, RecordedRequest, Run
from playhead.runtime import Agent, ToolContext, tool
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RequestNotFoundError, RunNotFoundError
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.records import CycleStarted, ModelStarted, RunClaimed
from playhead.runtime.log.values import Batch, RunEnd
from playhead.runtime.models import ScriptedModel, tool_call

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.models import HeldModel

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def answering() -> ScriptedModel:
    """A model that looks at the history only, as a real one does."""

    def script(messages: Messages) -> Any:
        results = any("toolResult" in block for message in messages[-2:] for block in message.get("content", []))
        return "Done." if results else tool_call("pay", {"amount": len(messages)}, f"t{len(messages)}")

    return ScriptedModel([script], repeat=True, continues_partial=True)


@tool
def pay(amount: int) -> str:
    """Pay."""
    return f"{amount} paid"


async def calls_of(run: Run) -> list[int]:
    return [entry.seq async for entry in run.records() if isinstance(entry.record, ModelStarted)]


async def told(run: Run) -> list[RecordedRequest]:
    return [await run.request(seq) for seq in await calls_of(run)]


async def test_every_request_is_told_as_it_was_sent_also_after_the_session_has_grown(fleet: Fleet) -> None:
    model = answering()
    greeting = {"role": "user", "content": [{"text": "Greet me."}]}
    options: dict[str, Any] = {"system_prompt": "Be brief.", "messages": [greeting], "callback_handler": None}
    agent = Agent(model, name="payer", tools=[pay], **options)
    async with fleet.worker(agent), fleet.client() as client:
        runs: list[Run] = []
        for prompt in ("one", "two", "three"):
            runs.append(await client.start("payer", prompt, session_id="ada"))
            await runs[-1].result()
        found = [request for run in runs for request in await told(run)]
        assert [one.request for one in found] == model.requests
        assert [len(one.request.messages) for one in found] == [2, 4, 6, 8, 10, 12]
        assert {(one.definition, one.model["class"]) for one in found} == {
            (agent.definition.stored().digest, "ScriptedModel")
        }
        begun = [entry.record async for entry in runs[2].records() if isinstance(entry.record, CycleStarted)]
        assert [record.session_messages for record in begun] == [8, 8]


async def test_a_call_that_continued_a_dead_owners_text_is_told_with_that_text(
    fleet: Fleet, held_model: Callable[..., HeldModel]
) -> None:
    first, second = held_model(["one", " two"], [" three"]), ScriptedModel(["one two three"], continues_partial=True)
    setattr(first, "continues_partial", True)  # noqa: B010
    options: dict[str, Any] = {"name": "teller", "on_partial": "continue", "callback_handler": None}
    async with fleet.client() as client:
        await earlier(client, fleet, options)
        async with fleet.worker(Agent(first, system_prompt="Be quick.", **options)):
            run = await client.start("teller", "Count.", session_id="ada")
            await first.held.wait()
        async with fleet.worker(Agent(second, system_prompt="Be slow.", **options)):
            assert str(await run.result()) == "one two three\n"
        requests = await told(run)
        assert requests[0].request == ModelRequest(first.calls[0], None, "Be quick.")
        assert [one.request for one in requests[1:]] == second.requests
        assert requests[1].request.messages[-1] == {"role": "assistant", "content": [{"text": "one two"}]}
        claims = [entry.record.definition async for entry in run.records() if isinstance(entry.record, RunClaimed)]
        assert [one.definition for one in requests] == claims
        assert len(set(claims)) == 2


async def earlier(client: Client, fleet: Fleet, options: dict[str, Any]) -> None:
    """The session has two messages."""
    async with fleet.worker(Agent(ScriptedModel(["Hello."], continues_partial=True), **options)):
        await client.invoke_async("teller", "Hi", session_id="ada")


async def test_the_calls_around_a_pause_and_a_steer_are_told_as_they_were_sent(fleet: Fleet) -> None:
    model = answering()

    @tool(name="pay")
    def ask(amount: int, tool_context: ToolContext) -> str:
        """Pay."""
        return f"{amount}: {tool_context.interrupt('approve', 'May I?')}"

    async with fleet.worker(Agent(model, name="payer", tools=[ask], callback_handler=None)), fleet.client() as client:
        run = await client.start("payer", "Pay.")
        paused = await run.result(on_pause="end")
        await run.steer("And be quick.")
        assert paused.interrupts
        await run.respond({paused.interrupts[0].id: "yes"})
        await run.result()
        assert [one.request for one in await told(run)] == model.requests
        assert "And be quick." in repr(model.requests[-1])
        assert "yes" in repr(model.requests[-1])


async def test_another_record_is_refused_and_the_calls_of_the_run_are_named(fleet: Fleet) -> None:
    agent = Agent(answering(), name="payer", tools=[pay], callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        run = await client.start("payer", "Pay.")
        await run.result()
        first, second = await calls_of(run)
        listed = rf"Give the number of a model\.started; they are {first}, {second}\."
        with pytest.raises(RequestNotFoundError, match=rf"record 1 of run {run.id} is a run\.submitted\. {listed}"):
            await run.request(1)
        for beyond in (0, -1, 99_999):
            with pytest.raises(RequestNotFoundError, match=rf"record {beyond} of .* does not exist: there are"):
                await run.request(beyond)
        with pytest.raises(RunNotFoundError):
            await client.run("no-such-run").request(first)


async def test_a_run_that_has_not_called_its_model_says_so(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("payer", "Pay.")
        with pytest.raises(RequestNotFoundError, match=r"is a run\.submitted\. .*; the run has none yet"):
            await run.request(1)


async def test_what_is_not_in_the_log_any_more_is_named_and_not_guessed(fleet: Fleet) -> None:
    agent = Agent(ScriptedModel(["Hello."], repeat=True), name="echo", callback_handler=None)
    async with fleet.worker(agent), fleet.client() as client:
        await client.invoke_async("echo", "one", session_id="ada")
        run = await client.start("echo", "two", session_id="ada")
        await run.result()
        (seq,) = await calls_of(run)
        keys = client.log.keys
        await fleet.ask("XDEL", keys.messages("ada"), "1-0", "3-0", "4-0")
        with pytest.raises(
            RequestNotFoundError, match="began from 2 messages of the session 'ada', of which 1 are left"
        ):
            await run.request(seq)
        digest = agent.definition.stored().digest
        await fleet.ask("DEL", keys.definition(digest))
        with pytest.raises(
            RequestNotFoundError, match=f"definition '{digest}', which its owner named, is not in the log"
        ):
            await run.request(seq)


async def test_a_run_whose_owner_named_no_definition_is_told_so(fleet: Fleet) -> None:
    async with fleet.owner() as owner, fleet.client() as client:
        started = Batch(
            owner.claim.run_id, owner.claim.token, owner.claim.head, [encode_record(ModelStarted(at=1)), owner.END]
        )
        await owner.log.finish(RunEnd(started, "completed"))
        with pytest.raises(RequestNotFoundError, match="its owner named none"):
            await client.run(owner.claim.run_id).request(owner.claim.head + 1)
