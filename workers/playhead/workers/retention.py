"""How long ended runs are kept, as the command line says it: `12h`, `support:failed=30d`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypedDict

from playhead.runtime.log.values import DEFAULT_RETENTION_MS

__all__ = ["RetentionOptions", "retention_of_texts"]

_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TIME: Final = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_MS)})")


class RetentionOptions(TypedDict):
    """The arguments of `WorkerOptions`."""

    retention_ms: int
    retention: dict[str, int]


def retention_of_texts(texts: Iterable[str]) -> RetentionOptions:
    """The options for texts such as `12h`, which is for all runs, or `support:failed=30d`.

    Raises:
        ValueError: A text is neither, or two are for the same runs.
    """
    found: RetentionOptions = {"retention_ms": DEFAULT_RETENTION_MS, "retention": {}}
    given: set[str] = set()
    for text in texts:
        key, _, time = text.rpartition("=")
        if key in given:
            raise ValueError(f"--retention is given twice for {key or 'all runs'}")
        given.add(key)
        if key:
            found["retention"][key] = _ms(text, time)
        else:
            found["retention_ms"] = _ms(text, time)
    return found


def _ms(text: str, time: str) -> int:
    match = _TIME.fullmatch(time)
    if match is None or (ms := round(float(match[1]) * _MS[match[2]])) < 1:
        raise ValueError(f"--retention {text}: use a time such as 90s, 30m, 12h, 7d or 2w, or AGENT:STATE=TIME")
    return ms
