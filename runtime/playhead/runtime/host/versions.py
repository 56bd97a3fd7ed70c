"""The version of the framework with which a run began: another one may do something else over the same log."""

from __future__ import annotations

import logging
from importlib import metadata

from playhead.runtime.host.recorder import Recorder
from playhead.runtime.host.steps import Steps

__all__ = ["framework_of", "note_version"]

logger: logging.Logger = logging.getLogger("playhead.runs")


def framework_of(distribution: str) -> str:
    """An installed distribution with its version: `strands-agents 1.45.0`."""
    return f"{distribution} {metadata.version(distribution)}"


def note_version(recorder: Recorder, here: str) -> None:
    """Record the framework with its version, once in the run; warn if the run began with another one."""
    began = str(Steps(recorder).at_once("version", lambda: here))
    if began != here:
        recorder.differs = f"The run began with {began}, and this agent is run by {here}"
        logger.warning(
            "run %s began with %s, and this agent is run by %s: if it does something else than the log has, it fails with DivergedError",
            recorder.run_id,
            began,
            here,
        )
