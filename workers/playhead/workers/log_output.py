"""Where the lines of a worker process go, and in which form: the options `--log-level` and `--log-format`."""

from __future__ import annotations

import logging
from typing import Final, Literal

from playhead.runtime.messages import UtcFormatter, UtcTime, log_to_stderr

__all__ = ["LogFormat", "LogLevel", "print_lines"]

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

_LEVELS: Final[dict[LogLevel, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def print_lines(*, level: LogLevel | None, form: LogFormat) -> None:
    """Print the lines of this process on standard error, as the options say, unless the user's code configures logging."""
    formatter = _json_lines() if form == "json" else UtcFormatter()
    log_to_stderr(level=None if level is None else _LEVELS[level], default=logging.INFO, formatter=formatter)


def _json_lines() -> logging.Formatter:
    """One JSON object per line: `time`, `level`, `logger`, `message`, and for a run `run`, `agent` and more."""
    from pythonjsonlogger.json import JsonFormatter  # here, because a worker that prints text does not need it

    class JsonLines(UtcTime, JsonFormatter):
        pass

    renamed = {"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "traceback"}
    return JsonLines("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=renamed)
