"""The further keywords of an agent's call: what is replaced for the run, and what the run is to give. Pure."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from playhead.runtime.core.keywords import refuse_keywords
from playhead.runtime.core.metadata import Metadata
from playhead.runtime.core.overrides import RunOverrides, checked_overrides
from playhead.runtime.core.terms import TermArguments, Terms, terms_of

__all__ = ["CallKeywords", "CallOptions", "call_options"]


class CallKeywords(RunOverrides, TermArguments, total=False):
    """The keywords that every call of an agent takes, in process and on a fleet, besides its own arguments."""


class CallOptions(NamedTuple):
    """The checked keywords of a call.

    Attributes:
        overrides: What the run has instead of its agent's own, in the form of `run.submitted.options`.
        terms: What the run is to give.
        metadata: What the caller notes of the run.
    """

    overrides: dict[str, Any]
    terms: Terms
    metadata: Metadata = MappingProxyType({})

    @property
    def stored(self) -> dict[str, Any]:
        """The options of `run.submitted`."""
        return {**self.overrides, **self.terms.options}


def call_options(function: Callable[..., object], keywords: CallKeywords) -> CallOptions:
    """Check the `**keywords` of a call of `function`.

    Raises:
        TypeError: If one is unknown, or has the wrong type.
        ValueError: If one is invalid: see `checked_overrides` and `terms_of`.
        EncodingError: If a parameter of the model is not plain data.
    """
    refuse_keywords(function, keywords, accepted=CallKeywords.__annotations__)
    return CallOptions(checked_overrides(keywords), terms_of(keywords))
