"""The version of the framework with which a run began: another one may do something else over the same log."""

from __future__ import annotations

import logging
from importlib import metadata

from playhead.runtime.host.recorder import Recorder
from playhead.runtime.host.steps import Steps

__all__ = ["note_version"]

logger: logging.Logger = logging.getLogger("playhead.runs")


def note_version(recorder: Recorder, distribution: str) -> None:
    """Record the version of an installed distribution, once in the run; warn if the run began with another one."""
    here = f"{distribution} {metadata.version(distribution)}"
    began = str(Steps(recorder).at_once("version", lambda: here))
    if began != here:
        recorder.differs = f"The run began with {began}, and this worker has {here}"
        logger.warning(
            "run %s began with %s, and this worker has %s: if it does something else than the log has, it fails with DivergedError",
            recorder.run_id,
            began,
            here,
        )
