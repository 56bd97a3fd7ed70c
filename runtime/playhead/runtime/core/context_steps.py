"""The steps by which a run's history is reduced: after an overflow, before a model call, and at the end. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from playhead.runtime.core.context import ContextPolicy, Reduction, Summarizing
from playhead.runtime.core.converse import ContentBlock, Message
from playhead.runtime.core.limits import is_limit_reason
from playhead.runtime.core.records import ModelFailed
from playhead.runtime.core.state import RunState
from playhead.runtime.core.steps import AddAnswer, CallModel, Fail, Finish, Reduce, StartCycle, Step

__all__ = ["NO_SUMMARY", "managed", "reduced_by_summary"]

NO_SUMMARY = "Failed to generate summary: model response contained no text"
_OVERFLOW = "ContextWindowOverflowException"


def managed(state: RunState, step: Step | None, context: ContextPolicy) -> Step | None:
    """The step that the history needs before `step`, which `decide` found without regard to its length; else `step`."""
    if state.again and isinstance(step, StartCycle | Finish) and not _at_a_limit(step):
        # The cycle whose history did not fit, even if cancelled; for a limit of cycles it counts, as in Strands.
        return StartCycle(state.cycle + 1, again=True)
    if state.overflow is not None and isinstance(step, CallModel | AddAnswer):
        return _after_overflow(state, state.overflow, step, context)
    if state.phase != "opening" and isinstance(step, Finish | Fail) and not state.managed:
        return _reduce(context.at_end(state.messages), "end") or step
    if state.summarizing or (isinstance(step, CallModel) and step.partial is None and not state.managed):
        return _before_call(state, step, context)
    return step


def _at_a_limit(step: Step) -> bool:
    return isinstance(step, Finish) and is_limit_reason(step.result["stop_reason"])


def _before_call(state: RunState, step: Step | None, context: ContextPolicy) -> Step | None:
    if not isinstance(step, CallModel | AddAnswer):
        return step
    plan = context.before_call(state.messages, call=state.calls + 1)
    if isinstance(plan, Summarizing):
        return _summarized(state, step, plan)
    return _reduce(plan, "call") or step


def _reduce(reduction: Reduction | None, reason: str) -> Reduce | None:
    return None if reduction is None else Reduce(reduction, reason)


def _after_overflow(
    state: RunState, overflow: ModelFailed, step: CallModel | AddAnswer, context: ContextPolicy
) -> Step:
    plan = context.after_overflow(state.messages)
    if plan is None:
        return Fail(_OVERFLOW, context.cannot or overflow.message)
    if isinstance(plan, Reduction):
        return Reduce(plan, "overflow")
    return _summarized(state, step, plan)


def _summarized(state: RunState, step: CallModel | AddAnswer, plan: Summarizing) -> Step:
    """The call that writes the summary, or the reduction with the summary that a former owner's model wrote."""
    if isinstance(step, CallModel):
        if step.partial is not None:  # the text of a summary is not continued
            step = replace(step, partial=None, supersedes=(state.call_open or 0, state.call_end or 0))
        return replace(step, summarizes=plan)
    return reduced_by_summary(plan, step.message)


def reduced_by_summary(plan: Summarizing, answer: Message) -> Step:
    """The reduction with the summary that a model wrote, or the failure of a run whose model wrote none."""
    summary = summary_of(answer)
    if summary is None:
        return Fail("RuntimeError", NO_SUMMARY) if plan.reason == "overflow" else Reduce(Reduction(), plan.reason)
    return Reduce(replace(plan.reduction, summary=summary), plan.reason, usage=usage_of(answer))


def summary_of(answer: Message) -> Message | None:
    """The model's answer as the user's message that stands for those left out: its text alone; None if it has none."""
    texts: list[ContentBlock] = []
    for block in answer.get("content", []):
        if "text" in block:
            texts.append({"text": block["text"]})
        for cited in (block.get("citationsContent") or {}).get("content", []):
            if cited.get("text"):
                texts.append({"text": cited["text"]})  # noqa: PERF401 - two kinds of blocks, in their order
    return {"role": "user", "content": texts} if texts else None


def usage_of(answer: Message) -> dict[str, int]:
    """The tokens of the call that wrote a summary."""
    usage = (answer.get("metadata") or {}).get("usage") or {}
    return {name: count for name, count in cast("dict[str, object]", usage).items() if isinstance(count, int)}
