"""What cannot be the id of a run is refused where it is given."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.client import Client

__all__: list[str] = []


@pytest.mark.parametrize("given", [None, 5, b"0-1", "", "a b", "a" * 129])
def test_what_cannot_be_a_run_id_is_refused_by_the_handle(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^run_id must be 1 to 128 letters, digits, .* not "):
        Client("redis://localhost:1").run(given)
