"""A tool's request that the run ends after the calls of its message: Strands' cooperative stop. Pure.

Strands has two forms. `agent.cancel(message=…, after_current_tools=True)` adds the message as the assistant's, and ends with the
stop reason `cancelled`; the older flag `request_state["stop_event_loop"]` ends with `tool_use`. The run is completed in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from playhead.runtime.core.converse import Message

__all__ = ["DELEGATED", "STOP_FLAG", "Stop"]

STOP_FLAG: Final = "stop_event_loop"
"""The key of `invocation_state["request_state"]` by which a tool of Strands asks for a stop."""


DELEGATED: Final = "end_turn"
"""The stop reason of a run that ends with the answer of an agent to which it has delegated."""


@dataclass(frozen=True, slots=True)
class Stop:
    """What tools asked for.

    Attributes:
        reason: The stop reason: `cancelled`, `tool_use`, or `end_turn` of a call that answers in the place of the model.
        text: The text of the run's last message, as long as it is not in the history; None for none.
    """

    reason: str = "cancelled"
    text: str | None = None

    @property
    def stored(self) -> dict[str, Any]:
        """The form in `tool.finished`."""
        return {"reason": self.reason, "text": self.text}

    @property
    def message(self) -> Message | None:
        """The message that is to be added before the run ends."""
        return None if self.text is None else {"role": "assistant", "content": [{"text": self.text}]}

    @property
    def said(self) -> Stop:
        """The same, once its message is in the history."""
        return replace(self, text=None)

    def after(self, former: Stop | None) -> Stop:
        """This request with a former one: the later text counts, and `cancelled` before `tool_use`, as in Strands."""
        if former is None:
            return self
        reason = "cancelled" if "cancelled" in (self.reason, former.reason) else self.reason
        return Stop(reason, former.text if self.text is None else self.text)

    @classmethod
    def read(cls, stored: object) -> Stop | None:
        """The request in a `tool.finished`; None if there is none."""
        if not isinstance(stored, Mapping):
            return None
        given = cast("Mapping[str, Any]", stored)
        text = given.get("text")
        reason = given.get("reason")
        return cls(reason if reason in ("tool_use", DELEGATED) else "cancelled", None if text is None else str(text))
