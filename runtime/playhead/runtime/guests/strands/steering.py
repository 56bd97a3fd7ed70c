"""Prompts that are sent to a running run, as messages of a Strands agent."""

from __future__ import annotations

from typing import Any, cast

from strands.hooks import AfterInvocationEvent, BeforeModelCallEvent, MessageAddedEvent

from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.guests.strands.hosted import HOSTED, HostedRun

__all__ = ["steer_after", "steer_before"]


async def steer_before(event: BeforeModelCallEvent) -> None:
    """Add the prompts that have arrived to the history that the model is sent."""
    run = HOSTED.get()
    if run is None or event.agent is not run.top:
        return
    for message in _taken(run):
        live = cast("Any", dict(message))
        event.agent.messages.append(live)
        await run.events.steered(live)
        await event.agent.hooks.invoke_callbacks_async(MessageAddedEvent(agent=event.agent, message=live))


def steer_after(event: AfterInvocationEvent) -> None:
    """Let the agent go on with the prompts that have arrived, unless it ends for another reason than its answer."""
    run = HOSTED.get()
    if run is None or event.agent is not run.top or event.resume is not None or event.result is None:
        return
    if event.result.stop_reason == "end_turn" and (messages := _taken(run)):
        event.resume = cast("Any", messages)


def _taken(run: HostedRun) -> list[Any]:
    steers = run.recorder.steers
    messages: list[Any] = []
    while steers and not run.recorder.cancelled:
        messages += prompt_messages(steers.popleft()) or []
    return messages
