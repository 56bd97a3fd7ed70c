"""What a worker logs of its runs: one line when a run begins and one when it ends."""

from __future__ import annotations

import logging
import time

from playhead.runtime.core.definition import AgentDefinition
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import Record, RunFailed
from playhead.runtime.core.state import RunState
from playhead.runtime.core.system_prompt import beside_text
from playhead.runtime.core.tracebacks import exc_info
from playhead.runtime.log.values import Claim
from playhead.runtime.replay.differences import request_changes

__all__ = ["RunLines"]

logger: logging.Logger = logging.getLogger("playhead.runs")


class RunLines:
    """The lines about one ownership of a run."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._began = time.monotonic()

    def begin(self) -> None:
        """The run was claimed."""
        claim = self._claim
        what = "begins" if claim.epoch <= 1 else f"goes on after record {claim.head - 1}"
        logger.info("run %s of %s %s", claim.run_id, claim.agent, what, extra=self._fields())

    def changed(self, seq: int, recorded: AgentDefinition, now: AgentDefinition) -> None:
        """The factory no longer makes what the log has, so that this owner has another agent than the former one."""
        blocks = beside_text(now.system_prompt, now.system_prompt_content)
        sent = ModelRequest([], list(now.tool_specs), now.system_prompt, system_prompt_content=blocks)
        offered = recorded.tool_specs, None
        found = request_changes(recorded, now, sent=sent, offered=offered, differs={}, places={})
        changes = "\n".join(one.text for one in found)
        logger.warning(
            "run %s of %s: its factory makes another agent now than the log has; the run goes on with this one, which the "
            "log has as record %d (- before, + now)\n%s",
            self._claim.run_id,
            self._claim.agent,
            seq,
            changes,
            extra=self._fields(),
        )

    def end(
        self, outcome: str, written: Record | None, *, state: RunState | None, raised: BaseException | None
    ) -> None:
        """The ownership has ended.

        Args:
            outcome: As `Execution.outcome`.
            written: The terminal record, if it was written.
            state: The fold of what was written.
            raised: What the loop raised, or a model that ended the run.
        """
        claim, took = self._claim, time.monotonic() - self._began
        if outcome == "failed" and isinstance(written, RunFailed):
            self._failed(written, _step_of(state), raised, took)
            return
        fields = self._fields(outcome=outcome, seconds=round(took, 3))
        words = outcome.replace("_", " ")
        logger.info("run %s of %s %s after %.1f s", claim.run_id, claim.agent, words, took, extra=fields)

    def _failed(self, written: RunFailed, step: str, raised: BaseException | None, took: float) -> None:
        # An error of playhead says by itself what is wrong; where the user's own code raised, only a traceback shows.
        shown = None if raised is None or isinstance(raised, PlayheadError) else exc_info(raised)
        logger.error(
            "run %s of %s failed%s: %s: %s",
            self._claim.run_id,
            self._claim.agent,
            f" in {step}" if step else "",
            written.error_type,
            written.message,
            exc_info=shown,
            extra=self._fields(outcome="failed", step=step, error=written.error_type, seconds=round(took, 3)),
        )

    def _fields(self, **more: object) -> dict[str, object]:
        return {"run": self._claim.run_id, "agent": self._claim.agent, "epoch": self._claim.epoch, **more}


def _step_of(state: RunState | None) -> str:
    """The step that a run was in, in words; empty if in none."""
    if state is None:
        return ""
    tools = [repr(call.tool_use["name"]) for call in open_calls(state) if call.state == "running"]
    if tools:
        return f"the tool{'s' if len(tools) > 1 else ''} {', '.join(tools)}"
    return "a call of its model" if state.call_open else ""
