"""What a human's response to the question whether a tool may run means."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["Verdict", "verdict_of"]

_YES: Final = frozenset({"approve", "approved", "y", "yes"})
_NO: Final = frozenset({"", "deny", "denied", "n", "no", "reject", "rejected"})


class Verdict(NamedTuple):
    """Whether a tool may run, and what the model is told if not; None for what the framework says."""

    allowed: bool
    told: str | None = None


def verdict_of(response: object) -> Verdict:
    """True or "yes" let the tool run, and anything else does not; a text that is not just "no" is what the model is told."""
    if not isinstance(response, str):
        return Verdict(response is True)
    word = response.strip().lower()
    return Verdict(word in _YES, None if word in _YES | _NO else response)
