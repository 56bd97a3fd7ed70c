"""What a guest tells the recorder of its run besides: nothing in the run depends on it."""

from __future__ import annotations

import logging
from typing import Any, cast

from playhead.runtime.core.converse import ToolUse
from playhead.runtime.core.records import Entry, ModelStarted, StepFinished
from playhead.runtime.host.asked import Asked
from playhead.runtime.host.course import RecordedTool

__all__ = ["Observed"]

logger: logging.Logger = logging.getLogger("playhead.runs")


class Observed:
    """The part of a recorder that looks at what a guest does again.

    Attributes:
        run_id: The run.
        offline: Whether nothing is done that the log does not have: see `OfflineRecorder`.
        stops_at_cancel: Whether the guest begins nothing that has an effect once a cancel is in force.
        code: The async generator that is the guest's own code, if it is one.
    """

    run_id: str
    offline: bool = False
    stops_at_cancel: bool = False
    code: object = None

    @property
    def enters_again(self) -> bool:
        """Whether a call that has ended is entered again, if what is done in it is recorded by itself."""
        return False

    def requested(self, key: str, logged: Entry, asked: Asked) -> None:
        """A model call of the log is made again. A request that differs is noted: a prompt that has the time in it is common.

        The recorded answer stands.
        """
        if asked.differing(cast("ModelStarted | StepFinished", logged.record).request):
            logger.info(
                "run %s: what the agent asks in its %s differs from what record %d has of it; the recorded answer stands",
                self.run_id,
                key.lstrip("/"),
                logged.seq,
            )

    def told_otherwise(self, logged: Entry) -> None:
        """An event differs from that of the log, because a node puts the time or a random id into it. Readers have seen that one."""
        logger.info(
            "run %s: an event of the agent differs from record %d of the log, which stands", self.run_id, logged.seq
        )

    def called(self, past: RecordedTool, tool_use: ToolUse) -> None:
        """A tool call is made that the log may have. Its recorded result stands."""

    def gave(self, finished: Entry, result: Any) -> None:
        """A call that is made again in each execution gave this; the recorded result is `finished`."""
