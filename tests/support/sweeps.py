"""Sweeps over many values, of which a quick run tries some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["sweep"]


def sweep(values: Sequence[Any], *, step: int) -> list[Any]:
    """The values as parameters of a test; all but every `step`-th are marked exhaustive, so `make quick` leaves them out."""
    return [
        value if number % step == 0 else pytest.param(value, marks=pytest.mark.exhaustive)
        for number, value in enumerate(values)
    ]
