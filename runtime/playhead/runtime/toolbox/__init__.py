"""Tools that most agents need, ready to use."""

from __future__ import annotations

from playhead.runtime.toolbox.calculator import calculator
from playhead.runtime.toolbox.http_request import http_request, make_http_request

__all__ = ["calculator", "http_request", "make_http_request"]
