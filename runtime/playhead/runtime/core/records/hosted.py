"""Records about the runs of hosted guests: their events, and the values that are computed once."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import SkipValidation

from playhead.runtime.core.records.base import CheckedRecord

__all__ = ["EventEmitted", "StepFinished"]


class EventEmitted(CheckedRecord):
    """A guest gave out an event that no other record gives. Events of one `lane` come in one order."""

    type: str = "event.emitted"
    event: dict[str, Any]
    lane: str = ""


class StepFinished(CheckedRecord):
    """A step of a guest has its value, which is never computed again, or it raised: `error` has the exception.

    `error` is `{"type", "module", "message"}`, and `attributes` if it has plain ones. `key` is unique in the run. Its last
    part names the kind: `model:1` is the first model call, whose chunks are records of their own or, if it ran beside another
    one, `value`. Then `request` and `told` are as in `model.started`, which such a call has not.
    """

    type: str = "step.finished"
    key: str
    value: Any = None
    error: dict[str, Any] | None = None
    request: str = ""
    told: Annotated[dict[str, Any], SkipValidation] = {}

    @property
    def ends_call(self) -> bool:
        """Whether it is the end of a model call."""
        return self.key.rpartition("/")[2].startswith("model:")
