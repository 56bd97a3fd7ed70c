"""How the command line writes a duration."""

from __future__ import annotations

import pytest

from playhead.client.cli.render import seconds

__all__: list[str] = []


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (119_900, "119.9 s"),
        (120_000, "2 min 0 s"),
        (7_199_999, "119 min 59 s"),
        (37_026_500, "10 h 17 min"),
        (172_800_000, "2 d 0 h"),
    ],
)
def test_a_duration_is_written_in_units_of_its_size(milliseconds: int, written: str) -> None:
    assert seconds(milliseconds) == written
