"""Decides the next step of a run from its state. Pure: every rule of the loop is here, and every action is in `loop`.

`decide` returns the same step for the same records, in every process and after any number of interruptions. So
starting, resuming and replaying a run use the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from playhead.runtime.core.batch_order import ordered_results
from playhead.runtime.core.context import KEEP_ALL, ContextPolicy
from playhead.runtime.core.context_steps import managed
from playhead.runtime.core.converse import Chunk, ContentBlock, Message, ToolUse
from playhead.runtime.core.errors import EncodingError
from playhead.runtime.core.history_repair import INTERRUPTED_TEXT
from playhead.runtime.core.limits import is_limit_reason, limit_reached
from playhead.runtime.core.message_assembler import partial_text
from playhead.runtime.core.output_rules import output_after_answer, output_of_batch
from playhead.runtime.core.prompts import prompt_messages
from playhead.runtime.core.records import ENDED_STATES
from playhead.runtime.core.state import RunState, tool_uses
from playhead.runtime.core.steps import (
    CANCELLED_TEXT,
    AddAnswer,
    AddMessage,
    CallModel,
    CancelTools,
    Fail,
    Finish,
    Pause,
    Resume,
    RunTools,
    SayCancelled,
    StartCycle,
    Step,
)
from playhead.runtime.core.stopping import DELEGATED
from playhead.runtime.core.terms import NO_TERMS, Terms
from playhead.runtime.core.tool_results import error_result
from playhead.runtime.core.totals import run_metrics

__all__ = ["decide"]

MAX_TOKENS_TEXT: Final = (
    "Model stopped generating due to maximum token limit. The partial message has been added to the conversation "
    "history; call the agent again to continue, or raise the model's limit."
)


def decide(
    state: RunState,
    *,
    in_turn: bool = False,
    partial: Sequence[Chunk] = (),
    answer: AddAnswer | None = None,
    terms: Terms = NO_TERMS,
    context: ContextPolicy = KEEP_ALL,
) -> Step | None:
    """The next step of the run, or None if it has ended or waits for responses.

    Args:
        state: The fold of its records.
        in_turn: Whether the agent runs the calls of a message one after the other.
        partial: The chunks of a model call that broke off, if the model can continue after them.
        answer: The `whole_answer` of a model call that broke off.
        terms: Those of the agent; the call's own are in the state.
        context: When and how the agent's history is reduced.
    """
    terms = state.terms.over(terms)
    return managed(state, _next_step(state, in_turn=in_turn, partial=partial, answer=answer, terms=terms), context)


def _next_step(
    state: RunState, *, in_turn: bool, partial: Sequence[Chunk], answer: AddAnswer | None, terms: Terms
) -> Step | None:
    if state.status in ENDED_STATES or state.status == "paused":
        return None
    match state.phase:
        case "opening":
            return _open(state, terms)
        case "cycle":
            return _await_message(state, in_turn=in_turn, partial=partial, answer=answer, terms=terms)
        case "answered":
            return _after_message(state, in_turn=in_turn, terms=terms)
        case "closed":  # nothing that follows a model's message applies, whatever the run was asked for
            steered = state.steers and not state.cancelled
            return AddMessage(state.steers[0], "steer") if steered else _finish(state, "end_turn")
        case "between":
            return _end_cancelled(state) if state.cancelled else _next_cycle(state, terms)


def _end_cancelled(state: RunState) -> Step:
    """End a run that was cancelled after calls of tools, with the message of the cancel if it has one."""
    if state.cancel_text is None:
        return _finish(state, "cancelled")
    return AddMessage({"role": "assistant", "content": [{"text": state.cancel_text}]}, "stop")


def _next_cycle(state: RunState, terms: Terms) -> Step:
    """Add the queued steers to the history, end the run if a tool, its output or a limit ends it, or start the next cycle."""
    if state.steers:
        return AddMessage(state.steers[0], "steer")
    if state.stop is not None and not (state.stop.reason == DELEGATED and terms.output is not None):
        words = state.stop.message
        return _finish(state, state.stop.reason) if words is None else AddMessage(words, "stop")
    if state.output is not None:
        return _finish(state, "tool_use")
    reached = limit_reached(terms.limits, cycles=state.cycle, usage=state.totals.usage)
    return _start_cycle(state) if reached is None else _finish(state, reached)


def _start_cycle(state: RunState) -> StartCycle:
    return StartCycle(state.cycle + 1, resumes=state.phase == "opening" and state.cycle > 0)


def _open(state: RunState, terms: Terms) -> Step:
    before = state.messages[: len(state.messages) - state.opened]
    try:
        prompted = prompt_messages(state.prompt)
    except (EncodingError, ValueError) as error:
        return Fail(type(error).__name__, str(error))
    opening: list[AddMessage] = [AddMessage(message, "prompt") for message in prompted or ()]
    if prompted is not None and before and (dangling := tool_uses(before[-1])):
        opening.insert(0, AddMessage(_interrupted(dangling), "repair"))
    # What asks for an end after the calls, such as a hook, has to wait for some.
    return opening[state.opened] if state.opened < len(opening) else _next_cycle(replace(state, stop=None), terms)


def _interrupted(calls: list[ToolUse]) -> Message:
    def block(call: ToolUse) -> ContentBlock:
        return {"toolResult": error_result(call["toolUseId"], INTERRUPTED_TEXT)}

    return {"role": "user", "content": [block(call) for call in calls]}


def _await_message(
    state: RunState, *, in_turn: bool, partial: Sequence[Chunk], answer: AddAnswer | None, terms: Terms
) -> Step:
    if state.messages and tool_uses(state.messages[-1]):
        return _tools(state, in_turn=in_turn, terms=terms)
    if answer is not None and state.call_end is not None:  # a cancel that comes later does not undo it
        return answer
    if state.cancelled:
        return SayCancelled(state.cancel_text or CANCELLED_TEXT)
    if state.call_open is None or state.call_end is None:
        return CallModel(attempt=state.attempts + 1, failed=state.failed, rested=state.rested)
    if (said := partial_text(partial)) is not None:
        return CallModel(attempt=state.attempts + 1, partial=said)
    return CallModel(attempt=state.attempts + 1, supersedes=(state.call_open, state.call_end))


def _after_message(state: RunState, *, in_turn: bool, terms: Terms) -> Step:
    stop_reason = state.stop_reason or "end_turn"
    if stop_reason == "tool_use":
        return _tools(state, in_turn=in_turn, terms=terms)
    if stop_reason == "max_tokens":
        return Fail("MaxTokensReachedException", MAX_TOKENS_TEXT)
    if state.steers and not state.cancelled:
        return _next_cycle(state, terms)
    return output_after_answer(state, terms) or _finish(state, stop_reason)


def _tools(state: RunState, *, in_turn: bool, terms: Terms) -> Step:
    batch = list(enumerate(tool_uses(state.messages[-1])))
    open_calls = tuple((index, call) for index, call in batch if index not in state.results)
    if not open_calls:
        if (output := output_of_batch(state, terms)) is not None:
            return output
        content: list[ContentBlock] = [{"toolResult": state.results[index]} for index in ordered_results(state)]
        return AddMessage({"role": "user", "content": content}, "tools")
    if state.cancelled:
        return CancelTools(open_calls)
    if state.refused is not None:
        return CancelTools(open_calls, state.refused)
    waiting = [index for index, _ in open_calls if state.is_waiting(index)]
    if state.paused:
        return _pause(state) if waiting else Resume()
    ready = tuple(
        (index, call)
        for index, call in open_calls
        if index not in waiting and not (in_turn and waiting and index > waiting[0])
    )
    return RunTools(ready, started=state.started) if ready else _pause(state)


def _pause(state: RunState) -> Pause:
    # In the order of the calls, as their results are, because tools in threads ask in any order.
    asked = [key for _, keys in sorted(state.interrupted.items()) for key in keys if key in state.interrupts]
    interrupts = [dict(state.interrupts[key]) for key in asked]
    return Pause(interrupts, {**_result(state, "interrupt"), "interrupts": interrupts})


def _finish(state: RunState, stop_reason: str) -> Finish:
    cancelled = state.cancelled and stop_reason == "cancelled"  # a tool that stops the run completes it
    return Finish(_result(state, stop_reason), cancelled=cancelled)


def _result(state: RunState, stop_reason: str) -> dict[str, Any]:
    limited = is_limit_reason(stop_reason)  # such a result has the last message, of any role, as in Strands
    messages = [message for message in state.messages if limited or message.get("role") == "assistant"]
    return {
        "stop_reason": stop_reason,
        "message": messages[-1] if messages else state.spoken or {"role": "assistant", "content": []},
        "metrics": run_metrics(state.totals, cycle=state.cycle, resumed=state.resumed),
        "state": {},
        **({} if state.output is None else {"structured_output": state.output}),
    }
