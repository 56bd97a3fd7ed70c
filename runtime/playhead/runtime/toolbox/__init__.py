"""Tools that most agents need, ready to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use
from playhead.runtime.toolbox.calculator import calculator

if TYPE_CHECKING:
    from playhead.runtime.toolbox.http import http_request, make_http_request

__all__ = ["calculator", "http_request", "make_http_request"]

# At first use, because it needs the extra `http`.
import_at_first_use(
    __name__,
    {
        "http_request": "playhead.runtime.toolbox.http",
        "make_http_request": "playhead.runtime.toolbox.http",
    },
)
