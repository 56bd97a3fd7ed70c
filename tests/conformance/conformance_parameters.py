"""The scenarios as parameters of the tests of each way."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.conformance.conformance_scenarios import asks_for_checkpoints, folders, missing_features

__all__ = ["every_scenario"]


def _parameters() -> list[Any]:
    """One parameter set per scenario that is not refused; those that need what playhead lacks are expected to differ, and named."""
    found: list[Any] = []
    for folder in folders():
        for scenario in folder.scenarios():
            if asks_for_checkpoints(scenario):
                continue
            missing = missing_features(scenario)
            reason = f"playhead has no {', no '.join(missing)}"
            expected = (AssertionError, NotImplementedError)
            mark = pytest.mark.xfail(reason=reason, raises=expected, strict=folder.ours)
            found.append(pytest.param(folder, scenario, id=scenario["id"], marks=[mark] if missing else []))
    return found


every_scenario: Final = pytest.mark.parametrize(("folder", "scenario"), _parameters())
"""Runs a test with every scenario that is not refused."""
