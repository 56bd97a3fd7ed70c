"""What a run leaves in its session: with the write that ends it, all of its messages or none, however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client, Run
from playhead.runtime import Agent, ContextWindowOverflowException, SummarizingConversationManager, ToolContext, tool
from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import RunFailedError
from playhead.runtime.models import ScriptedCall, ScriptedModel, tool_call
from playhead.runtime.replay import verify

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

RAN = ["user: Pay.", "assistant: call", "user: result", "assistant: call"]
"""What the log of the run has when its second call hangs: the first call has its result."""


def words(message: Any) -> str:
    """The role, and the first text or kind of block."""
    block = message["content"][0]
    shown = block.get("text", "call" if "toolUse" in block else "result")
    return f"{message['role']}: {shown}"


async def left(client: Client, session: str = "ada") -> list[str]:
    return [words(message) for message in await client.session(session).messages()]


class Shop:
    """An agent whose runs pay once and then hang in a second tool, or ask a human there."""

    def __init__(self, *, asks: bool = False) -> None:
        self.hangs = anyio.Event()
        self.asks = asks

    def agent(self) -> Agent:
        @tool
        async def pay(context: ToolContext) -> str:
            """Pay."""
            context.state.set("paid", True)
            return "paid"

        @tool
        async def hang(context: ToolContext) -> str:
            """Wait."""
            if self.asks:
                context.interrupt("sure")
            self.hangs.set()
            await anyio.sleep_forever()
            return ""

        def script(messages: Messages) -> Any:
            said = [words(message) for message in messages]
            calls = {"user: Pay.": "pay", "user: result": "hang"}
            name = calls.get(said[-1])
            return "Done." if name is None else tool_call(name, {}, f"t{len(said)}")

        model = ScriptedModel([script], repeat=True)
        return Agent(model, name="shop", tools=[pay, hang], retry=None, callback_handler=None)


async def started(client: Client, **options: Any) -> Run:
    return await client.start("shop", "Pay.", session_id="ada", **options)


async def test_cancelled_while_a_worker_has_it_a_run_leaves_whole_turns(fleet: Fleet) -> None:
    shop = Shop()
    async with fleet.worker(shop.agent()), fleet.client() as client:
        run = await started(client)
        await shop.hangs.wait()
        assert await left(client) == []
        await run.cancel()
        assert (await run.result()).stop_reason == "cancelled"
        assert (await left(client))[:5] == [*RAN, "user: result"]
        assert await client.session("ada").state() == {"paid": True}
        assert str(await client.invoke_async("shop", "And?", session_id="ada")) == "Done.\n"


async def test_past_its_crash_limit_a_run_leaves_what_its_log_has(fleet: Fleet) -> None:
    shop = Shop()
    async with fleet.client() as client:
        run = await started(client)
        async with fleet.worker(shop.agent(), crash_limit=0):
            await shop.hangs.wait()
            info = await run.info()
            await client.log.bury(info.worker or "", ended="was killed by SIGKILL")
            with pytest.raises(RunFailedError, match="was killed by SIGKILL"):
                await run.result()
        assert await left(client) == RAN
        assert await client.session("ada").state() == {"paid": True}
        async with fleet.worker(shop.agent()):
            assert str(await client.invoke_async("shop", "And?", session_id="ada")) == "Done.\n"
        assert await left(client) == [*RAN, "user: result", "user: And?", "assistant: Done."]


@pytest.mark.parametrize("end", ["cancelled", "deadline"])
async def test_ended_without_an_owner_a_run_leaves_nothing_and_not_a_part(fleet: Fleet, end: str) -> None:
    shop = Shop(asks=True)
    async with fleet.client() as client:
        async with fleet.worker(shop.agent()):
            run = await started(client, deadline=3600)
            assert (await run.result(on_pause="end")).stop_reason == "interrupt"
        if end == "cancelled":
            assert await run.cancel() == "cancelled"
        else:
            assert await fleet.ask("ZADD", client.log.keys.deadlines, "XX", 1, run.id) == 0  # an hour passes
            with pytest.raises(RunFailedError, match="deadline"):
                await run.result(on_pause="wait")
        assert (await left(client), await client.session("ada").state()) == ([], {})


async def test_the_next_run_begins_from_the_summary_and_what_is_pinned(fleet: Fleet) -> None:
    too_long = ScriptedCall(error=ContextWindowOverflowException("too long"))
    model = ScriptedModel(["1", "2", too_long, "They counted.", "3", "4"])
    manager = SummarizingConversationManager(summary_ratio=0.5, preserve_recent_messages=1)
    agent = Agent(model, name="agent", conversation_manager=manager, callback_handler=None)
    pinned: Any = {"role": "user", "content": [{"text": "My name is Ada."}], "metadata": {"custom": {"pinned": True}}}
    async with fleet.worker(agent), fleet.client() as client:
        await client.invoke_async("agent", [pinned], session_id="ada")
        for prompt in ("two", "three", "four"):
            run = await client.start("agent", prompt, session_id="ada")
            await run.result()
        sent = [words(message) for message in model.requests[-1].messages]
        left_of_one = ["user: My name is Ada.", "user: They counted."]
        assert sent == [*left_of_one, "user: two", "assistant: 2", "user: three", "assistant: 3", "user: four"]
        assert len(await client.session("ada").messages()) == 8
        assert (await verify(run, agent)).same
