"""What a worker logs: one line when a run begins and one when it ends, and the format of its lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from pythonjsonlogger.json import JsonFormatter

from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import Record, RunFailed
from playhead.runtime.core.state import RunState
from playhead.runtime.log.values import Claim
from playhead.runtime.messages import UtcFormatter, exc_info, log_to_stderr

__all__ = ["LogFormat", "LogLevel", "RunLines", "print_lines", "step_of"]

logger: logging.Logger = logging.getLogger("playhead.runs")

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

_LEVELS: Final[dict[LogLevel, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _JsonLines(JsonFormatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, and for a run `run`, `agent` and more."""

    converter: Callable[[float | None], time.struct_time] = time.gmtime
    default_time_format: str = "%Y-%m-%dT%H:%M:%S"
    default_msec_format: str | None = "%s.%03dZ"

    def __init__(self) -> None:
        renamed = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=renamed)


def print_lines(*, level: LogLevel | None, form: LogFormat, quiet: bool = False) -> None:
    """Print the lines of this process on standard error, as the options say, unless the user's code configures logging."""
    formatter = _JsonLines() if form == "json" else UtcFormatter()
    asked = logging.ERROR if quiet else None if level is None else _LEVELS[level]
    log_to_stderr(level=asked, default=logging.INFO, formatter=formatter)


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
            self._failed(written, step_of(state), raised, took)
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


def step_of(state: RunState | None) -> str:
    """The step that a run was in, in words; empty if in none."""
    if state is None:
        return ""
    tools = [repr(call.tool_use["name"]) for call in open_calls(state) if call.state == "running"]
    if tools:
        return f"the tool{'s' if len(tools) > 1 else ''} {', '.join(tools)}"
    return "a call of its model" if state.call_open else ""
