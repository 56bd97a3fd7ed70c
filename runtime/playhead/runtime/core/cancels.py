"""What a cancel asks for: the body of its signal. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from playhead.runtime.core.arguments import check_flag, check_text
from playhead.runtime.core.plain import plain_text

__all__ = ["Cancel", "cancel_of", "together"]


@dataclass(frozen=True, slots=True)
class Cancel:
    """A cancel.

    Attributes:
        message: The text of the run's last message; None for the default, or for none if tools have run.
        after_current_tools: Whether the calls of the current message run to their end first. A run whose model answers without a
            call ends as if there were no cancel.
    """

    message: str | None = None
    after_current_tools: bool = False

    @property
    def body(self) -> dict[str, Any] | None:
        """The body of the signal, without what is not asked for; None for a plain cancel."""
        told = {"message": self.message, "after_current_tools": self.after_current_tools}
        return {name: value for name, value in told.items() if value} or None

    @classmethod
    def read(cls, body: object) -> Cancel:
        """The cancel with this body; what has another form is a plain cancel."""
        given = cast("Mapping[str, Any]", body) if isinstance(body, Mapping) else {}
        message = given.get("message")
        return cls(message if isinstance(message, str) else None, given.get("after_current_tools") is True)


def together(cancels: Sequence[Cancel]) -> Cancel | None:
    """Several cancels as one, None for none: the last message counts, and one that does not wait for the calls."""
    if not cancels:
        return None
    messages = [one.message for one in cancels if one.message is not None]
    return Cancel(messages[-1] if messages else None, all(one.after_current_tools for one in cancels))


def cancel_of(message: str | None, after_current_tools: bool) -> Cancel:
    """The cancel with these arguments, checked.

    Raises:
        TypeError: If one has the wrong type.
    """
    check_text("message", message, optional=True, empty=True)
    check_flag("after_current_tools", after_current_tools)
    return Cancel(plain_text(message) if message else None, after_current_tools)
