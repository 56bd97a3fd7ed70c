"""What a caller chooses for a run whose session is held by a run that has not ended. Pure."""

from __future__ import annotations

from typing import Literal

__all__ = ["IfBusy", "IfHeld"]

IfHeld = Literal["queue", "reject", "cancel"]
"""What happens to a run that is submitted while another one holds its session.

`queue`: it waits until the runs before it have ended. `reject`: it is refused, with the id of the run that holds the session.
`cancel`: that run is cancelled, and this one runs after it.
"""

IfBusy = Literal["queue", "reject", "cancel", "steer"]
"""Those, and `steer`: the run that holds the session receives the prompt before its next model call."""
