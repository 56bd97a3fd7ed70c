"""A model with other parameters, for one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.models.model import Model

__all__ = ["with_params"]


def with_params(model: Model, params: Mapping[str, Any]) -> Model:
    """The model with these parameters besides its own; the model itself is not changed.

    Raises:
        ModelConfigurationError: If the model has no method `with_params`.
    """
    make = getattr(model, "with_params", None)
    if not callable(make):
        raise ModelConfigurationError(
            f"{model!r} does not take params={dict(params)!r:.80} for one run: its class {type(model).__name__} has no method "
            "with_params(params), which returns a model with these parameters."
        )
    made: Any = make(params)
    return made
